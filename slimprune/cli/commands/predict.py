"""`slimprune predict`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slimprune.cli.options import OUTPUT, Debug, Json, Quiet

if TYPE_CHECKING:
    from slimprune.prediction import Prediction


def command(
    model: Annotated[Path, typer.Argument(help="ONNX file that compress or export wrote", metavar="ONNX")],
    images: Annotated[list[str], typer.Argument(help="image files, folders or patterns", metavar="IMAGE...")],
    top: Annotated[int, typer.Option("--top", help="classes to show for each image", metavar="N")] = 5,
    out: Annotated[
        Path,
        typer.Option("--out", help="folder for masks and output images", metavar="DIR", rich_help_panel=OUTPUT),
    ] = Path(),
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict classes, values, masks or images."""
    from slimprune.cli.running import say
    from slimprune.prediction import predict, write_masks

    predictions = predict(model, images, top=top)
    masks = write_masks(predictions, out)
    if as_json:
        print(json.dumps([_plain(one, masks) for one in predictions]))
    elif not quiet:
        say("\n".join(line for one in predictions for line in _lines(one, masks)))


def _plain(one: "Prediction", masks: dict[Path, Path]) -> dict[str, Any]:
    found: dict[str, Any] = {"image": str(one.image), "box": list(one.box)}
    if one.values is not None:
        return {**found, "values": dict(one.values)}
    if one.picture is not None:
        return {**found, "picture": str(masks[one.image])}
    if one.shares is not None:
        return {**found, "shares": dict(one.shares), "mask": str(masks[one.image])}
    if one.mask is not None:
        return {**found, "share": one.share, "mask": str(masks[one.image])}
    return {**found, "classes": [{"name": row.name, "probability": row.probability} for row in one.classes]}


def _lines(one: "Prediction", masks: dict[Path, Path]) -> list[str]:
    if one.values is not None:
        return [str(one.image), *(f"{value:9.4g}  {name}" for name, value in one.values.items())]
    if one.picture is not None:
        return [str(one.image), f"{masks[one.image]} is written"]
    if one.shares is not None:
        covered = (f"{share:9.2%}  {name}".replace("%", " %") for name, share in one.shares.items())
        return [str(one.image), *covered, f"{masks[one.image]} is written"]
    if one.mask is None:
        return [str(one.image), *(f"{row.probability:9.2%}  {row.name}".replace("%", " %") for row in one.classes)]
    left, top, right, bottom = one.box
    height, width = one.mask.shape
    where = "" if (right - left, bottom - top) == (width, height) else f" of its centre, {right - left}x{bottom - top}"
    return [str(one.image), f"{one.share:9.2%} foreground{where}, {masks[one.image]} is written".replace("%", " %", 1)]
