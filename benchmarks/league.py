"""The league table of the arena: every row's difference to uniform at the same budget, by network and over networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

from slimprune.report import markdown_table
from slimprune.report.tables import magnitude
from slimprune.statistics import (
    Estimate,
    holm_confidences,
    holm_p_values,
    paired_difference,
    random_effects,
    student_quantile,
    welch_difference,
)

UNIFORM, MACS = "uniform", "macs"
BUDGETS = {MACS: "MACs", "params": "parameters"}
NOTES = (
    "Difference to `uniform`, plainly narrower layers at the same budget and precision, in points, with its 95 % "
    "interval: Welch's for independent samples, or of the pairs of equal seeds where the results of all rows say that "
    "pairs vary less, unless the pairs of a row do not differ at all. "
    "p-values are corrected by Holm for the rows of a table; **beats** and **loses** stand only where the corrected "
    "interval excludes zero. Rows with fewer than three seeds have no interval.",
    "*Choosing* is what it cost to choose the widths, in epochs of the slim network: those trained, and the time of "
    "the scoring over that of an epoch (median over seeds, uncertain by a factor of two or more, as other work slows "
    "machines). Results are those after the last epoch. *Held out* is the difference on training images that were held "
    "out: defaults are chosen by it, and judged by the test images.",
)


@dataclass(frozen=True)
class Network:
    """A network of the arena with a budget, trained in one precision.

    Attributes:
        name: Name of its recipe.
        title: Its title.
        precision: Type of its numbers in training.
        of: Quantity that the budget limits.
        rows: Names of all rows in order.
        records: Records of the cells that were trained.
    """

    name: str
    title: str
    precision: str
    of: str
    rows: Sequence[str]
    records: Sequence[Mapping[str, Any]]


def league(networks: Sequence[Network], command: str) -> dict[str, Any]:
    """Return the plain document `league.json`."""
    tables = [_table(network) for network in networks]
    equal_macs = [table for table in tables if table["budget"] == MACS]
    circumstances: list[Mapping[str, Any]] = []
    for record in (record for network in networks for record in network.records):
        found = record.get("environment")
        if found is not None and found not in circumstances:
            circumstances.append(found)
    return {
        "command": command, "networks": tables, "over_networks": _over(equal_macs),
        "chosen": _chosen(equal_macs),
        "environments": circumstances,
    }  # fmt: skip


def league_page(document: Mapping[str, Any]) -> str:
    """Return the document as a Markdown page."""
    parts = ["# Arena", *NOTES]
    if document["over_networks"]:
        parts += ["## Over the networks at equal MACs", OVER_NOTE, _over_table(document["over_networks"])]
    if document["chosen"]:
        parts += ["## The best row of every network at equal MACs", CHOSEN_NOTE, _chosen_table(document["chosen"])]
    for table in document["networks"]:
        parts += [f"## {table['title']}, {table['precision']}", _network_table(table), _pairing_sentence(table)]
    facts = [f"- command: `{document['command']}`", *(_facts(found) for found in document["environments"])]
    return "\n\n".join([*parts, "## Circumstances", "\n".join(facts)]) + "\n"


# One network


def _table(network: Network) -> dict[str, Any]:
    done = [record for record in network.records if "refused" not in record]
    results = {
        row: {str(record["seed"]): 100 * record["final"] for record in done if record["row"] == row}
        for row in network.rows
    }
    base = results.get(UNIFORM, {})
    paired = _pairs_vary_less([found for row, found in results.items() if row != UNIFORM], base)
    estimates = {
        row: (paired_difference(found, base) if paired else None) or welch_difference(found, base)
        for row, found in results.items()
        if row != UNIFORM
    }
    compared = _compared({row: estimate for row, estimate in estimates.items() if estimate is not None})
    rows = []
    for row in (row for row in network.rows if results[row]):
        own = [record for record in done if record["row"] == row]
        finals = list(results[row].values())
        rows.append({
            "row": row,
            "n": len(own),
            "by_seed": results[row],
            "mean": fmean(finals),
            "sd": stdev(finals) if len(finals) > 1 else None,
            "difference": fmean(finals) - fmean(base.values()) if base and row != UNIFORM else None,
            **compared.get(row, {}),
            "held_out": None if row == UNIFORM else _held_out(own, [one for one in done if one["row"] == UNIFORM]),
            "params": fmean(record["params"] for record in own),
            "macs": fmean(record["macs"] for record in own),
            "choosing_epochs": median(map(_choosing_epochs, own)),
            "uniform_widths": 0 if row == UNIFORM else _with_uniform_widths(own, done),
        })  # fmt: skip
    refused = {record["row"]: record["refused"] for record in network.records if "refused" in record}
    metric = next((record["metric"] for record in network.records), None)
    return {
        "name": network.name, "title": network.title, "precision": network.precision, "budget": network.of,
        "metric": metric, "paired": paired, "rows": rows, "refused": refused,
    }  # fmt: skip


def _choosing_epochs(record: Mapping[str, Any]) -> float:
    """Return the epochs of the slim network that choosing its widths cost, the scoring by its time."""
    trained, scoring = record.get("width_epochs") or 0.0, record.get("scoring")
    if scoring is None or not record.get("training_seconds"):
        return trained
    epoch = record["training_seconds"] / record["recipe"]["epochs"]
    return trained + scoring["seconds"] / epoch


def _with_uniform_widths(own: Sequence[Mapping[str, Any]], done: Sequence[Mapping[str, Any]]) -> int:
    """Return how many records have the widths of the uniform network of their seed."""
    uniform = {record["seed"]: record.get("widths") for record in done if record["row"] == UNIFORM}
    return sum(record.get("widths") is not None and record["widths"] == uniform.get(record["seed"]) for record in own)


def _held_out(own: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the difference to uniform on training images that were held out, in points; None without such images."""
    found, other = ([one.get("validation") for one in records] for records in (own, base))
    if not found or not other or None in found or None in other:
        return None
    return 100 * (fmean(found) - fmean(other))


