"""The tables of a comparison: rows with mean and spread, the winner, and the findings about it."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from slimprune.files import (
    CellRecord,
    ComparisonDocument,
    ComparisonTable,
    Facts,
    FurtherMean,
    PublishedFigure,
    TableRow,
)
from slimprune.report.figures import scale_of_metric
from slimprune.report.paired_differences import Gap, corrected, paired_gap
from slimprune.scale import Scale

_UNIFORM = {"params": ("uniform at equal params", "equal parameters"), "macs": ("uniform at equal MACs", "equal MACs")}


def comparison_document(grid: Mapping[str, Any], cells: Sequence[CellRecord]) -> ComparisonDocument:
    """Return the document `compare.json`.

    Args:
        grid: Plain form of the grid.
        cells: Records of all finished cells, those of a row together, in the order of the tables.

    Returns:
        Grid, cells, one table for each budget with records, and the distinct environments in which cells ran.
    """
    environments: list[Facts] = []
    for cell in cells:
        if "environment" in cell and cell["environment"] not in environments:
            environments.append(cell["environment"])
    scale = scale_of_metric(cells[0])
    budgets = [budget for budget in grid["budgets"] if any(cell["budget"] == budget for cell in cells)]
    return {
        "schema_version": 1,
        "title": grid["title"],
        "metric": cells[0]["metric"],
        "unit": scale.unit,
        "higher_is_better": scale.higher_is_better,
        "tables": [_table(budget, cells, grid["paper"], scale) for budget in budgets],
        "environments": environments,
        "grid": dict(grid),
        "cells": list(cells),
    }


def best_row(cells: Sequence[CellRecord]) -> str | None:
    """Return the winner at one budget: the row with the best mean among those that have a result with every seed.

    The mean is that on held-out training images if there are any, else that on the test images. Rows that may not win,
    such as those that train the dense network first, are considered only if there are no others. Baselines never win.
    Of equal rows the first wins.
    """
    refused = {cell["row"] for cell in cells if "refused" in cell}
    complete = [cell for cell in cells if cell["kind"] == "row" and cell["row"] not in refused]
    eligible = [cell for cell in complete if cell["may_win"]] or complete
    names = list(dict.fromkeys(cell["row"] for cell in eligible))
    means = [fmean(_chosen_by(cell) for cell in eligible if cell["row"] == name) for name in names]
    return names[means.index(scale_of_metric(cells[0]).best(means))] if names else None


def _chosen_by(cell: CellRecord) -> float:
    held_out = cell.get("validation")
    return cell["final"] if held_out is None else held_out


def _table(budget: str, cells: Sequence[CellRecord], paper: Sequence[PublishedFigure], scale: Scale) -> ComparisonTable:
    here = [cell for cell in cells if cell["budget"] in (budget, None)]
    winner = best_row(here)
    rows = [_row(name, here, scale) for name in dict.fromkeys(cell["row"] for cell in here)]
    for row in rows:
        row["winner"] = row["row"] == winner
        row["paper"] = [entry for entry in paper if _concerns(entry, row, budget)]
        row["over_uniform_params"] = _difference(row, _find(rows, _UNIFORM["params"][0]))
        row["over_uniform_macs"] = _difference(row, _find(rows, _UNIFORM["macs"][0]))
    return {"budget": budget, "winner": winner, "rows": rows, "findings": _findings(rows, scale)}


def _row(name: str, cells: Sequence[CellRecord], scale: Scale) -> TableRow:
    """Return the means over the seeds that have a result; shares in percent, sd with n - 1."""
    own = [cell for cell in cells if cell["row"] == name]
    done = [cell for cell in own if "refused" not in cell]
    factor = scale.factor
    finals = [factor * cell["final"] for cell in done]
    scorings = [cell["scoring"] for cell in done if cell["scoring"] is not None]
    stable = [scoring["stability"] for scoring in scorings if scoring["stability"] is not None]
    return {
        "row": name,
        "kind": own[0]["kind"],
        "n": len(done),
        "refused": next((cell["refused"] for cell in own if "refused" in cell), None),
        "refused_seeds": [cell["seed"] for cell in own if "refused" in cell],
        "may_win": own[0]["may_win"],
        "by_seed": {str(cell["seed"]): final for cell, final in zip(done, finals, strict=True)},
        "mean": _mean(finals),
        "sd": stdev(finals) if len(finals) > 1 else None,
        "best": _mean([factor * cell["best"] for cell in done]),
        "validation": _mean([factor * found for cell in done if (found := cell.get("validation")) is not None]),
        "further": _further(done),
        "kept_by_layer": _kept_by_layer(done),
        "pruned": _mean([factor * pruned for cell in done if (pruned := cell.get("pruned")) is not None]),
        "reconstructed": _mean([factor * found for cell in done if (found := cell.get("reconstructed")) is not None]),
        "channels": _mean([cell["channels"] for cell in done]),
        "params": _mean([cell["params"] for cell in done]),
        "macs": _mean([cell["macs"] for cell in done]),
        "scoring_seconds": _mean([scoring["seconds"] for scoring in scorings]),
        "scoring_peak_bytes": max((scoring["peak_bytes"] for scoring in scorings), default=None),
        "stability": _mean(stable),
        "epochs": _mean([cell["epochs"] for cell in done]),
        "training_seconds": _mean([cell["training_seconds"] for cell in done]),
        "winner": False,
        "paper": [],
        "over_uniform_params": None,
        "over_uniform_macs": None,
    }


def _further(cells: Sequence[CellRecord]) -> list[FurtherMean]:
    """Return the means of the further metrics that all cells state."""
    stated = [{one["name"]: one for one in cell.get("further", [])} for cell in cells]
    found: list[FurtherMean] = []
    for name, first in (stated[0] if stated else {}).items():
        if all(name in own for own in stated):
            factor = Scale(first["unit"]).factor
            values = [factor * own[name]["final"] for own in stated]
            found.append(
                {
                    "name": name,
                    "unit": first["unit"],
                    "higher_is_better": first["higher_is_better"],
                    "mean": fmean(values),
                    "sd": stdev(values) if len(values) > 1 else None,
                }
            )
    return found


def _kept_by_layer(cells: Sequence[CellRecord]) -> dict[str, float]:
    """Return the mean share that is kept of every layer; nothing if a cell does not state it."""
    shares = [cell.get("kept_by_layer") or {} for cell in cells]
    layers = list(shares[0]) if shares else []
    return {layer: fmean(own[layer] for own in shares) for layer in layers if all(layer in own for own in shares)}


def _findings(rows: Sequence[TableRow], scale: Scale) -> list[str]:
    """Return sentences about the winner that follow from the figures."""
    winner = next((row for row in rows if row["winner"]), None)
    refused = [_without_result(row) for row in rows if row["refused"]]
    if winner is None:
        return ["No row has a result with every seed, so there is no winner and nothing to measure it by.", *refused]
    uniforms = [(uniform, where) for name, where in _UNIFORM.values() if (uniform := _find(rows, name)) is not None]
    twins = [row for row in rows if row["kind"] == "twin" and row["mean"] is not None]
    originals = [_original(twin, rows) for twin in twins]
    gaps = [_gap(winner, uniform) for uniform, _ in uniforms]
    gaps += [_gap(twin, original) for twin, original in zip(twins, originals, strict=True)]
    judged = corrected(gaps)
    found = [
        _against_uniform(winner, uniform, where, gap, scale, selected=_selected_by_results(winner, rows))
        for (uniform, where), gap in zip(uniforms, judged[: len(uniforms)], strict=True)
    ]
    pairs = zip(twins, originals, judged[len(uniforms) :], strict=True)
    found += [_against_twin(twin, original, gap, scale) for twin, original, gap in pairs]
    return found + _cautions(winner, rows, scale) + refused


def _without_result(row: TableRow) -> str:
    seeds = f" with seed {', '.join(map(str, row['refused_seeds']))}" if row["n"] else ""
    return f"{row['row']} has no result{seeds}: {row['refused']}."


def _rivals(winner: TableRow, rows: Sequence[TableRow]) -> int:
    """Return the number of rows among which the winner was chosen."""
    return sum(row["kind"] == "row" and row["may_win"] == winner["may_win"] for row in rows)


def _selected_by_results(winner: TableRow, rows: Sequence[TableRow]) -> bool:
    """Return whether the winner was chosen by the results on the test images by which it is judged."""
    return _rivals(winner, rows) > 1 and winner.get("validation") is None


def _cautions(winner: TableRow, rows: Sequence[TableRow], scale: Scale) -> list[str]:
    """Return caveats about the winner: how it was chosen, which rows are better, and which costs were not equal."""
    cautions = []
    rivals = _rivals(winner, rows)
    if _selected_by_results(winner, rows):
        cautions.append(f"{winner['row']} is the best of {rivals} rows by these same results, which favours it.")
    elif rivals > 1:
        cautions.append(f"{winner['row']} is the best of {rivals} rows on training images that were held out.")
    done = [row for row in rows if row["kind"] != "dense" and not row["refused"] and row is not winner]
    better = [row for row in done if row["kind"] == "row" and scale.sign * (_difference(row, winner) or 0) > 0]
    for free, what in ((True, "on the test images"), (False, "but no method that scores the untrained network")):
        alike = [row for row in better if (row["may_win"] == winner["may_win"]) is free]
        named = [f"{row['row']} ({_score(row, scale)})" for row in alike]
        if named:
            cautions.append(f"{_above(scale).capitalize()} the winner, {what}: {', '.join(named)}.")
    unequal = [f"{row['row']} ({row['epochs']:.4g} epochs)" for row in done if row["epochs"] != winner["epochs"]]
    if unequal:
        cautions.append(f"Not of equal cost: {', '.join(unequal)}, where the winner took {winner['epochs']:.4g}.")
    return cautions


def _against_uniform(
    winner: TableRow, uniform: TableRow, where: str, gap: Gap | None, scale: Scale, *, selected: bool
) -> str:
    name = winner["row"]
    if gap is None:
        return f"There is no uniform network at {where}: {uniform['refused']}."
    figures = _figures(gap, scale)
    if gap.low is None:
        return f"Too few seeds to tell whether {name} beats uniform at {where}: {figures}."
    if gap.sign == 0:
        return f"{name} and uniform at {where} cannot be told apart: {figures}."
    better = (gap.sign > 0) is scale.higher_is_better
    if better and selected:
        return f"{name} is {_above(scale)} uniform at {where}, but was chosen by these same results: {figures}."
    return f"{name} {'beats' if better else 'loses to'} uniform at {where}: {figures}."


def _original(twin: TableRow, rows: Sequence[TableRow]) -> TableRow:
    """Return the row that a twin is one of."""
    return next(row for row in rows if row["row"] == twin["row"].rpartition(": ")[0])


def _against_twin(twin: TableRow, original: TableRow, gap: Gap | None, scale: Scale) -> str:
    kind = {"shuffle": "as many others in every layer", "invert": "those of the lowest scores"}
    name = twin["row"].rpartition(": ")[2]
    what = f"With {kind.get(name, 'other initial weights')} ({name})"
    if not original["winner"]:
        what = f"{original['row']}, {what[0].lower()}{what[1:]}"
    if gap is None:
        return f"{what} no seed has a result."
    figures = _figures(gap, scale)
    if gap.low is None:
        return f"{what}: {figures}, too few to tell."
    whose = "the winner's" if original["winner"] else "the row's"
    verdict = {0: f"cannot be told from {whose}", 1: "is better", -1: "is worse"}[gap.sign * scale.sign]
    return f"{what} the result {verdict}: {figures}."


def _gap(one: TableRow, other: TableRow) -> Gap | None:
    return paired_gap(one["by_seed"], other["by_seed"])


def _figures(gap: Gap, scale: Scale) -> str:
    digits = "+.2f" if scale.unit else "+.4g"
    found = gap.interval_text(digits)
    interval = f", {100 * gap.confidence:.4g} % interval {found}" if found else ""
    return f"{gap.mean:{digits}}{scale.points}{interval} over {gap.seeds} seed{'' if gap.seeds == 1 else 's'}"


def _above(scale: Scale) -> str:
    return "above" if scale.higher_is_better else "better than"


def _score(row: TableRow, scale: Scale) -> str:
    digits = ".2f" if scale.unit else ".4g"
    return f"{row['mean']:{digits}}" + ("" if row["sd"] is None else f" ± {row['sd']:{digits}}")


def _concerns(entry: PublishedFigure, row: TableRow, budget: str) -> bool:
    return bool(entry["row"] == row["row"] and entry["budget"] in (budget, None))


def _difference(row: TableRow, uniform: TableRow | None) -> float | None:
    if uniform is None or uniform is row or uniform["mean"] is None or row["mean"] is None:
        return None
    return float(row["mean"] - uniform["mean"])


def _find(rows: Sequence[TableRow], name: str) -> TableRow | None:
    return next((row for row in rows if row["row"] == name), None)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
