"""What the tests of the command line share."""

import re
from pathlib import Path

Run = tuple[int, str, str]
"""Exit code, stdout, stderr."""


def listing(folder: Path) -> list[str]:
    """Everything below a folder, hidden files included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def error_line(result: Run) -> str:
    """The one line on stderr, after those of stages that were done; nothing on stdout."""
    _, out, err = result
    assert out == ""
    lines = [line for line in err.splitlines() if not re.match(r"(prove|score|latency|train): ", line)]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]
