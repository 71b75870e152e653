"""Small networks inspected, for what is made of an inspection."""

from functools import cache
from typing import Any

from torch import nn

from slimprune.pipeline.inspect import inspect
from tests.networks import EXAMPLE, toy


@cache
def inspected(kind: type[nn.Module]) -> dict[str, Any]:
    """The document of a small network."""
    return inspect(toy(kind), EXAMPLE).to_json()


def with_reason(document: dict[str, Any], reason: str, name: str) -> dict[str, Any]:
    """The document with its last group protected for another reason, and its last layer under another name."""
    *groups, last = document["groups"]
    slots = [{**slot, "layer": name, "tensor": f"{name}.weight"} for slot in last["slots"]]
    *nodes, layer, output = document["flow"]["nodes"]
    renamed = {**layer, "name": name, "tensors": [f"{name}.weight"]}
    flow = {**document["flow"], "nodes": [*nodes, renamed, output]}
    return {**document, "groups": [*groups, {**last, "id": name, "protected_reason": reason, "slots": slots}],
            "flow": flow}  # fmt: skip
