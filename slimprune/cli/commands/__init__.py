"""The commands, a file each, imported when they are called: `--help` shall not wait for torch.

At the top of such a file stands what its flags need; what its work needs is imported inside of `command`.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer

SUMMARIES: Mapping[str, str] = {
    "compress": "Score, slim, prove, train, export and verify: from an architecture to an ONNX file.",
    "run": "Compress by a recipe; writes RECIPE.onnx where neither the recipe nor a flag names a file.",
    "plan": "Score and allocate only: the table of widths; nothing is trained or written.",
    "inspect": "Show which channels go together, what is at stake and what has to stay; nothing is scored or trained.",
    "compare": "Compare methods under equal budgets, equal training and equal seeds; resumes where it was stopped.",
    "export": "Write the model of a bundle as ONNX and verify it.",
    "verify": "Compare a bundle with an ONNX file on real samples, in onnxruntime.",
    "bench": "Time a bundle's network against the dense one, or another bundle's, in interleaved pairs.",
    "list": "List what can be chosen.",
}
"""Name of a command, which is that of its file -> what the help says of it."""


def load(name: str) -> Any:
    """Import a command's file and return the command as typer runs it."""
    single = typer.Typer(add_completion=False)
    single.command(name, help=SUMMARIES[name])(import_module(f"{__name__}.{name}").command)
    return typer.main.get_command(single)
