"""Reconstruction: the weights that read removed channels are solved anew by least squares."""

from slimprune.surgery.reconstruction.reconstruct import Reconstruction, reconstruct
from slimprune.surgery.reconstruction.solving import SolvedLayer

__all__ = ["Reconstruction", "SolvedLayer", "reconstruct"]
