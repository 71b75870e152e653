import pytest
import torch

from slimprune.saliency import make_criterion
from slimprune.saliency.scores import average


def test_each_draw_is_normalised_before_the_mean():
    draws = [
        {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([4.0])},  # shares 1/8, 3/8, 4/8
        {"a": torch.tensor([20.0, 0.0]), "b": torch.tensor([20.0])},  # shares 1/2, 0, 1/2
    ]
    found = average(draws)
    mean = found.by_group
    assert mean["a"].tolist() == pytest.approx([(1 / 8 + 1 / 2) / 2, (3 / 8 + 0) / 2])
    assert mean["b"].tolist() == pytest.approx([1 / 2])
    assert -1 <= found.stability <= 1


def test_one_draw_has_no_stability():
    found = average([{name: torch.tensor([1.0, 3.0]) for name in "abc"}])
    assert (found.stability, found.layer_agreement) == (None, None)


def test_noise_is_unstable_and_a_signal_is_stable():
    generator = torch.Generator().manual_seed(0)
    noise = [{"a": torch.rand(2000, generator=generator)} for _ in range(8)]
    signal = [{"a": draw["a"] * 0.1 + torch.linspace(0, 1, 2000)} for draw in noise]
    assert abs(average(noise).stability) < 0.1
    assert average(signal).stability > 0.95


SIGNED = [{"a": torch.tensor([3.0, -1.0])}, {"a": torch.tensor([-2.0, -6.0])}]


def test_the_sign_is_taken_off_the_mean_or_off_every_draw():
    """Shares 3/4, -1/4 and -1/4, -3/4: means 1/4 and -1/2 with signs, 1/2 and 1/2 without."""
    snip = make_criterion("snip")
    assert average(SIGNED, "signed", snip).by_group["a"].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert average(SIGNED, "absolute", snip).by_group["a"].tolist() == pytest.approx([1 / 2, 1 / 2])


def test_draws_of_taylor_are_squared_before_the_mean_unless_signed():
    """Squares 9, 1 and 4, 36: shares 9/10, 1/10 and 1/10, 9/10; signed means 1/4 and -1/2 squared: 1/16 and 4/16."""
    taylor = make_criterion("taylor")
    assert average(SIGNED, taylor.average, taylor).by_group["a"].tolist() == pytest.approx([1 / 2, 1 / 2])
    assert average(SIGNED, "signed", taylor).by_group["a"].tolist() == pytest.approx([1 / 5, 4 / 5])


def test_grasp_is_shifted_to_its_minimum_after_the_mean():
    """1/4 and -1/2 above the lowest: 3/4 and 0."""
    assert average(SIGNED, "signed", make_criterion("grasp")).by_group["a"].tolist() == pytest.approx([1.0, 0.0])


def test_layers_are_compared_as_draws_are_averaged():
    """Signs cancel in the first half, so that its layers are alike; without signs both halves order them alike."""
    values = ([1.0, 3.0, 5.0], [-1.0, -3.0, -5.0], [2.0, 4.0, 6.0], [2.0, 4.0, 6.0])
    draws = [{name: torch.tensor([value]) for name, value in zip("abc", draw, strict=True)} for draw in values]
    snip = make_criterion("snip")
    assert average(draws, "absolute", snip).layer_agreement == pytest.approx(1)
    assert average(draws, "signed", snip).layer_agreement == 0
