from itertools import pairwise

import pytest

from slimprune.report.graph_layout import Box, layered, spaced

CHAIN = [(number, number + 1) for number in range(5)]
GRAPHS = {
    "chain": (6, CHAIN),
    "skip": (6, [*CHAIN, (1, 4)]),
    "nested skips": (6, [*CHAIN, (0, 5), (1, 4)]),
    "branches": (7, [(0, 1), (0, 2), (0, 3), (1, 4), (4, 5), (2, 6), (3, 6), (5, 6)]),
    "late start": (4, [(0, 1), (1, 3), (2, 3)]),
    "crossing": (6, [(0, 1), (0, 2), (1, 3), (2, 4), (1, 4), (2, 3), (3, 5), (4, 5), (0, 5)]),
}


def boxes(count):
    return [Box(60.0 + 37 * number % 50, 20.0 + 10 * (number % 2)) for number in range(count)]


def covers(centre, box, point, margin=0.5):
    return all(
        abs(at - middle) < size / 2 - margin
        for at, middle, size in zip(point, centre, (box.width, box.height), strict=True)
    )


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_overlaps_and_all_data_go_down(name):
    count, edges = GRAPHS[name]
    sizes = boxes(count)
    layout = layered(sizes, edges)
    for one in range(count):
        for other in range(one):
            (x, y), (a, b) = layout.centres[one], layout.centres[other]
            apart = abs(x - a) >= (sizes[one].width + sizes[other].width) / 2
            assert apart or abs(y - b) >= (sizes[one].height + sizes[other].height) / 2
    for (first, last), route in zip(edges, layout.routes, strict=True):
        assert layout.centres[first][1] < layout.centres[last][1]
        assert all(below[1] >= above[1] for above, below in pairwise(route))
        assert not any(
            covers(centre, box, point) for centre, box in zip(layout.centres, sizes, strict=True) for point in route
        )


@pytest.mark.parametrize("name", GRAPHS)
def test_everything_lies_within_the_drawing_and_lines_meet_their_boxes(name):
    count, edges = GRAPHS[name]
    sizes = boxes(count)
    layout = layered(sizes, edges)
    for (x, y), box in zip(layout.centres, sizes, strict=True):
        assert box.width / 2 - 1e-6 <= x <= layout.width - box.width / 2 + 1e-6
        assert box.height / 2 - 1e-6 <= y <= layout.height - box.height / 2 + 1e-6
    for (first, last), route in zip(edges, layout.routes, strict=True):
        assert route[0] == pytest.approx((layout.centres[first][0], layout.centres[first][1] + sizes[first].height / 2))
        assert route[-1] == pytest.approx((layout.centres[last][0], layout.centres[last][1] - sizes[last].height / 2))
        assert all(0 <= x <= layout.width for x, _ in route)


def test_a_longest_way_is_a_straight_line_and_what_passes_it_too():
    layout = layered(boxes(6), GRAPHS["nested skips"][1])
    assert len({x for x, _ in layout.centres}) == 1
    for route in layout.routes[-2:]:
        assert len({x for x, _ in route[1:-1]}) == 1
    outer, inner = (abs(route[1][0] - layout.centres[0][0]) for route in layout.routes[-2:])
    assert outer != inner


def test_what_nothing_leads_to_stands_just_above_what_reads_it():
    layout = layered(boxes(4), GRAPHS["late start"][1])
    assert layout.centres[2][1] == pytest.approx(layout.centres[1][1])


def test_an_empty_graph_and_a_single_box():
    assert layered([], []).centres == ()
    assert layered([Box(10, 4)], []).centres == ((5, 2),)


@pytest.mark.parametrize(
    ("wanted", "weights", "spaces", "found"),
    [
        ([0, 10], [1, 1], [4], [0, 10]),  # far enough apart
        ([0, 0], [1, 1], [4], [-2, 2]),  # each gives way by half
        ([0, 0], [3, 1], [4], [-1, 3]),  # the lighter one gives way more
        ([5, 0, 0], [1, 1, 1], [2, 2], [-1 / 3, 5 / 3, 11 / 3]),  # mean of 5, 0 - 2 and 0 - 4, then 2 apart
        ([], [], [], []),
    ],
)
def test_the_nearest_places_that_keep_their_distance(wanted, weights, spaces, found):
    assert spaced(wanted, weights, spaces) == pytest.approx(found)
