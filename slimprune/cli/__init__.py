"""The command line interface, the only package that prints."""

import os
import sys
from collections.abc import Sequence

from slimprune.cli.signals import watch

__all__ = ["main", "run"]


def main() -> None:
    """Run the command line of this process and exit; an error becomes one line and an exit code.

    onnxruntime reports its use to its makers in some builds; the command line turns that off unless the user decided.
    """
    watch()  # before the heavy imports
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    from slimprune.cli import app

    return app.run(arguments)
