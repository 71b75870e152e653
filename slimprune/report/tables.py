"""The rows that people look at, made from the plain document, and their Markdown form."""

from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
Row = tuple[str, str, str, str]

_NAMES = {"top1": "top-1", "miou": "mean IoU"}


def summary_rows(document: Document) -> list[Row]:
    """Dense against slim: (quantity, dense, slim, removed or note)."""
    rows = [_cost_row(name, document[key]) for name, key in _QUANTITIES]
    sizes = document["weight_bytes"]
    rows.append(("weights", _bytes(sizes["dense"]), _bytes(sizes["slim"]), _share(1 - sizes["slim"] / sizes["dense"])))
    if document["onnx"] is not None:
        rows.append(("ONNX file", "", _bytes(document["onnx"]["bytes"]), ""))
    if document["training"] is not None:
        rows.append(_accuracy_row(document))
    return rows


_QUANTITIES = (("channels", "channels"), ("parameters", "params"), ("MACs", "macs"))


def width_rows(document: Document) -> list[tuple[str, str, str]]:
    """Width of every layer: (layer, dense, slim), with a mark on protected ones."""
    protected = {entry["layer"] for entry in document["protected"]}
    return [
        (entry["layer"], str(entry["dense"]), f"{entry['slim']}{' *' if entry['layer'] in protected else ''}")
        for entry in document["widths"]
    ]


def facts(document: Document) -> list[tuple[str, str]]:
    """Budget, scoring, proof, training and verification, a line each: (what, sentence)."""
    budget, proof = document["budget"], document["proof"]
    lines = [
        (
            "budget",
            f"{_share(budget['requested'])} of {budget['quantity']} asked, {_share(budget['achieved'])} removed",
        ),
        ("proof", f"relative difference {proof['max_rel_diff']:.1e} (tolerance {proof['tolerance']:.0e})"),
    ]
    if (saliency := document["saliency"]) is not None:
        stability = "" if saliency["stability"] is None else f", stability {saliency['stability']:.2f}"
        draws = f"{saliency['draws']} draws of {saliency['steps']} steps"
        lines.insert(0, ("scoring", f"{saliency['criterion']}, {draws}{stability}, {saliency['seconds']:.0f} s"))
    if (training := document["training"]) is not None:
        lines.append(("training", f"{training['epochs']} epochs, {training['seconds']:.0f} s"))
    if (onnx := document["onnx"]) is not None:
        batches = ", ".join(map(str, onnx["batches"]))
        lines.append(
            ("ONNX", f"differs by at most {onnx['max_abs_diff']:.1e} on {onnx['samples']} samples, batches {batches}")
        )
    return lines


def markdown(document: Document) -> str:
    """The document as a Markdown page."""
    recipe, environment = document["recipe"], document["environment"]
    title = f"# {recipe['arch'] or 'your model'} at {recipe['ratio']:g} of {recipe['of']}\n"
    parts = [
        title,
        _table(("", "dense", "slim", "removed"), summary_rows(document)),
        "\n".join(f"- {what}: {sentence}" for what, sentence in facts(document)),
        *(f"> {warning}" for warning in document["warnings"]),
        "## Widths\n",
        _table(("layer", "dense", "slim"), width_rows(document)),
        "## Protected layers (*)\n" if document["protected"] else "",
        "\n".join(f"- `{entry['layer']}`: {entry['reason']}" for entry in document["protected"]),
        "## Circumstances\n",
        "\n".join(f"- {name}: {value}" for name, value in environment.items()),
        "## Recipe\n",
        "\n".join(f"- {name}: {value}" for name, value in recipe.items()),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cost_row(name: str, compared: Mapping[str, float]) -> Row:
    return name, f"{compared['dense']:,}", f"{compared['slim']:,}", _share(compared["removed"])


def _accuracy_row(document: Document) -> Row:
    training = document["training"]
    name = next(key for key in _NAMES if key in training)
    dense = next((base["final"] for base in document["baselines"] if base["name"] == "dense"), None)
    return _NAMES[name], "not trained" if dense is None else f"{dense:.2%}", f"{training['final']:.2%}", ""


def _share(share: float) -> str:
    return f"{100 * share:.4g} %"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
