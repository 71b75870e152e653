"""Scoring: draws of a criterion, normalised and averaged, with the stability of their ranking."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn

from slimprune.errors import DataError, SlimpruneError, UnsupportedModelError, UsageError
from slimprune.forward import ForwardFn, Loss
from slimprune.graph import ChannelGroup, free_groups
from slimprune.measure.devices import device_of, has_float64
from slimprune.ranks.group import ALONE, Ranks, from_rank
from slimprune.saliency.averaging import Average, Signed, average_of
from slimprune.saliency.not_finite import cause
from slimprune.saliency.problem import AnyBatch, Gate, Problem, precise_arithmetic
from slimprune.saliency.registry import Criterion, check_gate, make_criterion
from slimprune.saliency.scores import Scores
from slimprune.saliency.scores import average as averaged
from slimprune.saliency.target import Target
from slimprune.types import Listener, ignore


def score(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    batches: Iterable[AnyBatch],
    loss: Loss,
    *,
    criterion: str | Criterion = "prospr",
    gate: Gate = "consumer",
    draws: int = 4,
    dtype: torch.dtype = torch.float32,
    average: Average | None = None,
    seed: int = 0,
    target: Target | None = None,
    progress: Listener = ignore,
    forward_fn: ForwardFn | None = None,
    ranks: Ranks = ALONE,
    split_draws: bool = False,
) -> Scores:
    """Score every channel of the unprotected groups.

    Each draw applies the criterion to its own batches and seed and is divided by the sum of its sizes over all
    channels; the draws are then averaged, with or without their signs. TF32 is off during the scoring. The model,
    including its running statistics, is not modified.

    Args:
        model: The network to score, on the device where scoring is to run.
        groups: Channel groups of the network; protected ones are left out.
        batches: (inputs, targets), several inputs in a tuple or list; `draws` times as many batches as the criterion
            needs per draw. A sequence is indexed and may create a batch on each access, always the same one; any other
            iterable is read draw by draw.
        loss: (output, target) -> scalar tensor.
        criterion: A name from the registry, or a criterion with options.
        gate: What the gates multiply; see `Problem.gate_gradient`.
        draws: Number of independent draws; a deterministic criterion makes only one.
        dtype: Dtype of the whole computation, torch.float32 or torch.float64.
        average: `signed` to take the sign off the mean of the draws, which criteria with a sign support, or
            `absolute` to take it off every draw; by default the criterion's own.
        seed: Seed of dropout and of random criteria.
        target: Target of criteria that prune iteratively; the others ignore it.
        progress: Called with ("score", number of finished draws, total, name of the criterion).
        forward_fn: (model, batch) -> output, for models that are not called with their inputs. Batches are then
            whatever it takes, and the loss is (output, batch) -> scalar tensor.
        ranks: Ranks that score the same network together and get the same scores: each makes every `ranks.count`-th
            draw.
        split_draws: Whether they make every draw together instead, each on its rows of the batches, for batches that
            are too large for one device; batch norms then take their statistics over all rows. For criteria whose
            scores are derivatives of the mean loss.

    Returns:
        The averaged scores.

    Raises:
        UsageError: If the criterion or gate is unknown, draws < 1, an iterative criterion gets no target, or a
            criterion does not give every channel a score of at least 0.
        DataError: If there are fewer batches than needed, or batches are not pairs and there is no `forward_fn`.
        UnsupportedModelError: If there is nothing to score, the loss is not a scalar, the model is fully frozen, or the
            criterion cannot score it.
        SlimpruneError: If scores are not finite.
    """
    chosen, name = chosen_criterion(criterion)
    check_gate(name, chosen, gate)
    how, draws = average_of(name, chosen, average), number_of_draws(chosen, draws)
    free = scorable_groups(groups)
    check_precision(model, dtype)
    problem = replace(Problem.prepare(model, free, loss, gate, dtype, forward_fn), seed=seed, target=target)
    if split_draws:
        check_divisible(name, chosen)
        problem, ranks = replace(problem, ranks=ranks), ALONE
    parts = batches_of_draws(batches, draws, chosen.batches_per_draw)
    results = list(drawn_scores(chosen, problem, parts, partial(tell_draws, progress, name, draws), ranks))
    return averaged(results, how, chosen).as_scores(chosen, name, draws)


def chosen_criterion(criterion: str | Criterion) -> tuple[Criterion, str]:
    """Return the criterion and its name.

    Raises:
        UsageError: If there is no criterion of that name.
    """
    if isinstance(criterion, str):
        return make_criterion(criterion), criterion
    return criterion, type(criterion).__name__.lower()


def number_of_draws(criterion: Criterion, draws: int) -> int:
    """Return the number of draws that differ.

    Raises:
        UsageError: If draws < 1.
    """
    if draws < 1:
        raise UsageError(f"expected draws >= 1, got {draws}")
    return 1 if criterion.deterministic else draws


def scorable_groups(groups: Sequence[ChannelGroup]) -> tuple[ChannelGroup, ...]:
    """Return the groups that are not protected.

    Raises:
        UnsupportedModelError: If there are none.
    """
    free = free_groups(groups)
    if not free:
        raise UnsupportedModelError(_nothing_to_score(groups))
    return free


def check_precision(model: nn.Module, dtype: torch.dtype) -> None:
    """Check that the device of the model computes in that dtype.

    Raises:
        UsageError: If it does not.
    """
    device = device_of(model)
    if dtype == torch.float64 and not has_float64(device):
        raise UsageError(f"expected scoring in float32 on {device.type}, which has no float64, got float64")


def drawn_scores(
    criterion: Criterion,
    problem: Problem,
    parts: Iterable[Sequence[AnyBatch]],
    tell: Callable[[int], None],
    ranks: Ranks = ALONE,
) -> Iterator[dict[str, Tensor]]:
    """Yield the scores of every draw, signed if they have a sign, each with its own batches and seed.

    Ranks divide the draws among them, and yield those of all, in their order.
    """
    tell(0)
    numbered = enumerate(parts)
    while together := list(islice(numbered, ranks.count)):
        own = _one_draw(criterion, problem, *together[ranks.index]) if ranks.index < len(together) else None
        numbers = [draw for draw, _ in together]
        together.clear()  # lest a draw's batches stay in memory while those of the next but one are read
        for source, draw in enumerate(numbers):
            tell(draw + 1)
            yield _of_rank(own, source, problem.groups) if ranks.several else cast(dict[str, Tensor], own)


def _one_draw(criterion: Criterion, problem: Problem, draw: int, part: Sequence[AnyBatch]) -> dict[str, Tensor]:
    with precise_arithmetic():
        drawn = replace(problem, batches=part, seed=_seed_of_draw(problem.seed, draw))
        signed = isinstance(criterion, Signed)
        result = criterion.signed(drawn) if isinstance(criterion, Signed) else criterion.score(drawn)
    return _checked(result, drawn, signed=signed)


def _of_rank(own: dict[str, Tensor] | None, source: int, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
    """Return the scores of the draw of one rank, float64 on the CPU; `own` are those of this rank's draw."""
    widths = [group.width for group in groups]
    held = torch.zeros(sum(widths), dtype=torch.float64) if own is None else torch.cat([own[g.id] for g in groups])
    pieces = from_rank(held, source).split(widths)
    return dict(zip((group.id for group in groups), pieces, strict=True))


