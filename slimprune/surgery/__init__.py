"""Model and plan to slim model; slim models to folders and back."""

from slimprune.measure import versions
from slimprune.surgery.bundle import Bundle, Origin, build_dense, load, read, restore, save
from slimprune.surgery.initial import INITIALIZERS, initialise
from slimprune.surgery.slim import SlimModel, prove, slim

__all__ = [
    "INITIALIZERS",
    "Bundle",
    "Origin",
    "SlimModel",
    "build_dense",
    "initialise",
    "load",
    "prove",
    "read",
    "restore",
    "save",
    "slim",
    "versions",
]
