"""From a model and a plan to a slim model; slim models to folders and back."""

from slimprune.measure import versions
from slimprune.surgery.bundle import Bundle, Origin, build_dense, load, read, restore, save
from slimprune.surgery.initial import INITIALIZERS, initialise
from slimprune.surgery.pruned import PrunedProof, prove_pruned
from slimprune.surgery.reconstruction import Reconstruction, SolvedLayer, reconstruct
from slimprune.surgery.slim import SlimModel, prove, slim
from slimprune.surgery.yolo import load_yolo

__all__ = [
    "INITIALIZERS",
    "Bundle",
    "Origin",
    "PrunedProof",
    "Reconstruction",
    "SlimModel",
    "SolvedLayer",
    "build_dense",
    "initialise",
    "load",
    "load_yolo",
    "prove",
    "prove_pruned",
    "read",
    "reconstruct",
    "restore",
    "save",
    "slim",
    "versions",
]
