"""The arena's league table on made-up records, and the arena itself in small."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slimprune.budget import Budget, WidthSpace
from slimprune.graph.groups import Integers
from slimprune.statistics import random_effects, student_quantile, welch_difference
from tests.networks import named
from tests.test_benchmarks import BENCHMARKS, run


@pytest.fixture
def league(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import league

    return league


def records(row: str, *finals: float, **changes: Any) -> list[dict[str, Any]]:
    about = {"row": row, "metric": "top1", "params": 1000, "macs": 2000, "environment": {"device": "cpu"}, **changes}
    return [{**about, "seed": seed, "final": final / 100} for seed, final in enumerate(finals)]


def network(league: Any, name: str, precision: str = "float32", /, **rows: tuple[float, ...]) -> Any:
    found = [record for row, finals in rows.items() for record in records(row, *finals)]
    return league.Network(name, f"Network {name}", precision, "macs", list(rows), found)


def of_row(document: dict[str, Any], row: str, table: int = 0) -> dict[str, Any]:
    return next(found for found in document["networks"][table]["rows"] if found["row"] == row)


def test_differences_are_welchs_and_corrected_by_holm(league: Any):
    uniform, far, near = (90.0, 90.2, 90.4), (95.0, 95.3, 95.1), (90.5, 90.2, 90.1)
    document = league.league([network(league, "a", uniform=uniform, far=far, near=near)], "command")
    found, weak = of_row(document, "far"), of_row(document, "near")
    expected = welch_difference(dict(enumerate(far)), dict(enumerate(uniform)))
    assert document["networks"][0]["paired"] is False
    assert found["difference"] == pytest.approx((95.0 + 95.3 + 95.1) / 3 - 90.2)
    assert (found["low"], found["high"]) == pytest.approx(expected.interval())
    assert found["p_holm"] == pytest.approx(2 * expected.p_value)
    assert found["corrected"] == pytest.approx(expected.interval(1 - 0.05 / 2))
    assert (found["verdict"], weak["verdict"]) == ("beats uniform", None)
    assert weak["p_holm"] == pytest.approx(weak["p"])
    assert "verdict" not in of_row(document, "uniform")


def test_networks_that_came_to_uniform_widths_are_counted(league: Any):
    """With seeds 0 and 1 the row has the widths of that seed's uniform network, with seed 2 others."""
    widths = [{"a": 3, "b": 6}, {"a": 3, "b": 7}, {"a": 3, "b": 6}]
    found = [
        record | {"widths": own if row == "uniform" or record["seed"] < 2 else {"a": 4, "b": 5}}
        for row in ("uniform", "learned")
        for record, own in zip(records(row, 90.0, 90.2, 90.4), widths, strict=True)
    ]
    networks = [league.Network(name, name, "float32", "macs", ["uniform", "learned"], found) for name in "ab"]
    document = league.league(networks, "")
    assert [of_row(document, row)["uniform_widths"] for row in ("uniform", "learned")] == [0, 2]
    assert (document["over_networks"][0]["uniform_widths"], document["over_networks"][0]["trained"]) == (4, 6)
    assert "- learned came to uniform widths with 2 of 3 seeds." in league.league_page(document)


def test_a_difference_that_only_its_own_interval_shows_is_not_called_one(league: Any):
    """One row of many may be far by chance: the more rows, the wider the corrected interval."""
    uniform, better = (90.0, 90.2, 90.4), (90.5, 90.7, 90.9)
    alone = league.league([network(league, "a", uniform=uniform, better=better)], "")
    others = {f"other{number}": (90.1, 90.3, 90.2) for number in range(5)}
    among = league.league([network(league, "a", uniform=uniform, better=better, **others)], "")
    assert of_row(alone, "better")["verdict"] == "beats uniform"
    assert of_row(among, "better")["low"] > 0 > of_row(among, "better")["corrected"][0]
    assert of_row(among, "better")["verdict"] is None


def test_pairs_are_taken_where_seeds_move_all_rows_alike(league: Any):
    seeds = (80.0, 90.0, 85.0)
    one = tuple(value + more for value, more in zip(seeds, (1.0, 1.2, 1.1), strict=True))
    other = tuple(value + more for value, more in zip(seeds, (-2.1, -2.0, -1.9), strict=True))
    document = league.league([network(league, "a", uniform=seeds, one=one, other=other)], "")
    found = of_row(document, "one")
    assert document["networks"][0]["paired"] is True
    assert (found["high"] - found["low"]) / 2 == pytest.approx(student_quantile(0.95, 2) * 0.1 / 3**0.5)
    assert "pairs of equal seeds" in league.league_page(document)


