"""What a network is trained for: its losses, its metrics, and how its outputs and targets look."""

from slimprune.tasks import kinds  # noqa: F401  registers all tasks
from slimprune.tasks.guess import guessed_task
from slimprune.tasks.registry import TASKS, find_task, register
from slimprune.tasks.task import OWN, Reading, Task

__all__ = ["OWN", "TASKS", "Reading", "Task", "find_task", "guessed_task", "register"]
