"""The commands: parsing, printing and exit codes."""

import json
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from slimprune import comparison, pipeline
from slimprune.cli.choices import Kind, available
from slimprune.cli.flags import takes_fields, takes_recipe
from slimprune.cli.progress import listening
from slimprune.errors import SlimpruneError, UsageError
from slimprune.export import OnnxCheck
from slimprune.pipeline.bench import DENSE
from slimprune.pipeline.inspect import Form
from slimprune.recipe import make_recipe, read_recipe
from slimprune.report import Inspection, comparison_page, inspection_page, latency_page, named_lines, page, verification
from slimprune.results import Report, check_to_json
from slimprune.timing import BenchSettings


class InterruptedRunError(SlimpruneError):
    """The run was stopped by SIGINT or SIGTERM."""

    exit_code = 130


class _Commands(TyperGroup):
    """The commands; an interruption is an error like others, before typer drops what it has to say."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise InterruptedRunError("; ".join(["interrupted", *_notes(stop)])) from stop


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    help="Slim vision models before they are trained: scored, proven, trained, exported and measured.",
)

Json = Annotated[bool, typer.Option("--json", help="print one JSON document, and nothing else, to stdout")]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML recipe; flags override its fields", metavar="FILE")]
Out = Annotated[Path | None, typer.Option("--out", help="the ONNX file to write", metavar="FILE")]
BundleFolder = Annotated[Path, typer.Argument(help="folder of a bundle (NAME.slim)")]
DataName = Annotated[
    str | None, typer.Option("--data", help="take samples from this data set instead of the bundle's", metavar="NAME")
]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="run the code that the bundle names")]


def main() -> None:
    """Entry point: runs the command, turns an error into one line and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns the exit code."""
    try:
        return app(args=list(arguments), prog_name="slimprune", standalone_mode=False) or 0
    except Exception as error:  # noqa: BLE001 whatever it is, it ends as one line
        if "--debug" in arguments:
            traceback.print_exc()
        message, code = _explained(error)
        if message:
            print("error: " + " ".join(message.split()), file=sys.stderr)
        return code


def _explained(error: Exception) -> tuple[str, int]:
    """The line and the exit code of an error; no line where typer has shown its help instead."""
    if isinstance(error, SlimpruneError):
        return "; ".join([str(error), *_notes(error)]), error.exit_code
    of_typer = getattr(error, "format_message", None)
    if of_typer is not None:
        return of_typer(), UsageError.exit_code
    kind = f"unexpected {type(error).__name__}: {error} (--debug shows where)"
    return "; ".join([kind, *_notes(error)]), SlimpruneError.exit_code


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"slimprune {metadata.version('slimprune')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Slim vision models before they are trained: scored, proven, trained, exported and measured."""


