"""The tables of a comparison as Markdown and as text for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from slimprune.files import ComparisonDocument, ComparisonTable, PublishedFigure, TableRow
from slimprune.report.escaping import for_markdown
from slimprune.report.figures import axis_title, scale_of_metric, titled
from slimprune.report.layer_plots import layer_panels
from slimprune.report.markdown_table import markdown_table
from slimprune.report.tables import magnitude
from slimprune.report.text import paragraph, text_table
from slimprune.scale import Scale

Column = tuple[str, Callable[[TableRow], str]]

NOTES = (
    "Mean and standard deviation (n - 1) over n seeds, after the last epoch. **Bold**: the winner, the row with the "
    "best mean among methods that score the untrained network (among all rows where none does).",
    "`uniform` keeps the same share of every layer, at as many parameters or MACs as the winner kept with the same "
    "seed; differences are in points. Twins have the widths of their row, but other channels or initial weights.",
    "Whether two rows can be told apart is decided by their differences at equal seeds, where initial weights and "
    "batches are the same: the interval of the mean difference (Student's t) has to lie on one side of zero. Its "
    "confidence is 95 % for one comparison and higher for several (Holm). It takes three seeds at least, is wide for "
    "so few, and knows nothing of another test set.",
    "Epochs are all that were trained for one network, those of a dense network scored after training and of a search "
    "included. Peak memory is that of scoring.",
)


OF_MASKS = (
    "Rows with `unit: weights` mask single weights and remove no channel. Their parameters and MACs are those of "
    "weights that are not masked, which only an engine for sparse weights could make use of: nothing gets faster. "
    "Twins have as many weights in every layer, but other ones or other initial values; the uniform rows are dense."
)


def notes_of(document: ComparisonDocument) -> list[str]:
    """Return what has to be known about the tables."""
    masks = any(cell["recipe"].get("unit") == "weights" for cell in document["cells"])
    return [*NOTES, OF_MASKS] if masks else list(NOTES)


def comparison_markdown(document: ComparisonDocument) -> str:
    """Return the comparison as a Markdown page: for every budget a table and its findings, then the circumstances."""
    document = for_markdown(document)
    parts = [f"# {document['title'] or 'Comparison'}", *notes_of(document)]
    parts.append("![Accuracy against MACs and parameters](compare.svg)")
    if layer_panels(document):
        parts.append("![What is kept of every layer](layers.svg)")
    for table in document["tables"]:
        parts += [f"## Removed: {table['budget']}", _markdown_table(document, table)]
        parts.append("\n".join(f"- {finding}" for finding in table["findings"]))
    parts += ["## Circumstances", *("\n".join(_facts(found)) for found in document["environments"])]
    parts += ["## Shared by all rows", "\n".join(_facts(shared_fields(document)))]
    return "\n\n".join(part for part in parts if part) + "\n"


def comparison_page(document: ComparisonDocument, columns: int = 80) -> str:
    """Return the comparison for a terminal: for every budget a table with the columns that fit, then its findings."""
    parts = [document["title"]] if document["title"] else []
    for found in document["tables"]:
        title = f"removed: {found['budget']}, {_seeds(document)}, * the winner, Δ to uniform at equal cost"
        parts += [paragraph(title, columns), _fitting(document, found["rows"], columns)]
        parts.append("\n".join(paragraph(finding, columns, "- ", "  ") for finding in found["findings"]))
    return "\n\n".join(parts)


def _columns(document: ComparisonDocument) -> list[Column]:
    """Return all columns except the first, the most informative ones first."""
    scale = scale_of_metric(document)
    metric, digits = titled(document["metric"], scale), ".2f" if scale.unit else ".4g"
    rows = [row for table in document["tables"] for row in table["rows"]]
    pruned, reconstructed = (any(row.get(key) is not None for row in rows) for key in ("pruned", "reconstructed"))
    just, solved = (axis_title(step, scale.unit) for step in ("just pruned", "reconstructed"))
    return [
        (axis_title(metric, scale.unit), lambda row: _accuracy(row, digits)),
        *_further(rows),
        *([(just, lambda row: _number(row.get("pruned"), digits))] if pruned else []),
        *([(solved, lambda row: _number(row.get("reconstructed"), digits))] if reconstructed else []),
        ("params", lambda row: magnitude(row["params"])),
        ("MACs", lambda row: magnitude(row["macs"])),
        ("vs uniform, equal params", lambda row: _signed(row["over_uniform_params"], digits)),
        ("vs uniform, equal MACs", lambda row: _signed(row["over_uniform_macs"], digits)),
        ("epochs", lambda row: _plain(row["epochs"])),
        ("n", lambda row: str(row["n"])),
        ("channels", lambda row: _plain(row["channels"])),
        ("scoring", lambda row: _seconds(row["scoring_seconds"])),
        ("peak memory", lambda row: _bytes(row["scoring_peak_bytes"])),
        ("stability", lambda row: "" if row["stability"] is None else f"{row['stability']:.2f}"),
    ]


def _further(rows: Sequence[TableRow]) -> list[Column]:
    """Return a column for every further metric that a row states."""
    stated = {one["name"]: one for row in rows for one in row.get("further", [])}

    def cell(name: str, row: TableRow) -> str:
        found = next((one for one in row.get("further", []) if one["name"] == name), None)
        digits = ".2f" if found is not None and found["unit"] else ".4g"
        return "" if found is None else _with_spread(found["mean"], found["sd"], digits)

    return [
        (axis_title(titled(name, Scale(one["unit"], one["higher_is_better"])), one["unit"]), partial(cell, name))
        for name, one in stated.items()
    ]


def all_columns(document: ComparisonDocument) -> list[Column]:
    """Return all columns except the first, and a column of published results if there are any."""
    published = any(row["paper"] for table in document["tables"] for row in table["rows"])
    return _columns(document) + ([("paper", _published)] if published else [])


def _markdown_table(document: ComparisonDocument, table: ComparisonTable) -> str:
    columns = all_columns(document)
    head = ["", *(name for name, _ in columns)]
    lines = [[_bold(row, row["row"]), *(_bold(row, cell(row)) for _, cell in columns)] for row in table["rows"]]
    return markdown_table(head, lines)


def _fitting(document: ComparisonDocument, rows: Sequence[TableRow], width: int) -> str:
    """Return the table with as many columns as fit into `width`; the first one is the name of the row."""
    short = {"vs uniform, equal params": "Δ params", "vs uniform, equal MACs": "Δ MACs"}
    columns = _columns(document)
    head = ["", *(short.get(name, name) for name, _ in columns)]
    body = [[f"{'*' if row['winner'] else ' '} {row['row']}", *(cell(row) for _, cell in columns)] for row in rows]
    return text_table([(head[:count], [row[:count] for row in body]) for count in range(len(head), 1, -1)], width)


def _accuracy(row: TableRow, digits: str) -> str:
    if row["mean"] is None:
        return "no result"
    return _with_spread(row["mean"], row["sd"], digits)


def _with_spread(mean: float, sd: float | None, digits: str) -> str:
    return f"{mean:{digits}}" + ("" if sd is None else f" ± {sd:{digits}}")


def _number(value: float | None, digits: str) -> str:
    return "" if value is None else f"{value:{digits}}"


def _published(row: TableRow) -> str:
    return "; ".join(f"{_figure(entry)} ({entry['source']})" for entry in row["paper"])


def _figure(entry: PublishedFigure) -> str:
    main, top5 = entry["top1"] if entry["top1"] is not None else entry["miou"], entry.get("top5")
    return f"{main:g}" if top5 is None else f"{main:g}, top-5 {top5:g}"


def _signed(value: float | None, digits: str) -> str:
    return "" if value is None else f"{value:+{digits}}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _bytes(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:,.0f} MB"


def shared_fields(document: ComparisonDocument) -> dict[str, Any]:
    """Return the recipe's fields that are the same in all rows, with defaults filled in, and the seeds."""
    recipes = [cell["recipe"] for cell in document["cells"] if cell["kind"] == "row"]
    shared = {
        name: value
        for name, value in recipes[0].items()
        if name != "seed" and value not in (None, False, [], {}) and all(other.get(name) == value for other in recipes)
    }
    return shared | {"seeds": ", ".join(map(str, document["grid"]["seeds"]))}


def _bold(row: TableRow, text: str) -> str:
    return f"**{text}**" if row["winner"] and text else text


def _seeds(document: ComparisonDocument) -> str:
    count = len(document["grid"]["seeds"])
    return f"{count} seed{'' if count == 1 else 's'}"


def _facts(facts: Mapping[str, object]) -> Sequence[str]:
    return [f"- {name}: {value}" for name, value in facts.items()]
