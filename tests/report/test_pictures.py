from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slimprune.report.pictures import MISSED, NOTHING, RIGHT, TOO_MUCH, against_truth, as_rgb, draw_masks

TRUTH = torch.tensor([[True, True], [False, False]])


def test_colours_tell_what_is_right_and_wrong():
    mask = torch.tensor([[True, False], [True, False]])
    assert against_truth(mask, TRUTH).tolist() == [[list(RIGHT), list(MISSED)], [list(TOO_MUCH), list(NOTHING)]]
    assert len({RIGHT, MISSED, TOO_MUCH, NOTHING}) == 4


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])])
def test_images_of_any_channels_are_shown(channels: int, shown: list[int]):
    image = torch.arange(channels, dtype=torch.uint8).view(-1, 1, 1).expand(-1, 2, 3)
    assert as_rgb(image).shape == (2, 3, 3)
    assert as_rgb(image)[0, 0].tolist() == shown


@pytest.mark.parametrize("size", [(2, 2), (40, 3), (3, 40)])
def test_a_picture_has_a_panel_for_each_prediction(tmp_path: Path, size: tuple[int, int]):
    image, truth = torch.randint(0, 256, (3, *size), dtype=torch.uint8), torch.rand(size) > 0.5
    widths = []
    for number in (1, 2):
        predictions = {f"network {index}": torch.rand(size) > 0.5 for index in range(number)}
        draw_masks(image, truth, predictions, tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.std() > 10
        widths.append(pixels.shape[1])
    assert widths[1] / widths[0] == pytest.approx(4 / 3, rel=0.01)


def test_colours_reach_the_file_and_equal_pictures_are_equal_files(tmp_path: Path):
    mask = torch.tensor([[True, False], [True, False]])
    for name in ("a.png", "b.png"):
        draw_masks(torch.zeros(3, 2, 2, dtype=torch.uint8), TRUTH, {"slim": mask}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        found = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {RIGHT, MISSED, TOO_MUCH, NOTHING} <= found
