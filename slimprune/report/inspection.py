"""The inspection of a model: its channel groups, the cost of each, and the flow of data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slimprune.files import HeldBack, InspectedGroup, InspectionDocument, ParamsAndMacs
from slimprune.report.advice import change_for
from slimprune.report.pages import inspection_html, inspection_svg
from slimprune.report.tree import inspection_page

if TYPE_CHECKING:
    from slimprune.budget import CostModel
    from slimprune.graph import ChannelGroup, DataFlow


_ENDS = ("model output", "has a single channel")
"""Reasons that belong to what the model computes."""
_MOST_HELD_BACK = 3


@dataclass(frozen=True, eq=False)
class Inspection:
    """The structure of a dense model; it prints as a tree of the channel groups.

    Attributes:
        name: Name of the architecture, or of the model's class.
        inputs: Shapes of the inputs of one sample.
        groups: All channel groups; see `find_groups`.
        costs: Cost model of the widths.
        flow: Layers and the flow of data between them.
        types: Class name of every module, by the module's name.
        tensors: Shape of every parameter and buffer, by name.
    """

    name: str
    inputs: Sequence[Sequence[int]]
    groups: Sequence[ChannelGroup]
    costs: CostModel
    flow: DataFlow
    types: Mapping[str, str]
    tensors: Mapping[str, tuple[int, ...]]

    def __str__(self) -> str:
        return inspection_page(self.to_json())

    def to_json(self) -> InspectionDocument:
        """Return the plain form: `model`, `groups` with their slots and costs, `untouched` and `flow`."""
        dense = self.costs.dense
        touched = {slot.name for group in self.groups for slot in group.slots}
        return {
            "schema_version": 1,
            "model": {
                "name": self.name,
                "inputs": [list(shape) for shape in self.inputs],
                "params": dense.params,
                "macs": dense.macs,
                "channels": dense.channels,
                "groups": len(self.groups),
                "removable_groups": sum(group.protected_reason is None for group in self.groups),
                "removable": self._removable(),
            },
            "groups": [self._group(number, group) for number, group in enumerate(self.groups)],
            "held_back": self._held_back(),
            "untouched": [
                {"parameter": name, "shape": list(shape)}
                for name, shape in self.costs.shapes.items()
                if name not in touched
            ],
            "flow": {
                "nodes": [
                    {"kind": node.kind, "name": node.name, "type": self._type(node.name), "tensors": list(node.tensors)}
                    for node in self.flow.nodes
                ],
                "edges": [list(edge) for edge in self.flow.edges],
            },
        }

    def to_text(self) -> str:
        """Return the document of `to_json` as the text of a file."""
        return json.dumps(self.to_json(), indent=1) + "\n"

    def to_html(self) -> str:
        """Return a self-contained HTML page with the graph and a table of the groups."""
        return inspection_html(self.to_json())

    def to_svg(self) -> str:
        """Return the graph with its legend as an SVG image."""
        return inspection_svg(self.to_json())

    def _group(self, number: int, group: ChannelGroup) -> InspectedGroup:
        all_but_one = 0 * self.costs.widths
        all_but_one[number] = group.width - 1
        one, most = self.costs.marginal_costs[number], self.costs.saved(all_but_one)
        return {
            "id": group.id,
            "width": group.width,
            "protected_reason": group.protected_reason,
            "exact": group.exact,
            "layers": list(group.layers),
            "at_stake": {
                "one_channel": {"params": one.params, "macs": one.macs},
                "all_but_one": {"params": most.params, "macs": most.macs},
            },
            "slots": [
                {
                    "tensor": slot.name,
                    "layer": slot.layer,
                    "type": self._type(slot.layer),
                    "role": slot.role,
                    "dim": slot.dim,
                    "entries": slot.entries,
                    "shape": list(self.tensors[slot.name]),
                }
                for slot in group.slots
            ],
        }

    def _removable(self) -> ParamsAndMacs:
        """Return what goes where every group that may be narrowed keeps one channel."""
        gone = [0 if group.protected_reason else group.width - 1 for group in self.groups]
        saved = self.costs.saved(np.array(gone, np.int64))
        return {"params": saved.params, "macs": saved.macs}

    def _held_back(self) -> list[HeldBack]:
        """Return the costliest groups that stay whole for a reason that can be changed."""
        found: list[HeldBack] = []
        for number, group in enumerate(self.groups):
            reason = group.protected_reason
            if reason is not None and reason not in _ENDS:
                saved = self.costs.saved(np.eye(len(self.groups), dtype=np.int64)[number] * (group.width - 1))
                change = change_for(reason)
                found.append(
                    {"group": group.id, "params": saved.params, "macs": saved.macs, "reason": reason, "change": change}
                )
        costly = [held for held in found if held["params"] or held["macs"]]
        return sorted(costly, key=lambda held: (held["params"], held["macs"]), reverse=True)[:_MOST_HELD_BACK]

    def _type(self, layer: str) -> str:
        return self.types.get(layer, "")
