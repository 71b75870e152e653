"""The one place where rows become a Markdown table."""

from collections.abc import Container, Iterable, Sequence


def markdown_table(head: Sequence[object], rows: Iterable[Sequence[object]], *, left: Container[int] = (0,)) -> str:
    r"""Return a table of GitHub's Markdown, without a line break at its end.

    A line break within a cell becomes a space, a bar is escaped.

    Args:
        head: Names of the columns.
        rows: Cells under each name.
        left: Numbers of the columns, from 0, that are aligned to the left; the others hold figures, to the right.

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
