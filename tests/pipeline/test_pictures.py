from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from slimprune.pipeline.pictures import chosen_images, draw_pictures
from slimprune.pipeline.workload import Given, Workload, own_workload
from slimprune.training import mean_iou


class Bright(nn.Module):
    """Calls the pixels above a threshold foreground."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1] - self.threshold


def workload(count: int = 6, shuffle: bool = False) -> Workload:
    """Images in [0, 1] whose mask is what lies above a half."""
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    dataset = TensorDataset(images, (images[:, :1] > 0.5).float())
    batches = DataLoader(dataset, batch_size=4, shuffle=shuffle)
    return own_workload(Bright(0.5), Given(batches, batches, "segmentation"), "cpu", seed=0)


@pytest.mark.parametrize(
    ("iou", "expected"),
    [
        ([0.9], {0: "first and median and worst"}),
        ([0.9, 0.2], {0: "first and median and second worst", 1: "second and worst"}),
        (
            [0.5, 0.9, 0.3, 0.8, 0.7, 0.1],
            {0: "first", 1: "second", 4: "median", 5: "worst", 2: "second worst"},
        ),
        ([0.5] * 4, {0: "first and worst", 1: "second and second worst", 2: "median"}),
    ],
)
def test_the_first_the_median_and_the_worst_are_chosen_once_each(iou: list[float], expected: dict[int, str]) -> None:
    assert chosen_images(iou) == expected


def test_pictures_lie_in_the_folder_with_the_figures_in_their_titles(tmp_path: Path) -> None:
    work, slim = workload(), Bright(0.7)
    pictures = draw_pictures(work, slim, Bright(0.5), tmp_path / "a.pictures")
    assert {tmp_path / picture.file for picture in pictures} == set((tmp_path / "a.pictures").iterdir())
    assert 3 <= len(pictures) <= 5
    images, masks = next(iter(work.test_batches))
    iou = 100 * mean_iou.value(*mean_iou(slim(images[:1]), masks[:1]))
    assert pictures[0].title.startswith("Test image 1, first")
    assert pictures[0].title.endswith(f" of 6: mean IoU dense 100.0 %, slim {iou:.1f} %")
    for picture in pictures:
        with Image.open(tmp_path / picture.file) as found:
            assert found.width > 3 * found.height  # four panels
            assert found.convert("L").getextrema() == (0, 255)


def test_without_a_trained_dense_network_the_title_says_so(tmp_path: Path) -> None:
    pictures = draw_pictures(workload(), Bright(0.7), None, tmp_path / "a.pictures")
    for picture in pictures:
        assert picture.title.endswith("; the dense network was not trained (--train-dense)")
        assert "IoU dense" not in picture.title
        with Image.open(tmp_path / picture.file) as found:
            assert 2 * found.height < found.width < 3 * found.height


def test_shuffled_batches_leave_the_caller_s_generator(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    assert draw_pictures(workload(shuffle=True), Bright(0.7), None, tmp_path / "a.pictures")
    assert torch.equal(torch.get_rng_state(), state)


def test_classification_has_no_pictures(tmp_path: Path) -> None:
    batches = DataLoader(TensorDataset(torch.rand(4, 3, 2, 2), torch.zeros(4).long()), batch_size=2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    work = own_workload(model, Given(batches, batches), "cpu", seed=0)
    assert draw_pictures(work, model, model, tmp_path / "a.pictures") == ()
    assert not list(tmp_path.iterdir())