@app.command()
@takes_recipe
def compress(
    settings: dict[str, Any], config: Config = None, as_json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Score, slim, prove, train, export and verify: from an architecture to an ONNX file."""
    _run(pipeline.compress, _merged(config, settings), as_json, quiet)


@app.command("run")
def run_recipe(
    recipe: Annotated[Path, typer.Argument(help="YAML file with the fields of a recipe")],
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compress by a recipe as it stands; writes RECIPE.onnx where the recipe names no file."""
    settings = read_recipe(recipe)
    chosen = out or settings.get("out") or Path(f"{recipe.stem}.onnx")
    _run(pipeline.compress, {**settings, "out": chosen}, as_json, quiet)


@app.command("plan")
@takes_recipe
def plan_only(
    settings: dict[str, Any], config: Config = None, as_json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Score and allocate only: the table of widths; nothing is trained or written."""
    _run(pipeline.plan, _merged(config, settings), as_json, quiet)


@app.command("inspect")
@takes_fields("arch", "data", "image_size", "protect", "device", "seed")
def inspect_model(
    settings: dict[str, Any],
    config: Config = None,
    shape: Annotated[
        str | None, typer.Option("--shape", help="of the inputs, in place of a data set", metavar="C,H,W")
    ] = None,
    classes: Annotated[int, typer.Option("--classes", help="number of outputs, beside --shape", metavar="N")] = 10,
    html: Annotated[Path | None, typer.Option("--html", help="page to write, with a drawing", metavar="FILE")] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="drawing to write", metavar="FILE")] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="JSON file to write; - prints it, and nothing else", metavar="FILE")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show which channels go together, what is at stake and what has to stay; nothing is scored or trained."""
    on_stdout = as_json == Path("-")
    wanted: dict[Form, Path | None] = {"json": None if on_stdout else as_json, "html": html, "svg": svg}
    files = {form: file for form, file in wanted.items() if file is not None}
    merged = _merged(config, settings)
    make_recipe(merged)  # before they become keyword arguments, so that an unknown one is named by the recipe
    options: dict[str, Any] = {"shape": shape, "classes": classes, "files": files, **merged}
    with _own_stdout(), listening(quiet) as listener:
        inspection = pipeline.inspect_named(listener=listener, **options)
    _show_inspection(inspection, files.values(), on_stdout, quiet)


@app.command()
def compare(
    recipe: Annotated[Path, typer.Argument(help="YAML file of a grid: rows, budgets and seeds")],
    out: Annotated[
        Path | None, typer.Option("--out", help="folder to fill (default: the recipe's name)", metavar="DIR")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", help="networks to train at once", metavar="N")] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare methods under equal budgets, equal training and equal seeds; goes on where it was stopped."""
    folder = out or Path(recipe.stem)
    with _own_stdout(), listening(quiet, cells=True) as listener:
        document = comparison.compare(recipe, out=folder, jobs=jobs, listener=listener)
    _show_comparison(document, folder, as_json, quiet)


@app.command()
def export(
    bundle: BundleFolder,
    out: Annotated[Path, typer.Option("--out", help="the ONNX file to write", metavar="FILE")],
    data: DataName = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the model of a bundle as ONNX and verify it."""
    with _own_stdout():
        check = pipeline.export(bundle, out, data=data, trust_code=trust_code)
    _show_check(check, as_json, quiet)


@app.command()
def verify(
    bundle: BundleFolder,
    onnx: Annotated[Path, typer.Argument(help="the ONNX file to compare with it")],
    data: DataName = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare a bundle with an ONNX file on real samples, in onnxruntime."""
    with _own_stdout():
        check = pipeline.verify(bundle, onnx, data=data, trust_code=trust_code)
    _show_check(check, as_json, quiet)


@app.command()
def bench(
    bundle: BundleFolder,
    against: Annotated[
        str, typer.Option("--against", help="dense, or the folder of another bundle", metavar="NAME")
    ] = DENSE,
    engine: Annotated[
        list[str] | None,
        typer.Option("--engine", help="see slimprune list engines (default: all of them)", metavar="NAME"),
    ] = None,
    batch: Annotated[str, typer.Option("--batch", help="batch sizes", metavar="N,...")] = "1,8,32",
    threads: Annotated[
        int | None, typer.Option("--threads", help="on the CPU (default: all cores)", metavar="N")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N", metavar="NAME")] = "auto",
    samples: Annotated[int, typer.Option("--samples", help="pairs of samples", metavar="N")] = 200,
    seconds: Annotated[float, typer.Option("--seconds", help="most time of one comparison", metavar="X")] = 20.0,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write, and a .md", metavar="FILE")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="report to add the times to", metavar="FILE")] = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Time a bundle's network against the dense one, or another bundle's, in interleaved pairs."""
    settings = BenchSettings.parsed(engine or (), batch, threads, device, pairs=samples, seconds=seconds)
    options: dict[str, Any] = {"against": against, "trust_code": trust_code, "out": out, "report": report}
    with _own_stdout(), listening(quiet) as listener:
        document = pipeline.bench(bundle, settings, listener=listener, **options)
    _show_bench(document, as_json, quiet)


@app.command("list")
def list_choices(
    kind: Annotated[Kind, typer.Argument(help="what to list")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List what can be chosen, and the operators that channels are followed through."""
    rows = available(kind)
    if as_json:
        print(json.dumps([{"name": name, "description": description} for name, description in rows]))
    else:
        print(named_lines(rows, shutil.get_terminal_size().columns))


def _merged(config: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    return {**(read_recipe(config) if config else {}), **settings}


def _run(job: Callable[..., Report], settings: dict[str, Any], as_json: bool, quiet: bool) -> None:
    make_recipe(settings)  # before they become keyword arguments, so that an unknown one is named by the recipe
    with _own_stdout(), listening(quiet) as listener:
        report = job(listener=listener, **settings)
    _show(report, as_json, quiet)


def _show(report: Report, as_json: bool, quiet: bool) -> None:
    document = report.to_json()
    if as_json:
        print(json.dumps(document))
    elif not quiet:
        if report.onnx is not None:
            stem = report.onnx.path.stem
            print(f"{report.onnx.path} is written; {stem}.slim and {stem}.report.html, .json and .md lie beside it")
        print(page(document, shutil.get_terminal_size().columns))


def _show_inspection(inspection: Inspection, written: Iterable[Path], as_json: bool, quiet: bool) -> None:
    if as_json:
        print(inspection.to_text(), end="")
    elif not quiet:
        for file in written:
            print(f"{file} is written")
        print(inspection_page(inspection.to_json(), shutil.get_terminal_size().columns))


def _show_comparison(document: Mapping[str, Any], folder: Path, as_json: bool, quiet: bool) -> None:
    if as_json:
        print(json.dumps(document))
    elif not quiet:
        print(f"{folder} holds compare.html and .md (all columns), .json, .svg and .png")
        print(comparison_page(document, shutil.get_terminal_size().columns))


def _show_bench(document: Mapping[str, Any], as_json: bool, quiet: bool) -> None:
    if as_json:
        print(json.dumps(document))
    elif not quiet:
        print(f"{document['bundle']} against {document['against']}, inputs {document['inputs']['kind']}")
        print(latency_page(document, shutil.get_terminal_size().columns))


def _show_check(check: OnnxCheck, as_json: bool, quiet: bool) -> None:
    plain = check_to_json(check)
    if as_json:
        print(json.dumps(plain))
    elif not quiet:
        print(f"{check.path} {verification(plain)}")


def _own_stdout() -> AbstractContextManager[Any]:
    """What a user's architecture prints goes to stderr: stdout is for results."""
    return redirect_stdout(sys.stderr)
