import pytest

from slimprune.errors import UsageError
from slimprune.training import TrainSettings
from slimprune.training.schedule import learning_rate


@pytest.mark.parametrize("warm_up", [0.5, 2])
def test_a_warm_up_is_a_share_or_epochs(warm_up):
    settings = TrainSettings(epochs=4, lr=1.0, schedule="step", warm_up=warm_up)  # 4 of 8 steps
    rates = [learning_rate(settings, step, 2) for step in range(8)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_cosine_without_a_warm_up():
    settings = TrainSettings(epochs=1, lr=1.0, schedule="cosine", warm_up=0)
    assert [learning_rate(settings, step, 4) for step in range(5)] == pytest.approx(
        [1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0.0]
    )


def test_milestones_are_epochs_after_which_the_rate_drops():
    settings = TrainSettings(epochs=5, lr=1.0, milestones=(1, 3))
    rates = [learning_rate(settings, step, 2) for step in range(10)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("milestones", [(5,), (0, 2), (3, 3), (3, 2)])
def test_milestones_ascend_within_the_epochs(milestones):
    with pytest.raises(UsageError, match=r"expected ascending milestones in 1 \.\.\. 4, got"):
        TrainSettings(epochs=5, milestones=milestones)


def test_milestones_are_for_the_step_schedule():
    with pytest.raises(UsageError, match="expected schedule step with milestones, got cosine"):
        TrainSettings(epochs=5, schedule="cosine", milestones=(2,))
