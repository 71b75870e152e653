"""The command line interface, the only package that prints."""

from slimprune.cli.app import main, run

__all__ = ["main", "run"]
