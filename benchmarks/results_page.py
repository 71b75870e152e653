"""Tables of the documents, written from benchmarks/results between `<!-- results: NAME -->` and `<!-- end -->`.

    python benchmarks/results_page.py            # after new results
    python benchmarks/results_page.py --check    # exit code 1 if a page would change

Measured figures are never typed into a page by hand; a test runs the check.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from slimprune.report.instability import moment
from slimprune.report.paired_differences import paired_gap
from slimprune.report.tables import magnitude

ROOT = Path(__file__).parents[1]
RESULTS = Path("benchmarks/results")
_WITH_RESULTS = (
    "results",
    "segmentation",
    "speed",
    "latency",
    "proof",
    "instability",
    "many-devices",
    "weight-masks",
    "detection",
    "comparing",
)
PAGES = ("README.md", *(f"docs/{name}.md" for name in _WITH_RESULTS))
UNIFORM = {"params": "uniform at equal params", "macs": "uniform at equal MACs"}
METRICS = {"top1": "top-1", "miou": "mean IoU"}
NO_VERSIONS = ("command", "device", "threads", "inputs", "rounds", "arch", "load")

Document = Mapping[str, Any]
Row = Mapping[str, Any]


def main() -> int:
    """Update the marked sections of every page; with `--check`, only return 1 if a page is out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page would change")
    only_check = parser.parse_args().check
    outdated = [page for page in PAGES if (ROOT / page).read_text() != filled(page)]
    for page in outdated:
        print(f"{page} {'is out of date' if only_check else 'is written'}")
        if not only_check:
            (ROOT / page).write_text(filled(page))
    return int(only_check and bool(outdated))


def filled(page: str) -> str:
    """Return the text of a page with current results between its markers."""
    marks = r"(<!-- results: ([\w/-]+) -->\n).*?(<!-- end -->)"
    text = (ROOT / page).read_text()
    return re.sub(marks, lambda mark: f"{mark[1]}\n{_section(mark[2])}\n\n{mark[3]}", text, flags=re.DOTALL)


def _section(name: str) -> str:
    kind, _, argument = name.partition("/")
    return SECTIONS[kind](argument) if argument else SECTIONS[kind]()


# Comparisons of methods


def overview() -> str:
    """Return a table of dense, our and uniform results of every comparison, and how often each is ahead."""
    head = ["network and data, epochs", "removed", "dense", "ours", "uniform, equal params", "uniform, equal MACs", "n"]
    tables = [(document, table) for _, document in comparisons() for table in document["tables"]]
    lines = [_overview_line(document, table) for document, table in tables]
    found = [environment for document, _ in tables for environment in document["environments"]]
    merged = {key: " or ".join(dict.fromkeys(str(one[key]) for one in found if key in one)) for key in found[0]}
    circumstances = f"Circumstances: {_machine(merged, merged)}; n seeds, from 0; `{RESULTS}/*/compare.json`."
    return f"{_markdown(head, lines)}\n\n{_tally(tables)}\n\n{circumstances}"


def _overview_line(document: Document, table: Mapping[str, Any]) -> list[str]:
    ours, dense = _ours(table), _row(table, "dense")
    uniforms = [_row(table, name) for name in UNIFORM.values()]
    best = max(row["mean"] for row in (ours, *uniforms) if row is not None)
    cells = [f"`{_rule(ours['row'])}` {_score(ours, best)}", *(_score(row, best) for row in uniforms)]
    base = document["grid"]["base"]
    network = f"{'trained ' if base.get('weights') else ''}{_network(base)}, {ours['epochs']:.0f}"
    return [network, table["budget"].replace("=", " "), _score(dense), *cells, str(ours["n"])]


def _tally(tables: Sequence[tuple[Document, Mapping[str, Any]]]) -> str:
    """Return how often our mean is higher, and how often the difference is significant."""
    sentences = []
    for name in UNIFORM.values():
        gaps = [_gap(_ours(table), _row(table, name)) for _, table in tables]
        higher, signs = sum(gap.mean > 0 for gap in gaps), Counter(gap.sign for gap in gaps)
        enough = sum(gap.low is not None for gap in gaps)
        sentences.append(
            f"- Against {name}, ours has the higher mean in {higher} of {len(gaps)} rows. Of the {enough} rows with "
            f"three seeds or more, the 95 % interval of the paired difference is above zero in {signs[1]} and below "
            f"zero in {signs[-1]}, before any correction for the choice of rows."
        )
    return "\n".join(sentences)


