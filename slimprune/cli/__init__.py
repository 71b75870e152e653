"""The command line: the only part that prints."""

from slimprune.cli.app import main, run

__all__ = ["main", "run"]
