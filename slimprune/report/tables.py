"""The tables and sentences of a report, made from the plain document, and the Markdown page."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from slimprune.files import (
    AccuraciesOutcome,
    Compared,
    OnnxVerification,
    ReportDocument,
    TrainingOutcome,
    latency_removed,
)
from slimprune.report.escaping import for_markdown
from slimprune.report.figures import METRIC_NAMES, byte_size, percent, scale_of, titled
from slimprune.report.latency import LATENCY_NOTE, latency_sections
from slimprune.report.markdown_table import markdown_table
from slimprune.report.masked import LAYERS_HEAD, layer_rows, masked_facts
from slimprune.report.precision import alarms, other_warnings, precision_note, precision_table
from slimprune.scale import Scale
from slimprune.statistics import NOISE, SETTLED
from slimprune.types import Quantity

SummaryRow = tuple[str, str, str, str]

SUMMARY_HEAD: SummaryRow = ("", "dense", "slim", "change")
WIDTHS_HEAD = ("layer", "dense", "slim")


def summary_head(document: ReportDocument) -> SummaryRow:
    """Return the head of the summary: the slim network, or the masked one, beside the dense one."""
    return SUMMARY_HEAD if document.get("masks") is None else ("", "dense", "masked", "change")


def summary_rows(document: ReportDocument) -> list[SummaryRow]:
    """Return rows (quantity, dense, slim, change) for `summary_head`."""
    beside = "" if document.get("masks") is None else ", not masked"
    rows = [
        _cost_row("channels", document["channels"]),
        _cost_row(f"parameters{beside}", document["params"]),
        _cost_row(f"MACs{beside}", document["macs"]),
    ]
    sizes = document["weight_bytes"]
    rows.append(
        ("weights", byte_size(sizes["dense"]), byte_size(sizes["slim"]), _less(1 - sizes["slim"] / sizes["dense"]))
    )
    if document["onnx"] is not None:
        rows.append(("ONNX file", "", byte_size(document["onnx"]["bytes"]), ""))
    return rows + accuracy_rows(document)


def accuracy_rows(document: ReportDocument) -> list[SummaryRow]:
    """Return rows for the slim network just pruned and reconstructed, if its weights were trained, and trained."""
    rows, known, scale = [], document.get("accuracies"), scale_of(document)
    if known is not None:
        name, dense = titled(known["metric"], scale), known["dense"]
        for step, slim in (("just pruned", known["pruned"]), ("reconstructed", known.get("reconstructed"))):
            if slim is not None:
                rows.append((f"{name}, {step}", scale.shown(dense), scale.shown(slim), scale.change(slim, dense)))
    if document["training"] is not None:
        rows.append(_accuracy_row(document, document["training"]))
    return rows


def width_rows(document: ReportDocument) -> list[tuple[str, str, str]]:
    """Return the width of every layer as (layer, dense, slim), with a mark on protected layers."""
    protected = {entry["layer"] for entry in document["protected"]}
    return [
        (entry["layer"], str(entry["dense"]), f"{entry['slim']}{' *' if entry['layer'] in protected else ''}")
        for entry in document["widths"]
    ]


def protected_rows(document: ReportDocument) -> list[tuple[str, str]]:
    """Return why layers kept all their channels as (reason, layers), each reason once."""
    layers: dict[str, list[str]] = {}
    for entry in document["protected"]:
        layers.setdefault(entry["reason"], []).append(entry["layer"])
    return [(reason, ", ".join(names)) for reason, names in layers.items()]


def facts(document: ReportDocument) -> list[tuple[str, str]]:
    """Return one line (name, sentence) each for scoring, budget, proof, training, verification and others."""
    masks = document.get("masks")
    lines, scale = _removal(document) if masks is None else masked_facts(document, masks), scale_of(document)
    lines += _second_count(document)
    if (saliency := document["saliency"]) is not None:
        stability = "" if saliency["stability"] is None else f", stability {saliency['stability']:.2f}"
        if (agreement := saliency.get("layer_agreement")) is not None:
            stability += f", of layers {agreement:.2f}"
        steps = f" of {_count(saliency['steps'], 'step')}" if saliency["steps"] else ""
        draws = f"{_count(saliency['draws'], 'draw')}{steps}"
        lines.insert(0, ("scoring", f"{saliency['criterion']}, {draws}{stability}, {_seconds(saliency['seconds'])}"))
    elif document["recipe"].get("criterion", "unknown") is None:
        which = "random ones stay" if document["recipe"].get("twin") == "shuffle" else "the first of each layer stay"
        lines.insert(0, ("scoring", f"none: the channels of an untrained network are alike, {which}"))
    if (search := document["search"]) is not None:
        spent = _seconds(search["seconds"])
        tried = f"{_count(len(search['trials']), 'short training')}, {_count(search['epochs'], 'epoch')} in all"
        if document["recipe"].get("rule") == "adjusted":
            worth = (
                f"by what channels are worth to uniform ones that were trained for {_count(search['epochs'], 'epoch')}"
            )
            lines.append(("adjusted widths", f"{worth}, {spent}"))
        else:
            lines.append(("search", f"{search['rule']} after {tried}, {spent}"))
    lines += [*_in_training(document), *_sharing(document)]
    if (known := document.get("accuracies")) is not None:
        lines.append(("dense", f"{scale.shown(known['dense'])} {_origin(document)}"))
    if known is not None and known["pruned"] is not None:
        statistics = "before fine-tuning, statistics of batch norm estimated again"
        lines.append(("just pruned", f"{scale.shown(known['pruned'])} {statistics}"))
        lines += _reconstruction(known, scale)
    lines += _rounds(document)
    for name, training in trainings(document, slim="training" if known is None else "fine-tuning"):
        best = f"{_watched(training, scale)}{_further(training)}, {_seconds(training['seconds'])}"
        lines.append((name, f"{_epochs(document, name, training)}, final {scale.shown(training['final'])}, {best}"))
    if (onnx := document["onnx"]) is not None:
        lines.append(("ONNX", verification(onnx, predicts=_predicts(document))))
    return lines


def _removal(document: ReportDocument) -> list[tuple[str, str]]:
    """Return lines on the budget, what was measured for it, and the proof."""
    budget, proof = document["budget"], document["proof"]
    removed = ", ".join(
        f"{percent(limit['achieved'])} of {limit['quantity']} removed ({100 * limit['requested']:.4g} % asked)"
        for limit in (budget, *budget["also"])
    )
    lines = [("budget", f"{removed}, rule {_rule(document)}"), *_timing_facts(document)]
    if proof is not None:
        said = f"relative difference {proof['max_rel_diff']:.1e} (tolerance {proof['tolerance']:.0e})"
        lines.append(("proof", said))
    return lines


def _watched(training: TrainingOutcome, scale: Scale) -> str:
    """Return the best metric of the epochs, with the last one if they were tested on held-out training images."""
    best, held_out = f"best {scale.shown(training['best'])}", training.get("validation")
    return best if held_out is None else f"on held-out training images {scale.shown(held_out)}, {best}"


def _further(training: TrainingOutcome) -> str:
    """Return the further metrics of a training, behind a comma."""
    found = [(Scale(one["unit"], one["higher_is_better"]), one) for one in training.get("further", [])]
    return "".join(f", {titled(one['name'], scale)} {scale.shown(one['final'])}" for scale, one in found)


def _rule(document: ReportDocument) -> str:
    """Return the rule, without factors that another rule found: the table of layers has the widths."""
    asked = str(document["recipe"].get("rule", ""))
    return asked if document["rule"].startswith("factors:") and asked else document["rule"]


def _in_training(document: ReportDocument) -> list[tuple[str, str]]:
    """Return after which epoch of its training a network was pruned, for Early-Bird tickets with what still changed."""
    found, recipe = document.get("early_bird"), document["recipe"]
    if recipe.get("when") == "during-training":
        return [("pruned", f"after epoch {recipe.get('prune_epoch')} of the {recipe.get('epochs')} of its training")]
    if found is None:
        return []
    last = ", ".join(f"{100 * distance:.1f} %" for distance in found["distances"][-5:])
    settled = f"the channels to keep changed by {last} from epoch to epoch"
    return [
        ("early bird", f"drawn after epoch {found['epoch']}: {settled} ({100 * found['mask_distance']:.4g} % asked)")
    ]


def _sharing(document: ReportDocument) -> list[tuple[str, str]]:
    """Return what weight sharing found and what it cost."""
    sharing = document.get("sharing")
    if sharing is None:
        return []
    asked = document["recipe"].get("width_confidence")
    sure = "beyond chance" if asked is None else f"with a confidence of {asked}"
    taken = f", no better {sure}, so that uniform ones are taken" if sharing["rule"] == "uniform" else ""
    found = f"loss {sharing['loss']:.3f} on other images, {sharing['uniform_loss']:.3f} with uniform widths{taken}"
    by = f" by {sharing['search']}" if "search" in sharing else ""
    work = f"{_count(sharing['training'], 'epoch')} of training and {sharing['evaluations']} evaluations{by}"
    cost = f"as long as {sharing.get('epochs', 0):.1f} epochs of the slim network"
    return [("learned widths", f"{found}; {work}, {cost}, {_seconds(sharing['seconds'])}")]


def _epochs(document: ReportDocument, name: str, training: TrainingOutcome) -> str:
    """Return the epochs of a training, and that it stopped early if it did."""
    recipe: Mapping[str, Any] = document["recipe"]
    done = training["epochs"]
    if recipe.get("patience") is None or document.get("rounds"):
        return _count(done, "epoch")
    wanted: int = (recipe.get("dense_epochs") if name == "dense" else None) or recipe["epochs"]
    return f"{done:,} of {_count(wanted, 'epoch')} (stopped early)" if done < wanted else _count(done, "epoch")


def _reconstruction(known: AccuraciesOutcome, scale: Scale) -> list[tuple[str, str]]:
    """Return what became of the layers behind removed channels, if they were to be solved anew."""
    solved, left_out = known.get("solved", 0), known.get("left_out", 0)
    found = known.get("reconstructed")
    if found is not None:
        layers = f"{_count(solved, 'layer')} solved anew by least squares, {left_out} left out"
        return [("reconstructed", f"{scale.shown(found)}, {layers}")]
    return [("reconstructed", "left out: new weights do not lower the loss")] if left_out else []


def _rounds(document: ReportDocument) -> list[tuple[str, str]]:
    """Return a line on every round of pruning and fine-tuning, if there were several."""
    lines: list[tuple[str, str]] = []
    of, scale = "the weights masked", scale_of(document)
    if document.get("masks") is None:
        of = f"{document['budget']['quantity']} gone"
    for number, found in enumerate(document.get("rounds", []), start=1):
        steps = (("just pruned", found["pruned"]), ("reconstructed", found["reconstructed"]))
        told = [f"{step} {scale.shown(value)}" for step, value in steps if value is not None]
        trained = f"{scale.shown(found['fine_tuned'])} after {_count(found['epochs'], 'epoch')}"
        gone = f"{percent(found['removed'])} of {of}"
        lines.append((f"round {number}", ", ".join([gone, *told, trained])))
    return lines


def _origin(document: ReportDocument) -> str:
    """Return where the weights of a trained dense network come from."""
    return "as given" if document["recipe"].get("when") == "trained" else "after its training"


def _timing_facts(document: ReportDocument) -> list[tuple[str, str]]:
    """Return lines on the plan's measurements: the latency of the whole network, and the chosen rounding."""
    timing, facts = document.get("timing"), []
    if timing is None:
        return []
    where = f"{timing['engine']}, batch {timing['batch']}, {_count(timing['threads'], 'thread')} on {timing['device']}"
    for limit in (document["budget"], *document["budget"]["also"]):
        if "interval" in limit:
            times = _less_time(limit["dense_ms"], limit["slim_ms"], limit["interval"])
            plans = f"the best of {_count(len(timing['trials']), 'plan')} timed as a whole"
            facts.append(("latency", f"{times} ({where}; {plans})"))
    for row in document["latency"]:
        if row.get("network") == "trained":
            times = _less_time(row["dense_ms"], row["slim_ms"], [latency_removed(end) for end in row["interval"]])
            facts.append(("latency again", f"{times} (the trained network)"))
    if (rounding := timing["rounding"]) is not None:
        facts.append(("rounding", f"widths in multiples of {rounding['round_to']}, which {rounding['reason']}"))
    return facts


