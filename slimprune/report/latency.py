"""Measured times as rows and as Markdown."""

from collections.abc import Sequence

from slimprune.files import BenchDocument, LatencyRow
from slimprune.report.escaping import for_markdown
from slimprune.report.markdown_table import markdown_table

NOTABLE = 0.05
"""Share of the time taken by other processes above which the report mentions it."""

SHORT_HEAD = ("engine", "batch", "dense ms", "slim ms", "speed-up", "of MACs")
FULL_HEAD = ("engine", "batch", "dense ms", "slim ms", "speed-up", "of MACs", "pairs", "verdict")
LATENCY_NOTE = (
    "Milliseconds per call: median (first to third quartile). Speed-up: dense over slim time within pairs, with its "
    "interval; `of MACs` is the speed-up over the MAC reduction. Inputs are synthetic."
)


def latency_groups(rows: Sequence[LatencyRow]) -> list[tuple[str, list[LatencyRow]]]:
    """Group rows by device and threads, each under a sentence with these, versions, confidence and MACs."""
    groups: dict[str, list[LatencyRow]] = {}
    for row in rows:
        groups.setdefault(f"{row['device']}, {_count(row['threads'], 'thread')}", []).append(row)
    return [(f"{where}, {_shared(found)}", found) for where, found in groups.items()]


def latency_table(rows: Sequence[LatencyRow]) -> str:
    """Return all columns as a Markdown table."""
    return markdown_table(FULL_HEAD, map(full_row, rows), left=(0, len(FULL_HEAD) - 1))


def latency_sections(rows: Sequence[LatencyRow]) -> list[str]:
    """Return the Markdown parts: for every device and number of threads a sentence and a table."""
    return [part for where, found in latency_groups(rows) for part in (where, latency_table(found))]


def latency_markdown(document: BenchDocument) -> str:
    """Return the document of `bench` as a Markdown page."""
    document = for_markdown(document)
    sections = [("Inputs", document["inputs"]), ("Method", document["method"])]
    sections.append(("Circumstances", document["environment"]))
    parts = [
        f"# {document['bundle']} against {document['against']}",
        LATENCY_NOTE,
        *latency_sections(document["latency"]),
    ]
    for title, facts in sections:
        parts += [f"## {title}", "\n".join(f"- {name}: {value}" for name, value in facts.items())]
    return "\n\n".join(parts) + "\n"


def short_row(row: LatencyRow) -> tuple[str, ...]:
    """Return the cells for `SHORT_HEAD`."""
    return (_engine(row), str(row["batch"]), _ms(row["dense_ms"]), _ms(row["slim_ms"]), *_gain(row))


def full_row(row: LatencyRow) -> tuple[str, ...]:
    """Return the cells for `FULL_HEAD`."""
    both = ((row["dense_ms"], row["iqr"]["dense"]), (row["slim_ms"], row["iqr"]["slim"]))
    times = [f"{_ms(median)} ({'-'.join(map(_ms, quartiles))})" for median, quartiles in both]
    return (_engine(row), str(row["batch"]), *times, *_gain(row), str(row["pairs"]), row["verdict"])


def _engine(row: LatencyRow) -> str:
    """Return the engine, and in reports of latency budgets which network ran in it."""
    return ", ".join([row["engine"], *([row["network"]] if "network" in row else [])])


def _gain(row: LatencyRow) -> tuple[str, str]:
    low, high = row["interval"]
    return f"{row['speedup']:.2f} ({low:.2f}-{high:.2f})", f"{100 * row['realised_share']:.0f} %"


def _shared(rows: Sequence[LatencyRow]) -> str:
    versions = ", ".join(dict.fromkeys(row["version"] for row in rows))
    macs = ", ".join(dict.fromkeys(f"{row['macs']['reduction']:.2f}" for row in rows))
    against = ", ".join(dict.fromkeys(row["against"] for row in rows if row.get("against", "dense") != "dense"))
    intervals = f"{100 * rows[0]['confidence']:.4g} % intervals"
    parts = [versions, f"MACs divided by {macs}", intervals]
    if (disturbed := max(row["disturbed"] for row in rows)) > NOTABLE:
        parts.append(f"other work had the cores for up to {100 * disturbed:.0f} % of the time, which is left out")
    return "; ".join(parts + ([f"dense stands for {against}"] if against else []))


def _ms(value: float) -> str:
    """Format with three significant digits, but with all digits before the decimal point."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
