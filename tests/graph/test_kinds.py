"""Every kind of structure on two networks or more: what is left computes what the silenced network does.

`tests/graph/test_patterns.py` proves, trains, exports and reloads the same networks; here no code of the proof is used.
"""

import copy
from itertools import chain

import pytest
import torch
from torch.utils._pytree import tree_leaves

from slimprune.graph import keep_channels, named_tensors
from slimprune.graph.example import random_inputs
from tests.graph.kinds import MIXING, ROUNDED, ROWS
from tests.graph.test_patterns import KINDS, found

NETWORKS = list(dict.fromkeys(chain(*ROWS.values())))


@pytest.mark.parametrize("row", ROWS)
def test_a_kind_has_two_networks_that_are_slimmed_trained_exported_and_reloaded(row):
    assert len(ROWS[row]) >= 2
    assert set(ROWS[row]) <= KINDS.keys()


def silenced(model, groups, kept):
    """The dense network with zeros for every weight that makes or reads a channel that is not kept."""
    dense = copy.deepcopy(model)
    tensors = named_tensors(dense)
    for group in groups:
        gone = torch.tensor([channel for channel in range(group.width) if channel not in kept[group.id]]).long()
        for slot in group.slots_of("producer", "depthwise", "consumer"):
            tensors[slot.name].data.index_fill_(slot.dim, slot.positions(gone), 0)
    return dense


@pytest.mark.parametrize("share", [0.5, 0.25])
@pytest.mark.parametrize("kind", [kind for kind in NETWORKS if kind not in MIXING])
def test_it_computes_what_the_silenced_network_does(kind, share):
    model, example, groups = found(kind)
    double = kind not in ROUNDED
    model = copy.deepcopy(model).to(torch.float64 if double else torch.float32).eval()
    kept = {group.id: torch.arange(group.width) for group in groups}
    for group in groups:
        if group.protected_reason is None:
            kept[group.id] = kept[group.id][max(1, int(share * group.width)) :]
    slim = keep_channels(model, groups, kept).eval()
    inputs = random_inputs(example, seed=0, double=double)
    with torch.no_grad():
        expected, outputs = (tree_leaves(one(*inputs)) for one in (silenced(model, groups, kept), slim))
    for one, other in zip(expected, outputs, strict=True):
        tolerance = 1e-9 if double else 2**-6
        torch.testing.assert_close(other, one, rtol=tolerance, atol=tolerance)
    assert sum(one.numel() for one in slim.parameters()) < sum(one.numel() for one in model.parameters())
