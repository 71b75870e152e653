"""What masks of single weights leave, as rows and sentences."""

from slimprune.files import MasksOutcome, ReportDocument
from slimprune.report.figures import percent

LAYERS_HEAD = ("layer", "weights", "not masked", "sparsity")
NOTHING_FASTER = (
    "nothing gets faster or smaller: masked weights are stored and multiplied as zeros, here and in the ONNX file; an "
    "engine for sparse weights could skip at most {} of the MACs"
)


def masked_facts(document: ReportDocument, masks: MasksOutcome) -> list[tuple[str, str]]:
    """Return lines on the sparsity and on what it saves, in the place of those on budget and proof."""
    asked = 100 * document["budget"]["requested"]
    of = f"{percent(masks['sparsity'])} of {masks['weights']:,} weights of convolutions and linear layers are zero"
    layers = masks["layers"]
    densest, sparsest = (pick(layers, key=lambda layer: layer["sparsity"]) for pick in (min, max))
    extremes = f"from {percent(densest['sparsity'])} in {densest['layer']} to {percent(sparsest['sparsity'])} in"
    return [
        *_course(document),
        ("masked", f"{of} and stay zero ({asked:.4g} % asked), rule {masks['rule']}"),
        ("by layer", f"{extremes} {sparsest['layer']}"),
        ("speed", NOTHING_FASTER.format(percent(document["macs"]["removed"]))),
    ]


def _course(document: ReportDocument) -> list[tuple[str, str]]:
    """Return the line on gradual pruning, if the weights were masked in the course of the training."""
    recipe = document["recipe"]
    if recipe.get("when") != "gradual":
        return []
    first, last, epochs, times = (recipe.get(name) for name in ("prune_from", "prune_until", "epochs", "rounds"))
    return [("gradual", f"masked {times} times after epoch {first} to {last} of {epochs}, by the sizes of the weights")]


def layer_rows(document: ReportDocument, masks: MasksOutcome) -> list[tuple[str, str, str, str]]:
    """Return one row per layer for `LAYERS_HEAD`, with a mark on protected layers."""
    protected = {entry["layer"] for entry in document["protected"]}
    return [
        (
            entry["layer"],
            f"{entry['weights']:,}",
            f"{entry['kept']:,}{' *' if entry['layer'] in protected else ''}",
            percent(entry["sparsity"]),
        )
        for entry in masks["layers"]
    ]


def empty_alarms(document: ReportDocument, masks: MasksOutcome) -> list[str]:
    """Return the warning that names the layers without weights, if there are any."""
    return [warning for warning in document["warnings"] if masks["empty"] and warning.startswith("no weight is left")]
