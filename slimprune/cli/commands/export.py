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
from slimprune.errors import UsageError


def command(
    bundle: BundleFolder,
    out: Annotated[
        Path, typer.Option("--out", help="file to write: NAME.onnx, or NAME.pt2 for torch.export", metavar="FILE")
    ],
    data: DataName = None,
    model: DenseModel = None,
    input: InputName = None,  # noqa: A002 the name of the option
    precision: PrecisionName = "fp32",
    kind: Annotated[
        str | None, typer.Option("--format", help="onnx or pt2 (default: by the ending of --out)", metavar="NAME")
    ] = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write an ONNX file, or a program of torch.export."""
    from slimprune import pipeline
    from slimprune.cli.running import chosen, own_stdout, show_check
    from slimprune.recipe import make_recipe
    from slimprune.types import PRECISIONS

    takes = make_recipe({"input": input}).input
    if kind is not None and out.suffix != f".{chosen('format', kind, ('onnx', 'pt2'))}":
        raise UsageError(f"expected --out to end in .{kind} beside --format {kind}, got {out}")
    wanted = chosen("precision", precision, PRECISIONS)
    with own_stdout():
        check = pipeline.export(
            bundle, out, data=data, model=model, input=takes, precision=wanted, trust_code=trust_code
        )
    show_check(check, as_json, quiet)