def test_networks_that_are_uniforms_own_count_as_independent_ones(league: Any):
    """Pairs of equal results have no variance of which an interval could be made."""
    seeds = (88.0, 90.0, 92.0)
    one = tuple(value + more for value, more in zip(seeds, (0.9, 1.0, 1.1), strict=True))
    document = league.league([network(league, "a", uniform=seeds, one=one, same=seeds)], "")
    assert document["networks"][0]["paired"] is True
    expected = welch_difference(*(dict(zip("012", seeds, strict=True)) for _ in range(2)))
    assert of_row(document, "one")["error"] == pytest.approx(0.1 / 3**0.5)
    assert of_row(document, "same")["error"] == pytest.approx(expected.error)


def test_the_mean_over_networks(league: Any):
    first = network(league, "a", uniform=(90.0, 90.2, 90.4), early=(91.0, 91.3, 91.1))
    second = network(league, "b", uniform=(70.0, 71.0, 70.5), early=(69.0, 69.5, 68.7))
    document = league.league([first, second], "")
    places = [of_row(document, "early", table) for table in (0, 1)]
    expected = random_effects([row["difference"] for row in places], [row["error"] for row in places])
    (found,) = document["over_networks"]
    assert (found["row"], found["networks"]) == ("early", 2)
    assert found["difference"] == pytest.approx(expected.mean.mean)
    assert (found["low"], found["high"]) == pytest.approx(expected.mean.interval())
    assert found["worst"] == {"network": "b", "difference": places[1]["difference"]}
    assert found["verdict"] is None


def test_networks_with_other_budgets_are_not_in_the_mean(league: Any):
    """At equal parameters early gains 5 points, by MACs that are not equal."""
    networks = [network(league, name, uniform=(90.0, 90.2, 90.4), early=(91.0, 91.3, 91.1)) for name in "ab"]
    params = replace(network(league, "c", uniform=(70.0, 71.0, 70.5), early=(75.0, 76.0, 75.5)), of="params")
    document = league.league([*networks, params], "")
    (found,) = document["over_networks"]
    assert (found["networks"], found["difference"]) == (2, pytest.approx(2.8 / 3))
    assert of_row(document, "early", 2)["difference"] == pytest.approx(5)
    assert "Equal parameters" in league.league_page(document)


def test_networks_are_compared_with_those_of_the_same_precision_and_count_once(league: Any):
    """Early is at 91 in bfloat16 and at 93 in float32, where uniform is at 90 and at 91 and there are more seeds."""
    short = network(league, "a", "bfloat16", uniform=(90.0, 90.1, 89.9), early=(91.0, 91.1, 90.9))
    exact = network(league, "a", "float32", uniform=(91.0, 91.1, 90.9, 91.0), early=(93.0, 93.1, 92.9, 93.0))
    other = network(league, "b", uniform=(70.0, 71.0, 70.5), early=(73.0, 73.5, 72.5))
    document = league.league([short, exact, other], "")
    assert [of_row(document, "early", table)["difference"] for table in (0, 1)] == pytest.approx([1, 2])
    (found,) = document["over_networks"]
    assert found["networks"] == 2
    assert found["worst"] == {"network": "a", "difference": pytest.approx(2)}
    assert "## Network a, bfloat16" in league.league_page(document)


def test_what_is_missing_is_left_open(league: Any):
    """Two seeds have no interval; a row without results, or networks without uniform, have no difference."""
    few = network(league, "a", uniform=(90.0, 90.2), early=(91.0, 91.3), late=())
    alone = network(league, "b", early=(91.0, 91.3, 91.4))
    refused = league.Network(
        "c", "Network c", "float32", "params", ["uniform"], [{**records("uniform", 1)[0], "refused": "why"}]
    )
    document = league.league([few, alone, refused], "")
    assert of_row(document, "early")["difference"] == pytest.approx(91.15 - 90.1)
    assert "low" not in of_row(document, "early")
    assert [row["row"] for row in document["networks"][0]["rows"]] == ["uniform", "early"]
    assert of_row(document, "early", 1)["difference"] is None
    assert document["over_networks"] == []
    assert "- uniform has no result: why." in league.league_page(document)


