import pytest
import torch

from slimprune.errors import UsageError
from slimprune.saliency import Signed, average_of, criteria, make_criterion
from tests.saliency.test_score import every

SIGNED = [entry.name for entry in criteria() if isinstance(entry.make(), Signed)]


def test_which_criteria_have_a_sign():
    own = {name: average_of(name, make_criterion(name), None) for name in SIGNED}
    expected = dict.fromkeys(("3sp", "grasp", "prospr", "prospr-first-order", "prospr-released", "snip"), "signed")
    assert own == {**expected, "obd": "absolute", "taylor": "absolute"}


@pytest.mark.parametrize("name", SIGNED)
def test_averages_differ_for_several_draws_only(name):
    one, both = ([every(name, draws=n, average=how) for how in ("signed", "absolute")] for n in (1, 3))
    torch.testing.assert_close(*(torch.cat(list(found.by_group.values())) for found in one))
    assert not torch.equal(*(torch.cat(list(found.by_group.values())) for found in both))


def test_refusals():
    for name, given, message in (
        ("random", "signed", "expected the average absolute for random, whose scores have no sign, got 'signed'"),
        ("snip", "median", "expected an average (signed, absolute), got 'median'"),
    ):
        with pytest.raises(UsageError) as caught:
            average_of(name, make_criterion(name), given)
        assert str(caught.value) == message
