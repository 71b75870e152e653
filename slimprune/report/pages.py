"""Self-contained HTML pages and SVG images: reports, comparisons and inspected models."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from slimprune.files import ComparisonDocument, InspectedGroup, InspectionDocument, ReportDocument, TableRow
from slimprune.report.comparison import all_columns, notes_of, shared_fields
from slimprune.report.curves import inline_svg, training_curves
from slimprune.report.diagram import diagram, group_colours
from slimprune.report.escaping import for_pages
from slimprune.report.figures import scale_of_metric, titled
from slimprune.report.latency import FULL_HEAD, LATENCY_NOTE, full_row, latency_groups
from slimprune.report.layer_plots import layer_panels, layers_figure
from slimprune.report.plots import comparison_figure
from slimprune.report.precision import alarms, other_warnings, precision_note, precision_table
from slimprune.report.tables import (
    facts,
    magnitude,
    page_title,
    plain_text,
    protected_rows,
    stability_sentence,
    summary_head,
    summary_rows,
    tiles,
)
from slimprune.report.tree import STAKES, headline, members
from slimprune.scale import Scale

PNG = b"\x89PNG\r\n\x1a\n"
"""First bytes of a PNG image."""
LARGEST_PICTURE = 2**26
"""Most bytes of a picture that becomes part of a page."""
LEGEND = "One colour: one group of channels, which go together. Lines: data, in the colour of the channels they carry"


def report_html(document: ReportDocument, folder: Path) -> str:
    """Return the document of `compress` as an HTML page.

    Args:
        document: Document made by `Report.to_json`; `pictures` lists {title, file} if there are any.
        folder: Folder to which the files of the pictures are relative.
    """
    document = for_pages(document)
    protected = {entry["layer"] for entry in document["protected"]}
    found, layers = document.get("precisions"), _bars(document)
    return _rendered(
        "report.html",
        document=document,
        title=page_title(document),
        subtitle=_report_subtitle(document),
        alarms=alarms(document),
        warnings=other_warnings(document),
        precision=None if found is None else (precision_note(found), *precision_table(document, found)),
        tiles=tiles(document),
        pictures=[(entry["title"], _embedded(folder, entry["file"])) for entry in document.get("pictures") or ()],
        summary_head=summary_head(document),
        summary=summary_rows(document),
        facts_rows=facts(document),
        masks=document.get("masks"),
        widths=[{**row, "whole": row["layer"] in protected} for row in layers],
        widest=max((row["dense"] for row in layers), default=1),
        curves=_markup(training_curves(document)),
        reading=LATENCY_NOTE.replace("`", ""),
        latency=[(where, list(map(full_row, rows))) for where, rows in latency_groups(document["latency"])],
        latency_head=FULL_HEAD,
        protected=protected_rows(document),
        stability=stability_sentence(document),
        recipe=[(name, plain_text(value)) for name, value in document["recipe"].items() if plain_text(value) != ""],
    )


def _bars(document: ReportDocument) -> list[dict[str, Any]]:
    """Return layer, dense and slim count of every bar: channels, or weights if single ones are masked."""
    if (masks := document.get("masks")) is None:
        return [{"layer": row["layer"], "dense": row["dense"], "slim": row["slim"]} for row in document["widths"]]
    return [{"layer": row["layer"], "dense": row["weights"], "slim": row["kept"]} for row in masks["layers"]]


def comparison_html(document: ComparisonDocument) -> str:
    """Return the document of `compare` as an HTML page: the plot, then each budget's findings and rows, best first."""
    document = for_pages(document)
    scale = scale_of_metric(document)
    metric = titled(document["metric"], scale)
    columns = all_columns(document)
    return _rendered(
        "comparison.html",
        document=document,
        subtitle=f"{metric} under equal budgets, equal training and equal seeds",
        plot=_markup(inline_svg(comparison_figure({**document, "title": ""}))),
        layers=_markup(inline_svg(layers_figure(document))) if layer_panels(document) else None,
        tables=[
            {
                "budget": table["budget"],
                "findings": table["findings"],
                "head": [name for name, _ in columns],
                "rows": [(row, [cell(row) for _, cell in columns]) for row in _best_first(table["rows"], scale)],
            }
            for table in document["tables"]
        ],
        notes=[note.replace("**", "").replace("`", "") for note in notes_of(document)],
        shared=shared_fields(document),
    )


def inspection_html(document: InspectionDocument) -> str:
    """Return the document of `inspect` as an HTML page with the diagram and the groups."""
    document = for_pages(document)
    rows = zip(document["groups"], group_colours(document), strict=True)
    return _rendered(
        "inspection.html",
        document=document,
        drawing=diagram(document),
        headline=headline(document),
        legend=LEGEND,
        stakes=STAKES,
        groups=[(group, colour, _stakes(group), members(group)) for group, colour in rows],
    )


def inspection_svg(document: InspectionDocument) -> str:
    """Return the diagram with its legend as an SVG image."""
    document = for_pages(document)
    lines = headline(document)
    width = max(6.9 * len(lines[0]), 5.8 * len(LEGEND))
    return _rendered(
        "inspection.svg", drawing=diagram(document), headline=lines, legend=LEGEND, legend_width=width
    ).lstrip()


def _rendered(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("slimprune.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)


def _markup(svg: str | None) -> Markup | None:
    """Mark an SVG image that was drawn here as safe, so that it is not escaped."""
    return None if svg is None else Markup(svg)


def _embedded(folder: Path, name: str) -> str | None:
    """Return a PNG image of a folder as a data URL; None if there is none of that name.

    Neither the name nor a link may lead out of the folder: the name may come from a report that somebody else wrote.
    """
    file = (folder / name).resolve()
    if not (file.is_relative_to(folder.resolve()) and file.is_file() and file.stat().st_size <= LARGEST_PICTURE):
        return None
    content = file.read_bytes()
    return f"data:image/png;base64,{base64.b64encode(content).decode()}" if content.startswith(PNG) else None


def _report_subtitle(document: ReportDocument) -> str:
    recipe, environment = document["recipe"], document["environment"]
    data = f"{recipe['data']}, " if recipe.get("data") else ""
    return f"{data}on {environment['device']}, in {document['seconds']:,.0f} s"


def _best_first(rows: Sequence[TableRow], scale: Scale) -> list[TableRow]:
    return sorted(rows, key=lambda row: -scale.sign * row["mean"] if row["mean"] is not None else float("inf"))


def _stakes(group: InspectedGroup) -> list[str]:
    """Return the number of channels, then parameters and MACs of one channel and of all but one."""
    stake = group["at_stake"]
    figures = [magnitude(stake[of][cost]) for of in ("one_channel", "all_but_one") for cost in ("params", "macs")]
    return [str(group["width"]), *figures]
