"""Removal of half of the channels of every torchvision model and one model of every timm family, and its outcome.

    python benchmarks/zoo.py --out benchmarks/results/zoo.json
    python benchmarks/zoo.py --out benchmarks/results/zoo.json --against torch-pruning

Every model runs in a separate process, with random weights, on the smallest square input of `SIDES` on which it runs in
eval and in training mode. Half of the channels of every group that may be slimmed are removed (the first half is kept),
the removal is proven, and the slim model does one forward and backward pass in training mode. With
`--against torch-pruning`, that library instead removes half of the channels of every layer it can, within 60 seconds of
processor time, and its result is also compared with the silenced dense model. NAME.json and the tables of NAME.md are
written after every model; existing rows are not run again. `zoo_timm.txt` lists the timm models.
"""

import argparse
import copy
import json
import multiprocessing
import platform
import re
import signal
import time
import warnings
from collections import Counter
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import slimprune
from slimprune.report import markdown_table

HEAD = (
    "model", "side", "params", "outcome", "removed", "protected channels", "train step", "CPU s", "torch-pruning",
)  # fmt: skip
SIDES = (32, 64, 96, 128, 224, 240, 256, 288, 299)
TIMM = Path(__file__).with_name("zoo_timm.txt")


def main() -> None:
    """Run the missing models."""
    options = parse()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    rows = found.setdefault(options.against or "models", [])
    done = {row["model"] for row in rows}
    for name in [name for name in options.models or every_model() if name not in done]:
        rows.append(in_a_process(name, options))
        hidden = ("circumstances", "reasons")
        print(" ".join(f"{key}={value}" for key, value in rows[-1].items() if key not in hidden), flush=True)
        write(options.out, found)
    write(options.out, found)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="names; all by default")
    parser.add_argument("--against", choices=["torch-pruning"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600, help="seconds per model")
    parser.add_argument("--out", type=Path, default=Path("zoo.json"))
    return parser.parse_args()


def every_model() -> list[str]:
    """Return torchvision's classification and segmentation models, and one model of each timm family, by name."""
    models = torchvision.models
    names = [name for part in (models, models.segmentation) for name in models.list_models(module=part)]
    return [*names, *(f"timm:{name}" for name in TIMM.read_text().split())]


def in_a_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one model, including for a process that crashes or exceeds the time limit."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    started = time.perf_counter()
    # Forked before torch has computed anything, so that libraries are imported only once.
    process = multiprocessing.get_context("fork").Process(target=answer, args=(sender, name, options))
    process.start()
    sender.close()
    try:
        found = receiver.recv() if receiver.poll(options.timeout) else None
    except EOFError:
        process.join()
        found = {"outcome": "crashed", "reason": f"exit code {process.exitcode}"}
        if process.exitcode == -signal.SIGXCPU:
            found = {"outcome": "past 60 s", "reason": "more than 60 s of processor time"}
    process.kill()
    process.join()
    found = found or {"outcome": "timeout", "reason": f"more than {options.timeout:.0f} s"}
    seconds = round(time.perf_counter() - started, 1)
    return {"model": name, **found, "process_seconds": seconds, "circumstances": circumstances(name, options)}


def answer(sender: Connection, name: str, options: argparse.Namespace) -> None:
    """Send the row of one model, or the error that occurred before anything was slimmed."""
    try:
        sender.send(one(name, options))
    except (Exception, SystemExit) as error:  # noqa: BLE001 any error is a result
        sender.send({"outcome": "crashed", "reason": f"{type(error).__name__} {error}"[:200]})


def circumstances(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the conditions that the figures of one model depend on."""
    against = f" --against {options.against}" if options.against else ""
    others = [*([options.against] if options.against else []), *(["timm"] if name.startswith("timm:") else [])]
    packages = {package: metadata.version(package) for package in others}
    return {
        "command": f"python benchmarks/zoo.py --models {name} --threads {options.threads}{against}",
        "device": f"CPU {platform.machine()}",
        "threads": options.threads,
        **slimprune.versions(),
        **packages,
    }


def one(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Slim one model in this process and return its row."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model, side = built(name)
    example = torch.zeros(1, 3, side, side)
    started = time.process_time()
    if options.against:
        from zoo_torch_pruning import slimmed
    else:
        slimmed = slimmed_by_us
    found = slimmed(model, example)
    row = {"side": side, "params": count(model), "seconds": round(time.process_time() - started, 1), **found[1]}
    if found[0] is not None:
        row["removed"] = round(1 - count(found[0]) / count(model), 4)
        row["trains"] = trains(found[0], side)
        if row["outcome"] == "proven" and row["trains"] is not True:
            row["outcome"] = "wrong"
    return row


def built(name: str) -> tuple[nn.Module, int]:
    """Build a model, torchvision's with auxiliary heads, and return it with the smallest input side for both modes."""
    if name.startswith("timm:"):
        return built_by_timm(name)
    settings: dict[str, Any] = {"weights": None}
    if "segmentation" in torchvision.models.get_model_builder(name).__module__:
        settings.update(weights_backbone=None, **({} if name.startswith("lraspp") else {"aux_loss": True}))
    if name in ("googlenet", "inception_v3"):
        settings["init_weights"] = False
    if name.startswith("vit"):
        side = 2 * int(name.split("_")[-1])
        return torchvision.models.get_model(name, image_size=side, **settings), side
    model = torchvision.models.get_model(name, **settings)
    for side in SIDES:
        if trains(copy.deepcopy(model), side, backward=False) is True:
            return model, side
    raise RuntimeError(f"{name} runs on none of {SIDES}")


def built_by_timm(name: str) -> tuple[nn.Module, int]:
    """Build a timm model and return it with the smallest input side that it can be built for in both modes."""
    for side in SIDES:
        try:
            model = slimprune.build(name, slimprune.InputSpec(3, side, side, 1000))
        except slimprune.SlimpruneError:
            continue
        if trains(copy.deepcopy(model), side, backward=False) is True:
            return model, side
    raise RuntimeError(f"{name} runs on none of {SIDES}")


def slimmed_by_us(model: nn.Module, example: Tensor) -> tuple[nn.Module | None, dict[str, Any]]:
    """Remove half of the channels of every unprotected group with slimprune."""
    try:
        groups = slimprune.find_groups(model, example)
        costs = slimprune.CostModel.of(model, groups, example)
        free = sum(group.width for group in groups if group.protected_reason is None)
        whole = sum(group.width for group in groups)
        if free == 0:
            counts = Counter(generic(group.protected_reason or "") for group in groups)
            return None, {"outcome": "refused", "reason": "; ".join(reason for reason, _ in counts.most_common(3))}
        plan = slimprune.allocate(None, groups, slimprune.Budget(0.5 * free / whole, "channels"), costs, rule="uniform")
        slim = slimprune.slim(model, plan)
        proof = slimprune.prove(model, slim, example)
    except slimprune.SlimpruneError as error:
        return None, {"outcome": "refused", "reason": str(error)}
    protected = [g for g in groups if g.protected_reason not in (None, "model output")]
    return slim.module, {
        "outcome": "proven" if proof.passed else "wrong",
        "reason": None if proof.passed else proof.reason,
        "max_rel_diff": proof.max_rel_diff,
        "groups": len(groups),
        "protected_channels": round(sum(group.width for group in protected) / whole, 4),
        "reasons": {group.id: group.protected_reason for group in protected},
    }


def trains(model: nn.Module, side: int, backward: bool = True) -> bool | str:
    """Return whether a training step and a forward pass in eval mode give finite numbers, or else the error message."""
    images = torch.randn(2, 3, side, side)
    try:
        with torch.set_grad_enabled(backward):
            leaves = [leaf for leaf in tree_leaves(model.train()(images)) if isinstance(leaf, Tensor)]
            if backward:
                torch.stack([leaf.float().square().mean() for leaf in leaves]).sum().backward()
        with torch.no_grad():
            leaves += [leaf for leaf in tree_leaves(model.eval()(images)) if isinstance(leaf, Tensor)]
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, AttributeError) as error:
        return next(iter(str(error).splitlines()), type(error).__name__)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    finite = all(bool(tensor.isfinite().all()) for tensor in [*leaves, *gradients])
    return finite or "values that are not finite"


def count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def write(out: Path, found: dict[str, list[dict[str, Any]]]) -> None:
    """Write NAME.json and the tables of NAME.md."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    out.with_suffix(".md").write_text(page(found))


def page(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the Markdown page: tables of torchvision and timm, unchanged groups with reasons, and circumstances."""
    ours, theirs = ({row["model"]: row for row in found.get(key, [])} for key in ("models", "torch-pruning"))
    names = sorted(ours.keys() | theirs.keys())
    parts = {
        "torchvision": [name for name in names if not name.startswith("timm:")],
        "timm, one small model for each family": [name for name in names if name.startswith("timm:")],
    }
    lines = ["# Half of the channels removed", ""]
    for title, members in parts.items():
        if members:
            lines += section(title, members, ours, theirs)
    lines += [
        "Removed: share of the parameters. Protected channels: share of all, output layers left out. CPU s: finding, "
        "proving and slimming, seconds of processor time. torch-pruning: what that library makes of the model on its "
        "own; a norm that a model writes out itself (mobilenetv5's mean of squares over channels) differs with fewer "
        "channels by nature, which that check cannot tell from a wrong index.",
        "",
        *whole(ours),
    ]
    last = {key: value for rows in found.values() for row in rows[-1:] for key, value in row["circumstances"].items()}
    command = {"command": "python benchmarks/zoo.py"}
    return "\n".join([*lines, *(f"- {name}: {value}" for name, value in {**last, **command}.items())]) + "\n"


def section(title: str, names: list[str], ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return the totals, followed by a row for every model."""
    counted = {"slimprune": ours, "torch-pruning": theirs}
    found = {by: [rows[name]["outcome"] for name in names if name in rows] for by, rows in counted.items()}
    return [
        f"## {title}",
        "",
        *(f"- {by}: {sum_of(outcomes)}" for by, outcomes in found.items()),
        "",
        markdown_table(
            HEAD, [cells(name, ours.get(name, {}), theirs.get(name, {})) for name in names], left=(0, 3, 6, 8)
        ),
        "",
    ]


def sum_of(outcomes: list[str]) -> str:
    """Return the count of each outcome as a phrase."""
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes)))
    return f"{len(outcomes)} models: {counts}" if outcomes else "not run"


def cells(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[Any]:
    """Return one row of a table with the columns of `HEAD`."""

    def percent(key: str) -> str:
        return f"{ours[key]:.1%}" if key in ours else ""

    step = {True: "ok", None: ""}.get(ours.get("trains"), str(ours.get("trains"))[:60])
    return [
        name,
        ours.get("side", theirs.get("side", "")),
        f"{ours.get('params', theirs.get('params', 0)):,}",
        outcome(ours),
        percent("removed"),
        percent("protected_channels"),
        step,
        ours.get("seconds", ""),
        theirs.get("outcome", ""),
    ]


def outcome(row: dict[str, Any]) -> str:
    """Return the outcome with its truncated reason."""
    return row.get("outcome", "") + (f": {row['reason'][:100]}" if row.get("reason") else "")


def whole(ours: dict[str, Any]) -> list[str]:
    """List for every model how many groups remain unchanged, by reason."""
    lines = []
    for name, row in sorted(ours.items()):
        counts = Counter(generic(reason) for reason in row.get("reasons", {}).values())
        if counts:
            lines.append(f"- {name}: {'; '.join(f'{count} x {reason}' for reason, count in counts.most_common())}")
    return ["## Groups that stay whole, by reason", "", *lines, "", "## Circumstances", ""] if lines else []


def generic(reason: str) -> str:
    """Return a reason without the layer name that it contains."""
    return re.sub(r" in (?!training mode)[\w.]+", "", reason)[:80].strip()


if __name__ == "__main__":
    main()
