"""Plots of what the rows of a comparison keep of every layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slimprune.files import ComparisonDocument, TableRow
from slimprune.report.escaping import for_pages
from slimprune.report.plots import row_styles, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS, MOST_NAMES = 6, 40
"""Budgets that are drawn at most, and layers that are named at most; more layers are numbered."""


@dataclass(frozen=True)
class Panel:
    """The rows at one budget that keep shares of the same layers.

    Attributes:
        budget: The budget.
        parts: What the layers lose, `channels` or `weights`.
        layers: Names of the layers in the order of the network.
        rows: The rows, each with shares of these layers.
    """

    budget: str
    parts: str
    layers: tuple[str, ...]
    rows: tuple[TableRow, ...]


def draw_layers(document: ComparisonDocument, stem: Path) -> bool:
    """Write `STEM.svg` and `STEM.png` if a row states what it keeps of every layer; return whether one does."""
    document = for_pages(document)
    if not layer_panels(document):
        return False
    write_figure(lambda: layers_figure(document), stem)
    return True


def layer_panels(document: ComparisonDocument) -> list[Panel]:
    """Return the panels, at most `MOST_PANELS` of them, evenly from the first to the last.

    Rows of channels and of single weights, whose layers differ, have panels of their own. Twins keep as much of every
    layer as their row, and are left out.
    """
    panels = []
    units = {cell["row"]: cell["recipe"].get("unit", "channels") for cell in document["cells"]}
    for table in document["tables"]:
        stated = [row for row in table["rows"] if row["kind"] in ("row", "uniform") and row.get("kept_by_layer")]
        for layers in dict.fromkeys(tuple(row["kept_by_layer"]) for row in stated):
            rows = tuple(row for row in stated if tuple(row["kept_by_layer"]) == layers)
            if any(row["kind"] == "row" for row in rows):
                panels.append(Panel(table["budget"], units[rows[0]["row"]], layers, rows))
    last, count = len(panels) - 1, min(len(panels), MOST_PANELS)
    return [panels[round(number * last / max(1, count - 1))] for number in range(count)]


def layers_figure(document: ComparisonDocument) -> "Figure":
    """Return the figure: a panel for every budget, layers on the horizontal axis, a line for each row."""
    from matplotlib.figure import Figure

    panels, styles = layer_panels(document), row_styles(document)
    width = min(16.0, 4.5 + 0.22 * max(len(panel.layers) for panel in panels))
    figure = Figure(figsize=(width, 3.2 * len(panels)), layout="constrained")
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        _draw_panel(axes, panel, styles)
    lines = {str(line.get_label()): line for axes in figure.axes for line in axes.lines}
    legend = figure.legend(list(lines.values()), list(lines), loc="outside right upper", frameon=False, fontsize=8)
    for text in legend.get_texts():  # the name of a row is no formula, even with dollar signs
        text.set_parse_math(False)
    return figure


def _draw_panel(axes: "Axes", panel: Panel, styles: dict[str, tuple[str, str]]) -> None:
    places = range(1, len(panel.layers) + 1)
    for row in panel.rows:
        colour, marker = styles[row["row"]]
        shares = [100 * share for share in row["kept_by_layer"].values()]
        axes.plot(places, shares, color=colour, marker=marker, markersize=3.5, linewidth=1.0, label=row["row"])
    _scale(axes, [share for row in panel.rows for share in row["kept_by_layer"].values()])
    axes.set_title(f"removed: {panel.budget}", fontsize=9, loc="left", parse_math=False)
    axes.set_ylabel(f"{panel.parts} kept, %")
    if len(panel.layers) <= MOST_NAMES:
        axes.set_xticks(list(places), panel.layers, rotation=90, fontsize=7, parse_math=False)
    else:
        axes.set_xlabel("layer, in the order of the network")
    axes.grid(True, color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _scale(axes: "Axes", shares: Sequence[float]) -> None:
    """Set a logarithmic axis of percentages that ends at 100 and, where a layer is left empty, begins at 0."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    least = 100 * min(share for share in shares if share > 0)
    if min(shares) == 0:
        axes.set_yscale("symlog", linthresh=least)
        axes.set_ylim(-0.1 * least, 130)
    else:
        axes.set_yscale("log")
        axes.set_ylim(0.8 * least, 130)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
