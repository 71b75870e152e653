"""`slimprune export`."""

from pathlib import Path
from typing import Annotated

import typer

from slimprune.cli.options import (
    BundleFolder,
    DataName,
    Debug,
    DenseModel,
    InputName,
    Json,
    PrecisionName,
    Quiet,
    TrustCode,
)


def command(
    bundle: BundleFolder,
    out: Annotated[Path, typer.Option("--out", help="the ONNX file to write", metavar="FILE")],
    data: DataName = None,
    model: DenseModel = None,
    input: InputName = None,  # noqa: A002 the name of the option
    precision: PrecisionName = "fp32",
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write an ONNX file."""
    from slimprune import pipeline
    from slimprune.cli.running import chosen, own_stdout, show_check
    from slimprune.recipe import make_recipe
    from slimprune.types import PRECISIONS

    kind = make_recipe({"input": input}).input
    wanted = chosen("precision", precision, PRECISIONS)
    with own_stdout():
        check = pipeline.export(
            bundle, out, data=data, model=model, input=kind, precision=wanted, trust_code=trust_code
        )
    show_check(check, as_json, quiet)
