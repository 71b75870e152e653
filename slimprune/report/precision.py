"""The ONNX files of a run in their precisions: sizes, accuracy and speed."""

from slimprune.files import PrecisionOutcome, PrecisionsOutcome, PrecisionSpeed, ReportDocument
from slimprune.report.figures import byte_size, percent, scale_of, titled
from slimprune.report.masked import empty_alarms
from slimprune.scale import Scale

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Head and rows."""


def alarms(document: ReportDocument) -> list[str]:
    """Return the warnings that a report begins with: on layers without weights, and on what a lower precision loses."""
    masks = document.get("masks")
    return ([] if masks is None else empty_alarms(document, masks)) + _losses(document)


def _losses(document: ReportDocument) -> list[str]:
    if (found := document.get("precisions")) is None:
        return []
    first, *lower = found["files"]
    losses = {file["precision"]: scale_of(document).loss(file["accuracy"], first["accuracy"]) for file in lower}
    lossy = [precision for precision, lost in losses.items() if lost > found["max_loss"]]
    return [
        warning for warning in document["warnings"] if warning.startswith(tuple(f"{name} loses " for name in lossy))
    ]


def other_warnings(document: ReportDocument) -> list[str]:
    """Return the warnings that are no `alarms`."""
    first = alarms(document)
    return [warning for warning in document["warnings"] if warning not in first]


def precision_table(document: ReportDocument, found: PrecisionsOutcome, *, full: bool = True) -> Table:
    """Return a table with a row per file.

    Args:
        document: The report.
        found: Its files.
        full: Whether to include the intervals of the speed-ups.
    """
    first, scale = found["files"][0], scale_of(document)
    metric = titled(found["metric"], scale)
    batches = [speed["batch"] for speed in found["files"][-1]["speed"]]
    change = scale.points.strip() or "change"
    head = ("", "bytes", "zstd", "dense / zstd", metric, change, *(f"batch {batch}" for batch in batches))
    dense = document["weight_bytes"]["dense"]
    return head, [_row(file, first, dense, len(batches), scale, full=full) for file in found["files"]]


def precision_note(found: PrecisionsOutcome) -> str:
    """Return a sentence on how the figures of the table were obtained."""
    parts = [
        "accuracy on the whole test set in onnxruntime",
        "dense / zstd: bytes of the dense network's weights in fp32 over those of the file after Zstandard",
    ]
    if speeds := [speed for file in found["files"] for speed in file["speed"]]:
        one = speeds[0]
        threads = f"{one['threads']} thread{'' if one['threads'] == 1 else 's'}"
        parts.append(
            f"speed-up over fp32 by paired times in {one['version']} on {one['device']}, {threads}, "
            f"with {100 * one['confidence']:.4g} % intervals"
        )
    for file in found["files"]:
        if (calibration := file["calibration"]) is not None:
            parts.append(
                f"{file['precision']} calibrated by {calibration['method']} on {calibration['images']} training "
                f"images, {percent(calibration['agreement'])} of the predictions for {calibration['held_out']} others "
                "unchanged"
            )
    return "; ".join(parts)


def _row(
    file: PrecisionOutcome, first: PrecisionOutcome, dense: int, batches: int, scale: Scale, *, full: bool
) -> tuple[str, ...]:
    change = "" if file is first else scale.change(file["accuracy"], first["accuracy"]).removesuffix(scale.points)
    speeds = [_speed(speed, full=full) for speed in file["speed"]] or [""] * batches
    sizes = byte_size(file["bytes"]), byte_size(file["zstd_bytes"]), f"{dense / file['zstd_bytes']:.1f}"
    return (file["precision"], *sizes, scale.shown(file["accuracy"]), change, *speeds)


def _speed(speed: PrecisionSpeed, *, full: bool) -> str:
    low, high = speed["interval"]
    return f"{speed['speedup']:.2f} ({low:.2f}-{high:.2f})" if full else f"{speed['speedup']:.2f}"
