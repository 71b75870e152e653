"""Grids with rows whose single weights are masked."""

from pathlib import Path
from typing import Any

import pytest

from slimprune import compare
from slimprune.comparison import make_grid
from slimprune.errors import UsageError

ROWS = {
    "by layer": {"criterion": "snip", "rule": "layer-wise"},
    "channels": {"unit": "channels", "criterion": "snip", "rule": "global"},
    "nothing left": {"criterion": "magnitude", "protect": ["0", "3", "8"]},
}


@pytest.fixture(scope="module")
def grid(arch: str, data: str) -> dict[str, Any]:
    base = {
        "arch": arch, "data": data, "unit": "weights", "epochs": 1, "draws": 1, "batch_size": 8, "score_batch": 8,
        "device": "cpu", "further_metrics": ["top5"],
    }  # fmt: skip
    return {
        "base": base,
        "budgets": ["params=0.8"],
        "seeds": [0, 1],
        "criteria": ["snip"],
        "rows": ROWS,
        "twins": "all",
        "dense": False,
    }


@pytest.fixture(scope="module")
def compared(grid: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("masks") / "out"
    return dict(compare(grid, out=out)), out


def test_the_records_of_masked_cells(compared: tuple[dict[str, Any], Path]) -> None:
    by_name = {(cell["row"], cell["seed"]): cell for cell in compared[0]["cells"]}
    for seed in (0, 1):
        one, layer_wise = by_name["snip", seed], by_name["by layer", seed]
        assert sum(one["weights_kept"].values()) == 280  # of 216 + 1152 + 32
        assert layer_wise["weights_kept"] == {"0": 43, "3": 230, "8": 6}  # 43.2, 230.4 and 6.4
        assert one["params"] == 1474 - 1400 + 280
        assert (one["widths"], one["rule"], layer_wise["rule"]) == (None, "global", "layer-wise")
        assert one["kept"]["channels"] == 1
        channels = by_name["channels", seed]
        assert channels["params"] <= 1474 * 0.2
        assert "weights_kept" not in channels


def test_rows_state_further_metrics(compared: tuple[dict[str, Any], Path]) -> None:
    (table,) = compared[0]["tables"]
    found = {row["row"]: [one["name"] for one in row["further"]] for row in table["rows"]}
    assert found.pop("nothing left") == []
    assert set(map(tuple, found.values())) == {("top5",)}
    assert "top-5, %" in (compared[1] / "compare.md").read_text()


def test_twins_have_the_sparsity_of_their_row_and_uniform_rows_are_narrower(
    compared: tuple[dict[str, Any], Path],
) -> None:
    (table,) = compared[0]["tables"]
    followers = [row["row"] for row in table["rows"] if row["kind"] in ("twin", "uniform")]
    assert followers[:2] == ["uniform at equal params", "uniform at equal MACs"]
    cells = {(cell["row"], cell["seed"]): cell for cell in compared[0]["cells"]}
    kinds = ("shuffle", "reinit", "invert")
    assert followers[2:] == [f"{name}: {kind}" for name in ("snip", "by layer", "channels") for kind in kinds]
    for seed in (0, 1):
        for kind in kinds:
            for name in ("snip", "by layer"):
                assert cells[f"{name}: {kind}", seed]["weights_kept"] == cells[name, seed]["weights_kept"]
            assert cells[f"channels: {kind}", seed]["widths"] == cells["channels", seed]["widths"]
    assert all(cells["uniform at equal params", seed]["recipe"]["unit"] == "channels" for seed in (0, 1))


def test_a_sparsity_that_cannot_be_is_a_row_without_a_result(compared: tuple[dict[str, Any], Path]) -> None:
    (table,) = compared[0]["tables"]
    row = next(row for row in table["rows"] if row["row"] == "nothing left")
    assert row["n"] == 0
    assert "at most 0 of 1,400 weights beside the protected layers" in row["refused"]


def test_the_pages_say_that_nothing_gets_faster(compared: tuple[dict[str, Any], Path]) -> None:
    for name in ("compare.md", "compare.html"):
        assert "nothing gets faster" in (compared[1] / name).read_text()


def test_finished_cells_are_not_run_again(
    grid: dict[str, Any], compared: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimprune.pipeline.stages.train", lambda *_, **__: pytest.fail("trained again"))
    assert compare(grid, out=compared[1]) == compared[0]


def test_masks_need_a_budget_of_parameters(grid: dict[str, Any], tmp_path: Path) -> None:
    assert make_grid({**grid, "budgets": ["macs=0.5"]})
    with pytest.raises(UsageError, match="expected a budget of params alone beside --unit weights, got macs"):
        compare({**grid, "budgets": ["macs=0.5"], "rows": {}}, out=tmp_path / "out")