def test_the_page_shows_cost_and_size_beside_uniform(league: Any):
    rows = [*records("uniform", 90, 91, 92), *records("search", 93, 94, 95, params=500, width_epochs=33)]
    page = league.league_page(
        league.league([league.Network("a", "A", "float32", "macs", ["uniform", "search"], rows)], "run it")
    )
    assert "| uniform | 91.00 ± 1.00 | 3 |  |  |  |  |  | 1.00k | 2.00k | 0 |" in page
    assert "| 500 (0.50 x) | 2.00k | 33 |" in page
    assert "- command: `run it`" in page
    assert "- device cpu" in page


def test_scoring_costs_as_many_epochs_as_it_takes_time(league: Any):
    """30 seconds of scoring at 100 seconds for 20 epochs are 6 epochs; the seed in the middle counts."""
    timed = {"training_seconds": 100.0, "recipe": {"epochs": 20}, "width_epochs": 2}
    rows = [*records("uniform", 90, 91, 92)]
    for seed, seconds in enumerate([30.0, 10.0, 900.0]):
        rows += [{**records("early", 91)[0], **timed, "seed": seed, "scoring": {"seconds": seconds}}]
    page = league.league([league.Network("a", "A", "float32", "macs", ["uniform", "early"], rows)], "")
    assert of_row(page, "early")["choosing_epochs"] == pytest.approx(2 + 6)
    assert of_row(page, "uniform")["choosing_epochs"] == 0


def test_differences_on_held_out_images_stand_beside_those_on_test_images(league: Any):
    rows = [*records("uniform", 90, 91, 92, validation=0.8), *records("early", 91, 92, 95, validation=0.805)]
    first = league.Network("a", "A", "float32", "macs", ["uniform", "early"], rows)
    second = network(league, "b", uniform=(70.0, 71.0, 70.5), early=(69.0, 69.5, 68.7))
    document = league.league([first, second], "")
    assert of_row(document, "early")["held_out"] == pytest.approx(0.5)
    assert of_row(document, "early", 1)["held_out"] is None
    assert document["over_networks"][0]["held_out"] == pytest.approx(0.5)
    assert " | +0.50 | " in league.league_page(document)


def test_the_best_row_of_every_network_is_chosen_on_held_out_images(league: Any):
    """On the first network the row that is best on the test images is not; on the second nothing beats uniform."""
    held = {"uniform": 0.80, "early": 0.82, "erk": 0.81}
    first = [
        *records("uniform", 90, 91, 92, validation=held["uniform"]),
        *records("early", 91, 92, 95, validation=held["early"]),
        *records("erk", 98, 98, 97, validation=held["erk"]),
    ]
    second = [*records("uniform", 70, 71, 72, validation=0.7), *records("early", 73, 74, 76, validation=0.69)]
    networks = [
        league.Network("a", "A", "float32", "macs", ["uniform", "early", "erk"], first),
        league.Network("b", "B", "float32", "macs", ["uniform", "early"], second),
        league.Network("b", "B", "bfloat16", "macs", ["uniform", "early"], second[:4]),
        network(league, "c", uniform=(70.0, 71.0, 70.5), early=(69.0, 69.5, 68.7)),
    ]
    document = league.league(networks, "")
    chosen = {one["network"]: (one["row"], one["rows"], one["difference"]) for one in document["chosen"]}
    assert chosen == {"a": ("early", 2, pytest.approx(92 + 2 / 3 - 91)), "b": ("uniform", 1, 0.0)}
    assert "| mean |  |  | +1.00 | +0.83 |" in league.league_page(document)


def test_the_arena_trains_what_is_missing(tmp_path: Path, data: str):
    small = ["--only", "resnet8-macs50", "--epochs", 1, "--train-size", 16, "--data", data, "--out", tmp_path]
    with pytest.raises(SystemExit, match="0"):
        run("arena.py", *small, "--rows", "uniform", "--seeds", "0")
    folder = tmp_path / "resnet8-macs50"
    first = {file: file.read_text() for file in (folder / "cells").iterdir()}
    with pytest.raises(SystemExit, match="0"):
        run("arena.py", *small, "--rows", "uniform,erk", "--seeds", "0,1")
    assert len(list((folder / "cells").iterdir())) == 2 * 2
    assert [file.read_text() for file in first] == list(first.values())
    (table,) = json.loads((tmp_path / "league.json").read_text())["networks"]
    assert [(row["row"], row["n"]) for row in table["rows"]] == [("uniform", 2), ("erk", 2)]
    assert len(json.loads(next(folder.glob("*/compare.json")).read_text())["cells"]) == 2 * 2
    assert "## Arena, ResNet-8 of MLPerf Tiny" in (tmp_path / "league.md").read_text()


