"""The command `bench`: timing a bundle's network against the dense one or another bundle's."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import nn

from slimprune.bounded import read_bounded
from slimprune.errors import FORWARD_ERRORS, UsageError, VerificationError, kind_and_line
from slimprune.files import BenchDocument, Facts, LatencyRow, ReportDocument, check_writable, read_document, write_files
from slimprune.measure import environment, load_average, pinned_threads, usable_cores
from slimprune.pipeline.opened import Model, with_one_tensor
from slimprune.report import latency_markdown, markdown, report_html
from slimprune.surgery import Bundle, build_dense, read
from slimprune.timing import CONFIDENCE, PLACEMENT, SAMPLE_SECONDS, Place, Sampling
from slimprune.timing.compare import BenchSettings, compare_speed, noise
from slimprune.types import Listener, ignore

LARGEST_REPORT = 2**28
"""Most bytes of a report."""
DENSE = "dense"
"""Value of `against` that means the network from which the bundle was made."""

INPUTS = "synthetic: standard normal noise; for training, a random class per image or a random mask"


def bench(
    bundle: Path,
    settings: BenchSettings | None = None,
    *,
    against: str = DENSE,
    model: Model | None = None,
    trust_code: bool = False,
    out: Path | None = None,
    report: Path | None = None,
    listener: Listener = ignore,
) -> BenchDocument:
    """Time the slim network of a bundle against the dense network it was made from, or against another bundle's.

    Args:
        bundle: Folder of the bundle.
        settings: What to time, and for how long.
        against: `dense`, or the folder of another bundle for images of the same size.
        model: Dense model, or the architecture that builds it, for bundles of models that were passed as objects.
        trust_code: Whether to run the code that the bundles name for building their dense models.
        out: JSON file to write; a Markdown page is written next to it.
        report: Report of the run that made the bundle; the times are added to its `latency` and to its Markdown and
            HTML pages.
        listener: Called with (engine and batch size, pairs done, total pairs, verdict).

    Returns:
        The document. Each row of its `latency` is one comparison; see `compare_speed`.

    Raises:
        UsageError: If an option is invalid here, the input shapes differ, or a file cannot be written.
        VerificationError: If a bundle or the report cannot be read, or the report belongs to another bundle.
    """
    settings = settings or BenchSettings()
    settings.comparisons()
    _check_out(out, report)
    found = read(bundle)
    document = None if report is None else _read_report(report, found, against)
    reference, candidate, shape = _networks(found, against, model, trust_code)
    circumstances = _circumstances(settings.place)
    rows = compare_speed(reference, candidate, shape, settings, listener=listener)
    result: BenchDocument = {
        "schema_version": 1,
        "bundle": bundle.name,
        "arch": found.origin.arch,
        "against": _name(against),
        "inputs": {"shape": list(shape), "kind": INPUTS},
        "method": _method(settings.sampling),
        "environment": circumstances,
        "macs": rows[0]["macs"],
        "latency": [{**row, "against": _name(against)} for row in rows],
    }
    if out is not None:
        _write(out, result, {".md": latency_markdown(result)})
    if report is not None and document is not None:
        document = with_latency(document, result["latency"])
        _write(report, document, {".md": markdown(document), ".html": report_html(document, report.parent)})
    return result


def with_latency(document: ReportDocument, rows: Sequence[LatencyRow]) -> ReportDocument:
    """Return a report with new rows in `latency`; they replace those of an earlier `bench` in the same place."""

    def key(row: LatencyRow) -> tuple[str, str, int, int, str | None]:
        return row["engine"], row["device"], row["batch"], row["threads"], row.get("network")

    new = [key(row) for row in rows]
    return {**document, "latency": [*(row for row in document["latency"] if key(row) not in new), *rows]}


def _networks(
    found: Bundle, against: str, model: Model | None, trust_code: bool
) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """Return the reference network, the bundle's own network, and the shape of one input."""
    shape = found.origin.sample_shape
    dense = build_dense(found, model=model, trust_code=trust_code)
    if shape is None:
        raise UsageError(f"expected a bundle that records the shape of one input tensor, got {found.folder}")
    reference = dense
    if against != DENSE:
        other = read(Path(against))
        given = model if other.origin.arch is None else None
        reference = other.rebuild(build_dense(other, model=given, trust_code=trust_code))
        if other.origin.sample_shape != shape:
            shapes = f"{shape} and {other.origin.sample_shape} ({against})"
            raise UsageError(f"expected two bundles for inputs of one shape, got {shapes}")
    sample = noise(2, shape)
    return with_one_tensor(reference, sample), with_one_tensor(found.rebuild(dense), sample), shape


def _method(sampling: Sampling) -> Facts:
    clock = "wall-clock; on the CPU less the time that other work had the cores, where Linux tells"
    order = "A B or B A, drawn by coin for each pair"
    interval = f"order statistics of the log ratios, confidence {CONFIDENCE}, widened by {PLACEMENT:.0%}"
    return {**asdict(sampling), "sample_seconds": SAMPLE_SECONDS, "clock": clock, "order": order, "interval": interval}


def _circumstances(place: Place) -> Facts:
    """Return device, threads, versions, and the load of the machine before the timing."""
    with pinned_threads(place.threads):
        plain = environment(place.device)
    return {**plain, "cores": usable_cores(), "load_average": load_average()}


def _name(against: str) -> str:
    return DENSE if against == DENSE else Path(against).name


def _read_report(path: Path, bundle: Bundle, against: str) -> ReportDocument:
    """Return the report after checking that it comes from the run that made the bundle."""
    if against != DENSE:
        raise UsageError(f"expected --against dense for a report, whose figures are dense against slim, got {against}")
    if not path.is_file() or not path.name.endswith(".json"):
        raise UsageError(f"expected a report NAME.report.json, got {path}")
    try:
        text = read_bounded(path, LARGEST_REPORT)
    except OSError as error:
        raise VerificationError(f"report {path} cannot be read: {kind_and_line(error)}") from error
    document = read_document(ReportDocument, text, f"report {path}")
    if document["recipe"].get("hash") != bundle.recipe.get("hash"):
        raise VerificationError(f"expected {path} to be the report of {bundle.folder}, got one of another run")
    try:  # before the time for measurements is spent
        markdown(document), report_html(document, path.parent)
    except (*FORWARD_ERRORS, ArithmeticError, StopIteration) as error:
        raise VerificationError(f"report {path} cannot be shown: {kind_and_line(error)}") from error
    return document


def _check_out(out: Path | None, report: Path | None) -> None:
    """Check that the files can be written, before any time is spent."""
    if out is not None and out.suffix != ".json":
        raise UsageError(f"expected --out to end in .json, got {out}")
    if out is not None and report is not None and out.resolve() == report.resolve():
        raise UsageError(f"expected --out beside the report, got the report itself, {out}")
    wanted = [target.with_suffix(suffix) for target in (out, report) if target for suffix in (target.suffix, ".md")]
    check_writable([*wanted, *([report.with_suffix(".html")] if report else [])])


def _write(target: Path, document: BenchDocument | ReportDocument, pages: Mapping[str, str]) -> None:
    """Write the JSON file and next to it the pages, given as suffix -> text."""
    plain = json.dumps(document, indent=1) + "\n"
    write_files({target: plain, **{target.with_suffix(suffix): text for suffix, text in pages.items()}})
