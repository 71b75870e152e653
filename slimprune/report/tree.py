"""The channel groups of an inspected model as a tree for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Literal

from slimprune.files import InspectedGroup, InspectionDocument
from slimprune.report.tables import magnitude
from slimprune.report.text import INDENT, paragraph, text_table

Width = Literal["wide", "middle", "narrow"]

ROLES = {
    "producer": "made by",
    "depthwise": "filtered by",
    "norm": "normed by",
    "cross-channel-norm": "mixed by",
    "scale": "scaled by",
    "consumer": "read by",
}
"""Wording of a slot's role, in the order in which channels pass through the roles."""

TREE_NOTE = (
    "Channels of one group go together. `conv.weight[1] x4` means: they lie along dimension 1 of that parameter, "
    "four positions a channel."
)
STAKES = "At stake: what the dense model loses with one channel of a group, and with all but one of them."


def inspection_page(document: InspectionDocument, columns: int = 80) -> str:
    """Return the figures of the model, a tree of every group, what no group affects, and the cost of each group."""
    parts = ["\n".join(paragraph(line, columns) for line in headline(document)), paragraph(TREE_NOTE, columns)]
    parts += [_tree(group, columns) for group in document["groups"]]
    if document["untouched"]:
        names = [f"{entry['parameter']} {shape_text(entry['shape'])}" for entry in document["untouched"]]
        parts.append(_branches("touched by no group", [("as is", names)], columns))
    if document["groups"]:
        parts += [paragraph(f"{STAKES} * stays whole.", columns) + "\n" + _stakes(document, columns)]
    parts.append("\n".join([paragraph(removable(document), columns), *_held_back(document, columns)]))
    return "\n\n".join(parts)


def headline(document: InspectionDocument) -> list[str]:
    """Return sentences with the model's figures and the number of groups that may be narrowed."""
    model = document["model"]
    inputs = ", ".join(map(shape_text, model["inputs"]))
    groups, free = model["groups"], model["removable_groups"]
    figures = f"{model['params']:,} parameters, {model['macs']:,} MACs, {model['channels']:,} channels"
    whole = f"; {groups - free} stay{'s' if groups - free == 1 else ''} whole" if groups > free else ""
    first = f"{model['name']}, input {inputs}: {figures}"
    return [first, f"{groups} group{'' if groups == 1 else 's'} of channels, {free} may be narrowed{whole}"]


def removable(document: InspectionDocument) -> str:
    """Return a sentence with the shares of parameters and MACs that can go at all."""
    model = document["model"]
    # Rounded down: 100 % never go.
    params, macs = (1000 * model["removable"][of] // max(model[of], 1) / 10 for of in ("params", "macs"))
    return f"{params} % of the parameters and {macs} % of the MACs can go, with one channel left in every group."


def _held_back(document: InspectionDocument, columns: int) -> list[str]:
    """Return what holds most back, and what to change in the model to free it."""
    held = document["held_back"]
    if not held:
        return []
    model, lines = document["model"], ["", "What stays whole and costs most, and what would free it:"]
    for group in held:
        shares = [f"{percent(group[of] / model[of])} of the {of}" for of in ("params", "macs") if model[of]]
        title = f"{group['group']} ({', '.join(shares)}): {group['reason']}".replace("of the macs", "of the MACs")
        lines += [paragraph(title, columns, "", INDENT), paragraph(f"-> {group['change']}", columns, INDENT, INDENT)]
    return lines


def members(group: InspectedGroup) -> list[tuple[str, list[str]]]:
    """Return the slots of a group by role, as (wording of the role, one text per layer)."""
    found: dict[str, dict[str, list[str]]] = {role: {} for role in ROLES}
    for slot in group["slots"]:
        entries = f" x{slot['entries']}" if slot["entries"] > 1 else ""
        name = slot["tensor"].removeprefix(f"{slot['layer']}.") if slot["layer"] else slot["tensor"]
        found[slot["role"]].setdefault(slot["layer"], []).append(f"{name}[{slot['dim']}]{entries}")
    return [
        (ROLES[role], [_of_layer(layer, names) for layer, names in layers.items()])
        for role, layers in found.items()
        if layers
    ]


def shape_text(shape: Sequence[int]) -> str:
    """Format a shape such as 3 x 32 x 32."""
    return " x ".join(map(str, shape)) or "scalar"


def percent(share: float) -> str:
    """Format a share in percent with two significant digits, but at most one decimal."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def _of_layer(layer: str, names: Sequence[str]) -> str:
    """Return `bn.weight[0]` for one parameter, `bn.{weight, bias}[0]` for several along the same dimension."""
    own = f"{layer}." if layer else ""
    if len(names) == 1:
        return own + names[0]
    dims = {name.partition("[")[2] for name in names}
    bare = [name.partition("[")[0] for name in names]
    return f"{own}{{{', '.join(bare)}}}[{dims.pop()}" if len(dims) == 1 else f"{own}{{{', '.join(names)}}}"


def _tree(group: InspectedGroup, columns: int) -> str:
    width = group["width"]
    title = f"{group['id']}: {width} channel{'' if width == 1 else 's'}"
    rows = [*members(group)]
    if group["protected_reason"] is not None:
        rows.insert(0, ("stays whole", [group["protected_reason"]]))
    elif not group["exact"]:
        rows.insert(0, ("note", ["a norm mixes these channels: without some of them it computes something else"]))
    return _branches(title, rows, columns)


def _branches(title: str, rows: Sequence[tuple[str, Sequence[str]]], columns: int) -> str:
    """Return a title and below it one branch per row, whose items are wrapped with a hanging indent."""
    margin = max(len(name) for name, _ in rows) + 2
    lines = [title]
    for number, (name, items) in enumerate(rows):
        fork, trunk = ("└─ ", "   ") if number == len(rows) - 1 else ("├─ ", "│  ")
        listed = ", ".join(item.replace(" x", "\N{NO-BREAK SPACE}x") for item in items)
        lines.append(paragraph(listed, columns, f"{fork}{name:<{margin}}", trunk + " " * margin))
    return "\n".join(lines)


def _stakes(document: InspectionDocument, columns: int) -> str:
    """Return one line per group, with as many columns as fit."""
    forms = [
        (head, [_stakes_row(document, group, width) for group in document["groups"]])
        for width, head in _STAKES_HEADS.items()
    ]
    return text_table(forms, columns)


_STAKES_HEADS: Mapping[Width, tuple[str, ...]] = {
    "wide": ("group", "channels", "one: params", "MACs", "all but one: params", "", "MACs", ""),
    "middle": ("group", "channels", "one: params", "MACs", "all but one: params", "MACs"),
    "narrow": ("group", "channels", "all but one: params", "MACs"),
}


def _stakes_row(document: InspectionDocument, group: InspectedGroup, width: Width) -> list[str]:
    """Return the cells for the head of that width; only the wide one has shares of the whole model."""
    model, stake = document["model"], group["at_stake"]
    row = [group["id"] + (" *" if group["protected_reason"] else ""), str(group["width"])]
    if width != "narrow":
        row += [magnitude(stake["one_channel"][of]) for of in ("params", "macs")]
    for of in ("params", "macs"):
        row.append(magnitude(stake["all_but_one"][of]))
        if width == "wide":
            row.append(percent(stake["all_but_one"][of] / model[of]) if model[of] else "")
    return row
