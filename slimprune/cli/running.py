"""Between parsing and printing: a job with its progress, then one document as text or JSON."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimprune.recipe import make_recipe, read_recipe
from slimprune.report import page, paragraph, verification

if TYPE_CHECKING:
    from slimprune.export import OnnxCheck
    from slimprune.results import Report


def merged(config: Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe's file, with flags over them."""
    return {**(read_recipe(config) if config else {}), **settings}


def run_and_show(job: Callable[..., "Report"], settings: dict[str, Any], as_json: bool, quiet: bool) -> None:
    """Run `compress` or `plan`, and print the report."""
    from slimprune.cli.progress import listening

    make_recipe(settings)  # before they become keyword arguments, so that an unknown one is named by the recipe
    with own_stdout(), listening(quiet) as listener:
        report = job(listener=listener, **settings)
    show_report(report, as_json, quiet)


def show_report(report: "Report", as_json: bool, quiet: bool) -> None:
    """Print what `compress` or `plan` found."""
    document = report.to_json()
    show(document, lambda: "\n".join([*_written(report), page(document, columns())]), as_json, quiet)


def show_check(check: "OnnxCheck", as_json: bool, quiet: bool) -> None:
    """Print what the verification of an ONNX file found."""
    from slimprune.results import check_to_json

    plain = check_to_json(check)
    show(plain, lambda: paragraph(f"{check.path} {verification(plain)}", columns()), as_json, quiet)


def show(document: Mapping[str, Any], text: Callable[[], str], as_json: bool, quiet: bool) -> None:
    """Print a document as JSON or as text, or not at all."""
    if as_json:
        print(json.dumps(document))
    elif not quiet:
        print(text())


def columns() -> int:
    """How wide the terminal is."""
    return shutil.get_terminal_size().columns


def own_stdout() -> AbstractContextManager[Any]:
    """What a user's architecture prints goes to stderr: stdout is for results."""
    return redirect_stdout(sys.stderr)


def _written(report: "Report") -> list[str]:
    out = report.recipe.out
    if report.training is None or out is None:
        return []
    bundle = f"{out.stem}.slim and " if report.onnx is not None else ""
    return [paragraph(f"{out} is written; {bundle}{out.stem}.report.html, .json and .md lie beside it", columns())]