def comparison(name: str) -> str:
    """Return all rows of one comparison at all its budgets, the findings about the winner, and the circumstances."""
    document = json.loads((ROOT / RESULTS / name / "compare.json").read_text())
    parts = []
    for table in document["tables"]:
        parts += [f"**Removed: {table['budget'].replace('=', ' ')}**", _comparison_table(document, table)]
        parts.append("\n".join(f"- {finding}" for finding in table["findings"]))
    seeds = f"seeds {', '.join(map(str, document['grid']['seeds']))}"
    machines = "; ".join(_machine(found, found) for found in document["environments"])
    return "\n\n".join([*parts, f"Circumstances: {seeds}; {machines}. {_file(f'{name}/compare.json')}"])


def every_comparison() -> str:
    """Return one section for every comparison."""
    sections = [f"### {document['title']}\n\n{comparison(name)}" for name, document in comparisons()]
    return "\n\n".join(sections)


def comparisons() -> list[tuple[str, Document]]:
    """Return the folders that contain a comparison of slim networks, with its content."""
    files = sorted((ROOT / RESULTS).glob("*/compare.json"))
    found = [(file.parent.name, json.loads(file.read_text())) for file in files]
    return [(name, document) for name, document in found if document["grid"]["base"].get("unit") != "weights"]


def curves(name: str) -> str:
    """Return the accuracies of masked networks by method, one column for each share of the weights that is masked."""
    document = _read(f"{name}/compare.json")
    tables = document["tables"]
    rows = {row["row"]: row for row in tables[0]["rows"]}
    lines = [
        [label, *(_score(_row(table, label)) for table in tables), f"{row['epochs']:.0f}"]
        for label, row in rows.items()
        if row["epochs"] is not None
    ]
    head = [f"{METRICS[document['metric']]}, %, masked:", *map(_masked_share, tables), "epochs"]
    return f"{_markdown(head, lines)}\n\n{_grid_facts(name, document)}"


def collapse(name: str) -> str:
    """Return by method and share what the layer with the fewest weights keeps, and the accuracy after training."""
    document = _read(f"{name}/compare.json")
    tables = document["tables"]
    rows = dict.fromkeys(row["row"] for table in tables for row in table["rows"] if row["row"] != "dense")
    lines = [[label, *(_smallest_layer(document, table, label) for table in tables)] for label in rows]
    shares = [f"masked: {_masked_share(table)}" for table in tables]
    return f"{_markdown(['', *shares], lines)}\n\n{_grid_facts(name, document)}"


def _smallest_layer(document: Document, table: Mapping[str, Any], label: str) -> str:
    cells = [cell for cell in document["cells"] if (cell["row"], cell["budget"]) == (label, table["budget"])]
    kept = [count for cell in cells for count in cell.get("weights_kept", {}).values()]
    if not kept:
        return "refused"
    empty = sum(count == 0 for count in kept)
    least = f"{empty} empty" if empty else str(min(kept))
    return f"{least}, {_score(_row(table, label))} %"


def _masked_share(table: Mapping[str, Any]) -> str:
    return f"{100 * float(table['budget'].partition('=')[2]):g} %"


def _grid_facts(name: str, document: Document) -> str:
    seeds = f"seed{'s' * (len(document['grid']['seeds']) > 1)} {', '.join(map(str, document['grid']['seeds']))}"
    machines = "; ".join(_machine(found, found) for found in document["environments"])
    network = _network(document["grid"]["base"])
    return f"Circumstances: {network}, {seeds}; {machines}. {_file(f'{name}/compare.json')}"