def _less_time(dense_ms: float, slim_ms: float, removed: Sequence[float]) -> str:
    """Return two times in milliseconds and the interval of the share that is removed as text."""
    low, high = removed
    return f"{dense_ms:.4g} -> {slim_ms:.4g} ms, {100 * low:.1f} to {100 * high:.1f} % less"


def _second_count(document: ReportDocument) -> list[tuple[str, str]]:
    """Return a line on the MACs as counted by fvcore."""
    if (counts := document.get("fvcore_macs")) is None:
        return []
    if all(counts[name] == document["macs"][name] for name in ("dense", "slim")):
        return [("MACs by fvcore", "the same")]
    found = [f"{counts[name]:,} {name}" for name in ("dense", "slim") if counts[name] is not None]
    notes = [] if counts["note"] is None else [counts["note"]]
    return [("MACs by fvcore", "; ".join([" and ".join(found) or "none", *notes]))]


def verification(onnx: OnnxVerification, *, predicts: bool = True) -> str:
    """Return the result of comparing an ONNX file with its source as a sentence.

    Args:
        onnx: The result.
        predicts: Whether the outputs are predictions, which agree or not, and no values or pixels.
    """
    batches = ", ".join(map(str, onnx["batches"]))
    sizes = ", ".join(f"{height}x{width}" for height, width in onnx.get("sizes", ()))
    step = onnx.get("size_step")
    any_size = "" if step is None else f", any height and width{'' if step == 1 else f' in steps of {step}'} ({sizes})"
    noise = " of noise" if onnx.get("noise") else ""
    agreement = f"predictions agree to {100 * onnx['top1_agreement']:.4g} %, " if predicts else ""
    differs = f"differs by at most {onnx['max_abs_diff']:.1e} on {_count(onnx['samples'], 'sample')}{noise}"
    return f"{differs}, {agreement}batches of {batches}{any_size}"


