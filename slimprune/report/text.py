"""Paragraphs and tables for a terminal of a given width; no word is broken."""

import io
import textwrap
from collections.abc import Iterable, Sequence

from rich import box
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

Form = tuple[Sequence[str], Sequence[Sequence[str]]]
"""The head and the rows of a table."""

GAP = 3
INDENT = "    "


def paragraph(sentence: str, columns: int, first: str = "", others: str = "") -> str:
    """Wrap a sentence to lines of `columns`; `first` and `others` are prefixes of the first and of the other lines.

    Words that are longer than a line, such as paths, are not broken, and a number stays with its percent sign.
    """
    wrap = textwrap.TextWrapper(
        columns, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
    return wrap.fill(sentence.replace(" %", "\N{NO-BREAK SPACE}%")).replace("\N{NO-BREAK SPACE}", " ")


def named_lines(rows: Iterable[tuple[str, str]], columns: int = 80) -> str:
    """Return names with aligned sentences to their right, or below the names if the sentences would not fit there."""
    rows = list(rows)
    margin = max(len(name) for name, _ in rows) + 2
    longest = max(len(word) for _, sentence in rows for word in sentence.split() or [""])
    if margin + longest <= columns or longest + len(INDENT) > columns:
        return "\n".join(paragraph(sentence, columns, f"{name:<{margin}}", " " * margin) for name, sentence in rows)
    return "\n".join(f"{name}\n{paragraph(sentence, columns, INDENT, INDENT)}" for name, sentence in rows)


def text_table(forms: Iterable[Form], columns: int = 80) -> str:
    """Return a table whose first column is left-aligned and whose other columns are right-aligned.

    Args:
        forms: Forms of the table from wide to narrow; the first that fits is used, or the last if none fits.
        columns: Width of the terminal.
    """
    lines = ""
    for head, rows in forms:
        lines = rendered(_rich_table(head, rows))
        if max(map(len, lines.splitlines())) <= columns:
            break
    return lines


def side_by_side(cells: Sequence[str], columns: int = 80) -> str:
    """Arrange cells column by column, in as many columns as fit into a terminal with `columns` characters."""
    width = max(map(len, cells))
    texts = [Text(f"{cell:<{width}}", no_wrap=True) for cell in cells]
    return rendered(Columns(texts, padding=(0, GAP, 0, 0), column_first=True), max(columns, width))


def rendered(content: RenderableType, columns: int = 10_000) -> str:
    """Render with rich as plain text without trailing spaces."""
    file = io.StringIO()
    Console(file=file, width=columns, color_system=None, legacy_windows=False, highlight=False).print(content)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _rich_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for number, name in enumerate(head):
        made.add_column(Text(name), justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        made.add_row(*map(Text, row))
    return made
