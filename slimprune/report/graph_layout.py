"""Layered layout of an acyclic graph: ranks from top to bottom, few crossings, lines between the boxes.

The method is that of Sugiyama, Tagawa and Toda (1981): ranks, extra vertices for lines that pass a rank, and
barycentres for the order within ranks. The coordinates then align connected boxes vertically, by weighted isotonic
regression.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]
Edge = tuple[int, int]

ORDERING_SWEEPS, OUTWARD_SWEEPS, PULLING_SWEEPS = 12, 8, 40
PASS_WIDTH = 6.0
"""Width of a line that passes a rank, in pixels."""
FIXED, STRAIGHT, BESIDE = 1e9, 8.0, 1e-3
"""Weights of keeping a box of the spine at 0, of keeping a line straight, and of placing a box near a line that passes
a rank; the weight of aligning two connected boxes is 1."""


@dataclass(frozen=True)
class Box:
    """The size of a box in pixels."""

    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """The positions of boxes and lines, in pixels from the top left.

    Attributes:
        centres: Centres of the boxes.
        routes: For every edge the points of its line, from the lower side of the first box to the upper side of the
            second; where a line passes a rank, it runs straight down between two of its points.
        width: Total width.
        height: Total height.
    """

    centres: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def layered(boxes: Sequence[Box], edges: Sequence[Edge], *, across: float = 18, down: float = 22) -> Layout:
    """Return the positions of boxes and lines.

    Args:
        boxes: Boxes in an order in which every edge points forward.
        edges: Pairs (from, to) of positions in `boxes`.
        across: Minimum space between neighbours in a rank.
        down: Space between two ranks.
    """
    graph = _Ranked(boxes, edges)
    ranks = _ordered(graph)
    xs = _pulled(graph, ranks, across)
    heights = [max(graph.heights[vertex] for vertex in rank) for rank in ranks]
    tops = [0.0]
    for height in heights:
        tops.append(tops[-1] + height + down)
    left = min((xs[v] - graph.widths[v] / 2 for v in range(len(xs))), default=0.0)
    right = max((xs[v] + graph.widths[v] / 2 for v in range(len(xs))), default=0.0)
    middles = [tops[rank] + heights[rank] / 2 for rank in graph.ranks]
    centres = tuple((xs[v] - left, middles[v]) for v in range(len(boxes)))

    def route(chain: Sequence[int]) -> tuple[Point, ...]:
        first, *passed, last = chain
        points = [(xs[first] - left, middles[first] + boxes[first].height / 2)]
        for vertex in passed:
            top = tops[graph.ranks[vertex]]
            points += [(xs[vertex] - left, top), (xs[vertex] - left, top + heights[graph.ranks[vertex]])]
        return (*points, (xs[last] - left, middles[last] - boxes[last].height / 2))

    routes = tuple(route(chain) for chain in graph.chains)
    return Layout(centres, routes, right - left, max(tops[-1] - down, 0.0))


class _Ranked:
    """The graph with an extra vertex for every rank that an edge passes, so that edges connect consecutive ranks."""

    def __init__(self, boxes: Sequence[Box], edges: Sequence[Edge]) -> None:
        self.real = len(boxes)
        self.widths = [box.width for box in boxes]
        self.heights = [box.height for box in boxes]
        self.ranks = _ranks(len(boxes), edges)
        self.chains = [self._chain(*edge) for edge in edges]
        self.above: list[list[tuple[int, float]]] = [[] for _ in self.widths]
        self.below: list[list[tuple[int, float]]] = [[] for _ in self.widths]
        for chain in self.chains:
            for upper, lower in pairwise(chain):
                pull = self._pull(upper, lower)
                self.above[lower].append((upper, pull))
                self.below[upper].append((lower, pull))

    def _chain(self, first: int, last: int) -> list[int]:
        passed = range(self.ranks[first] + 1, self.ranks[last])
        start = len(self.widths)
        self.widths += [PASS_WIDTH] * len(passed)
        self.heights += [0.0] * len(passed)
        self.ranks += passed
        return [first, *range(start, len(self.widths)), last]

    def _pull(self, upper: int, lower: int) -> float:
        return 1.0 if max(upper, lower) < self.real else BESIDE


def _ranks(count: int, edges: Sequence[Edge]) -> list[int]:
    """Return the length of the longest path to each box; a box without inputs is placed just above its successors."""
    ranks = [0] * count
    for first, last in sorted(edges):
        ranks[last] = max(ranks[last], ranks[first] + 1)
    entered = {last for _, last in edges}
    for start in range(count):
        following = [ranks[last] for first, last in edges if first == start]
        if start not in entered and following:
            ranks[start] = min(following) - 1
    return ranks


def _ordered(graph: _Ranked) -> list[list[int]]:
    """Return the vertices of every rank from left to right, in the order with the fewest crossings of all sweeps."""
    ranks: list[list[int]] = [[] for _ in range(max(graph.ranks, default=-1) + 1)]
    for vertex, rank in enumerate(graph.ranks):
        ranks[rank].append(vertex)
    best, fewest = [list(rank) for rank in ranks], _crossings(graph, ranks)
    for sweep in range(ORDERING_SWEEPS):
        pairs = list(pairwise(range(len(ranks))))
        if sweep % 2 == 0:
            for upper, lower in pairs:
                ranks[lower] = _by_barycentre(ranks[lower], ranks[upper], graph.above)
        else:
            for upper, lower in reversed(pairs):
                ranks[upper] = _by_barycentre(ranks[upper], ranks[lower], graph.below)
        if (found := _crossings(graph, ranks)) < fewest:
            best, fewest = [list(rank) for rank in ranks], found
    return best


def _by_barycentre(
    rank: Sequence[int], beside: Sequence[int], neighbours: Sequence[Sequence[tuple[int, float]]]
) -> list[int]:
    place = {vertex: position for position, vertex in enumerate(beside)}

    def barycentre(item: tuple[int, int]) -> float:
        position, vertex = item
        near = [place[other] for other, _ in neighbours[vertex]]
        return sum(near) / len(near) if near else float(position)

    return [vertex for _, vertex in sorted(enumerate(rank), key=barycentre)]


def _crossings(graph: _Ranked, ranks: Sequence[Sequence[int]]) -> int:
    """Count the pairs of lines between two ranks that cross."""
    total = 0
    for upper, lower in pairwise(ranks):
        place = {vertex: position for position, vertex in enumerate(lower)}
        ends = [place[other] for vertex in upper for other in sorted(o for o, _ in graph.below[vertex])]
        starts = [position for position, vertex in enumerate(upper) for _ in graph.below[vertex]]
        total += sum(
            starts[one] < starts[other] and ends[one] > ends[other]
            for one in range(len(ends))
            for other in range(one + 1, len(ends))
        )
    return total


def _pulled(graph: _Ranked, ranks: Sequence[Sequence[int]], across: float) -> list[float]:
    """Return the x coordinates of the vertices' centres, near the mean of their neighbours and without overlaps.

    The spine, a longest path through the graph, stays at 0. The first sweeps move each line that passes ranks outwards
    until it clears the widest box next to it; later sweeps only push it aside where necessary.
    """
    xs, spine = [0.0] * len(graph.widths), _spine(graph)
    passing = {vertex: chain[1:-1] for chain in graph.chains for vertex in chain[1:-1]}
    spaces = [[(graph.widths[a] + graph.widths[b]) / 2 + across for a, b in pairwise(rank)] for rank in ranks]

    def wanted(vertex: int, near: Sequence[tuple[int, float]], sweep: int) -> tuple[float, float]:
        """Return the preferred coordinate of a vertex and its weight."""
        if vertex in spine:
            return 0.0, FIXED
        if vertex in passing:
            line = passing[vertex] if sweep < OUTWARD_SWEEPS else [vertex]
            return max((xs[other] for other in line), key=abs), STRAIGHT
        near = near or [(vertex, BESIDE)]
        weight = sum(pull for _, pull in near)
        return sum(xs[other] * pull for other, pull in near) / weight, weight

    for sweep in range(PULLING_SWEEPS):
        upwards = sweep % 2 == 1
        neighbours = graph.below if upwards else graph.above
        for number in reversed(range(len(ranks))) if upwards else range(len(ranks)):
            wishes = [wanted(vertex, neighbours[vertex], sweep) for vertex in ranks[number]]
            found = spaced([x for x, _ in wishes], [weight for _, weight in wishes], spaces[number])
            for vertex, x in zip(ranks[number], found, strict=True):
                xs[vertex] = x
    return xs


def _spine(graph: _Ranked) -> set[int]:
    """Return the boxes of one longest path through the graph; such a path has a box in every rank that it crosses."""
    longest = [0] * graph.real
    following: list[int | None] = [None] * graph.real
    for vertex in reversed(range(graph.real)):
        for other, _ in graph.below[vertex]:
            if other < graph.real and longest[other] >= longest[vertex]:
                longest[vertex], following[vertex] = longest[other] + 1, other
    found: set[int] = set()
    step = max(range(graph.real), key=longest.__getitem__, default=None)
    while step is not None:
        found.add(step)
        step = following[step]
    return found


def spaced(wanted: Sequence[float], weights: Sequence[float], spaces: Sequence[float]) -> list[float]:
    """Return the x_i that minimise sum w_i (x_i - wanted_i)^2 subject to x_(i+1) - x_i >= space_i.

    This is an isotonic regression after the spaces are subtracted, solved by pooling adjacent violators.
    """
    offsets = [0.0]
    for space in spaces:
        offsets.append(offsets[-1] + space)
    pools: list[tuple[float, float, int]] = []  # mean, weight, count
    for want, weight, offset in zip(wanted, weights, offsets, strict=False):
        pools.append((want - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean, heavy, count), (other, light, more) = pools.pop(-2), pools.pop()
            pools.append(((mean * heavy + other * light) / (heavy + light), heavy + light, count + more))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]
