"""The command line interface, the only package that prints."""

import os
import sys
from collections.abc import Sequence

from slimprune.cli.signals import STOPPED, watch

__all__ = ["main", "run"]


def main() -> None:
    """Run the command line of this process and exit; an error becomes one line and an exit code.

    onnxruntime reports its use to its makers in some builds; the command line turns that off unless the user decided.
    """
    watch()  # before the heavy imports
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    code = run(sys.argv[1:])
    if code in STOPPED:
        # Everything is kept, and the interpreter takes long to clean up on a busy machine.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    from slimprune.cli import app

    return app.run(arguments)