def _comparison_table(document: Document, table: Mapping[str, Any]) -> str:
    metric = METRICS[document["metric"]]
    head = ["", f"{metric}, %", "params", "MACs", *(f"to {name}" for name in UNIFORM.values()), "epochs", "n"]
    lines = []
    for row in table["rows"]:
        differences = [_signed(row[f"over_uniform_{of}"]) for of in UNIFORM]
        cells = [row["row"], _score(row), magnitude(row["params"]), magnitude(row["macs"]), *differences]
        cells += ["" if row["epochs"] is None else f"{row['epochs']:.0f}", str(row["n"])]
        lines.append([f"**{cell}**" if row["winner"] and cell else cell for cell in cells])
    return _markdown(head, lines)


def _ours(table: Mapping[str, Any]) -> Row:
    """Return the default criterion's row if there is one, otherwise the winner's."""
    return _row(table, "prospr") or next(row for row in table["rows"] if row["winner"])


def _row(table: Mapping[str, Any], name: str) -> Row | None:
    return next((row for row in table["rows"] if row["row"] == name), None)


def _gap(ours: Row, other: Row | None) -> Any:
    gap = paired_gap(ours["by_seed"], {} if other is None else other["by_seed"])
    if gap is None:
        raise ValueError(f"expected a uniform row with a seed of {ours['row']}, got none")
    return gap


def _network(base: Mapping[str, Any]) -> str:
    data = Path(base["data"].rpartition(":")[2]).name
    size = f" ({base['train_size']:,} images)" if base.get("train_size") else ""
    return f"{base['arch']}, {data}{size}"


def _rule(row: str) -> str:
    return {"uses ** 0.15": "early"}.get(row, row)


def _score(row: Row | None, best: float | None = None) -> str:
    if row is None or row["mean"] is None:
        return "-"
    text = f"{row['mean']:.2f}" + ("" if row["sd"] is None else f" ± {row['sd']:.2f}")
    return f"**{text}**" if row["mean"] == best else text


# Other measurements


def rules() -> str:
    """Return the results of allocation rules at equal budgets."""
    documents = {name: _read(f"{name}.json") for name in ("rules-cifar10-cpu", "rules-cifar10-cpu-full")}
    cells = [(name, cell) for name, document in documents.items() for cell in document["cells"]]
    keys = dict.fromkeys((name, *(cell[key] for key in ("arch", "budget", "rule"))) for name, cell in cells)
    lines = []
    for key in keys:
        own = [cell for name, cell in cells if (name, cell["arch"], cell["budget"], cell["rule"]) == key]
        images = "50,000" if key[0].endswith("full") else "12,800"
        score = _spread([100 * cell["top1"] for cell in own])
        counts = [magnitude(fmean([cell[of] for cell in own])) for of in ("params", "macs")]
        lines.append([key[1], images, key[2].replace("=", " "), key[3], score, *counts, str(len(own))])
    table = _markdown(["arch", "images", "removed", "rule", "top-1, %", "params", "MACs", "n"], lines)
    machines = dict.fromkeys(_machine(cell["circumstances"], cell["circumstances"]) for _, cell in cells)
    seeds = ", ".join(str(seed) for seed in sorted({cell["seed"] for _, cell in cells}))
    files = ", ".join(_file(f"{name}.json") for name in documents)
    return f"{table}\n\nCircumstances: seeds {seeds}; {'; '.join(machines)}. {files}"


def speed(name: str) -> str:
    """Return speed-ups over dense, with the interval and the fraction of the MAC reduction that they realise."""
    document = _read(f"{name}.json")
    cells = document["cells"]
    batches = sorted({cell["batch"] for cell in cells})
    found = {(_compared(cell), cell["batch"]): _speed(cell) for cell in cells}
    networks = sorted({_compared(cell) for cell in cells}, key=lambda one: (one[0], one[2], int(one[3])))
    rows = [[*one, *(found.get((one, batch), "-") for batch in batches)] for one in networks]
    table = _markdown(["arch", "removed", "engine", "rounded to", *(f"batch {batch}" for batch in batches)], rows)
    machines = dict.fromkeys(_machine(cell, document["circumstances"]) for cell in cells)
    inputs = document["circumstances"]["inputs"]
    return f"{table}\n\nCircumstances: {inputs} inputs of 32 px; {'; '.join(machines)}. {_file(f'{name}.json')}"


