"""Plots of a comparison: accuracy against MACs and against parameters."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slimprune.files import ComparisonDocument, TableRow, atomic_write
from slimprune.report.escaping import for_pages
from slimprune.report.figures import axis_title, scale_of_metric, titled
from slimprune.report.tables import magnitude

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#117733", "#999933", "#332288",
    "#AA4499", "#661100",
)  # fmt: skip
"""Colours after Okabe and Ito, and Tol, which readers with any colour vision can distinguish."""
MARKERS = "osD^vP*Xphd8"
GREY, BLACK = "#777777", "#111111"
CONTROL_STYLES = {"shuffle": (GREY, "o"), "reinit": (GREY, "s"), "invert": (GREY, "D")}
UNIFORMS = {"uniform at equal params": (BLACK, "<"), "uniform at equal MACs": (BLACK, ">")}
FIXED = {**UNIFORMS, **CONTROL_STYLES}
"""Styles of baselines and twins, which look the same in every plot; twins have hollow markers."""
NEAR, STEP, WIDEST = 0.01, 0.015, 0.12
"""Fractions of the axis; see `spread`."""


def draw_comparison(document: ComparisonDocument, stem: Path) -> None:
    """Write `STEM.svg` and `STEM.png`: mean accuracy with one sd, log scale, the dense network as a band.

    This neither opens a window nor changes global state of matplotlib. Each file is written completely or not at all.
    """
    write_figure(lambda: comparison_figure(for_pages(document)), stem)


def write_figure(make: Callable[[], "Figure"], stem: Path) -> None:
    """Write a figure to `STEM.svg` and `STEM.png`, the same bytes each time."""
    import matplotlib

    # With a fixed salt, equal documents give equal files.
    with matplotlib.rc_context({"svg.hashsalt": "slimprune", "font.size": 9, "svg.fonttype": "none"}):
        figure = make()
        for suffix in ("svg", "png"):
            metadata = {"Date": None} if suffix == "svg" else {"Software": None}
            with atomic_write(stem.with_suffix(f".{suffix}")) as partial:
                figure.savefig(partial, format=suffix, dpi=160, metadata=metadata)


def comparison_figure(document: ComparisonDocument) -> "Figure":
    """Return the figure: two panels with a shared accuracy axis, and the legend on the right."""
    from matplotlib.figure import Figure

    series = _series(document)
    figure = Figure(figsize=(10.5, max(4.2, 1.6 + 0.2 * (len(series) + 2))), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    dense = [row for row in document["tables"][0]["rows"] if row["kind"] == "dense" and row["mean"] is not None]
    panels: tuple[tuple[Axes, Literal["macs", "params"], str], ...] = (
        (left, "macs", "MACs per sample"),
        (right, "params", "parameters"),
    )
    for axes, of, label in panels:
        _draw_dense(axes, dense)
        places = spread([[_figure_of(row, of) for row in rows] for rows in series.values()])
        for (name, rows), style, xs in zip(series.items(), _styles(series), places, strict=True):
            _draw_row(axes, xs, name, rows, style)
        _label(axes, label, [x for xs in places for x in xs])
    scale = scale_of_metric(document)
    label = axis_title(f"{titled(document['metric'], scale)} on the test set", scale.unit)
    left.set_ylabel(f"{label} (mean ± one sd)", parse_math=False)
    figure.supxlabel("networks of nearly equal cost are drawn side by side", fontsize=7.5, color=GREY)
    if document["title"]:
        figure.suptitle(document["title"], fontsize=11, parse_math=False)
    legend = figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    for text in legend.get_texts():  # the name of a row is no formula, even with dollar signs
        text.set_parse_math(False)
    return figure


def _series(document: ComparisonDocument) -> dict[str, list[TableRow]]:
    """Return the rows over all budgets by name; twins of winners alone are named by their kind, whichever row won."""
    of_all = document["grid"].get("twins") == "all"
    series: dict[str, list[TableRow]] = {}
    for table in document["tables"]:
        for row in table["rows"]:
            if row["kind"] != "dense" and row["mean"] is not None:
                name = row["row"].rpartition(": ")[2] if row["kind"] == "twin" and not of_all else row["row"]
                series.setdefault(name, []).append(row)
    order = {"row": 0, "uniform": 1, "twin": 2}
    return dict(sorted(series.items(), key=lambda item: order[item[1][0]["kind"]]))


def row_styles(document: ComparisonDocument) -> dict[str, tuple[str, str]]:
    """Return colour and marker of every row that has a result, by name, the same in all figures."""
    series = _series(document)
    return dict(zip(series, _styles(series), strict=True))


def _styles(series: Mapping[str, Sequence[TableRow]]) -> list[tuple[str, str]]:
    """Return colour and marker of every row; no two rows share both. A twin has the colour of its row."""
    originals = {name: name.rpartition(": ") for name, rows in series.items() if rows[0]["kind"] == "twin"}
    twins = {
        name: (row, kind)
        for name, (row, _, kind) in originals.items()
        if row in series.keys() - FIXED.keys() and kind in CONTROL_STYLES
    }
    methods = [name for name in series if name not in FIXED and name not in twins]
    free = {
        name: (COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)])
        for number, name in enumerate(methods)
    }
    for name, (row, kind) in twins.items():
        free[name] = (free[row][0], CONTROL_STYLES[kind][1])
    return [FIXED.get(name) or free[name] for name in series]


def _draw_dense(axes: "Axes", dense: Sequence[TableRow]) -> None:
    for row in dense:
        label = f"dense ({magnitude(row['params'])} parameters, {magnitude(row['macs'])} MACs)"
        mean = _figure_of(row, "mean")
        axes.axhline(mean, color="#B0B0B0", linewidth=1.2, zorder=1, label=label)
        if row["sd"] is not None:
            axes.axhspan(mean - row["sd"], mean + row["sd"], color="#DDDDDD", zorder=0, linewidth=0)


def _figure_of(row: TableRow, name: Literal["mean", "macs", "params"]) -> float:
    """Return a value of a row that has a result; other rows are not drawn."""
    value = row[name]
    assert value is not None
    return value


def spread(series: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the positions of points on a log axis, with nearly equal values side by side in the order of the series.

    Points within `NEAR` of each other are placed around their midpoint, `STEP` apart and over `WIDEST` at most, so that
    no point moves by more than half of that. All other points stay where they are. The distances are fractions of the
    axis.
    """
    logs = sorted(
        (math.log(value), number, place) for number, values in enumerate(series) for place, value in enumerate(values)
    )
    extent = max(logs[-1][0] - logs[0][0], math.log(2)) if logs else 1.0
    clusters: list[list[tuple[float, int, int]]] = []
    for point in logs:
        if clusters and point[0] - clusters[-1][0][0] <= NEAR * extent:
            clusters[-1].append(point)
        else:
            clusters.append([point])
    found = [[0.0] * len(values) for values in series]
    for cluster in clusters:
        middle = (cluster[0][0] + cluster[-1][0]) / 2
        step = extent * min(STEP, WIDEST / len(cluster))
        for rank, (_, number, place) in enumerate(sorted(cluster, key=lambda point: point[1:])):
            found[number][place] = math.exp(middle + step * (rank - (len(cluster) - 1) / 2))
    return found


