"""Named architectures and the user's own, built with fresh weights."""

from slimprune.models.architecture import Architecture, InputSpec
from slimprune.models.registry import architectures, build, task_of

__all__ = ["Architecture", "InputSpec", "architectures", "build", "task_of"]