def _compared(cell: Row) -> tuple[str, ...]:
    return cell["arch"], cell["budget"].replace("=", " "), cell["engine"], str(cell["round_to"])


def _speed(cell: Row) -> str:
    low, high = cell["interval"]
    return f"{cell['speedup']:.1f} ({low:.1f}-{high:.1f}), {100 * cell['realised_share']:.0f} %"


def latency_budgets() -> str:
    """Return planned and re-measured latency reductions, and the MACs kept compared with MAC budgets."""
    rows = _read("latency-budget.json")["rows"]
    others = list(dict.fromkeys(row["method"] for row in rows if row["method"] != "latency"))
    head = ["arch", "batch", "asked", "planned", "measured again", "MACs kept", *(f"kept by {name}" for name in others)]
    planned = [row for row in rows if row["method"] == "latency"]
    lines = []
    for row in planned:
        beside = {one["method"]: one for one in rows if (one["arch"], one["batch"]) == (row["arch"], row["batch"])}
        low, high = (100 - 100 / bound for bound in row["again"]["interval"])
        again = f"{_percent(row['again']['removed'])} ({low:.1f}-{high:.1f})"
        kept = [_percent(row["macs_kept"]), *(_percent(beside[name]["macs_kept"]) for name in others)]
        asked = [_percent(row["ratio"]), _percent(row["planned"]["achieved"])]
        lines.append([row["arch"], str(row["batch"]), *asked, again, *kept])
    machines = dict.fromkeys(_machine(row["again"], row["versions"]) for row in planned)
    circumstances = (
        f"Circumstances: onnxruntime, images of 32 px; {'; '.join(machines)}. {_file('latency-budget.json')}"
    )
    return f"{_markdown(head, lines)}\n\n{circumstances}"


def learned_latency() -> str:
    """Return accuracy and re-measured latency of learned and uniform widths under a latency budget."""
    runs = list(_read("learned-latency.json").values())
    lines = []
    for name in dict.fromkeys(run["row"] for run in runs):
        own = [run for run in runs if run["row"] == name]
        left = ", ".join(_percent(1 / run["again"]["speedup"]) for run in own)
        costs = [f"{fmean(run[of] for run in own):,.0f}" for of in ("macs", "params")]
        uniform = sum(run["rule"] == "uniform" for run in own)
        lines.append([
            name, _spread([100 * run["final"] for run in own]), left, *costs, f"{uniform} of {len(own)}",
        ])  # fmt: skip
    head = ["widths, budget", "top-1, %", "latency left, by seed", "MACs", "parameters", "uniform widths"]
    facts = _machine(runs[0]["environment"], runs[0]["environment"])
    return f"{_markdown(head, lines)}\n\nCircumstances: {facts}. {_file('learned-latency.md')}"


def arena() -> str:
    """Return the arena's differences to uniform widths: at equal MACs over the networks, at others by network."""
    document = _read("arena/league.json")
    lines = [
        [row["row"], str(row["networks"]), _signed(row["difference"]), _interval(row),
         _signed(row["held_out"]), f"{row['worst']['difference']:+.2f} ({row['worst']['network']})",
         f"{row['choosing_epochs']:.3g}", f"{row['uniform_widths']} of {row['trained']}"]
        for row in document["over_networks"]
    ]  # fmt: skip
    head = ["", "networks", "difference", "95 % interval", "held out", "worst", "epochs to choose", "uniform widths"]
    over = _markdown(head, lines)
    chosen = [
        [one["network"], str(one["rows"]), one["row"], _signed(one["held_out"]), _signed(one["difference"])]
        for one in document["chosen"]
    ]
    mean = [_signed(fmean(one[part] for one in document["chosen"])) for part in ("held_out", "difference")]
    best = _markdown(["network", "rows", "best row", "held out", "test"], [*chosen, ["mean", "", "", *mean]])
    others = "\n\n".join(_arena_network(one) for one in document["networks"] if one["budget"] != "macs")
    return (
        f"At equal MACs, over the networks:\n\n{over}\n\nThe row of every network that is best on held-out images, and "
        f"what it gains on the test images:\n\n{best}\n\n{others}\n\n{_file('arena/league.md')}"
    )


