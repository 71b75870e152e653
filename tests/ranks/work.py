"""What two processes compute together, and one alone; run by torchrun, or called by the tests."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchmetrics.classification import MulticlassF1Score

from slimprune.budget import Budget, CostModel, allocate
from slimprune.graph import find_groups
from slimprune.ranks.group import ALONE, Ranks, process_group
from slimprune.saliency import Criterion, score
from slimprune.saliency.criteria.prospr import ProsPr
from slimprune.training import AcrossRanks, AnyMetric, TrainSettings, as_metric, top1, train

STEPS, BATCH, EPOCHS = 10, 8, 3


@dataclass(frozen=True)
class Batches:
    """The same batches in every process, and each rank's rows of them."""

    ranks: Ranks = ALONE

    def shared(self, ranks: Ranks) -> "Batches":
        """Return the rows of a rank."""
        return replace(self, ranks=ranks)

    def __len__(self) -> int:
        """Return the number of batches."""
        return STEPS

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(STEPS):
            images = torch.rand(BATCH, 3, 8, 8, generator=generator, dtype=torch.float64)
            labels = torch.randint(4, (BATCH,), generator=generator)
            yield self.ranks.rows(images), self.ranks.rows(labels)


def network(norm: bool) -> nn.Module:
    """Return a small network in float64, with batch norms or without."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 6, 3), *([nn.BatchNorm2d(6)] if norm else []), nn.Softplus(), nn.Conv2d(6, 8, 3)]
    more = [*([nn.BatchNorm2d(8)] if norm else []), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    return nn.Sequential(*layers, *more).double()


def trained(ranks: Ranks, norm: bool, ema: float | None = None, metric: AnyMetric = top1) -> dict[str, Tensor]:
    """Train for 30 steps; return the losses of the epochs, the accuracies and the weights."""
    model, batches = network(norm), Batches()
    settings = TrainSettings(EPOCHS, lr=0.05, schedule="cosine", ema=ema)
    across = AcrossRanks(ranks, sync_bn=norm)
    result = train(model, batches, batches, settings, loss=F.cross_entropy, metric=metric, across=across)
    losses = torch.tensor([[record.train_loss, record.test_metric] for record in result.history], dtype=torch.float64)
    return {"losses": losses, **{name: tensor.double() for name, tensor in model.state_dict().items()}}


def stopped(ranks: Ranks, folder: Path) -> dict[str, Tensor]:
    """Train with a signal to the last rank in step 13 and go on; return the weights, and those without a signal."""
    settings, across, batches = TrainSettings(EPOCHS, lr=0.05, ema=0.9), AcrossRanks(ranks), Batches()

    def interrupt(done: int) -> None:
        if done == STEPS + 3 and ranks.index == ranks.count - 1:
            signal.raise_signal(signal.SIGINT)

    def fit(after_step: Callable[[int], None] = lambda done: None, checkpoint: Path | None = None) -> dict[str, Tensor]:
        model = nn.Sequential(nn.Dropout(0.2), *network(norm=True))
        train(
            model, batches, batches, settings, loss=F.cross_entropy, metric=top1, across=across,
            after_step=after_step, checkpoint=checkpoint,
        )  # fmt: skip
        return {name: tensor.double() for name, tensor in model.state_dict().items()}

    whole = fit()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what the other ranks send themselves
    with suppress(KeyboardInterrupt):
        fit(interrupt, folder)
    assert (folder / "checkpoint-0001-000003.safetensors").exists()
    went_on = fit(checkpoint=folder)
    return {
        f"{kind}/{name}": t for kind, found in (("whole", whole), ("resumed", went_on)) for name, t in found.items()
    }


def scored(ranks: Ranks, criterion: str | Criterion, split: bool, draws: int = 3) -> dict[str, Tensor]:
    """Score a network with batch norms; return the scores and the channels that a plan keeps."""
    model, batches = network(norm=True), list(Batches()) * 3
    example = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    groups = find_groups(model, example)
    scores = score(
        model,
        groups,
        batches,
        F.cross_entropy,
        criterion=criterion,
        draws=draws,
        dtype=torch.float64,
        ranks=ranks,
        split_draws=split,
    )
    plan = allocate(scores, groups, Budget(0.5), CostModel.of(model, groups, example))
    return {**scores.by_group, **{f"kept {group}": kept.double() for group, kept in plan.kept.items()}}


def everything(ranks: Ranks) -> dict[str, Tensor]:
    """Return all that is compared, by name."""
    parts = {
        "plain": trained(ranks, norm=False),
        "norm": trained(ranks, norm=True),
        "torchmetrics": trained(ranks, norm=False, metric=as_metric(MulticlassF1Score(4, average="macro"))),
        "ema": trained(ranks, norm=True, ema=0.9),
        "prospr": scored(ranks, "prospr", split=False),
        "grasp": scored(ranks, "grasp", split=False),
        "random": scored(ranks, "random", split=False),
        "prospr split": scored(ranks, "prospr", split=True),
        "prospr stored split": scored(ranks, ProsPr(steps=2, steps_stored=1), split=True),
        "grasp split": scored(ranks, "grasp", split=True),
        "taylor split": scored(ranks, "taylor", split=True),
    }
    return {f"{part}/{name}": tensor.contiguous() for part, found in parts.items() for name, tensor in found.items()}


if __name__ == "__main__":
    with process_group() as joined:
        folder = Path(sys.argv[1])
        found = {**everything(joined), **stopped(joined, folder / "stopped")}
        save_file(found, folder / f"{joined.index}.safetensors")
