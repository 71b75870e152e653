import pytest
from torch import nn

from slimprune.report import inspection_page
from slimprune.report.tree import percent
from tests.networks import Concat, Flatten, Residual

from .inspections import inspected


class Sorted(nn.Module):
    """Channels that are sorted, and a layer without an obstacle."""

    def __init__(self):
        super().__init__()
        self.conv, self.free, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.head(self.free(self.conv(x).sort(1)[0]))


RESIDUAL = """\
Residual, input 3 x 8 x 8: 776 parameters, 44,952 MACs, 15 channels
3 groups of channels, 2 may be narrowed; 1 stays whole

Channels of one group go together. `conv.weight[1] x4` means: they lie along
dimension 1 of that parameter, four positions a channel.

stem: 6 channels
├─ made by    stem.{weight, bias}[0], outer.{weight, bias}[0]
├─ normed by  stem_bn.{weight, bias, running_mean, running_var}[0],
│             outer_bn.{weight, bias, running_mean, running_var}[0]
└─ read by    inner.weight[1], head.weight[1]

inner: 5 channels
├─ made by    inner.weight[0]
├─ normed by  inner_bn.{weight, bias, running_mean, running_var}[0]
└─ read by    outer.weight[1]

head: 4 channels
├─ stays whole  model output
└─ made by      head.{weight, bias}[0]

At stake: what the dense model loses with one channel of a group, and with all
but one of them. * stays whole.
group    channels   one: params    MACs   all but one: params    MACs
─────────────────────────────────────────────────────────────────────
stem            6           127   7.49k                   635   37.5k
inner           5           110   6.91k                   440   27.6k
head *          4             7       6                    21      18

92.1 % of the parameters and 93.5 % of the MACs can go, with one channel left in
every group."""


def test_the_tree_of_a_residual_network():
    assert inspection_page(inspected(Residual), 80) == RESIDUAL


def test_what_holds_most_back_comes_last():
    document = inspected(Sorted)
    # Five rows of `free`, 8 weights and a bias, and five columns of the head.
    assert document["model"]["removable"] == {"params": 5 * (9 + 4), "macs": 5 * 64 * (8 + 4)}
    # Seven rows of `conv`, 3 weights and a bias, of 114 parameters.
    assert inspection_page(document, 80).endswith(
        """
What stays whole and costs most, and what would free it:
conv (25 % of the params, 22 % of the MACs): sort joins several channels
    -> let sort work on every channel by itself"""
    )


def test_positions_behind_a_flatten_are_counted():
    assert "\n└─ read by  hidden.weight[1] x4\n" in inspection_page(inspected(Flatten), 80)


@pytest.mark.parametrize("columns", [40, 60, 80, 140])
@pytest.mark.parametrize("kind", [Residual, Concat])
def test_lines_fit_the_terminal(kind, columns):
    text = inspection_page(inspected(kind), columns)
    widest = 54  # of a table in its narrowest form, which is not broken
    assert max(map(len, text.splitlines())) <= max(columns, widest)


def test_a_wide_terminal_shows_shares_and_a_narrow_one_the_most_telling_columns():
    wide, narrow = (inspection_page(inspected(Residual), columns).splitlines() for columns in (140, 50))
    # 635 of 776 parameters and 37.5k of 44,952 MACs
    assert "stem            6           127   7.49k                   635    82 %   37.5k    83 %" in wide
    assert "stem            6                   635   37.5k" in narrow


def test_what_no_group_touches_is_told():
    extra = {**inspected(Concat), "untouched": [{"parameter": "temperature", "shape": []},
                                                {"parameter": "position", "shape": [1, 16]}]}  # fmt: skip
    assert "touched by no group\n└─ as is  temperature scalar, position 1 x 16\n" in inspection_page(extra)


def test_a_norm_that_mixes_is_remarked_on():
    first, *others = inspected(Concat)["groups"]
    text = inspection_page({**inspected(Concat), "groups": [{**first, "exact": False}, *others]})
    assert "├─ note     a norm mixes these channels" in text


def test_a_model_without_groups_has_no_table():
    text = inspection_page({**inspected(Concat), "groups": []})
    assert "At stake" not in text


@pytest.mark.parametrize(
    ("share", "text"), [(0.004, "0.4 %"), (0.0123, "1.2 %"), (0.0994, "9.9 %"), (0.0996, "10 %"), (0.837, "84 %")]
)
def test_shares(share, text):
    assert percent(share) == text
