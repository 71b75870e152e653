"""The command line: the only room that prints."""

from slimprune.cli.commands import main, run

__all__ = ["main", "run"]
