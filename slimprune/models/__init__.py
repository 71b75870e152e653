"""Named and user-defined architectures, built with freshly initialised weights."""

from slimprune.models.architecture import Architecture, InputSpec
from slimprune.models.main_output import MAIN, MainOutput, has_main_output, main_output
from slimprune.models.preprocessing import Preprocessing
from slimprune.models.registry import (
    ARCHITECTURES,
    architectures,
    build,
    is_user_code,
    pretrained_preprocessing,
    register,
    task_of,
)
from slimprune.models.weights import load_weights, save_weights

__all__ = [
    "ARCHITECTURES",
    "MAIN",
    "Architecture",
    "InputSpec",
    "MainOutput",
    "Preprocessing",
    "architectures",
    "build",
    "has_main_output",
    "is_user_code",
    "load_weights",
    "main_output",
    "pretrained_preprocessing",
    "register",
    "save_weights",
    "task_of",
]
