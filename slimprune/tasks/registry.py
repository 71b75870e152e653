"""All tasks by name."""

import inspect

from slimprune.errors import UsageError
from slimprune.registry import Registry, kind_of
from slimprune.tasks.task import Task


def register(task: Task) -> Task:
    """Register a task under its name and return it.

    Raises:
        UsageError: If the name is taken or the task has no loss or no metric.
    """
    caller = inspect.currentframe()
    origin = caller.f_back.f_globals.get("__name__") if caller is not None and caller.f_back is not None else None
    TASKS.add(task.name, task.description, _checked(task.name, task), module=origin)
    return task


def find_task(name: str) -> Task:
    """Return the task called `name`, or the one at `file.py:TASK` or `package.module:TASK`.

    Raises:
        UsageError: If there is no such task, its code fails, or it has no loss or no metric.
    """
    return TASKS.find(name)


def _checked(name: str, found: object) -> Task:
    if not isinstance(found, Task):
        raise UsageError(f"expected {name} to be a slimprune.Task, got {kind_of(found)}")
    if not found.losses or not found.metrics:
        raise UsageError(f"expected task {name} to have a loss and a metric, got none")
    return found


TASKS: Registry[Task] = Registry("a task", "slimprune.tasks", "a slimprune.Task", _checked)