def _arena_network(network: Mapping[str, Any]) -> str:
    lines = [
        [row["row"], f"{_spread(list(row['by_seed'].values()))} ({row['n']})", _signed(row["difference"]),
         _interval(row), row.get("verdict") or "",
         f"{row['params']:,.0f}", magnitude(row["macs"]), f"{row['choosing_epochs']:.3g}"]
        for row in network["rows"]
    ]  # fmt: skip
    metric = f"{network['metric']}, % (seeds)"
    head = ["", metric, "difference", "95 % interval", "", "parameters", "MACs", "epochs to choose"]
    return f"{network['title']}:\n\n{_markdown(head, lines)}"


def slimming() -> str:
    """Return what greedy slimming of shared weights gives on networks of the arena."""

    def lower(way: str, seeds: Sequence[Mapping[str, Any]]) -> str:
        return f"{sum(one[way]['loss'] < one['uniform']['loss'] for one in seeds)} of {len(seeds)}"

    return _rival("slimming", ("loss", "loss per cost"), "slimmed", {"lower shared loss": lower})


def power_laws() -> str:
    """Return what power laws of pruned widths give on networks of the arena."""
    return _rival("power-laws", ("pruning", "power laws"), "these widths", {})


def _rival(
    prefix: str, ways: Sequence[str], result: str, more: Mapping[str, Callable[[str, Sequence[Mapping[str, Any]]], str]]
) -> str:
    """Return the results of one way to choose widths beside uniform ones, with more columns by their heads."""
    lines, files = [], []
    for file in sorted((ROOT / RESULTS).glob(f"{prefix}-*.json")):
        found = _read(file.name)
        seeds = list(found.values())
        uniform = {seed: 100 * one["uniform"]["final"] for seed, one in found.items()}
        for way in ways:
            finals = {seed: 100 * one[way]["final"] for seed, one in found.items()}
            gap = paired_gap(finals, uniform)
            assert gap is not None  # the same seeds
            sizes = fmean(one[way]["params"] / one["uniform"]["params"] for one in seeds)
            lines.append([
                file.stem.removeprefix(f"{prefix}-"), way, str(len(found)), _spread(list(uniform.values())),
                _spread(list(finals.values())), _signed(gap.mean), gap.interval_text("+.2f"), f"{sizes:.2f} x",
                *(cell(way, seeds) for cell in more.values()),
            ])  # fmt: skip
        files.append(_file(file.with_suffix(".md").name))
    head = ["network", "chosen by", "seeds", "uniform, %", f"{result}, %", "difference", "95 % interval", "params"]
    return f"{_markdown([*head, *more], lines, left=2)}\n\n{', '.join(files)}"


def zoo(name: str) -> str:
    """Return what became of half of the channels of every model of a set, by library."""
    document = _read(f"{name}.json")
    makers = {"models": "slimprune", "torch-pruning": "torch-pruning by itself"}
    lines = []
    for key, maker in makers.items():
        outcomes: dict[str, Counter[str]] = {}
        for row in document.get(key, []):
            library = row["model"].partition(":")[0] if ":" in row["model"] else "torchvision"
            outcomes.setdefault(_LIBRARIES.get(library, library), Counter())[row["outcome"]] += 1
        for library, own in sorted(outcomes.items()):
            found = ", ".join(f"{count} {outcome}" for outcome, count in own.most_common())
            lines.append([maker, library, str(own.total()), found])
    found = [model["circumstances"] for key in makers for model in document.get(key, [])]
    merged = {name: value for one in found for name, value in one.items()}
    table = _markdown(["", "models of", "count", "outcome"], lines, left=2)
    return f"{table}\n\nCircumstances: {_machine(merged, merged)}. {_file(f'{name}.json')}, `{name}.md`"


_LIBRARIES = {"smp": "segmentation-models-pytorch"}


