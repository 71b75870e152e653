"""A network in a file of the user's, who trains it in a loop of their own."""

from typing import Any

import torch
from torch import nn

NET = """
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.head = nn.Conv2d(8, 16, 3, padding=1), nn.Linear(16, 4)

    def forward(self, images):
        features = F.relu(self.second(F.relu(self.norm(self.first(images)))))
        return self.head(features.mean((2, 3)))


class Named(Net):
    def forward(self, images):
        return {"loss": None, "logits": super().forward(images)}


def net():
    return Net()


def named():
    return Named()
"""
_scope: dict[str, Any] = {}
exec(NET, _scope)


def fresh(name: str = "net") -> nn.Module:
    """Return what a function of the file builds, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = _scope[name]()
    return model
