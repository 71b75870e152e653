"""The diagram of an inspected model: boxes in the order of the data flow, one colour per channel group."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from slimprune.files import InspectedGroup, InspectionDocument
from slimprune.report.graph_layout import Box, Layout, Point, layered

GREY = "#8a8f98"
NAME_SIZE, TEXT_SIZE = 6.9, 6.1
"""Mean width of a character in a box's first and second line, in pixels."""
LONGEST = 60
"""Maximum number of characters of a line in a box; the tooltip shows the full text."""
LAYER_HEIGHT, SMALL_HEIGHT = 42.0, 24.0


@dataclass(frozen=True)
class BoxPart:
    """The part of a box's stripe for one group that the box outputs; `start` and `length` are shares of the stripe."""

    group: int
    colour: str
    protected: bool
    start: float
    length: float


@dataclass(frozen=True)
class Shape:
    """A box as it is drawn.

    Attributes:
        kind: `layer`, `join`, `input` or `output`.
        lines: Lines of text in the box.
        tip: Full text, for the tooltip.
        colour: Colour of the border.
        protected: Whether all groups that it outputs keep all their channels.
        parts: Groups that it outputs, in proportion to their widths.
        groups: Numbers of the groups that it affects in any way.
        centre: Position of the centre.
        box: Size of the box.
    """

    kind: str
    lines: tuple[str, ...]
    tip: str
    colour: str
    protected: bool
    parts: tuple[BoxPart, ...]
    groups: tuple[int, ...]
    centre: Point
    box: Box


