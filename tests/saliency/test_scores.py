import pytest
import torch

from slimprune.saliency.scores import average, spearman


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 2, 3, 4], [10.0, 20, 30, 40], 1.0),
        ([1.0, 2, 3, 4], [4.0, 3, 2, 1], -1.0),
        ([1.0, 2, 3, 4], [1.0, 2, 4, 3], 1 - 6 * (1 + 1) / (4 * (16 - 1))),  # 1 - 6 sum(d^2) / (n (n^2 - 1))
        ([1.0, 1, 2, 2], [1.0, 1, 2, 2], 1.0),  # ties share the ranks 1.5 and 3.5
        ([1.0, 1, 1, 1], [1.0, 2, 3, 4], 0.0),
    ],
)
def test_spearman(one, other, expected):
    assert spearman(torch.tensor(one), torch.tensor(other)) == pytest.approx(expected)


def test_each_draw_is_normalised_before_the_mean():
    draws = [
        {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([4.0])},  # shares 1/8, 3/8, 4/8
        {"a": torch.tensor([20.0, 0.0]), "b": torch.tensor([20.0])},  # shares 1/2, 0, 1/2
    ]
    mean, stability = average(draws)
    assert mean["a"].tolist() == pytest.approx([(1 / 8 + 1 / 2) / 2, (3 / 8 + 0) / 2])
    assert mean["b"].tolist() == pytest.approx([1 / 2])
    assert stability == pytest.approx(spearman(torch.tensor([1.0, 3, 4]), torch.tensor([20.0, 0, 20])))


def test_one_draw_has_no_stability():
    assert average([{"a": torch.tensor([1.0, 3.0])}])[1] is None


def test_noise_is_unstable_and_a_signal_is_stable():
    generator = torch.Generator().manual_seed(0)
    noise = [{"a": torch.rand(2000, generator=generator)} for _ in range(8)]
    signal = [{"a": draw["a"] * 0.1 + torch.linspace(0, 1, 2000)} for draw in noise]
    assert abs(average(noise)[1]) < 0.1
    assert average(signal)[1] > 0.95
