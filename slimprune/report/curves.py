"""Training curves, and figures of matplotlib as inline SVG."""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from slimprune.files import ReportDocument, TrainingHistory
from slimprune.report.figures import METRIC_NAMES, axis_title, scale_of, titled
from slimprune.report.tables import trainings
from slimprune.scale import Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLOURS = ("#2f8ade", "#d9822b")
"""Colours of slim and dense, readable on light and dark backgrounds."""
OF_PAGE = {
    "#000000": "var(--ink)", "#111111": "var(--ink)", "#ffffff": "var(--page)", "#eeeeee": "var(--line)",
    "#dddddd": "var(--line)", "#b0b0b0": "var(--faint)", "#777777": "var(--faint)",
    "#0072b2": "light-dark(#0072b2, #4fabe6)", "#882255": "light-dark(#882255, #df7fb1)",
    "#117733": "light-dark(#117733, #57bf7c)", "#332288": "light-dark(#332288, #a196f2)",
    "#661100": "light-dark(#661100, #df8068)",
}  # fmt: skip
"""Colours on a page that may be dark, by the colour of a figure on white."""


def training_curves(document: ReportDocument) -> str | None:
    """Return test metric and training loss by epoch, slim and dense, as inline SVG; None if nothing was trained."""
    found = trainings(document, slim="slim")
    courses = [(name, training["history"]) for name, training in found if training.get("history")]
    if not courses:
        return None
    stated, scale = document.get("metric"), scale_of(document)
    name = stated["name"] if stated is not None else next((key for key in METRIC_NAMES if key in found[0][1]), "metric")
    held_out = any(training.get("validation") is not None for _, training in found)
    title = f"{titled(name, scale)} on the {'held-out images' if held_out else 'test set'}"
    return inline_svg(_figure(courses, axis_title(title, scale.unit), scale))


def inline_svg(figure: "Figure") -> str:
    """Return a figure as an SVG element in the colours of the surrounding page; equal figures give equal text."""
    import matplotlib

    target = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "slimprune", "svg.fonttype": "none"}):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = text.replace('xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href", "href")
    return re.sub("#[0-9a-f]{6}", lambda found: OF_PAGE.get(found[0], found[0]), text)


def _figure(courses: Sequence[tuple[str, TrainingHistory]], label: str, scale: Scale) -> "Figure":
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (name, history), colour in zip(courses, COLOURS, strict=False):
            marker = "o" if len(history["epoch"]) < 25 else ""
            style = {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.6, "label": name}
            left.plot(history["epoch"], [scale.factor * value for value in history["test_metric"]], **style)
            right.plot(history["epoch"], history["train_loss"], **style)
        left.set_ylabel(label)
        right.set_ylabel("training loss")
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(True, color="#eeeeee", linewidth=0.8)
            axes.set_axisbelow(True)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        if scale.unit == "%" and left.get_ylim()[1] > 102:
            left.set_ylim(top=102)
        left.legend(frameon=False)
    return figure
