"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

OUTPUT = "Output"

Json = Annotated[
    bool,
    typer.Option(
        "--json", help="print one JSON document, and nothing else, to stdout", metavar="", rich_help_panel=OUTPUT
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors", metavar="", rich_help_panel=OUTPUT)]
Debug = Annotated[
    bool, typer.Option("--debug", help="show the traceback of an error", metavar="", rich_help_panel=OUTPUT)
]
Config = Annotated[Path | None, typer.Option("--config", help="YAML recipe; flags override its fields", metavar="FILE")]
BundleFolder = Annotated[Path, typer.Argument(help="folder of a bundle (NAME.slim)", metavar="BUNDLE")]
DataName = Annotated[
    str | None, typer.Option("--data", help="take samples from this data set instead of the bundle's", metavar="NAME")
]
InputName = Annotated[
    str | None,
    typer.Option(
        "--input", help="what the file takes: unit, normalized or uint8 (default: as in the recipe)", metavar="NAME"
    ),
]
PrecisionName = Annotated[
    str,
    typer.Option("--precision", help="fp32, fp16, or int8, which is calibrated on training images", metavar="NAME"),
]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="run the code that the bundle names", metavar="")]
TrustRecipe = Annotated[
    bool,
    typer.Option("--trust-code", help="run the code that the file names (not needed for that of a flag)", metavar=""),
]
DenseModel = Annotated[
    str | None,
    typer.Option(
        "--model", help="what builds the dense model, if it was passed as an object: FILE.py:FUNCTION", metavar="NAME"
    ),
]