def _pairs_vary_less(rows: Sequence[Mapping[str, float]], base: Mapping[str, float]) -> bool:
    """Return whether pairs of equal seeds give narrower intervals, judged over all rows of a network at once.

    Pairing halves the degrees of freedom, so it has to lower the variance by more than Student's quantiles rise.
    """
    pairs = [(paired_difference(row, base), welch_difference(row, base), len(row.keys() & base)) for row in rows]
    found = [(one, other, count) for one, other, count in pairs if one is not None and other is not None]
    if not found:
        return False
    paired = fmean((student_quantile(0.95, count - 1) * one.error) ** 2 for one, _, count in found)
    unpaired = fmean((student_quantile(0.95, 2 * count - 2) * other.error) ** 2 for _, other, count in found)
    return paired < unpaired


def _compared(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, Any]]:
    """Return interval, p-value and verdict of every row, corrected for the number of rows."""
    values = [estimate.p_value for estimate in estimates.values()]
    found = {}
    for (row, estimate), corrected, confidence in zip(
        estimates.items(), holm_p_values(values), holm_confidences(values), strict=True
    ):
        low, high = estimate.interval()
        certain = corrected < 0.05
        found[row] = {
            "error": estimate.error, "low": low, "high": high, "p": estimate.p_value, "p_holm": corrected,
            "corrected": list(estimate.interval(confidence)), "confidence": confidence,
            "verdict": ("beats uniform" if estimate.mean > 0 else "loses to uniform") if certain else None,
        }  # fmt: skip
    return found


def _network_table(table: Mapping[str, Any]) -> str:
    head = [
        "",
        f"{table['metric']}, %",
        "n",
        "difference",
        "95 % interval",
        "p (Holm)",
        "",
        "held out",
        "params",
        "MACs",
        "choosing",
    ]
    base = next((row for row in table["rows"] if row["row"] == UNIFORM), None)
    lines = []
    for row in table["rows"]:
        share = "" if base is None or row is base else f" ({row['params'] / base['params']:.2f} x)"
        spread = "" if row["sd"] is None else f" ± {row['sd']:.2f}"
        lines.append([
            row["row"], f"{row['mean']:.2f}{spread}", row["n"], _signed(row["difference"]), _interval(row),
            _p_value(row), _verdict(row), _signed(row["held_out"]), f"{magnitude(row['params'])}{share}",
            magnitude(row["macs"]), f"{row['choosing_epochs']:.3g}",
        ])  # fmt: skip
    text = markdown_table(head, lines, left=(0,))
    remarks = [
        f"- {row['row']} came to uniform widths with {row['uniform_widths']} of {row['n']} seeds."
        for row in table["rows"]
        if row["uniform_widths"]
    ]
    remarks += [f"- {row} has no result: {reason}." for row, reason in table["refused"].items()]
    return "\n".join([text, *(["", *remarks] if remarks else [])])


def _pairing_sentence(table: Mapping[str, Any]) -> str:
    how = "pairs of equal seeds, which vary less here" if table["paired"] else "independent samples (Welch)"
    return f"Equal {BUDGETS[table['budget']]}; intervals of {how}."


