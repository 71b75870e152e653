"""`slimprune list`."""

import json
from typing import Annotated

import typer

from slimprune.cli.choices import LISTS, available
from slimprune.cli.options import Debug, Json


def command(
    kind: Annotated[str, typer.Argument(help=f"what to list ({', '.join(LISTS)})", metavar="KIND")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print names and descriptions."""
    from slimprune.cli.running import columns, say
    from slimprune.report import named_lines

    rows = available(kind)
    if as_json:
        print(json.dumps([{"name": name, "description": description} for name, description in rows]))
    else:
        say(named_lines(rows, columns()))
