"""Running a job with its progress, and printing the result as text or JSON."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from slimprune.errors import UsageError, visible
from slimprune.recipe import make_recipe, read_recipe
from slimprune.report import alarms, page, paragraph, verification

Name = TypeVar("Name", bound=str)

if TYPE_CHECKING:
    from slimprune.export import OnnxCheck
    from slimprune.results import Report


def merged(config: Path | None, settings: Mapping[str, Any], *, trust_code: bool = False) -> dict[str, Any]:
    """Return the fields of a recipe file, overridden by the flags.

    Raises:
        UsageError: If the file names code that is not trusted; code that a flag names is.
    """
    from slimprune.pipeline.trust import check_trusted

    if config is None:
        return dict(settings)
    of_file = {name: value for name, value in read_recipe(config).items() if name not in settings}
    check_trusted(of_file, f"recipe {config}", trust_code=trust_code)
    return {**of_file, **settings}


def run_and_show(job: Callable[..., "Report"], settings: dict[str, Any], as_json: bool, quiet: bool) -> None:
    """Run `compress` or `plan` and print the report."""
    from slimprune.cli.progress import listening

    make_recipe(settings)  # validates before the call, so that the recipe's error names an unknown field
    from slimprune.ranks.group import process_group

    with process_group() as ranks:
        with own_stdout(), listening(quiet or not ranks.first) as listener:
            report = job(listener=listener, **settings)
        if ranks.first:
            show_report(report, as_json, quiet)


def show_report(report: "Report", as_json: bool, quiet: bool) -> None:
    """Print the report of `compress` or `plan`."""
    document = report.to_json()
    first = [paragraph(alarm, columns()) for alarm in alarms(document)]
    show(document, lambda: "\n".join([*first, *_written(report), page(document, columns())]), as_json, quiet)


def show_check(check: "OnnxCheck", as_json: bool, quiet: bool) -> None:
    """Print the result of verifying an ONNX file."""
    from slimprune.results import check_to_json

    plain = check_to_json(check)
    show(plain, lambda: paragraph(f"{check.path} {verification(plain)}", columns()), as_json, quiet)


def chosen(option: str, name: str, known: Sequence[Name]) -> Name:
    """Return the one of the known names that an option gives.

    Raises:
        UsageError: If it gives none of them.
    """
    found = next((one for one in known if one == name), None)
    if found is None:
        raise UsageError(f"expected {option} ({', '.join(known)}), got {name!r}")
    return found


def show(document: Mapping[str, Any], text: Callable[[], str], as_json: bool, quiet: bool) -> None:
    """Print a document as JSON, or as text unless `quiet`."""
    if as_json:
        print(json.dumps(document))
    elif not quiet:
        say(text())


def say(text: str) -> None:
    """Print text in which names from files have no power over the terminal."""
    print(visible(text))


def columns() -> int:
    """Return the width of the terminal in characters."""
    return shutil.get_terminal_size().columns


def own_stdout() -> AbstractContextManager[Any]:
    """Redirect what a user's code prints to stderr, since stdout is reserved for results."""
    return redirect_stdout(sys.stderr)


def _written(report: "Report") -> list[str]:
    out = report.recipe.out
    if report.training is None or out is None:
        return []
    lower = [f"{out.stem}.{precision}.onnx" for precision in report.recipe.lower_precisions]
    bundle = ", ".join([*lower, f"{out.stem}.slim and "]) if report.onnx is not None else ""
    return [paragraph(f"{out} is written; {bundle}{out.stem}.report.html, .json and .md lie beside it", columns())]
