import pytest
import torch

from slimprune.saliency.agreement import expected_agreement, layer_agreement
from slimprune.saliency.ranks import spearman

WIDTHS = [150, 250]


def simulated(noise, count, seed=0):
    """Signed draws of gates in two groups, the second with a tenth of the influence and of the noise; and the truth."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.cat([torch.ones(150), torch.full((250,), 0.1)]).double()
    truth = scale * torch.randn(400, generator=generator, dtype=torch.float64)
    return truth + noise * scale * torch.randn(count, 400, generator=generator, dtype=torch.float64), truth


@pytest.mark.parametrize("how", ["signed", "absolute"])
@pytest.mark.parametrize(("noise", "count"), [(0.5, 4), (3.0, 4), (3.0, 32), (10.0, 32)])
def test_it_is_the_correlation_with_the_truth(how, noise, count):
    draws, truth = simulated(noise, count)
    scores = draws.mean(0).abs() if how == "signed" else draws.abs().mean(0)
    assert expected_agreement(scores, draws, WIDTHS, torch.abs) == pytest.approx(spearman(scores, truth.abs()), abs=0.1)


def test_halves_of_absolute_values_would_overstate_it():
    """The noise of every channel has an amplitude of its own, on which halves agree; its influence is 0."""
    generator = torch.Generator().manual_seed(1)
    amplitude = torch.rand(400, generator=generator, dtype=torch.float64)
    draws = amplitude * torch.randn(64, 400, generator=generator, dtype=torch.float64)
    halves = spearman(draws[0::2].abs().mean(0), draws[1::2].abs().mean(0))
    found = expected_agreement(draws.abs().mean(0), draws, [400], torch.abs)
    assert halves > 0.85
    assert found < 0.5


def test_noise_is_unstable_and_a_signal_is_stable():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(8, 2000, generator=generator, dtype=torch.float64)
    signal = 0.1 * noise + torch.linspace(0, 1, 2000)
    widths = [500] * 4
    assert abs(expected_agreement(noise.mean(0), noise, widths, lambda values: values)) < 0.2
    assert expected_agreement(signal.mean(0), signal, widths, lambda values: values) > 0.95


def test_one_draw_does_not_show_its_scatter():
    assert expected_agreement(torch.ones(3), torch.ones(1, 3), [3], torch.abs) is None


def test_layers_agree_where_their_means_have_the_same_order():
    """Channels of a layer change places from draw to draw; the layers' means are 2, 4, 3 in one half, 1, 5, 2 then."""
    draws = torch.tensor([[1.0, 3, 4, 3, 3], [3, 1, 4, 3, 3], [0, 2, 5, 2, 2], [2, 0, 5, 2, 2]])
    assert layer_agreement(draws, [2, 1, 2], lambda some: some.mean(0)) == pytest.approx(1)
    turned = torch.cat([draws[:2], 10 - draws[2:]])
    assert layer_agreement(turned, [2, 1, 2], lambda some: some.mean(0)) == pytest.approx(-1)


@pytest.mark.parametrize(("draws", "widths"), [(torch.rand(1, 6), [2, 2, 2]), (torch.rand(4, 6), [3, 3])])
def test_one_draw_or_two_layers_have_no_agreement(draws, widths):
    assert layer_agreement(draws, widths, lambda some: some.mean(0)) is None
