"""The plain document as text for a terminal or a log."""

from collections.abc import Sequence

from slimprune.files import ReportDocument, WithLatency
from slimprune.report.latency import FULL_HEAD, SHORT_HEAD, full_row, latency_groups, short_row
from slimprune.report.masked import LAYERS_HEAD, layer_rows
from slimprune.report.precision import other_warnings, precision_note, precision_table
from slimprune.report.tables import facts, protected_rows, summary_head, summary_rows, width_rows
from slimprune.report.text import named_lines, paragraph, side_by_side, text_table


def page(document: ReportDocument, columns: int = 80) -> str:
    """Return the facts, the width of every layer, and dense against slim, in lines of `columns` as far as words fit."""
    rows = facts(document)
    rows += [("protected *", f"{layers}: {reason}") for reason, layers in protected_rows(document)]
    rows += [("note", warning) for warning in other_warnings(document)]
    masks = document.get("masks")
    layers = (
        width_grid(width_rows(document), columns)
        if masks is None
        else text_table([(LAYERS_HEAD, layer_rows(document, masks))], columns)
    )
    parts = [named_lines(rows, columns), layers]
    parts.append(text_table([(summary_head(document), summary_rows(document))], columns))
    if (found := document.get("precisions")) is not None:
        tables = [precision_table(document, found, full=full) for full in (True, False)]
        parts.append(f"{paragraph(precision_note(found), columns)}\n{text_table(tables, columns)}")
    return "\n\n".join(parts + ([latency_page(document, columns)] if document["latency"] else []))


def latency_page(document: WithLatency, columns: int = 80) -> str:
    """Return measured times in one table per device and number of threads, with quartiles if `columns` suffice."""
    parts = []
    for where, rows in latency_groups(document["latency"]):
        full, short = (FULL_HEAD, [*map(full_row, rows)]), (SHORT_HEAD, [*map(short_row, rows)])
        narrow = _without_times(SHORT_HEAD), [*map(_without_times, short[1])]
        parts.append(f"{paragraph(where, columns)}\n{text_table([full, short, narrow], columns)}")
    return "\n\n".join(parts)


def width_grid(rows: Sequence[tuple[str, str, str]], columns: int = 80) -> str:
    """Return `layer  dense -> slim` of every layer, column by column, in as many columns as fit the terminal."""
    layer, dense, slim = (max(map(len, column)) for column in zip(*rows, strict=True))
    return side_by_side([f"{row[0]:<{layer}}  {row[1]:>{dense}} -> {row[2]:<{slim}}" for row in rows], columns)


def _without_times(row: Sequence[str]) -> tuple[str, ...]:
    engine, batch, _, _, *gain = row
    return engine, batch, *gain
