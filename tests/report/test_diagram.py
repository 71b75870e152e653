from itertools import pairwise

import pytest

from slimprune.graph import named_tensors, trace_flow
from slimprune.report import Inspection
from slimprune.report.diagram import GREY, diagram, group_colours, oklch
from tests.networks import Concat, Residual, named

from .inspections import inspected


def shapes(kind):
    return {shape.lines[0]: shape for shape in diagram(inspected(kind)).shapes}


def test_norms_stand_with_their_layers_and_joins_alone():
    found = shapes(Residual)
    assert list(found) == [
        "input", "stem + stem_bn", "inner + inner_bn", "outer + outer_bn", "add", "head", "output",
    ]  # fmt: skip
    assert found["stem + stem_bn"].lines[1] == "Conv2d, 6 channels"
    assert found["head"].lines[1] == "Linear, 4 channels, whole: model output"


def test_one_colour_for_one_group_wherever_its_channels_go():
    found, colours = shapes(Residual), group_colours(inspected(Residual))
    stem, inner, head = colours
    assert len({stem, inner, head}) == 3
    assert head == GREY
    assert {found[name].colour for name in ("stem + stem_bn", "outer + outer_bn", "add")} == {stem}
    assert found["inner + inner_bn"].colour == inner
    assert [found["head"].protected, found["add"].protected] == [True, False]
    assert found["inner + inner_bn"].groups == (0, 1)
    lines = [line.colour for line in diagram(inspected(Residual)).lines]
    assert sorted(lines) == sorted([GREY, *[stem] * 4, inner, GREY])


def test_what_is_concatenated_shows_its_parts():
    cat = shapes(Concat)["cat"]
    assert (cat.colour, len(cat.parts)) == (GREY, 2)
    assert [(part.start, part.length) for part in cat.parts] == [(0, 0.4), (0.4, pytest.approx(0.6))]
    assert {part.colour for part in cat.parts} == set(group_colours(inspected(Concat))[:2])


def test_long_texts_are_shortened_and_told_in_full_by_the_tooltip():
    document = inspected(Concat)
    *groups, last = document["groups"]
    long = {**document, "groups": [*groups, {**last, "protected_reason": "reason " * 30}]}
    shape = diagram(long).shapes[-2]
    assert len(shape.lines[1]) == 60
    assert shape.lines[1].endswith("…")
    assert "reason " * 30 in shape.tip


@pytest.mark.parametrize("arch", ["resnet18", "unet", "densenet121", "vgg19"])
def test_no_two_boxes_overlap(arch):
    document = document_of(arch)
    drawing = diagram(document)
    rows = {}
    for shape in drawing.shapes:
        rows.setdefault(round(shape.centre[1]), []).append(shape)
    for row in rows.values():
        row.sort(key=lambda shape: shape.centre[0])
        for left, right in pairwise(row):
            assert left.centre[0] + left.box.width / 2 < right.centre[0] - right.box.width / 2
    assert drawing.width < 900


def document_of(arch):
    model, example, groups, costs = named(arch)
    flow = trace_flow(model, example)
    types = {name: type(module).__name__ for name, module in model.named_modules()}
    shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(model).items()}
    return Inspection(arch, [example.shape[1:]], groups, costs, flow, types, shapes).to_json()


def test_a_dense_block_is_drawn_as_a_ladder():
    """Every concatenation reads the one before it and one new layer, in place of all layers before it."""
    drawing = diagram(document_of("densenet121"))
    assert len(drawing.lines) < 1.5 * len(drawing.shapes)


def test_neighbours_have_unlike_colours():
    groups = [{"protected_reason": None}] * 40
    colours = group_colours({"groups": groups})
    assert len(set(colours)) == 40
    channels = [[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in colours]
    for one, other in pairwise(channels):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 90


def test_oklch_against_css():
    # CSS Color 4: oklch(62.8% 0.2577 29.23) is red, oklch(100% 0 0) white.
    assert oklch(0.62796, 0.25768, 29.234) == "#ff0000"
    assert oklch(1, 0, 0) == "#ffffff"
    assert oklch(0, 0, 0) == "#000000"