def _predicts(document: ReportDocument) -> bool:
    return "metric" not in document or document["metric"]["reads"] not in ("values", "image", "boxes")


def markdown(document: ReportDocument) -> str:
    """Return the document as a Markdown page."""
    files = [quote(entry["file"]) for entry in document.get("pictures", ())]
    document = for_markdown(document)
    recipe, environment = document["recipe"], document["environment"]
    parts = [
        *(f"> **{alarm}**" for alarm in alarms(document)),
        f"# {page_title(document)}\n",
        markdown_table(summary_head(document), summary_rows(document)),
        "\n".join(f"- {what}: {sentence}" for what, sentence in facts(document)),
        *(f"> {warning}" for warning in other_warnings(document)),
        *_precision_sections(document),
        *(["## Speed\n", LATENCY_NOTE, *latency_sections(document["latency"])] if document["latency"] else []),
        "## Pictures\n" if document.get("pictures") else "",
        *(
            f"{entry['title']}\n\n![{entry['title']}]({file})"
            for entry, file in zip(document.get("pictures", ()), files, strict=True)
        ),
        *_layer_sections(document),
        "## Protected layers (*)\n" if document["protected"] else "",
        "\n".join(f"- `{entry['layer']}`: {entry['reason']}" for entry in document["protected"]),
        "## Circumstances\n",
        "\n".join(f"- {name}: {value}" for name, value in environment.items()),
        "## Recipe\n",
        "\n".join(f"- {name}: {text}" for name, value in recipe.items() if (text := plain_text(value)) != ""),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _layer_sections(document: ReportDocument) -> list[str]:
    """Return the table of widths, or of sparsities if single weights are masked."""
    masks = document.get("masks")
    if masks is not None:
        rows = [(f"`{layer}`", *counts) for layer, *counts in layer_rows(document, masks)]
        return ["## Sparsity\n", markdown_table(LAYERS_HEAD, rows)]
    rows = [(f"`{layer}`", *widths) for layer, *widths in width_rows(document)]
    return ["## Widths\n", markdown_table(WIDTHS_HEAD, rows)]


def _precision_sections(document: ReportDocument) -> list[str]:
    if (found := document.get("precisions")) is None:
        return []
    head, rows = precision_table(document, found)
    return ["## Precision\n", f"{precision_note(found)}.", markdown_table(head, rows)]


def page_title(document: ReportDocument) -> str:
    """Return the title: the model and the requested removal."""
    recipe = document["recipe"]
    what = f"of {recipe['of']} asked to go" if document.get("masks") is None else "of the weights asked to be zero"
    return f"{recipe['arch'] or 'your model'}, {100 * recipe['ratio']:.4g} % {what}"


def tiles(document: ReportDocument) -> list[tuple[str, str, str]]:
    """Return the main results and requests as (name, figure, remark)."""
    found = []
    if document["training"] is not None:
        name, dense, slim, change = _accuracy_row(document, document["training"])
        found.append((name, slim, ", ".join(filter(None, (f"dense {dense}", _just_pruned(document), change)))))
    masks = document.get("masks")
    limits = () if masks is not None else (document["budget"], *document["budget"]["also"])
    asked = {limit["quantity"]: limit["requested"] for limit in limits}
    counts: tuple[tuple[str, Quantity, Compared], ...] = (
        ("parameters", "params", document["params"]),
        ("MACs", "macs", document["macs"]),
        ("channels", "channels", document["channels"]),
    )
    if masks is not None:
        remark = f"of {magnitude(masks['weights'])} are not zero; nothing gets faster"
        found.append(("weights", magnitude(masks["kept"]), remark))
    for name, of, compared in counts if masks is None else ():
        wanted = f", {100 * asked[of]:.4g} % asked" if of in asked else ""
        remark = f"of {magnitude(compared['dense'])}: {percent(compared['removed'])} less{wanted}"
        found.append((name, magnitude(compared["slim"]), remark))
    if speedups := [row["speedup"] for row in document["latency"]]:
        low, high = f"{min(speedups):.2f}", f"{max(speedups):.2f}"
        said = f"dense over slim time, {_count(len(speedups), 'measurement')}"
        found.append(("speed-up", low if low == high else f"{low} to {high}", said))
    if (onnx := document["onnx"]) is not None:
        difference = f"on {_count(onnx['samples'], 'sample')}, outputs within {onnx['max_abs_diff']:.1e}"
        found.append(("ONNX agrees with torch", f"{100 * onnx['top1_agreement']:.4g} %", difference))
    if (proof := document["proof"]) is None:
        return found
    within = f"relative difference {proof['max_rel_diff']:.1e}, tolerance {proof['tolerance']:.0e}"
    return [*found, ("removal", "proven" if proof["passed"] else "not proven", within)]


def stability_sentence(document: ReportDocument) -> str | None:
    """Return a sentence on the stability of the scores; None if nothing was scored or there was only one draw."""
    if document["saliency"] is None or (found := document["saliency"]["stability"]) is None:
        return None
    verdict = (
        "is mostly noise: more draws or a larger scoring batch lower the noise"
        if found < NOISE
        else "is settled in part: single channels may well change places with other draws"
        if found < SETTLED
        else "is settled: other draws would give nearly the same"
    )
    of_layers = document["saliency"].get("layer_agreement")
    layers = (
        ""
        if of_layers is None
        else f" The mean scores of layers have a correlation of {of_layers:.2f} between two halves of the draws"
        + (": other draws would give nearly the same widths." if of_layers >= SETTLED else ".")
    )
    return (
        f"With the scores of very many draws these have an expected Spearman correlation of {found:.2f}. The ranking "
        f"of channels {verdict}.{layers}"
    )


def magnitude(value: float | None) -> str:
    """Format a count with three digits and a unit: 54.1k, 1.00M, 119M; empty for None."""
    if value is None:
        return ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2}f}{unit}"
    return f"{value:.0f}"


