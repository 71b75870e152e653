"""The commands, one module each, imported only when they are called so that `--help` does not load torch.

Such a module imports what its flags need at the top and everything else inside `command`.
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
    "instability": "Train twice from one state under different orders of the data, and test on the line between both.",
    "export": "Write the model of a bundle as ONNX and verify it.",
    "verify": "Compare a bundle with an ONNX file on real samples, in onnxruntime.",
    "predict": "Name the classes of images, or mask them, by an ONNX file; needs no torch.",
    "bench": "Time a bundle's network against the dense one, or another bundle's, in interleaved pairs.",
    "list": "List what can be chosen.",
}
"""Summaries for the help, by the name of the command, which is also the name of its module."""


def load(name: str) -> Any:
    """Import the module of a command and return the command for typer."""
    single = typer.Typer(add_completion=False)
    single.command(name, help=SUMMARIES[name])(import_module(f"{__name__}.{name}").command)
    return typer.main.get_command(single)