@dataclass(frozen=True)
class Line:
    """The data between two boxes: an SVG path, the colour of their group, and the numbers of all their groups."""

    path: str
    colour: str
    protected: bool
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Diagram:
    """The whole diagram, in pixels."""

    shapes: tuple[Shape, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


@dataclass
class _Block:
    """A node of the flow, together with a norm that is its only successor."""

    kind: str
    names: list[str]
    types: list[str]
    tensors: list[str]


def diagram(document: InspectionDocument) -> Diagram:
    """Return the diagram of a document made by `Inspection.to_json`."""
    blocks, edges = _fused(document)
    touched = [_touching(document, block) for block in blocks]
    carried = _carried(document, blocks, edges)
    colours = group_colours(document)
    texts = [_lines(document, block, groups) for block, groups in zip(blocks, carried, strict=True)]
    boxes = [_box(block, lines) for block, lines in zip(blocks, texts, strict=True)]
    layout = layered(boxes, edges)
    shapes = [
        Shape(
            kind=block.kind,
            lines=tuple(_shortened(line) for line in lines),
            tip=_tip(document, block, carried[number]),
            colour=_colour(carried[number], colours),
            protected=bool(carried[number]) and all(_reason(document, group) for group in carried[number]),
            parts=_parts(document, carried[number], colours),
            groups=tuple(sorted({*carried[number], *touched[number]})),
            centre=layout.centres[number],
            box=boxes[number],
        )
        for number, (block, lines) in enumerate(zip(blocks, texts, strict=True))
    ]
    return Diagram(tuple(shapes), _drawn(document, edges, layout, carried, colours), layout.width, layout.height)


def group_colours(document: InspectionDocument) -> list[str]:
    """Return a colour per group, distinct from its neighbours and readable on light and dark; grey if protected."""
    colours, free = [], 0
    for group in document["groups"]:
        if group["protected_reason"] is not None:
            colours.append(GREY)
        else:
            colours.append(oklch((0.6, 0.52, 0.68)[free % 3], 0.15, 250 + free * 137.508))  # by the golden angle
            free += 1
    return colours


def oklch(lightness: float, chroma: float, hue: float) -> str:
    """Return a colour of the perceptually uniform space Oklab (Ottosson, 2020) as #rrggbb; `hue` is in degrees."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    clipped = [min(max(value, 0.0), 1.0) for value in linear]
    gamma = [12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055 for value in clipped]
    return "#" + "".join(f"{round(255 * value):02x}" for value in gamma)


def _fused(document: InspectionDocument) -> tuple[list[_Block], list[tuple[int, int]]]:
    """Return blocks and the edges between them; a norm joins the block of its layer if nothing else uses the layer."""
    nodes, edges = document["flow"]["nodes"], _shortcut(document)
    slots = [slot for group in document["groups"] for slot in group["slots"]]
    norms = {slot["tensor"] for slot in slots if slot["role"] in ("norm", "cross-channel-norm")}
    before: dict[int, list[int]] = {number: [] for number in range(len(nodes))}
    after: dict[int, list[int]] = {number: [] for number in range(len(nodes))}
    for first, last in edges:
        before[last].append(first)
        after[first].append(last)
    blocks: list[_Block] = []
    block_of: dict[int, int] = {}
    for number, node in enumerate(nodes):
        source = before[number][0] if len(before[number]) == 1 else None
        is_norm = node["kind"] == "layer" and norms.issuperset(node["tensors"][:1])
        if is_norm and source is not None and nodes[source]["kind"] == "layer" and len(after[source]) == 1:
            block = blocks[block_of[source]]
            block.names.append(node["name"])
            block.types.append(node["type"])
            block.tensors += node["tensors"]
            block_of[number] = block_of[source]
        else:
            block_of[number] = len(blocks)
            blocks.append(_Block(node["kind"], [node["name"]], [node["type"]], list(node["tensors"])))
    joined = dict.fromkeys((block_of[first], block_of[last]) for first, last in edges)
    return blocks, [edge for edge in joined if edge[0] != edge[1]]


def _shortcut(document: InspectionDocument) -> list[tuple[int, int]]:
    """Return the edges as drawn: a concatenation of another one's inputs and more reads that other one instead."""
    nodes = document["flow"]["nodes"]
    sources: dict[int, set[int]] = {}
    for first, last in document["flow"]["edges"]:
        sources.setdefault(last, set()).add(first)
    read = dict(sources)
    joins = [number for number, node in enumerate(nodes) if (node["kind"], node["name"]) == ("join", "cat")]
    for position, join in enumerate(joins):
        for earlier in reversed(joins[:position]):
            if sources[earlier] < sources[join]:
                read[join] = sources[join] - sources[earlier] | {earlier}
                break
    return sorted((first, last) for last, firsts in read.items() for first in firsts)


def _touching(document: InspectionDocument, block: _Block, *, made_only: bool = False) -> list[int]:
    """Return the numbers of the groups that affect a block's tensors; with `made_only`, other than as a consumer."""
    tensors = set(block.tensors)
    return [
        number
        for number, group in enumerate(document["groups"])
        if any(s["tensor"] in tensors and not (made_only and s["role"] == "consumer") for s in group["slots"])
    ]


def _carried(
    document: InspectionDocument, blocks: Sequence[_Block], edges: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """Return for every block the groups whose channels it outputs: those that it makes, or else those that it reads."""
    carried: list[list[int]] = []
    for number, block in enumerate(blocks):
        read = {group for first, last in edges if last == number for group in carried[first]}
        carried.append(_touching(document, block, made_only=True) or sorted(read))
    return carried


def _lines(document: InspectionDocument, block: _Block, groups: Sequence[int]) -> list[str]:
    if block.kind != "layer":
        return [block.names[0]]
    width = sum(_positions(document["groups"][group], block) for group in groups)
    channels = f"{width} channel{'' if width == 1 else 's'}" if width else ""
    reasons = list(dict.fromkeys(filter(None, (_reason(document, group) for group in groups))))
    whole = f"whole: {'; '.join(reasons)}" if reasons else ""
    return [_name(block.names), ", ".join(filter(None, (block.types[0], channels, whole)))]


def _positions(group: InspectedGroup, block: _Block) -> int:
    """Return how many outputs of a layer belong to the group."""
    own = [s["entries"] for s in group["slots"] if s["tensor"] in block.tensors and s["role"] != "consumer"]
    return int(group["width"] * max(own, default=0))


def _name(names: Sequence[str]) -> str:
    """Join the names of one box, with their common prefix only once: `layer1.0.conv1 + bn1`."""
    first, *others = names
    parent = first.rpartition(".")[0] + "."
    return " + ".join([first, *(name.removeprefix(parent) for name in others)])


def _tip(document: InspectionDocument, block: _Block, groups: Sequence[int]) -> str:
    kinds = [f"{name} ({kind})" if kind else name for name, kind in zip(block.names, block.types, strict=True)]
    found = [document["groups"][group] for group in groups]
    lines = [
        f"group {group['id']}: {group['width']} channels"
        + (f", whole: {group['protected_reason']}" if group["protected_reason"] else "")
        for group in found
    ]
    return "\n".join([", ".join(kinds), *lines])


def _box(block: _Block, lines: Sequence[str]) -> Box:
    name, *others = map(_shortened, lines)
    width = max([NAME_SIZE * len(name), *(TEXT_SIZE * len(line) for line in others)]) + 22
    return Box(max(width, 60.0), LAYER_HEIGHT if others else SMALL_HEIGHT)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"


def _parts(document: InspectionDocument, groups: Sequence[int], colours: Sequence[str]) -> tuple[BoxPart, ...]:
    widths = [document["groups"][group]["width"] for group in groups]
    parts, start = [], 0.0
    for group, width in zip(groups, widths, strict=True):
        share = width / sum(widths)
        parts.append(BoxPart(group, colours[group], _reason(document, group) is not None, start, share))
        start += share
    return tuple(parts)


def _drawn(
    document: InspectionDocument,
    edges: Sequence[tuple[int, int]],
    layout: Layout,
    carried: Sequence[Sequence[int]],
    colours: Sequence[str],
) -> tuple[Line, ...]:
    return tuple(
        Line(
            path=_path(route),
            colour=_colour(carried[first], colours),
            protected=any(_reason(document, group) for group in carried[first]),
            groups=tuple(carried[first]),
        )
        for (first, _), route in zip(edges, layout.routes, strict=True)
    )


def _colour(groups: Sequence[int], colours: Sequence[str]) -> str:
    """Return the colour of the group if there is exactly one, otherwise grey."""
    return colours[groups[0]] if len(groups) == 1 else GREY


def _path(points: Sequence[Point]) -> str:
    """Return an SVG path of curves that start and end vertically."""
    steps = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        if abs(to_x - x) < 0.5:
            steps.append(f"L{to_x:.1f} {to_y:.1f}")
        else:
            middle = (y + to_y) / 2
            steps.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
    return "".join(steps)


def _reason(document: InspectionDocument, group: int) -> str | None:
    reason: str | None = document["groups"][group]["protected_reason"]
    return reason