def trainings(document: ReportDocument, *, slim: str) -> list[tuple[str, TrainingOutcome]]:
    """Return (name, training) of the slim network, if it was trained, under the name `slim`, then of the baselines."""
    trained = [] if document["training"] is None else [(slim, document["training"])]
    return trained + [(baseline["name"], baseline) for baseline in document["baselines"]]


def _cost_row(name: str, compared: Compared) -> SummaryRow:
    return name, f"{compared['dense']:,}", f"{compared['slim']:,}", _less(compared["removed"])


def _accuracy_row(document: ReportDocument, training: TrainingOutcome) -> SummaryRow:
    scale, stated = scale_of(document), document.get("metric")
    key = stated["name"] if stated is not None else next(key for key in METRIC_NAMES if key in training)
    name, slim, dense = titled(key, scale), training["final"], _dense_accuracy(document)
    if document.get("accuracies") is not None:
        name += ", fine-tuned"
    if dense is None:
        return name, "not trained", scale.shown(slim), ""
    return name, scale.shown(dense), scale.shown(slim), scale.change(slim, dense)


def _dense_accuracy(document: ReportDocument) -> float | None:
    """Return the metric of the dense network, as given or after its training; None if it is not trained."""
    if (known := document.get("accuracies")) is not None:
        return known["dense"]
    return next((base["final"] for base in document["baselines"] if base["name"] == "dense"), None)


def _just_pruned(document: ReportDocument) -> str:
    known = document.get("accuracies")
    return (
        "" if known is None or known["pruned"] is None else f"just pruned {scale_of(document).shown(known['pruned'])}"
    )


def _less(share: float) -> str:
    return f"-{percent(share)}" if share > 0 else "none"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def plain_text(value: object) -> object:
    """Return the value of a recipe's field as a user would write it."""
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else value
