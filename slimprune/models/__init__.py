"""Named and user-defined architectures, built with freshly initialised weights."""

from slimprune.models.architecture import DETECTION, Architecture, InputSpec
from slimprune.models.detectors import class_branches, is_detector, with_one_input
from slimprune.models.given_weights import fill
from slimprune.models.main_output import MAIN, MainOutput, has_main_output, main_output
from slimprune.models.preprocessing import Preprocessing
from slimprune.models.registry import (
    ARCHITECTURES,
    architectures,
    build,
    built_from,
    configuration_of,
    is_user_code,
    pretrained_preprocessing,
    pretrained_weights,
    register,
    task_of,
)
from slimprune.models.saved_transformers import configuration_of_object, from_configuration, note_narrowed
from slimprune.models.torchvision_detectors import two_stages
from slimprune.models.ultralytics_models import as_yolo
from slimprune.models.weight_files import read_weights
from slimprune.models.weights import load_weights, save_weights

__all__ = [
    "ARCHITECTURES",
    "DETECTION",
    "MAIN",
    "Architecture",
    "InputSpec",
    "MainOutput",
    "Preprocessing",
    "architectures",
    "as_yolo",
    "build",
    "built_from",
    "class_branches",
    "configuration_of",
    "configuration_of_object",
    "fill",
    "from_configuration",
    "has_main_output",
    "is_detector",
    "is_user_code",
    "load_weights",
    "main_output",
    "note_narrowed",
    "pretrained_preprocessing",
    "pretrained_weights",
    "read_weights",
    "register",
    "save_weights",
    "task_of",
    "two_stages",
    "with_one_input",
]
