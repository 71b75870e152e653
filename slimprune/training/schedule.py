"""Learning rate of each step."""

import math

from slimprune.training.settings import TrainSettings

WARM_UP_SHARE = 0.1


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one step; a pure function, so that a resumed run needs no scheduler state.

    With E epochs, T = E * steps_per_epoch steps and W steps of warm-up (see `warm_up_steps`):

        step < W:  lr * (step + 1) / W
        step:      lr * 0.1^[e >= E/2] * 0.1^[e >= 3E/4]        e = step // steps_per_epoch
                   lr * 0.1^(number of milestones <= e)         with milestones
        cosine:    lr * (1 + cos(pi * (step - W) / (T - W))) / 2, reaching 0 at T

    Args:
        settings: Settings that supply lr, epochs, schedule, milestones and warm-up.
        step: Optimizer steps done so far in the whole run, from 0.
        steps_per_epoch: Batches in one epoch.
    """
    total, warm = settings.epochs * steps_per_epoch, warm_up_steps(settings, steps_per_epoch)
    if step < warm:
        return settings.lr * (step + 1) / warm
    if settings.milestones:
        passed = sum(milestone <= step // steps_per_epoch for milestone in settings.milestones)
        return settings.lr / 10.0**passed
    if settings.schedule == "step":
        done = step // steps_per_epoch / settings.epochs
        return settings.lr * (0.01 if done >= 0.75 else 0.1 if done >= 0.5 else 1.0)
    progress = min(1.0, (step - warm) / max(1, total - warm))
    return settings.lr * (1 + math.cos(math.pi * progress)) / 2


def warm_up_steps(settings: TrainSettings, steps_per_epoch: int) -> int:
    """Return the number of steps in which the learning rate rises to its peak."""
    total, length = settings.epochs * steps_per_epoch, settings.warm_up
    if length is None:
        return max(1, round(WARM_UP_SHARE * total)) if settings.schedule == "cosine" else 0
    return round(length * (total if length < 1 else steps_per_epoch))
