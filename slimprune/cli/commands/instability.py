"""`slimprune instability`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slimprune.cli.flags import takes_recipe
from slimprune.cli.options import Debug, Json, Quiet, TrustRecipe
from slimprune.errors import UsageError


@takes_recipe
def command(
    settings: dict[str, Any],
    recipe: Annotated[
        Path, typer.Argument(help="YAML file with the fields of a recipe; flags override them", metavar="RECIPE")
    ],
    at: Annotated[
        str,
        typer.Option("--at", help="when the order of the data begins to differ: steps or epochs", metavar="N,Nepochs"),
    ] = "0",
    points: Annotated[int, typer.Option("--points", help="places on the line, its ends included", metavar="N")] = 11,
    network: Annotated[str, typer.Option("--network", help="which networks are trained", metavar="NAME,...")] = (
        "dense,pruned"
    ),
    seeds: Annotated[
        str,
        typer.Option("--seeds", help="several seeds, of which means are stated, with --seed left out", metavar="N,..."),
    ] = "",
    trust_code: TrustRecipe = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Test on the line between two trainings; writes RECIPE.instability.json and plots, or the file of --out."""
    from slimprune import pipeline
    from slimprune.cli.progress import listening
    from slimprune.cli.running import columns, merged, own_stdout, show
    from slimprune.recipe import make_recipe
    from slimprune.report import instability_page, paragraph

    out = Path(settings.get("out") or f"{recipe.stem}.instability.json")
    fields = {**merged(recipe, settings, trust_code=trust_code), "out": out}
    make_recipe(fields)  # validates before the call, so that the recipe's error names an unknown field
    asked: dict[str, Any] = {"at": _parts(at), "networks": _parts(network), "points": points, "seeds": _numbers(seeds)}
    with own_stdout(), listening(quiet) as listener:
        document = pipeline.instability(listener=listener, **asked, **fields)

    def text() -> str:
        written = f"{out} is written; {out.stem}.png and .svg lie beside it"
        return f"{paragraph(written, columns())}\n{instability_page(document, columns())}"

    show(document, text, as_json, quiet)


def _numbers(text: str) -> list[int]:
    """Read numbers between commas.

    Raises:
        UsageError: If one is no number.
    """
    wrong = next((part for part in _parts(text) if not part.isascii() or not part.isdigit()), None)
    if wrong is not None:
        raise UsageError(f"expected --seeds as numbers with commas, got {wrong!r}")
    return [int(part) for part in _parts(text)]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
