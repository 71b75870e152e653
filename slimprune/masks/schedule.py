"""The schedule of gradual magnitude pruning."""


def gradual_sparsity(ratio: float, done: float) -> float:
    """Return the share of the weights that is masked on the way of gradual pruning to a ratio.

        ratio * (1 - (1 - done)^3)

    Source: Zhu and Gupta, To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model Compression (2017),
    equation 1, with an initial sparsity of 0.

    Args:
        ratio: Share that is masked at the end, in (0, 1).
        done: Part of the way that is done, in [0, 1].

    Examples:
        >>> [gradual_sparsity(0.8, part) for part in (0, 0.5, 1)]
        [0.0, 0.7000000000000001, 0.8]
    """
    return ratio * (1 - (1 - done) ** 3)


def pruning_steps(first: int, last: int, rounds: int, ratio: float) -> dict[int, float]:
    """Return the steps of a training at which weights are masked, and the share that is masked from there on.

    There are `rounds` of them at equal distances, the last one at step `last`. Where steps are fewer than rounds, a
    step has the share of the last of its rounds.

    Args:
        first: Step at which pruning begins, with nothing masked.
        last: Step at which the ratio is reached.
        rounds: Number of times that weights are masked.
        ratio: Share that is masked at the end, in (0, 1).

    Examples:
        >>> {step: round(share, 3) for step, share in pruning_steps(0, 100, 4, 0.8).items()}
        {25: 0.463, 50: 0.7, 75: 0.788, 100: 0.8}
    """
    parts = [number / rounds for number in range(1, rounds + 1)]
    return {first + max(1, round(part * (last - first))): gradual_sparsity(ratio, part) for part in parts}
