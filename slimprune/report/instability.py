"""Instability: the error along the line between two trainings, as a plot and as text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slimprune.files import InstabilityCurve, InstabilityDocument, UnstableNetwork, atomic_write
from slimprune.report.escaping import for_pages
from slimprune.report.figures import METRIC_NAMES, percent
from slimprune.report.plots import COLOURS, GREY, MARKERS
from slimprune.report.tables import magnitude
from slimprune.report.text import paragraph, text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAD = ("network", "data differ after", "ends", "highest between", "instability", "distance")
SHORT_HEAD = (*HEAD[:2], *HEAD[4:5])


def draw_instability(document: InstabilityDocument, stem: Path) -> None:
    """Write `STEM.svg` and `STEM.png`: the error over the line, one panel for each network, one curve for each step."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "slimprune", "font.size": 9, "svg.fonttype": "none"}):
        figure = instability_figure(for_pages(document))
        for suffix in ("svg", "png"):
            metadata = {"Date": None} if suffix == "svg" else {"Software": None}
            file = stem.parent / f"{stem.name}.{suffix}"
            with atomic_write(file) as partial:
                figure.savefig(partial, format=suffix, dpi=160, metadata=metadata)


def instability_figure(document: InstabilityDocument) -> "Figure":
    """Return the figure; the panels share their axis of errors."""
    from matplotlib.figure import Figure

    networks = document["networks"]
    figure = Figure(figsize=(0.8 + 4.4 * len(networks), 4.2), layout="constrained")
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, network in zip(panels, networks, strict=True):
        _draw_network(axes, network, document["places"])
    metric = METRIC_NAMES.get(document["metric"], document["metric"])
    panels[0].set_ylim(
        0, 1.05 * panels[0].get_ylim()[1]
    )  # only once all curves are drawn: it ends the choice of limits by the data
    panels[0].set_ylabel(f"test error (100 - {metric}), %", parse_math=False)
    figure.supxlabel("place on the line between the weights of two trainings", fontsize=9)
    recipe = document["recipe"]
    figure.suptitle(f"{recipe['arch']}, {recipe['data']}, {_seeds(document)}", fontsize=10, parse_math=False)
    return figure


def _seeds(document: InstabilityDocument) -> str:
    """Return the seed, or the seeds over which means and standard deviations are."""
    seeds = document.get("seeds", [])
    if len(seeds) > 1:
        return f"mean ± one sd of seeds {', '.join(map(str, seeds))}"
    return f"seed {seeds[0] if seeds else document['recipe']['seed']}"


def instability_page(document: InstabilityDocument, columns: int = 80) -> str:
    """Return the figures as text for a terminal: one row for each network and step."""
    rows = [_row(network, curve) for network in document["networks"] for curve in network["curves"]]
    short = [(*row[:2], *row[4:5]) for row in rows]
    return f"{paragraph(explanation(document), columns)}\n\n{text_table([(HEAD, rows), (SHORT_HEAD, short)], columns)}"


def explanation(document: InstabilityDocument) -> str:
    """Return how the figures come about in sentences."""
    images = document["statistics_images"]
    statistics = f", with the statistics of batch norm of {images:,} training images each" if images else ""
    return (
        f"Test error at {len(document['places'])} places on the line between the weights of two trainings{statistics}. "
        "Instability is the highest one less the mean of both ends."
        + (f" Means of {len(document['seeds'])} seeds." if len(document.get("seeds", [])) > 1 else "")
    )


def _row(network: UnstableNetwork, curve: InstabilityCurve) -> Sequence[str]:
    ends = f"{percent(curve['errors'][0])}, {percent(curve['errors'][-1])}"
    gap = f"{_instability(curve, '.2f')} points"
    return network["network"], moment(curve), ends, percent(max(curve["errors"])), gap, f"{curve['distance']:.2f}"


def _instability(curve: InstabilityCurve, digits: str) -> str:
    """Return the instability in points, over several seeds with its standard deviation."""
    spread = f" ± {100 * curve['spread']['instability']:{digits}}" if "spread" in curve else ""
    return f"{100 * curve['instability']:{digits}}{spread}"


def moment(curve: InstabilityCurve) -> str:
    """Return when the order of the data begins to differ, in words."""
    step, epoch = curve["step"], curve["epoch"]
    if step == 0:
        return "step 0"
    return f"step {step:,} ({epoch:.3g} epoch{'' if epoch == 1 else 's'})"


def _draw_network(axes: "Axes", network: UnstableNetwork, places: Sequence[float]) -> None:
    for number, curve in enumerate(network["curves"]):
        label = f"{moment(curve)}: {_instability(curve, '.1f')} points"
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        errors = [100 * error for error in curve["errors"]]
        axes.plot(places, errors, color=colour, marker=marker, markersize=4, linewidth=1.5, label=label)
        if "spread" in curve:
            around = [100 * spread for spread in curve["spread"]["errors"]]
            low, high = ([a + sign * sd for a, sd in zip(errors, around, strict=True)] for sign in (-1, 1))
            axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_title(f"{network['network']}, {magnitude(network['params'])} parameters, {_epochs(network)}", fontsize=9)
    axes.grid(True, color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    legend = axes.legend(frameon=False, fontsize=8, title="data differ after: instability", title_fontsize=8)
    legend.get_title().set_color(GREY)


def _epochs(network: UnstableNetwork) -> str:
    return f"{network['epochs']} epoch{'' if network['epochs'] == 1 else 's'}"
