import torch
from torch import nn

from slimprune.masks import find_weights, masked, sparsity_of


def test_sparsity_and_sparse_macs():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 3))
    layers = find_weights(model, torch.zeros(1, 1, 4, 4), protect=["2"])
    masks = {"0.weight": torch.zeros(2, 1, 3, 3, dtype=torch.bool)}
    masks["0.weight"][0, 0, 0] = True  # 3 of 18 weights, each used at 16 places
    conv, linear = sparsity_of(layers, masks)
    assert (conv.kept, conv.weights, conv.sparsity) == (3, 18, 1 - 3 / 18)
    assert (conv.macs, conv.sparse_macs) == (18 * 16, 3 * 16)
    assert (linear.kept, linear.sparsity, linear.sparse_macs) == (96, 0, 96)
    assert linear.protected_reason == "asked for by --protect 2"


def test_a_masked_copy():
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    mask = torch.tensor([[True, False], [False, True]])
    copied = masked(model, {"weight": mask})
    assert torch.equal(copied.weight, torch.where(mask, before, torch.zeros(2, 2)))
    assert torch.equal(model.weight, before)
