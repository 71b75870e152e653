"""The plain document as text for a terminal or a log."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slimprune.report.latency import FULL_HEAD, SHORT_HEAD, full_row, latency_groups, short_row
from slimprune.report.tables import SUMMARY_HEAD, Document, facts, protected_rows, summary_rows, width_rows

GAP = "   "


def page(document: Document, columns: int = 80) -> str:
    """What was done, the width of every layer, and last dense against slim, in lines of `columns` where words allow."""
    rows = facts(document)
    rows += [("protected *", f"{layers}: {reason}") for reason, layers in protected_rows(document)]
    rows += [("note", warning) for warning in document["warnings"]]
    table = aligned([SUMMARY_HEAD, *summary_rows(document)])
    parts = [named_lines(rows, columns), width_grid(width_rows(document), columns), table]
    return "\n\n".join(parts + ([latency_page(document, columns)] if document["latency"] else []))


def latency_page(document: Mapping[str, Any], columns: int = 80) -> str:
    """Measured times, a table for every device and number of threads; with quartiles where `columns` take them."""
    parts = []
    for where, rows in latency_groups(document["latency"]):
        table = aligned([FULL_HEAD, *map(full_row, rows)])
        if max(map(len, table.splitlines())) > columns:
            table = aligned([SHORT_HEAD, *map(short_row, rows)])
        parts.append(f"{textwrap.fill(where, columns, break_on_hyphens=False)}\n{table}")
    return "\n\n".join(parts)


def named_lines(rows: Iterable[tuple[str, str]], columns: int = 80) -> str:
    """Names and sentences, the sentences below each other."""
    rows = list(rows)
    margin = max(len(name) for name, _ in rows) + 2
    wrap = textwrap.TextWrapper(columns, subsequent_indent=" " * margin, break_long_words=False, break_on_hyphens=False)
    # A number and its percent sign stay on one line.
    bound = [f"{name:<{margin}}{sentence}".replace(" %", "\N{NO-BREAK SPACE}%") for name, sentence in rows]
    return "\n".join(map(wrap.fill, bound)).replace("\N{NO-BREAK SPACE}", " ")


def width_grid(rows: Sequence[tuple[str, str, str]], columns: int = 80) -> str:
    """`layer  dense -> slim` of every layer, downwards, side by side as often as `columns` take it."""
    layer, dense, slim = _widths(rows)
    cells = [f"{row[0]:<{layer}}  {row[1]:>{dense}} -> {row[2]:<{slim}}" for row in rows]
    across = max(1, (columns + len(GAP)) // (len(cells[0]) + len(GAP)))
    down = -(-len(cells) // across)
    return "\n".join(GAP.join(cells[line::down]).rstrip() for line in range(down))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is flush left and whose others are flush right."""
    first, *others = _widths(rows)
    lines = []
    for name, *cells in rows:
        padded = [f"{cell:>{width}}" for cell, width in zip(cells, others, strict=True)]
        lines.append(GAP.join([f"{name:<{first}}", *padded]).rstrip())
    return "\n".join(lines)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