# Over networks


OVER_NOTE = (
    "Mean of the differences over the networks on which a row has an interval, from a random-effects model with "
    "DerSimonian and Laird's variance between networks, and with Knapp and Hartung's interval, which is never narrower "
    "here than the seeds alone allow. Of a network in two precisions, that with more seeds of the row counts. "
    "*Uniform widths*: how many of the trained networks came to just these. Networks with a budget of parameters are "
    "left out: their MACs differ."
)


def _over(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    most_seeds: dict[str, dict[str, Mapping[str, Any]]] = {}
    for table in tables:
        for row in (row for row in table["rows"] if row.get("error") is not None):
            places = most_seeds.setdefault(row["row"], {})
            places[table["name"]] = max(places.get(table["name"], row), row, key=lambda one: one["n"])
    found = {name: list(places.items()) for name, places in most_seeds.items()}
    means = {}
    for name, places in found.items():
        mean = random_effects([row["difference"] for _, row in places], [row["error"] for _, row in places])
        if mean is not None:
            means[name] = mean
    compared = _compared({name: mean.mean for name, mean in means.items()})
    rows = []
    for name, mean in means.items():
        worst = min(found[name], key=lambda place: place[1]["difference"])
        rows.append({
            "row": name, "networks": mean.networks, "difference": mean.mean.mean, "spread": mean.spread,
            **compared[name], "worst": {"network": worst[0], "difference": worst[1]["difference"]},
            "held_out": _mean_where_known([row["held_out"] for _, row in found[name]]),
            "choosing_epochs": fmean(row["choosing_epochs"] for _, row in found[name]),
            "uniform_widths": sum(row["uniform_widths"] for _, row in found[name]),
            "trained": sum(row["n"] for _, row in found[name]),
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["difference"])


def _over_table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = [
        "",
        "networks",
        "difference",
        "95 % interval",
        "p (Holm)",
        "",
        "held out",
        "sd between networks",
        "worst",
        "choosing",
        "uniform widths",
    ]
    lines = [
        [
            row["row"], row["networks"], _signed(row["difference"]), _interval(row), _p_value(row), _verdict(row),
            _signed(row["held_out"]),
            f"{row['spread']:.2f}", f"{row['worst']['difference']:+.2f} ({row['worst']['network']})",
            f"{row['choosing_epochs']:.3g}", f"{row['uniform_widths']} of {row['trained']}",
        ]
        for row in rows
    ]  # fmt: skip
    return markdown_table(head, lines, left=(0,))


CHOSEN_NOTE = (
    "What somebody gains who trains every row with every seed, takes the row that is best on the held-out images, or "
    "uniform widths if none is better than these, and reads the test images for that row only. It shows how much these "
    "ways of choosing widths could give at all."
)


def _chosen(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the row of every network that is best on held-out images; of two precisions that with more results."""
    results = {table["name"]: table for table in sorted(tables, key=lambda one: sum(row["n"] for row in one["rows"]))}
    found = []
    for name in sorted(results):
        rows = [row for row in results[name]["rows"] if row.get("error") is not None and row["held_out"] is not None]
        if rows:
            best = max(rows, key=lambda row: row["held_out"])
            better = best["held_out"] > 0
            found.append({
                "network": name, "rows": len(rows), "row": best["row"] if better else UNIFORM,
                "held_out": best["held_out"] if better else 0.0, "difference": best["difference"] if better else 0.0,
            })  # fmt: skip
    return found


def _chosen_table(chosen: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [one["network"], one["rows"], one["row"], _signed(one["held_out"]), _signed(one["difference"])]
        for one in chosen
    ]
    mean = ["mean", "", "", *(_signed(fmean(one[name] for one in chosen)) for name in ("held_out", "difference"))]
    head = ["network", "rows", "best row", "held out", "test"]
    return markdown_table(head, [*lines, mean], left=(0, 2))


def _mean_where_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


# Text


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['low']:+.2f} to {row['high']:+.2f}" if "low" in row else ""


def _p_value(row: Mapping[str, Any]) -> str:
    return f"{row['p_holm']:.3g}" if "p_holm" in row else ""


def _verdict(row: Mapping[str, Any]) -> str:
    return f"**{row['verdict'].split()[0]}**" if row.get("verdict") else ""


def _facts(found: Mapping[str, Any]) -> str:
    return "- " + ", ".join(f"{name} {value}" for name, value in found.items())
