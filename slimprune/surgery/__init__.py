"""Model and plan to slim model; slim models to folders and back."""

from slimprune.surgery.bundle import Bundle, Origin, build_dense, load, read, restore, save, versions
from slimprune.surgery.initial import TREATMENTS, initialise
from slimprune.surgery.slim import SlimModel, prove, slim

__all__ = [
    "TREATMENTS",
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