def saliency_cost() -> str:
    """Return time and memory of one ProsPr draw."""
    document = _read("saliency-cost-cpu.json")
    rows = document["rows"]
    lines = [
        [str(row["steps"]), row["method"], f"{row['seconds']:.1f} s", f"{row['peak_bytes'] / 2**30:.2f} GiB"]
        for row in rows
    ]
    found = document["circumstances"]
    table = _markdown(["steps", "method", "time", "peak memory"], lines)
    return (
        f"{table}\n\nCircumstances: `{found['command']}`; {_machine(found, found)}. {_file('saliency-cost-cpu.json')}"
    )


def width_search(name: str) -> str:
    """Return the losses of the widths that searches found, by seed, and their paired difference."""
    document = _read(f"{name}.json")
    rows, found = document["rows"], document["circumstances"]
    ways, by_seed = list(dict.fromkeys(row["search"] for row in rows)), {}
    for row in rows:
        by_seed.setdefault(row["seed"], {})[row["search"]] = row
    lines = [
        [str(seed), *(f"{own[way]['loss']:.4f}" for way in ways), f"{own[ways[0]]['uniform_loss']:.4f}"]
        for seed, own in by_seed.items()
    ]
    losses = {way: {str(seed): own[way]["loss"] for seed, own in by_seed.items()} for way in ways}
    gap = paired_gap(losses["evolution"], losses["cross-entropy"])
    fewer = sum(losses["evolution"][seed] < loss for seed, loss in losses["cross-entropy"].items())
    said = f"The loss by evolution is lower with {fewer} of {len(by_seed)} seeds"
    if gap is not None and (interval := gap.interval_text("+.4f")):
        said += f", {gap.mean:+.4f} in the mean (95 % interval {interval})"
    table = _markdown(["seed", *ways, "uniform"], lines)
    circumstances = f"`{found['command']}`, {rows[0]['evaluations']} evaluations each; {_machine(found, found)}"
    return f"{table}\n\n{said}.\n\nCircumstances: {circumstances}. {_file(f'{name}.json')}"


def data_memory() -> str:
    """Return the peak memory of whole runs beside the size of their data."""
    document = _read("data-memory-cpu.json")
    cells, found = document["cells"], document["circumstances"]
    lines = [
        [f"`{cell['command'].split('--data ')[1].split()[0]}`", *(f"{size / 2**30:.2f} GiB" for size in sizes)]
        for cell in cells
        for sizes in [(cell["decoded"], cell["peak"], cell["peak"] - cell["decoded"])]
    ]
    table = _markdown(["data", "images, decoded", "peak of the process", "above the images"], lines)
    return f"{table}\n\nCircumstances: `{found['command']}`; {_machine(found, found)}. {_file('data-memory-cpu.json')}"


def loading(name: str = "loading-cpu") -> str:
    """Return images per second and memory of shards that two ranks read, beside torchvision's ImageFolder."""
    document = _read(f"{name}.json")
    settings, lines = document["settings"], []
    for epoch in range(1, settings["epochs"] + 1):
        own, other = (
            [entry for entry in document[reader] if entry["epoch"] == epoch] for reader in ("epochs", "image_folder")
        )
        for_all = [(sum(e["images"] for e in part) / max(e["seconds"] for e in part), part) for part in (own, other)]
        figures = ((f"{speed:,.0f}", f"{sum(e['peak'] for e in part) / 2**30:.2f} GiB") for speed, part in for_all)
        lines.append([str(epoch), *chain.from_iterable(figures)])
    head = ["epoch", "shards, images/s", "peak of all processes", "`ImageFolder`, images/s", "peak of all processes"]
    found, often = document["environment"], document["images_by_times_seen"]
    counted = ", ".join(f"{number:,} came {times} times" for times, number in often.items())
    exact = "none came twice in an epoch" if document["no_image_twice_an_epoch"] else "SOME CAME TWICE IN AN EPOCH"
    return (
        f"{_markdown(head, lines)}\n\nOf {settings['images']:,} images {counted}; {exact}.\n\n"
        f"Circumstances: `{document['command']}`; {_machine(found, found)}, load {document['load']:.1f}. "
        f"{_file(f'{name}.json')}"
    )


