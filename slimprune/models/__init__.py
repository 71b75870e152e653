"""Named architectures and the user's own, built with fresh weights."""

from slimprune.models.architecture import Architecture, InputSpec
from slimprune.models.registry import architectures, build, task_of
from slimprune.models.weights import load_weights, save_weights

__all__ = ["Architecture", "InputSpec", "architectures", "build", "load_weights", "save_weights", "task_of"]
