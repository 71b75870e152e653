"""`slimprune list`."""

import json
from typing import Annotated, Literal

import typer

from slimprune.cli.options import Debug, Json


def command(
    kind: Annotated[Literal["archs", "data", "criteria", "rules", "engines"], typer.Argument(help="what to list")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print names and descriptions."""
    from slimprune.cli.choices import available
    from slimprune.cli.running import columns
    from slimprune.report.terminal import named_lines

    rows = available(kind)
    if as_json:
        print(json.dumps([{"name": name, "description": description} for name, description in rows]))
    else:
        print(named_lines(rows, columns()))
