"""The command line: parsing, printing and exit codes; the only file that prints."""

import inspect
import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer
from pydantic.fields import FieldInfo
from rich.columns import Columns
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from slimprune import pipeline
from slimprune.errors import SlimpruneError, UsageError
from slimprune.recipe import Recipe, make_recipe, read_recipe
from slimprune.report import OnnxCheck, Report, facts, summary_rows, width_rows

INTERRUPTED = 130

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Slim vision models, proven and measured.")

Json = Annotated[bool, typer.Option("--json", help="print the report as JSON, and nothing else, to stdout")]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML recipe; flags override its fields")]
Out = Annotated[Path | None, typer.Option("--out", help="the ONNX file to write")]
DataName = Annotated[str | None, typer.Option("--data", help="take samples from this data set instead")]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="run the code that the bundle names as architecture")]


def main() -> None:
    """Entry point: runs the command, turns an error into one line and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit code."""
    try:
        return app(args=list(arguments), prog_name="slimprune", standalone_mode=False) or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            raise
        format_usage = getattr(error, "format_message", None)
        if format_usage is not None:
            return _fail(format_usage(), UsageError.exit_code)
        if isinstance(error, SlimpruneError):
            return _fail(str(error), error.exit_code)
        return _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1)


def _takes_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """Adds a flag for every field of `Recipe`; the command receives those that were given as `settings`."""

    def with_settings(**given: Any) -> None:
        settings = {name: given.pop(name) for name in Recipe.model_fields}
        command(settings={name: value for name, value in settings.items() if value is not None}, **given)

    own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "settings"]
    flags = [_flag(name, field) for name, field in Recipe.model_fields.items()]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*flags, *own)]
    with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    with_settings.__name__, with_settings.__doc__ = command.__name__, command.__doc__
    return with_settings


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    """The flag of one field; its text is parsed and checked by the recipe itself."""
    option = "--" + name.replace("_", "-")
    shown = "" if field.default in (None, ()) else f" (default {field.default})"
    help_text = f"{field.description}{shown if field.annotation is not bool else ''}"
    if field.annotation is bool:
        kind: Any = Annotated[bool | None, typer.Option(f"{option}/--no-{option[2:]}", help=help_text)]
    else:
        kind = Annotated[str | None, typer.Option(option, help=help_text, metavar=_metavar(field))]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _metavar(field: FieldInfo) -> str:
    text = str(field.annotation)
    kinds = (("Literal", "NAME"), ("float", "X"), ("int", "N"), ("Path", "FILE"), ("tuple", "NAME,..."))
    return next((metavar for kind, metavar in kinds if kind in text), "NAME")


@app.command()
@_takes_recipe
def compress(
    settings: dict[str, Any], config: Config = None, as_json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Score, slim, prove, train, export and verify; one command from an architecture to an ONNX file."""
    _compress({**(read_recipe(config) if config else {}), **settings}, as_json, quiet)


@app.command()
def run_recipe(
    recipe: Annotated[Path, typer.Argument(help="YAML file with the fields of a recipe")],
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a recipe as it stands."""
    settings = read_recipe(recipe)
    if out is not None or "out" not in settings:
        settings["out"] = str(out or Path(recipe.stem + ".onnx"))
    _compress(settings, as_json, quiet)


app.registered_commands[-1].name = "run"


@app.command("plan")
@_takes_recipe
def plan_only(
    settings: dict[str, Any], config: Config = None, as_json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Score and allocate only: the table of widths; nothing is trained or written."""
    settings = {**(read_recipe(config) if config else {}), **settings}
    make_recipe(settings)
    with _Display(quiet) as display:
        report = pipeline.plan(listener=display.update, **settings)
    _show(report, as_json, quiet)


@app.command()
def export(
    bundle: Annotated[Path, typer.Argument(help="folder of a bundle (NAME.slim)")],
    out: Annotated[Path, typer.Option("--out", help="the ONNX file to write")],
    data: DataName = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the model of a bundle as ONNX and verify it."""
    _show_check(pipeline.export(bundle, out, data=data, trust_code=trust_code), as_json, quiet)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="folder of a bundle (NAME.slim)")],
    onnx: Annotated[Path, typer.Argument(help="the ONNX file to compare with it")],
    data: DataName = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare a bundle with an ONNX file on real samples, in onnxruntime."""
    _show_check(pipeline.verify(bundle, onnx, data=data, trust_code=trust_code), as_json, quiet)


@app.command("list")
def list_choices(
    kind: Annotated[Literal["archs", "data", "criteria", "rules"], typer.Argument(help="what to list")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List what can be chosen: archs, data, criteria or rules."""
    rows = pipeline.available(kind)
    if as_json:
        print(json.dumps([{"name": name, "description": description} for name, description in rows]))
        return
    Console().print(_table(("name", "description"), rows, right_from=2))


def _compress(settings: dict[str, Any], as_json: bool, quiet: bool) -> None:
    make_recipe(settings)
    with _Display(quiet) as display:
        report = pipeline.compress(listener=display.update, **settings)
    _show(report, as_json, quiet)


def _show(report: Report, as_json: bool, quiet: bool) -> None:
    document = report.to_json()
    if as_json:
        print(json.dumps(document))
        return
    if quiet:
        return
    console = Console()
    console.print(_table(("", "dense", "slim", "removed"), summary_rows(document)))
    console.print(Columns([_width_cell(row) for row in width_rows(document)], padding=(0, 3), column_first=True))
    for entry in document["protected"]:
        console.print(f"* {entry['layer']} is protected: {entry['reason']}", style="dim", highlight=False)
    for what, sentence in facts(document):
        console.print(f"{what}: {sentence}", highlight=False)
    for warning in document["warnings"]:
        console.print(f"note: {warning}", style="yellow", highlight=False)
    if report.onnx is not None:
        console.print(f"wrote {report.onnx.path} and, beside it, .slim/ .report.json .report.md", highlight=False)


def _width_cell(row: tuple[str, str, str]) -> str:
    layer, dense, slim = row
    return f"{layer}  {dense} → {slim}"


def _show_check(check: OnnxCheck, as_json: bool, quiet: bool) -> None:
    plain = {
        "path": str(check.path),
        "opset": check.opset,
        "max_abs_diff": check.max_abs_diff,
        "top1_agreement": check.top1_agreement,
        "samples": check.samples,
        "batches": list(check.batches),
    }
    if as_json:
        print(json.dumps(plain))
    elif not quiet:
        print(
            f"{check.path} agrees: differs by at most {check.max_abs_diff:.1e}, "
            f"top-1 agreement {check.top1_agreement:.0%} on {check.samples} samples at batches {plain['batches']}"
        )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right_from: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, title in enumerate(head):
        table.add_column(title, justify="right" if position >= right_from else "left", style=None)
    for row in rows:
        table.add_row(*row)
    return table


class _Display(AbstractContextManager["_Display"]):
    """Progress bars on stderr, one for each stage of a run."""

    def __init__(self, quiet: bool) -> None:
        columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
        self._progress = Progress(*columns, *times, console=Console(stderr=True), disable=quiet)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Display":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, stage: str, done: int, total: int, note: str) -> None:
        """Shows the state of a stage."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, note=note)
        self._progress.update(self._tasks[stage], completed=done, total=total, note=note)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code
