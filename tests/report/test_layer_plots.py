"""The plot of what the rows of a comparison keep of every layer."""

import pytest

from slimprune.report import comparison_html, comparison_markdown, draw_layers
from slimprune.report.layer_plots import MOST_PANELS, layer_panels, layers_figure

from .comparisons import BUDGET, both, cell, cells, document


def with_layers(records, **shares):
    """Every record of a row with the shares of its two layers."""
    return [{**one, "kept_by_layer": shares[one["row"]]} if one["row"] in shares else one for one in records]


def test_shares_are_means_over_the_seeds_and_drawn_as_a_line():
    first, second = (cell("prospr", seed, 90, kept_by_layer={"a": a, "b": 0.1}) for seed, a in ((0, 0.5), (1, 0.7)))
    found = document([first, second, *both("magnitude", 89, 90)])
    (panel,) = layer_panels(found)
    assert (panel.budget, panel.parts, panel.layers) == (BUDGET, "channels", ("a", "b"))
    assert [row["row"] for row in panel.rows] == ["prospr"]
    (axes,) = layers_figure(found).axes
    (line,) = axes.lines
    assert list(line.get_ydata()) == pytest.approx([60, 10])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert axes.get_yscale() == "log"


def test_an_empty_layer_is_drawn_at_zero():
    found = document(with_layers(cells(), prospr={"a": 0.5, "b": 0.0}))
    (axes,) = layers_figure(found).axes
    assert axes.get_yscale() == "symlog"
    assert list(axes.lines[0].get_ydata()) == [50, 0]


def test_weights_and_channels_have_panels_of_their_own_and_twins_none():
    weights = both("snip", 80, 81, recipe={"unit": "weights"}, kept_by_layer={"c": 0.5})
    same = {"a": 0.5, "b": 0.1}
    records = with_layers([*cells(), *weights], prospr=same, magnitude=same, **{"prospr: shuffle": same})
    panels = layer_panels(document(records))
    assert [(panel.parts, [row["row"] for row in panel.rows]) for panel in panels] == [
        ("channels", ["prospr", "magnitude"]),
        ("weights", ["snip"]),
    ]


def test_of_many_budgets_some_are_drawn_from_the_first_to_the_last():
    budgets = [f"params=0.{number}" for number in range(10, 28)]
    records = [{**one, "budget": budget, "kept_by_layer": {"a": 0.5}} for budget in budgets for one in both("a", 9, 8)]
    panels = layer_panels(document(records, budgets=budgets))
    assert len(panels) == MOST_PANELS
    assert (panels[0].budget, panels[-1].budget) == (budgets[0], budgets[-1])


def test_pages_show_it_where_there_is_one(tmp_path):
    found = document(with_layers(cells(), prospr={"a": 0.5, "b": 0.1}))
    for shown, one in ((True, found), (False, document())):
        assert ("layers.svg" in comparison_markdown(one)) is shown
        assert ("kept of every layer" in comparison_html(one)) is shown
        assert draw_layers(one, tmp_path / f"{shown}") is shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["True.png", "True.svg"]
