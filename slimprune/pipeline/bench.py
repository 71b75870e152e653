"""The command `bench`: a bundle's network beside the dense one or another bundle's, timed and written down."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import nn

from slimprune.errors import UsageError, VerificationError, kind_and_line
from slimprune.files import BenchDocument, Facts, LatencyRow, ReportDocument, check_writable, read_document, write_files
from slimprune.measure import environment, load_average, pinned_threads, usable_cores
from slimprune.report import latency_markdown, markdown, report_html
from slimprune.surgery import Bundle, build_dense, read
from slimprune.timing import CONFIDENCE, PLACEMENT, SAMPLE_SECONDS, Place, Sampling
from slimprune.timing.compare import BenchSettings, compare_speed
from slimprune.types import Listener, ignore

DENSE = "dense"
"""Stands in place of another bundle: the network that the bundle was made from."""

INPUTS = "synthetic: standard normal noise; for training, a random class per image or a random mask"


def bench(
    bundle: Path,
    settings: BenchSettings | None = None,
    *,
    against: str = DENSE,
    trust_code: bool = False,
    out: Path | None = None,
    report: Path | None = None,
    listener: Listener = ignore,
) -> BenchDocument:
    """Times the slim network of a bundle beside the dense one that it was made from, or beside another bundle's.

    Args:
        bundle: the folder.
        settings: what is timed, and how long.
        against: `dense`, or the folder of another bundle for images of the same size.
        trust_code: allow the bundles to name the code that builds their dense models.
        out: JSON file to write, with a Markdown page beside it.
        report: report of the run that made the bundle; its `latency` gets the figures, and so do its Markdown and HTML
            pages.
        listener: called with (engine and batch size, pairs done, pairs in all, verdict).

    Returns:
        The document; each row of its `latency` is one comparison, see `compare_speed`.

    Raises:
        UsageError: an option that makes no sense here, input shapes that differ, or a file that cannot be written.
        VerificationError: a bundle or the report cannot be read, or the report belongs to another bundle.
    """
    settings = settings or BenchSettings()
    settings.comparisons()
    _check_out(out, report)
    found = read(bundle)
    document = None if report is None else _read_report(report, found, against)
    reference, candidate = _networks(found, against, trust_code)
    inputs = found.origin.inputs
    assert inputs is not None  # without inputs there is no network
    shape = (inputs.channels, inputs.height, inputs.width)
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
    """A report with these rows in its `latency`; former ones of the same engine, device, batch and threads go."""

    def key(row: LatencyRow) -> tuple[str, str, int, int]:
        return row["engine"], row["device"], row["batch"], row["threads"]

    new = [key(row) for row in rows]
    return {**document, "latency": [*(row for row in document["latency"] if key(row) not in new), *rows]}


def _networks(found: Bundle, against: str, trust_code: bool) -> tuple[nn.Module, nn.Module]:
    """What is timed against, and the bundle's own network."""
    other = None if against == DENSE else read(Path(against))
    dense = build_dense(found, trust_code=trust_code)
    candidate = found.rebuild(dense)
    if other is None:
        return dense, candidate
    reference = other.rebuild(build_dense(other, trust_code=trust_code))
    shapes = [(one.channels, one.height, one.width) for one in (found.origin.inputs, other.origin.inputs) if one]
    if shapes[0] != shapes[1]:
        raise UsageError(f"expected two bundles for inputs of one shape, got {shapes[0]} and {shapes[1]} ({against})")
    return reference, candidate


def _method(sampling: Sampling) -> Facts:
    clock = "wall-clock; on the CPU less the time that other work had the cores, where Linux tells"
    order = "A B or B A, drawn by coin for each pair"
    interval = f"order statistics of the log ratios, confidence {CONFIDENCE}, widened by {PLACEMENT:.0%}"
    return {**asdict(sampling), "sample_seconds": SAMPLE_SECONDS, "clock": clock, "order": order, "interval": interval}


def _circumstances(place: Place) -> Facts:
    """Device, threads, versions, and how busy the machine was before."""
    with pinned_threads(place.threads):
        plain = environment(place.device)
    return {**plain, "cores": usable_cores(), "load_average": load_average()}


def _name(against: str) -> str:
    return DENSE if against == DENSE else Path(against).name


def _read_report(path: Path, bundle: Bundle, against: str) -> ReportDocument:
    """The report, which must be of the run that made the bundle."""
    if against != DENSE:
        raise UsageError(f"expected --against dense for a report, whose figures are dense against slim, got {against}")
    if not path.is_file() or not path.name.endswith(".json"):
        raise UsageError(f"expected a report NAME.report.json, got {path}")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise VerificationError(f"report {path} cannot be read: {kind_and_line(error)}") from error
    document = read_document(ReportDocument, text, f"report {path}")
    if document["recipe"].get("hash") != bundle.recipe.get("hash"):
        raise VerificationError(f"expected {path} to be the report of {bundle.folder}, got one of another run")
    return document


def _check_out(out: Path | None, report: Path | None) -> None:
    """Refuses files that cannot be written before any time is spent."""
    if out is not None and out.suffix != ".json":
        raise UsageError(f"expected --out to end in .json, got {out}")
    if out is not None and report is not None and out.resolve() == report.resolve():
        raise UsageError(f"expected --out beside the report, got the report itself, {out}")
    wanted = [target.with_suffix(suffix) for target in (out, report) if target for suffix in (target.suffix, ".md")]
    check_writable([*wanted, *([report.with_suffix(".html")] if report else [])])


def _write(target: Path, document: BenchDocument | ReportDocument, pages: Mapping[str, str]) -> None:
    """The JSON file and, by suffix, the texts of the pages beside it."""
    plain = json.dumps(document, indent=1) + "\n"
    write_files({target: plain, **{target.with_suffix(suffix): text for suffix, text in pages.items()}})