def test_the_arena_refuses_rows_that_no_recipe_has(tmp_path: Path):
    with pytest.raises(SystemExit, match="expected rows of resnet8-macs50"):
        run("arena.py", "--only", "resnet8-macs50", "--rows", "uniform,nonsense", "--out", tmp_path)


def test_agreement_of_losses_with_errors(monkeypatch: pytest.MonkeyPatch):
    """Rows have errors of 10, 20 and 30 % in the mean and losses of 1, 3 and 2: ranks 1, 2, 3 and 1, 3, 2.

    The fourth has one loss of two, like the widths of one seed that are beyond a cap, and counts among the cells only.
    """
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from arena_agreement import agreement

    cells = [*records("a", 89, 91), *records("b", 79, 81), *records("c", 69, 71), *records("d", 20, 30, 10)]
    losses = [1.1, 0.9, 3.0, 3.0, 2.0, 2.0, 4.0, 5.0, None]
    rows, of_rows, networks, of_networks = agreement(cells, losses)
    assert (rows, networks) == (3, 8)
    assert of_rows == pytest.approx(1 - 6 * (0 + 1 + 1) / (3 * (9 - 1)))
    errors = [11, 9, 21, 19, 31, 29, 80, 70]
    assert of_networks == pytest.approx(float(np.corrcoef(rank(losses[:-1]), rank(errors))[0, 1]))


def rank(values: list[float]) -> list[float]:
    return [sum(other < value for other in values) + sum(other == value for other in values) / 2 for value in values]


@pytest.mark.parametrize("per_cost", [False, True])
def test_slimming_takes_channels_from_where_it_raises_the_loss_least(monkeypatch: pytest.MonkeyPatch, per_cost: bool):
    """With a loss to which a share of any group's channels adds as much, but of one group twice as much."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from slimming import PARTS, narrowest, slimming

    _, _, groups, costs = named("vgg19")
    space = WidthSpace.of(groups, Budget(0.9, "macs"), costs, floor=0.05, round_to=1, cap=2.0)
    full, spared = space.limits.full, space.free[2]

    def loss_at(widths: Integers) -> float:
        removed = 1 - widths / full
        return float(removed.sum() + removed[spared])

    widths = [full]
    for found, tried in slimming(space, loss_at, per_cost=per_cost):
        assert 1 <= tried <= len(space.free)
        (changed,) = np.flatnonzero(found != widths[-1])
        assert widths[-1][changed] - found[changed] == full[changed] // PARTS
        widths.append(found)
    assert [space.allows(found) for found in widths] == [False] * (len(widths) - 1) + [True]
    assert np.all(widths[-1] >= narrowest(space))
    if per_cost:
        one_less = {
            number: np.where(np.arange(len(full)) == number, full - full // PARTS, full) for number in space.free
        }
        least = {number: costs.cost(one_less[number]).macs for number in space.free if number != spared}
        assert widths[1][min(least, key=least.__getitem__)] < full[min(least, key=least.__getitem__)]
    else:
        assert widths[-1][spared] == full[spared]
    filled = space.widths(space.proportions_of(widths[-1]))
    assert space.allows(filled)
    assert costs.cost(filled).params <= costs.cost(space.uniform).params


def test_slimmed_networks_are_trained_at_the_budget_of_uniform_ones(tmp_path: Path, data: str):
    small = ["--network", "resnet8-macs50", "--epochs", 1, "--train-size", 16, "--data", data]
    small += ["--out", tmp_path / "slimmed"]
    for seeds in ([0], [0, 1]):
        run("slimming.py", *small, "--seeds", *seeds)
    found = json.loads((tmp_path / "slimmed.json").read_text())
    assert list(found) == ["0", "1"]
    for one in found.values():
        for way in ("loss", "loss per cost"):
            assert one[way]["evaluations"] > 0
            assert 0.9 * one["uniform"]["macs"] < one[way]["macs"] <= one["uniform"]["macs"] * 1.01
            assert one[way]["params"] <= one["uniform"]["params"]
    assert "| stages.2.conv2 |" in (tmp_path / "slimmed.md").read_text()