def check_divisible(name: str, criterion: Criterion) -> None:
    """Check that ranks can make a draw of a criterion together.

    Raises:
        UsageError: If they cannot.
    """
    if not isinstance(criterion, Signed):
        rule = "a criterion of derivatives of the mean loss, such as prospr or taylor, beside split draws"
        raise UsageError(f"expected {rule}, got {name}")


def _seed_of_draw(seed: int, draw: int) -> int:
    """Return a seed far from those of the draws of neighbouring seeds, so that different seeds give different draws."""
    return (seed * 1_000_000_007 + draw) % 2**63


def tell_draws(progress: Listener, name: str, draws: int, done: int) -> None:
    """Report the number of finished draws."""
    progress("score", done, draws, name)


class _Part(Sequence[AnyBatch]):
    """The batches of one draw, as a window on all batches."""

    def __init__(self, batches: Sequence[AnyBatch], start: int, length: int) -> None:
        self._batches, self._start, self._length = batches, start, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, step: int) -> AnyBatch:  # type: ignore[override]
        if not 0 <= step < self._length:
            raise IndexError(step)
        return self._batches[self._start + step]


def batches_of_draws(batches: Iterable[AnyBatch], draws: int, length: int) -> Iterator[Sequence[AnyBatch]]:
    """Yield the batches of every draw, one draw after the other."""
    if isinstance(batches, Sequence):
        if len(batches) < draws * length:
            raise _too_few(len(batches), draws * length)
        yield from (_Part(batches, draw * length, length) for draw in range(draws))
    else:
        rest = iter(batches)
        for draw in range(draws):
            part = list(islice(rest, length))
            if len(part) < length:
                raise _too_few(draw * length + len(part), draws * length)
            yield part


def _too_few(found: int, wanted: int) -> DataError:
    return DataError(f"expected {wanted} batches to score with, got {found}")


def _checked(result: Mapping[str, Tensor], problem: Problem, *, signed: bool) -> dict[str, Tensor]:
    """Return the checked scores in float64 on the CPU, [width] for every group."""
    groups, unit = problem.groups, problem.unit
    for group in groups:
        found = result.get(group.id)
        shape = tuple(found.shape) if isinstance(found, Tensor) else None
        if shape != (group.width,):
            raise UsageError(f"expected a criterion to score the {group.width} {unit}s of {group.id}, got {shape}")
        if not signed and bool((cast(Tensor, found) < 0).any()):
            raise UsageError(f"expected a criterion to give scores of at least 0, got others for {group.id}")
    scores = {group.id: result[group.id].detach().cpu().double() for group in groups}
    total = float(sum(values.abs().sum() for values in scores.values()))
    if total != total or total == float("inf"):
        raise SlimpruneError(f"expected finite scores, got nan or inf: {cause(problem)}")
    if total == 0:
        raise UnsupportedModelError(f"expected scores above 0, got 0 for every {unit}: no gate moves the loss")
    return scores


def _nothing_to_score(groups: Sequence[ChannelGroup]) -> str:
    reasons = "; ".join(f"{group.id}: {group.protected_reason}" for group in groups[:3])
    return f"expected a channel group that may be slimmed, got none ({reasons or 'no convolution or linear layer'})"
