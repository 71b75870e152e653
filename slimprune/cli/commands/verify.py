"""`slimprune verify`."""

from pathlib import Path
from typing import Annotated

import typer

from slimprune.cli.options import BundleFolder, DataName, Debug, DenseModel, Json, Quiet, TrustCode


def command(
    bundle: BundleFolder,
    onnx: Annotated[Path, typer.Argument(help="the ONNX file to compare with it", metavar="ONNX")],
    data: DataName = None,
    model: DenseModel = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Verify an ONNX file."""
    from slimprune import pipeline
    from slimprune.cli.running import own_stdout, show_check

    with own_stdout():
        check = pipeline.verify(bundle, onnx, data=data, model=model, trust_code=trust_code)
    show_check(check, as_json, quiet)