def decoding() -> str:
    """Return images per second of JPEG files that are decoded whole, or to no more than their size takes."""
    document = _read("decoding-cpu.json")
    settings, found, lines = document["settings"], document["environment"], []
    for cell in document["cells"]:
        whole, reduced = ([settings["images"] / each for each in cell["seconds"][way]] for way in ("whole", "reduced"))
        speeds = [f"{median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f})" for each in (whole, reduced)]
        gaps = cell["differences"]
        shown = f"{gaps['mean']:.2f}, {gaps['p99']}, {gaps['largest']}"
        lines.append([f"{cell['size']} px", *speeds, shown])
    head = ["to", "whole, images/s", "reduced, images/s", "pixels differ by: mean, 99 %, largest"]
    drawn = f"{settings['images']} drawn images of {settings['width']} x {settings['height']}"
    return (
        f"{_markdown(head, lines)}\n\nCircumstances: `{document['command']}`; {drawn}, median of {settings['rounds']} "
        f"rounds (slowest to fastest), CPU time of one process; {_machine(found, found)}, load {document['load']}. "
        f"{_file('decoding-cpu.json')}"
    )


def detector(name: str) -> str:
    """Return how well a detector of ultralytics finds boxes, dense and slim, by whom that was judged, and its times."""
    return f"{detector_tables(_read(f'{name}.json'))} {_file(f'{name}.json')}"


def detector_tables(document: Document) -> str:
    """Return the tables of one such document, and its circumstances."""
    found = document["run"]
    (dense,) = found["baselines"]
    library = document["ultralytics"]
    head = ["judged by", "dense, mAP in %", "slim, mAP in %", "slim, at an overlap of 0.5"]
    judged = [
        ["`slimprune compress`", f"{100 * dense['final']:.2f}", f"{100 * found['training']['final']:.2f}", ""],
        ["its ONNX file in onnxruntime", "", f"{100 * document['onnxruntime']:.2f}", ""],
        ["`YOLO.val` of ultralytics", "", f"{100 * library['map']:.2f}", f"{100 * library['map50']:.2f}"],
    ]
    times = [
        [
            str(row["batch"]),
            *(f"{row[key]:.2f}" for key in ("dense_ms", "slim_ms")),
            f"{row['speedup']:.2f}x",
            " to ".join(f"{end:.2f}" for end in row["interval"]),
        ]
        for row in document["latency"]
    ]
    costs = ", ".join(
        f"{what} {found[key]['dense']:,} to {found[key]['slim']:,}"
        for key, what in (("params", "parameters"), ("macs", "MACs"))
    )
    pairs = ", ".join(f"{row['pairs']}" for row in document["latency"])
    return (
        f"{_markdown(head, judged)}\n\n"
        f"{_markdown(['batch', 'dense, ms', 'slim, ms', 'faster by', '95 % interval'], times)}\n\n"
        f"From {costs}. Circumstances: one run, `{document['command']}`; 160 drawn scenes, 40 for the test; times by "
        f"onnxruntime, {pairs} pairs, load {document['load']:.1f} on {document['cores']} cores; "
        f"{_machine(document['environment'], document['environment'])}."
    )


