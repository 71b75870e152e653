"""From a model and an example input to channel groups, each proven or protected."""

from slimprune.graph.example import Example, first_rows, first_samples, inputs_of, shapes_of
from slimprune.graph.find import find_groups
from slimprune.graph.groups import ChannelGroup, Role, Slot, free_groups, named_tensors
from slimprune.graph.layer_graph import DataFlow, Node, trace_flow
from slimprune.graph.narrow_attention import NarrowAttention
from slimprune.graph.proof import TOLERANCE, Proof, prove_removal
from slimprune.graph.propagation import Flow, OperatorCall
from slimprune.graph.removal import Kept, first_channels, keep_channels, narrowed, with_tensors, with_values
from slimprune.graph.rules import OPERATORS, register

__all__ = [
    "OPERATORS",
    "TOLERANCE",
    "ChannelGroup",
    "DataFlow",
    "Example",
    "Flow",
    "Kept",
    "NarrowAttention",
    "Node",
    "OperatorCall",
    "Proof",
    "Role",
    "Slot",
    "find_groups",
    "first_channels",
    "first_rows",
    "first_samples",
    "free_groups",
    "inputs_of",
    "keep_channels",
    "named_tensors",
    "narrowed",
    "prove_removal",
    "register",
    "shapes_of",
    "trace_flow",
    "with_tensors",
    "with_values",
]
