"""The entry point of the command line: its commands, and how errors become messages and exit codes."""

import errno
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from slimprune.cli.commands import SUMMARIES, load
from slimprune.cli.signals import begin, end
from slimprune.errors import SlimpruneError, UsageError, kind_and_line, out_of_memory, shortened, visible
from slimprune.ranks.launch import launched_rank, launched_ranks

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)
"""Errors of the system on a disk that is full or may not be written to."""


_SHARED = ("compress", "run", "plan")
"""Commands whose work several processes share."""


class InterruptedRunError(SlimpruneError):
    """A run that was stopped by SIGINT, SIGTERM or SIGHUP."""

    exit_code = 130


class _Commands(TyperGroup):
    """Command group that imports a command only when it is called.

    It turns an interruption into an ordinary error, because typer would drop the notes of a `KeyboardInterrupt`.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command named by the first argument."""
        name, _, rest = super().resolve_command(ctx, args)
        if launched_ranks() > 1 and name not in _SHARED:
            raise UsageError(f"expected {', '.join(_SHARED)} in {launched_ranks()} processes, got {name}")
        command = load(str(name))
        begin()
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raise `InterruptedRunError` if it is interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            error = InterruptedRunError("; ".join(["interrupted", *_notes(stop)]))
            error.exit_code = getattr(stop, "exit_code", InterruptedRunError.exit_code)
            raise error from stop
        finally:
            end()


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    help="Slim vision models before they are trained: scored, proven, trained, exported and measured.",
)


def _outline() -> None:
    """Stand in for a command until it is loaded; the help needs only its name and summary."""


for _name, _summary in SUMMARIES.items():
    app.command(_name, help=_summary)(_outline)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        return app(args=list(arguments), prog_name="slimprune", standalone_mode=False) or 0
    except Exception as error:  # noqa: BLE001 every error is reported as one line
        if "--debug" in arguments:
            traceback.print_exc()
        message, code = _explained(error)
        if message and _speaks():
            print("error: " + visible(" ".join(message.split())), file=sys.stderr)
        return code


def _speaks() -> bool:
    """Return whether this process tells of its error; of several that were launched together, one does."""
    group = sys.modules.get("slimprune.ranks.group")
    return launched_rank() == 0 if group is None else group.speaks()


def _explained(error: Exception) -> tuple[str, int]:
    """Return the message and the exit code of an error; the message is empty if typer has shown its help."""
    if isinstance(error, SlimpruneError):
        return "; ".join([str(error), *_notes(error)]), error.exit_code
    of_typer = getattr(error, "format_message", None)
    if of_typer is not None:
        return of_typer(), UsageError.exit_code
    kind, code = f"unexpected {type(error).__name__}: {error} (--debug shows where)", SlimpruneError.exit_code
    if out_of_memory(error):
        kind = f"expected enough memory, got too little ({kind_and_line(error)})"
    elif isinstance(error, OSError) and error.strerror:
        what = "a file" if error.filename is None else shortened(str(error.filename))
        verb = "write" if error.errno in _UNWRITABLE else "use"
        kind, code = f"cannot {verb} {what}: {error.strerror}", UsageError.exit_code
    return "; ".join([kind, *_notes(error)]), code


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


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
    """Define the options of the program itself."""