def scale() -> str:
    """Return predicted and measured memory and time of draws through several steps, and predictions for large ones."""
    document = _read("scale-cpu.json")
    found = document["circumstances"]
    head = [
        "batch",
        "steps",
        "vectors stored",
        "peak, predicted",
        "measured",
        "differs by",
        "CPU time, predicted",
        "measured",
    ]
    lines = []
    for row in document["confirmed"]:
        measured = row["measured"]
        memory = [_gib(row["peak_bytes"]), _gib(measured["peak_bytes"]), f"{100 * row['peak_bytes_deviation']:+.1f} %"]
        times = [f"{row['cpu_seconds']:.1f} s", f"{measured['cpu_seconds']:.1f} s"]
        differs = f"{100 * row['cpu_seconds_deviation']:+.1f} %"
        lines.append([str(row["batch"]), str(row["steps"]), _stored(row), *memory, *times, differs])
    confirmed = _markdown([*head, "differs by"], lines)
    head = ["steps", "vectors stored", "stored", "all else", "gradients", "Hessian products", "CPU time"]
    lines = []
    for row in document["large"]:
        memory = (_gib(size) for size in (row["stored_bytes"], row["peak_bytes"] - row["stored_bytes"]))
        work = (f"{row['gradients']:,}", f"{row['products']:,}", f"{row['cpu_seconds'] / 3600:,.1f} h")
        lines.append([str(row["steps"]), _stored(row), *memory, *work])
    here, there = document["confirmed"][0]["size"], document["large"][0]
    one = document["passes"]
    factor = one["second_order_bytes"] / one["forward_bytes"]
    return (
        f"{found['arch']}, images of {here} px, predicted and run:\n\n{confirmed}\n\n"
        f"{found['arch']}, batches of {there['batch']} images of {there['size']} px, predicted:\n\n"
        f"{_markdown(head, lines)}\n\nA forward pass keeps {one['forward_bytes'] / one['batch'] / 2**20:.1f} MiB of "
        f"activations an image at {here} px, the graph of a Hessian product {factor:.1f} "
        f"times as much.\n\nCircumstances: `{found['command']}`; {_machine(found, found)}, "
        f"load {found['load']:.1f}. {_file('scale-cpu.json')}"
    )


def _stored(row: Row) -> str:
    return str(row["stored"] or f"all {row['steps']:,}")


def _gib(size: float) -> str:
    return f"{size / 2**30:,.2f} GiB"


def instability(name: str) -> str:
    """Return the test errors between two trainings from one state, by network and by the step at which they part."""
    document = _read(f"{name}.json")
    head = ["", "data differ after", "error at the ends, %", "highest error, %", "instability, points"]
    lines = []
    for network in document["networks"]:
        for curve in network["curves"]:
            first, *_, last = errors = [100 * error for error in curve["errors"]]
            figures = [f"{first:.2f}, {last:.2f}", f"{max(errors):.2f}", f"{100 * curve['instability']:.2f}"]
            lines.append([network["network"], moment(curve), *figures])
    recipe, epochs = document["recipe"], document["networks"][0]["epochs"]
    places = f"{_network(recipe)}, {epochs} epochs, seed {recipe['seed']}, {len(document['places'])} places"
    found = document["environment"]
    facts = f"Circumstances: {places}; {_machine(found, found)}. {_file(f'{name}.json')}, `.png`, `.svg`"
    return f"{_markdown(head, lines, left=2)}\n\n{facts}"


SECTIONS: Mapping[str, Callable[..., str]] = {
    "overview": overview,
    "comparison": comparison,
    "comparisons": every_comparison,
    "curves": curves,
    "collapse": collapse,
    "rules": rules,
    "speed": speed,
    "latency-budgets": latency_budgets,
    "learned-latency": learned_latency,
    "arena": arena,
    "slimming": slimming,
    "power-laws": power_laws,
    "zoo": zoo,
    "saliency-cost": saliency_cost,
    "width-search": width_search,
    "data-memory": data_memory,
    "loading": loading,
    "scale": scale,
    "detector": detector,
    "decoding": decoding,
    "instability": instability,
}


# Shared by all sections


def _read(file: str) -> Any:
    return json.loads((ROOT / RESULTS / file).read_text())


def _file(name: str) -> str:
    return f"`{RESULTS / name}`"


def _machine(place: Mapping[str, Any], versions: Mapping[str, Any]) -> str:
    """Return device, threads and versions as text."""
    threads = f"{place['threads']} thread{'' if str(place['threads']) == '1' else 's'}"
    libraries = [f"{name} {version}" for name, version in versions.items() if name not in NO_VERSIONS]
    return ", ".join([place["device"], threads, *libraries])


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    rule = [*["---"] * left, *["---:"] * (len(head) - left)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(row: Row) -> str:
    return f"{row['low']:+.2f} to {row['high']:+.2f}" if "low" in row else ""


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


if __name__ == "__main__":
    sys.exit(main())
