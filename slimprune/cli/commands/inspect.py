"""`slimprune inspect`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slimprune.cli.flags import takes_fields
from slimprune.cli.options import OUTPUT, Config, Debug, Quiet, TrustRecipe

if TYPE_CHECKING:
    from slimprune.pipeline.inspect import Form
    from slimprune.report import Inspection


def _file(flag: str, what: str) -> Any:
    return typer.Option(flag, help=what, metavar="FILE", rich_help_panel=OUTPUT)


@takes_fields("arch", "data", "image_size", "protect", "device", "seed")
def command(
    settings: dict[str, Any],
    config: Config = None,
    shape: Annotated[
        str | None,
        typer.Option("--shape", help="of the inputs, in place of a data set", metavar="C,H,W", rich_help_panel="Data"),
    ] = None,
    classes: Annotated[
        int, typer.Option("--classes", help="number of outputs, beside --shape", metavar="N", rich_help_panel="Data")
    ] = 10,
    html: Annotated[Path | None, _file("--html", "page to write, with a drawing")] = None,
    svg: Annotated[Path | None, _file("--svg", "drawing to write")] = None,
    as_json: Annotated[Path | None, _file("--json", "JSON file to write; - prints it, and nothing else")] = None,
    trust_code: TrustRecipe = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show the channel groups of a network."""
    from slimprune import pipeline
    from slimprune.cli.progress import listening
    from slimprune.cli.running import merged, own_stdout
    from slimprune.recipe import make_recipe

    on_stdout = as_json == Path("-")
    wanted: dict[Form, Path | None] = {"json": None if on_stdout else as_json, "html": html, "svg": svg}
    files = {form: file for form, file in wanted.items() if file is not None}
    fields = merged(config, settings, trust_code=trust_code)
    make_recipe(fields)  # validates before the call, so that the recipe's error names an unknown field
    options: dict[str, Any] = {"shape": shape, "classes": classes, "files": files, **fields}
    with own_stdout(), listening(quiet) as listener:
        inspection = pipeline.inspect_named(listener=listener, **options)
    _show(inspection, files.values(), on_stdout, quiet)


def _show(inspection: "Inspection", written: Iterable[Path], as_json: bool, quiet: bool) -> None:
    from slimprune.cli.running import columns, say
    from slimprune.report import inspection_page

    if as_json:
        print(inspection.to_text(), end="")
    elif not quiet:
        for file in written:
            say(f"{file} is written")
        say(inspection_page(inspection.to_json(), columns()))
