"""Entry point of `python -m slimprune`."""

from slimprune.cli import main

main()
