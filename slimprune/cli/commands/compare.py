"""`slimprune compare`."""

from pathlib import Path
from typing import Annotated

import typer

from slimprune.cli.options import OUTPUT, Debug, Json, Quiet, TrustRecipe


def command(
    recipe: Annotated[Path, typer.Argument(help="YAML file of a grid: rows, budgets and seeds", metavar="GRID")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="folder to fill (default: the recipe's name)", metavar="DIR", rich_help_panel=OUTPUT
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", help="networks to train at once", metavar="N")] = 1,
    trust_code: TrustRecipe = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fill a folder with the tables of a comparison."""
    from slimprune import comparison
    from slimprune.cli.progress import listening
    from slimprune.cli.running import columns, own_stdout, show
    from slimprune.report import comparison_page, paragraph

    folder = out or Path(recipe.stem)
    with own_stdout(), listening(quiet, cells=True) as listener:
        document = comparison.compare(recipe, out=folder, jobs=jobs, trust_code=trust_code, listener=listener)

    def text() -> str:
        written = f"{folder} holds compare.html and .md (all columns), .json, .svg and .png"
        return f"{paragraph(written, columns())}\n{comparison_page(document, columns())}"

    show(document, text, as_json, quiet)
