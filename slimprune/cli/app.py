"""The entry point: which commands there are, and what their errors come to."""

import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from slimprune.cli.commands import SUMMARIES, load
from slimprune.errors import SlimpruneError, UsageError


class InterruptedRunError(SlimpruneError):
    """The run was stopped by SIGINT or SIGTERM."""

    exit_code = 130


class _Commands(TyperGroup):
    """Outlines of all commands, of which the one that is called is loaded.

    An interruption becomes an error like others, before typer drops what it has to say.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments begin with."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(str(name)), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise InterruptedRunError("; ".join(["interrupted", *_notes(stop)])) from stop


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    help="Slim vision models before they are trained: scored, proven, trained, exported and measured.",
)


def _outline() -> None:
    """What stands for a command until it is loaded; its name and summary are all that the help needs."""


for _name, _summary in SUMMARIES.items():
    app.command(_name, help=_summary)(_outline)


def main() -> None:
    """Entry point: runs the command, turns an error into one line and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        return app(args=list(arguments), prog_name="slimprune", standalone_mode=False) or 0
    except Exception as error:  # noqa: BLE001 whatever it is, it ends as one line
        if "--debug" in arguments:
            traceback.print_exc()
        message, code = _explained(error)
        if message:
            print("error: " + " ".join(message.split()), file=sys.stderr)
        return code


def _explained(error: Exception) -> tuple[str, int]:
    """The line and the exit code of an error; no line where typer has shown its help instead."""
    if isinstance(error, SlimpruneError):
        return "; ".join([str(error), *_notes(error)]), error.exit_code
    of_typer = getattr(error, "format_message", None)
    if of_typer is not None:
        return of_typer(), UsageError.exit_code
    kind = f"unexpected {type(error).__name__}: {error} (--debug shows where)"
    return "; ".join([kind, *_notes(error)]), SlimpruneError.exit_code


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"slimprune {metadata.version('slimprune')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", metavar="", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Hold the options of the program itself."""
