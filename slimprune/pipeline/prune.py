"""One call from a network to a proven slim module, which any trainer may train."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from slimprune.budget import DEFAULT_FLOOR, LATENCY, Budget, CostModel, allocate, find_rule, schedule_target
from slimprune.errors import BudgetError, UnsupportedModelError, UsageError
from slimprune.forward import ForwardFn, Loss, bind_forward, unwrap
from slimprune.graph import ChannelGroup, Example, find_groups, free_groups, inputs_of
from slimprune.measure.devices import device_of
from slimprune.models import main_output
from slimprune.pipeline.stages import FOUND_RULES
from slimprune.pipeline.workload import seeded
from slimprune.recipe import DEFAULT_RULES
from slimprune.saliency import Criterion, make_criterion, score
from slimprune.saliency.problem import AnyBatch
from slimprune.surgery import Origin, SlimModel, prove, slim
from slimprune.types import Listener, Quantity, ignore

WITHOUT_DATA, WITH_DATA = "magnitude", "taylor"
"""Default criteria; both are meant for trained networks."""

MOST_DRAWS = 8
"""Number of draws by default, if there are batches for as many."""


def prune(
    model: nn.Module,
    example: Example,
    *,
    ratio: float,
    of: Quantity = "params",
    also: Mapping[Quantity, float] | None = None,
    criterion: str | Criterion | None = None,
    data: Iterable[AnyBatch] | None = None,
    loss: Loss | None = None,
    draws: int | None = None,
    rule: str | None = None,
    floor: float = DEFAULT_FLOOR,
    round_to: int = 1,
    protect: Sequence[str] | str = (),
    forward_fn: ForwardFn | None = None,
    seed: int = 0,
    progress: Listener = ignore,
) -> SlimModel:
    """Score, slim and prove a network that a training loop of your own trains afterwards; nothing is trained here.

    Whatever the rule, the channels with the best scores stay in each layer. The slim module has the weights, dtypes,
    device, mode and frozen parameters of the model. An optimizer has to be made from its parameters, after this call.

    Args:
        model: The network, trained or not; it is not modified. `torch.compile`, `DataParallel` and
            `DistributedDataParallel` are taken off.
        example: One input batch, on any device; see `find_groups`.
        ratio: Share to remove, in (0, 1).
        of: `params`, `macs` or `channels`.
        also: Shares of the other quantities to remove as well.
        criterion: A name (`slimprune list criteria`) or a criterion with options. By default `taylor` with data and
            `magnitude` without, both for trained networks; `prospr` is one for untrained networks.
        data: Batches (inputs, targets) such as a `DataLoader`, for criteria that need them; see `score`.
        loss: (output, targets) -> scalar tensor, for criteria that need data; cross-entropy by default.
        draws: Number of draws of a random criterion or one that needs data, each with batches of its own; by default
            as many as the data suffice for, at most 8.
        rule: How the budget is divided among the layers (`slimprune list rules`); by default `uniform` for MACs and
            `global` otherwise.
        floor: Minimum share of its channels that every layer keeps, in [0, 1).
        round_to: Widths become multiples of this.
        protect: Names or patterns of layers whose channels are all kept, also in one text with commas.
        forward_fn: (model, batch) -> output, for a model that is not called with its inputs. `example` is then a batch,
            and the loss is (output, batch) -> scalar tensor.
        seed: Seed of all random numbers; torch's generator on the CPU does not change.
        progress: Called with ("prove", groups proven, total, "") and ("score", draws done, total, criterion).

    Returns:
        The slim model. Train its `module`, then call its `save`.

    Raises:
        BudgetError: If the budget cannot be met.
        UnsupportedModelError: If the model fails on the example, cannot be traced or has no removable channel.
        UsageError: If an option is invalid, has no effect with the others, or is missing, such as the data for a
            criterion that needs them.
        DataError: If there are too few batches, or they are not pairs and there is no `forward_fn`.
        VerificationError: If the slim model is not proven.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> slim = prune(net, torch.zeros(1, 3, 8, 8), ratio=0.5)
        >>> slim.module
        Sequential(
          (0): Conv2d(3, 3, kernel_size=(3, 3), stride=(1, 1))
          (1): ReLU()
          (2): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
        )
    """
    budget = _counted_budget(Budget(ratio, of, also or {}))
    scoring = _Scoring.of(criterion, data, loss, draws, forward_fn)
    rule = _without_training(rule or DEFAULT_RULES[of])
    protect = [name.strip() for name in protect.split(",")] if isinstance(protect, str) else protect
    _check_round_to(round_to)
    model, device = unwrap(model), device_of(unwrap(model))
    example = _moved(example, device)
    with seeded(seed), _plain_arithmetic(device):
        groups = find_groups(model, example, protect=protect, progress=progress, forward_fn=forward_fn)
        _check_removable(groups, protect)
        costs = CostModel.of(model, groups, example, forward_fn=forward_fn)
        scores = score(
            model,
            groups,
            scoring.batches,
            scoring.loss,
            criterion=scoring.criterion,
            draws=scoring.draws,
            seed=seed,
            target=schedule_target(groups, budget, costs, rule=rule, floor=floor, round_to=round_to),
            progress=progress,
            forward_fn=forward_fn,
        )
        plan = allocate(scores, groups, budget, costs, rule=rule, floor=floor, round_to=round_to)
        slimmed = slim(model, plan)
        slimmed = slimmed.with_proof(prove(model, slimmed, example, forward_fn=forward_fn))
        origin = _origin(slimmed.module, example, forward_fn)
    limits = {"ratio": ratio, "of": of, "and": dict(budget.also)}
    sharing = {"rule": rule, "floor": floor, "round_to": round_to, "protect": list(protect)}
    recipe = {**limits, **sharing, "criterion": scores.criterion, "draws": scores.draws, "seed": seed}
    return replace(slimmed, origin=origin, recipe=recipe)


@dataclass(frozen=True, eq=False)
class _Scoring:
    """How channels are scored."""

    criterion: str | Criterion
    batches: Iterable[AnyBatch]
    loss: Loss
    draws: int

    @classmethod
    def of(
        cls,
        criterion: str | Criterion | None,
        data: Iterable[AnyBatch] | None,
        loss: Loss | None,
        draws: int | None,
        forward_fn: ForwardFn | None,
    ) -> "_Scoring":
        """Fill in the defaults.

        Raises:
            UsageError: If data or a loss is missing, or an option has no effect.
        """
        if criterion is None:
            criterion = WITHOUT_DATA if data is None else WITH_DATA
        chosen = make_criterion(criterion) if isinstance(criterion, str) else criterion
        name = criterion if isinstance(criterion, str) else type(criterion).__name__
        if chosen.deterministic and draws is not None:
            raise UsageError(f"expected no draws beside criterion {name}, whose draws are all equal, got {draws}")
        if chosen.batches_per_draw == 0:
            for option, given in (("data", data), ("loss", loss)):
                if given is not None:
                    raise UsageError(f"expected no {option} beside criterion {name}, which scores without batches")
        elif data is None:
            raise UsageError(f"criterion {name} needs batches: give data=..., or take {WITHOUT_DATA}, which needs none")
        elif loss is None and forward_fn is not None:
            raise UsageError(f"criterion {name} needs a loss of (output, batch) beside forward_fn: give loss=...")
        batches = () if data is None else data
        return cls(criterion, batches, loss or F.cross_entropy, _draws(chosen, batches) if draws is None else draws)


def _draws(criterion: Criterion, batches: Iterable[AnyBatch]) -> int:
    """Return the number of draws for which the batches suffice, in 1 ... `MOST_DRAWS`."""
    try:
        count = len(batches) if isinstance(batches, Sized) else None
    except TypeError:  # a loader of data of unknown length
        count = None
    if criterion.batches_per_draw == 0 or count is None:
        return MOST_DRAWS
    return max(1, min(MOST_DRAWS, count // criterion.batches_per_draw))


def _counted_budget(budget: Budget) -> Budget:
    if LATENCY in budget.ratios:
        raise UsageError(
            "expected a budget of params, macs or channels, got latency, which has to be measured: compress takes it, "
            "or allocate with a latency_model"
        )
    return budget


def _without_training(rule: str) -> str:
    if rule in FOUND_RULES:
        raise UsageError(f"expected a rule that `allocate` knows, got {rule}: compress takes it")
    find_rule(rule)
    return rule


def _check_round_to(round_to: int) -> None:
    if not isinstance(round_to, int):
        raise UsageError(
            f"expected round_to as a whole number, got {round_to!r}: compress chooses one by measured times"
        )


def _moved(example: Example, device: torch.device) -> Example:
    moved: Example = tree_map_only(Tensor, lambda tensor: tensor.to(device), example)
    return moved


@contextmanager
def _plain_arithmetic(device: torch.device) -> Iterator[None]:
    """Compute with gradients and without autocast, whatever the context of the call."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield


def _check_removable(groups: Sequence[ChannelGroup], protect: Sequence[str]) -> None:
    if free_groups(groups):
        return
    # If layers are protected by request, the budget cannot be met; otherwise the model is unsupported.
    refusal = BudgetError if protect else UnsupportedModelError
    whole = "; ".join(f"{group.id}: {group.protected_reason}" for group in groups)
    raise refusal(f"expected channels that may be removed, got none ({whole or 'no convolution or linear layer'})")


def _origin(module: nn.Module, example: Example, forward_fn: ForwardFn | None) -> Origin:
    """Return what `save` records of a model's input and output."""
    module, bound = bind_forward(copy.deepcopy(module).eval(), example, forward_fn)
    with torch.no_grad():
        output = module(*inputs_of(bound))
    inputs = example[0] if isinstance(example, tuple) and len(example) == 1 else example
    return Origin.of_object(inputs, main_output(output))