def _draw_row(axes: "Axes", xs: Sequence[float], name: str, rows: Sequence[TableRow], style: tuple[str, str]) -> None:
    """Draw the points of a row from the smallest to the largest network, joined by a line."""
    colour, marker = style
    twin = rows[0]["kind"] == "twin"
    won = sum(row["winner"] for row in rows)
    points = sorted(zip(xs, rows, strict=True), key=lambda point: point[0])
    axes.errorbar(
        [x for x, _ in points],
        [_figure_of(row, "mean") for _, row in points],
        yerr=[row["sd"] or 0.0 for _, row in points],
        color=colour,
        marker=marker,
        markersize=9 if won else 6.5,
        markerfacecolor="white" if twin else colour,
        markeredgecolor=colour if twin else "white",
        markeredgewidth=1.2 if twin else 0.6,
        linewidth=1.0,
        linestyle=":" if twin or name in FIXED else "-",
        elinewidth=1.0,
        capsize=2.5,
        zorder=4 if won else 3,
        label=_legend(name, won, len(rows)),
    )


def _legend(name: str, won: int, budgets: int) -> str:
    if name in CONTROL_STYLES:
        return f"twin of the winner: {name}"
    where = "" if budgets == 1 else f" at {won} of {budgets}"
    return f"{name} (winner{where})" if won else name


def _label(axes: "Axes", quantity: str, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    low, high = min(values, default=1.0), max(values, default=10.0)
    axes.set_xlim(low / 1.2, high * 1.2)
    # Within one decade, ticks at powers of ten only could leave the axis without a number.
    narrow = high / low < 60
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: magnitude(value).replace(".00", "").replace(".0", ""))
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"{quantity} (log scale)")
    axes.grid(True, which="major", color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
