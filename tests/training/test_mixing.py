import pytest
import torch
from torch import nn

from slimprune.errors import DataError, UnsupportedModelError, UsageError
from slimprune.training import TrainSettings
from slimprune.training.mixing import Mixing, mixing_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("settings", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.3, "cutmix": 0.3}])
def test_images_and_labels_are_mixed_in_the_same_shares(settings):
    """Images that are 1 in the channel of their class: the mean of a channel is the share of its class."""
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    images = nn.functional.one_hot(labels, 3).float().view(6, 3, 1, 1).expand(6, 3, 8, 8)
    torch.manual_seed(0)
    mixing = Mixing(TrainSettings(1, **settings), 3)
    seen = []
    for _ in range(5):
        mixed, shares = mixing(images, labels)
        torch.testing.assert_close(mixed.mean((2, 3)), shares)
        seen.append(float(shares.max()))
    assert min(seen) < 1
    torch.testing.assert_close(shares.sum(1), torch.ones(6))


def test_equal_seeds_mix_equally():
    images, labels, found = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(Mixing(TrainSettings(1, mixup=1.0), 3)(images, labels)[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("images", "labels", "rule"),
    [
        (torch.rand(2, 6), torch.tensor([0, 1]), r"expected images \[N, C, H, W\] to mix, got \[2, 6\]"),
        (torch.rand(2, 3, 4, 4), torch.rand(2, 1, 4, 4), r"labels \[N\] or \[N, 3\] .* got \[2, 1, 4, 4\]"),
    ],
)
def test_other_batches_are_refused(images, labels, rule):
    with pytest.raises(DataError, match=rule):
        Mixing(TrainSettings(1, mixup=1.0), 3)(images, labels)


def test_the_number_of_classes_is_that_of_the_outputs():
    settings, batches = TrainSettings(1, mixup=1.0), [(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))]
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Dropout())
    state = torch.get_rng_state()
    mixing = mixing_of(settings, model, batches, CPU, None)
    assert mixing is not None
    assert torch.equal(torch.get_rng_state(), state)
    assert mixing(*batches[0])[1].shape == (2, 5)
    assert mixing_of(TrainSettings(1), model, batches, CPU, None) is None
    with pytest.raises(UnsupportedModelError, match="expected an output"):
        mixing_of(settings, nn.Conv2d(3, 1, 1), batches, CPU, None)
    with pytest.raises(UsageError, match="got a forward_fn"):
        mixing_of(settings, model, batches, CPU, lambda model, batch: model(batch[0]))
