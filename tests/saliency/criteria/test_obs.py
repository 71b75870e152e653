import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.graph import find_groups
from slimprune.saliency import score
from slimprune.saliency.criteria.obs import OptimalBrainSurgeon

EXAMPLE = torch.zeros(2, 3, 6, 6)


def batch(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 6, 6, generator=generator), torch.randint(0, 4, (count,), generator=generator)


def scores(model: nn.Module, ridge: float = 1e-6) -> dict[str, torch.Tensor]:
    groups, found = find_groups(model, EXAMPLE), OptimalBrainSurgeon(ridge)
    return dict(score(model, groups, [batch()], F.cross_entropy, criterion=found, draws=1).by_group)


def plain(*, groups: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3, groups=groups, stride=2), nn.Flatten(), nn.Linear(4, 4)
    ).eval()


@pytest.mark.parametrize(("groups", "spare"), [(1, 2), (2, 1)])
def test_channels_that_others_can_replace_go_first(groups: int, spare: int) -> None:
    """Channels 3 and 7 are copies of 1 and 5 up to scale and shift; with two groups, 3 and 7 are one channel."""
    model = plain(groups=groups)
    with torch.no_grad():
        for copy, original in ((3, 1), (7, 5)):
            model[0].weight[copy], model[0].bias[copy] = 2 * model[0].weight[original], 2 * model[0].bias[original] + 5
    found = scores(model)["0"]
    ranked = found.sort()
    assert set((ranked.indices[:spare] % 4).tolist()) <= {1, 3}
    assert ranked.values[spare - 1] < 0.02 * ranked.values[spare]


def test_the_first_removal_is_the_one_of_least_growth_by_least_squares() -> None:
    """Checked against a fit of the second layer's outputs to each choice of seven channels, with lstsq."""
    model = plain()
    x, target = batch()
    hidden = model[0](x)
    patches = F.unfold(hidden, 3, stride=2).transpose(1, 2).flatten(0, 1).detach().double()
    outputs = model[1](hidden)
    outputs.retain_grad()
    F.cross_entropy(model[3](model[2](outputs)), target).backward()
    squares = outputs.grad.double().square().mean((0, 2, 3))
    wanted = outputs.detach().movedim(1, -1).flatten(0, 2).double()
    growth = []
    for channel in range(8):
        stays = [i for i in range(72) if i // 9 != channel]
        inputs = torch.cat([patches[:, stays], torch.ones(len(patches), 1, dtype=torch.float64)], 1)
        error = inputs @ torch.linalg.lstsq(inputs, wanted).solution - wanted
        growth.append(float((error.square().sum(0) * squares).sum()))
    ranked = scores(model, ridge=1e-12)["0"]
    assert int(ranked.argmin()) == growth.index(min(growth))
    assert len(set(ranked.tolist())) == 8


def test_scores_grow_in_the_order_of_removal_for_every_reader() -> None:
    """Both readers of the first layer count: the channel that only the second one needs stays longest."""

    class TwoReaders(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.one, self.two = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 2, 1), nn.Conv2d(5, 2, 1)
            self.head = nn.Linear(4, 4)
            with torch.no_grad():
                self.one.weight[:, 4] = 0
                self.two.weight[:, 4] = 50

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.head(torch.cat([self.one(x), self.two(x)], 1).mean((2, 3)))

    assert int(scores(TwoReaders())["stem"].argmax()) == 4


def test_a_group_without_a_reader_that_is_called_once_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x).mean((2, 3))
            return self.head(x) + self.head(2 * x)

    with pytest.raises(UnsupportedModelError, match="expected a layer that reads stem and was called once, got none"):
        scores(Twice())


def test_the_ridge_is_positive() -> None:
    with pytest.raises(UsageError, match="expected ridge > 0, got 0"):
        OptimalBrainSurgeon(ridge=0)
