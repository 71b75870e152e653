"""Markdown tables."""

from collections.abc import Container, Iterable, Sequence


def markdown_table(head: Sequence[object], rows: Iterable[Sequence[object]], *, left: Container[int] = (0,)) -> str:
    r"""Return a table in GitHub's Markdown, without a line break at the end.

    A line break within a cell becomes a space, and a vertical bar is escaped.

    Args:
        head: Names of the columns.
        rows: Cells of each row.
        left: Numbers of the left-aligned columns, from 0; the others hold figures and are right-aligned.

    Examples:
        >>> print(markdown_table(["layer", "width"], [["a|b", 64]]))
        | layer | width |
        | --- | ---: |
        | a\|b | 64 |
    """
    rule = ["---" if column in left else "---:" for column in range(len(head))]
    return "\n".join([_line(head), f"| {' | '.join(rule)} |", *map(_line, rows)])


def _line(cells: Iterable[object]) -> str:
    plain = (" ".join(str(cell).splitlines()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(plain)} |"
