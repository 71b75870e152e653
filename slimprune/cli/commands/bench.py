"""`slimprune bench`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slimprune.cli.options import OUTPUT, BundleFolder, Debug, DenseModel, Json, Quiet, TrustCode


def command(
    bundle: BundleFolder,
    against: Annotated[
        str, typer.Option("--against", help="dense, or the folder of another bundle", metavar="NAME")
    ] = "dense",
    engine: Annotated[
        list[str] | None,
        typer.Option("--engine", help="see slimprune list engines (default: all of them)", metavar="NAME"),
    ] = None,
    batch: Annotated[str, typer.Option("--batch", help="batch sizes", metavar="N,...")] = "1,8,32",
    threads: Annotated[
        int | None, typer.Option("--threads", help="on the CPU (default: all cores)", metavar="N")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda, mps, xpu, or one with :N", metavar="NAME")
    ] = "auto",
    samples: Annotated[int, typer.Option("--samples", help="pairs of samples", metavar="N")] = 200,
    seconds: Annotated[float, typer.Option("--seconds", help="most time of one comparison", metavar="X")] = 20.0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="JSON file to write, and a .md", metavar="FILE", rich_help_panel=OUTPUT),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="report to add the times to", metavar="FILE", rich_help_panel=OUTPUT),
    ] = None,
    model: DenseModel = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Time one network against another."""
    from slimprune import pipeline
    from slimprune.cli.progress import listening
    from slimprune.cli.running import columns, own_stdout, show
    from slimprune.report import latency_page, paragraph
    from slimprune.timing import BenchSettings

    settings = BenchSettings.parsed(engine or (), batch, threads, device, pairs=samples, seconds=seconds)
    options: dict[str, Any] = {"against": against, "model": model, "trust_code": trust_code, "out": out}
    options["report"] = report
    with own_stdout(), listening(quiet) as listener:
        document = pipeline.bench(bundle, settings, listener=listener, **options)

    def text() -> str:
        title = f"{document['bundle']} against {document['against']}, inputs {document['inputs']['kind']}"
        return f"{paragraph(title, columns())}\n{latency_page(document, columns())}"

    show(document, text, as_json, quiet)
