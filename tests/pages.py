"""The pages of the documentation: the code in them, run, beside the output that they show.

`python -m tests.pages` writes what the code prints today into the pages.
"""

import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from slimprune import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COLUMNS = "88"
NOT_RUN = "not run by the tests"
"""How the title of a block begins that needs a GPU, a download or minutes; the reason follows after a colon."""
LEFT_OUT = "..."
"""Stands in a line of its own for lines of the output that a page leaves out."""

_BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)
_NUMBER = re.compile(r"[+-]?\d[\d,.]*(e[+-]?\d+)?")
_MACHINE = re.compile(r"^cpu \(.*?(?=^engine)", re.MULTILINE | re.DOTALL)
"""What `bench` says of the machine above its table: the processor, and what else ran meanwhile."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        language: python, console (commands after "$ " and what they print), sh (commands), text (what the Python block
            above prints) or another that is only shown.
        title: why the block is not run, a remark on the output, or "".
        text: what stands between the fences.
        start: where the text begins in the page.
    """

    language: str
    title: str
    text: str
    start: int

    @property
    def file(self) -> str | None:
        """The name of the file that the block is, which stands in its first line as a comment."""
        found = re.match(r"# ([\w-]+\.(py|yaml))$", self.text.partition("\n")[0])
        return found[1] if found else None

    @property
    def runs(self) -> bool:
        return self.language in ("python", "console") and self.file is None and not self.title.startswith(NOT_RUN)

    @property
    def commands(self) -> list[str]:
        """The command lines that the block shows, without remarks behind them."""
        lines = [line.removeprefix("$ ") for line in self.text.splitlines() if self._is_command(line)]
        return [line.partition(" #")[0].strip() for line in lines]

    def _is_command(self, line: str) -> bool:
        return (
            line.startswith("$ ") if self.language == "console" else self.language == "sh" and not line.startswith("#")
        )


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page from top to bottom."""
    found = _BLOCK.finditer(page.read_text())
    return [Block(one["language"], one["title"] or "", one["text"], one.start("text")) for one in found]


def run_page(found: Sequence[Block], folder: Path) -> list[tuple[Block, str]]:
    """Run the code of one page from top to bottom in an empty folder, where its files stay.

    Returns:
        The blocks that show output, each with the text that the page should have there.
    """
    shown: list[tuple[Block, str]] = []
    scope: dict[str, Any] = {"__name__": "__main__"}
    with _current(folder):
        for number, block in enumerate(found):
            if block.file is not None:
                Path(block.file).write_text(block.text)
            elif block.runs and block.language == "console":
                shown.append((block, "".join(f"$ {command}\n{_printed(command)}" for command in block.commands)))
            elif block.runs:
                with redirect_stdout(io.StringIO()) as output:
                    exec(compile(block.text, f"block {number}", "exec"), scope)
                after = found[number + 1] if number + 1 < len(found) else None
                if after is not None and after.language == "text":
                    shown.append((after, output.getvalue()))
    return shown


def agrees(block: Block, printed: str) -> bool:
    """Whether a block shows what was printed, up to lines left out; figures count in Python's output alone."""
    exact = block.language == "text" and "differ" not in block.title
    form = (lambda text: text.rstrip("\n")) if exact else _without_figures
    parts = re.split(rf"(?:^|\n){re.escape(LEFT_OUT)}(?:\n|$)", block.text)
    return re.fullmatch(".*".join(re.escape(form(part)) for part in parts), form(printed), re.DOTALL) is not None


def main() -> int:
    """Write what the code prints today into the pages named (all by default); 1 where some has to be mended by hand."""
    by_hand, wanted = 0, sys.argv[1:]
    for page in PAGES:
        if wanted and page.name not in wanted:
            continue
        if page.name == "extending.md":  # shows no output; tests/test_extending_page.py runs it
            continue
        text, moved = page.read_text(), 0
        with tempfile.TemporaryDirectory() as folder:
            printed_blocks = run_page(blocks(page), Path(folder))
            for drawing, drawn in drawings(Path(folder)):
                drawing.write_text(drawn)
        for block, printed in printed_blocks:
            shortened = f"\n{LEFT_OUT}\n" in f"\n{block.text}"
            if block.text == printed or (shortened and agrees(block, printed)):
                continue
            if shortened:
                by_hand += 1
                print(f"{page.name}, to be shortened by hand:\n{printed}")
                continue
            start = block.start + moved
            text = text[:start] + printed + text[start + len(block.text) :]
            moved += len(printed) - len(block.text)
            print(f"{page.name}: output of {block.commands or 'Python'} is written")
        page.write_text(text)
    return int(by_hand > 0)


def drawings(folder: Path) -> list[tuple[Path, str]]:
    """The drawings that pages show and a page's code has made: (committed file, what was drawn)."""
    committed = [file for file in (ROOT / "docs").glob("*.svg") if (folder / file.name).exists()]
    return [(file, (folder / file.name).read_text()) for file in committed]


@contextmanager
def _current(folder: Path) -> Iterator[None]:
    """A folder as the current one, whose modules can be imported; torch's random numbers go on as if none was drawn."""
    state, columns = torch.random.get_rng_state(), {"COLUMNS": COLUMNS}
    with chdir(folder), mock.patch.dict(os.environ, columns), mock.patch.object(sys, "path", [str(folder), *sys.path]):
        try:
            yield
        finally:
            torch.random.set_rng_state(state)
            for name in [file.stem for file in folder.glob("*.py")]:
                sys.modules.pop(name, None)


def _printed(command: str) -> str:
    """What a command prints to stdout, or the line of its error."""
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as messages:
        code = cli.run(shlex.split(command)[1:])
    lines = output.getvalue() if code == 0 else messages.getvalue().splitlines(keepends=True)[-1]
    return "".join(f"{line.rstrip()}\n" for line in lines.splitlines())


def _without_figures(text: str) -> str:
    text = re.sub(r"([─━═-])\1+", r"\1", _NUMBER.sub("#", _MACHINE.sub("", text)))
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
