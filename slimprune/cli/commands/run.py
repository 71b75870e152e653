"""`slimprune run`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slimprune.cli.flags import takes_recipe
from slimprune.cli.options import Debug, Json, Quiet, TrustRecipe


@takes_recipe
def command(
    settings: dict[str, Any],
    recipe: Annotated[
        Path, typer.Argument(help="YAML file with the fields of a recipe; flags override them", metavar="RECIPE")
    ],
    trust_code: TrustRecipe = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compress by a recipe; the outputs are named after its file by default."""
    from slimprune import pipeline
    from slimprune.cli.running import merged, run_and_show

    fields = merged(recipe, settings, trust_code=trust_code)
    run_and_show(pipeline.compress, {"out": Path(f"{recipe.stem}.onnx"), **fields}, as_json, quiet)
