"""Slims every torchvision classification and segmentation model by half of its channels, and says what came of it.

    python benchmarks/zoo.py --out benchmarks/results/zoo.json
    python benchmarks/zoo.py --against torch-pruning --out benchmarks/results/zoo-torch-pruning.json

Every model runs in a process of its own, with random weights, on the smallest square input of `SIDES` on which it runs
in eval and in training mode. Half of the channels of every group that may be slimmed are removed (the first half
stays), the removal is proven, and the slim model does one forward and backward pass in training mode. With
`--against torch-pruning` that library removes half of the channels of every layer it can instead, and its result is
compared with the silenced dense model as well. NAME.json and NAME.md are written after every model; one that is there
already is not run again.
"""

import argparse
import copy
import json
import platform
import subprocess
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import slimprune

SIDES = (32, 64, 96, 128, 224, 256, 288, 299)
TRANSFORMERS = ("vit", "swin", "maxvit")


def main() -> None:
    """Runs the models that are not there yet."""
    options = parse()
    if options.one:
        print(json.dumps(one(options.one, options.against)))
        return
    rows = json.loads(options.out.read_text())["models"] if options.out.exists() else []
    done = {row["model"] for row in rows}
    for name in [name for name in options.models or every_model() if name not in done]:
        rows.append(in_a_process(name, options))
        print(" ".join(f"{key}={value}" for key, value in rows[-1].items() if key not in ("circumstances", "reasons")))
        write(options, rows)
    write(options, rows)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="names; all by default")
    parser.add_argument("--against", choices=["torch-pruning"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600, help="seconds per model")
    parser.add_argument("--out", type=Path, default=Path("zoo.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def every_model() -> list[str]:
    """Names of torchvision's classification and segmentation models."""
    models = torchvision.models
    return [name for part in (models, models.segmentation) for name in models.list_models(module=part)]


def in_a_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one model; a process that dies or takes too long is a row as well."""
    command = [sys.executable, __file__, "--one", name, "--threads", str(options.threads)]
    command += ["--against", options.against] if options.against else []
    started = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.timeout, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        found = {"outcome": "timeout", "reason": f"more than {options.timeout:.0f} s"}
    except subprocess.CalledProcessError as error:
        found = {
            "outcome": "crashed",
            "reason": (error.stderr.strip().splitlines() or [f"exit {error.returncode}"])[-1],
        }
    seconds = round(time.perf_counter() - started, 1)
    return {"model": name, **found, "process_seconds": seconds, "circumstances": circumstances(name, options)}


def circumstances(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What the figures of one model depend on."""
    against = f" --against {options.against}" if options.against else ""
    packages = {options.against: metadata.version(options.against)} if options.against else {}
    return {
        "command": f"python benchmarks/zoo.py --models {name} --threads {options.threads}{against}",
        "device": f"CPU {platform.machine()}",
        "threads": options.threads,
        **slimprune.versions(),
        **packages,
    }


def one(name: str, against: str | None) -> dict[str, Any]:
    """Slims one model in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(parse().threads)
    torch.manual_seed(0)
    model, side = built(name)
    example = torch.zeros(1, 3, side, side)
    started = time.process_time()
    if against:
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
    """A torchvision model with its auxiliary heads, and the side of the smallest input that it takes in both modes."""
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


def slimmed_by_us(model: nn.Module, example: Tensor) -> tuple[nn.Module | None, dict[str, Any]]:
    """Half of the channels of every free group, by the package's own steps."""
    try:
        groups = slimprune.find_groups(model, example)
        costs = slimprune.CostModel.of(model, groups, example)
        free = sum(group.width for group in groups if group.protected_reason is None)
        whole = sum(group.width for group in groups)
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
    """Whether one step in training mode, and a forward in eval mode, give finite numbers; otherwise what went wrong."""
    images = torch.randn(2, 3, side, side)
    try:
        with torch.set_grad_enabled(backward):
            leaves = [leaf for leaf in tree_leaves(model.train()(images)) if isinstance(leaf, Tensor)]
            if backward:
                torch.stack([leaf.float().square().mean() for leaf in leaves]).sum().backward()
        with torch.no_grad():
            leaves += [leaf for leaf in tree_leaves(model.eval()(images)) if isinstance(leaf, Tensor)]
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, AttributeError) as error:
        return str(error).splitlines()[0]
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    finite = all(bool(tensor.isfinite().all()) for tensor in [*leaves, *gradients])
    return finite or "values that are not finite"


def count(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def write(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """NAME.json and the table of NAME.md."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"models": rows}, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: the sums first, then every model, then the circumstances."""
    outcomes = [row["outcome"] for row in rows]
    sums = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(sorted(outcomes)))
    lines = [
        f"{len(rows)} models: {sums}.",
        "",
        "| model | side | params | outcome | removed | protected channels | train step | CPU s |",
        "|---|---:|---:|---|---:|---:|---|---:|",
        *(line(row) for row in sorted(rows, key=lambda row: row["model"])),
        "",
        "Removed: share of the parameters. Protected channels: share of all, output layers left out. CPU s: finding, "
        "proving and slimming, seconds of processor time.",
        "",
    ]
    last = {**rows[-1]["circumstances"], "command": "python benchmarks/zoo.py"} if rows else {}
    return "\n".join([*lines, *(f"- {name}: {value}" for name, value in last.items())]) + "\n"


def line(row: dict[str, Any]) -> str:
    """One row of the table."""

    def percent(key: str) -> str:
        return f"{row[key]:.1%}" if key in row else ""

    outcome = row["outcome"] if not row.get("reason") else f"{row['outcome']}: {row['reason'][:100]}".replace("|", "/")
    step = {True: "ok", None: ""}.get(row.get("trains"), str(row.get("trains"))[:60])
    return (
        f"| {row['model']} | {row.get('side', '')} | {row.get('params', 0):,} | {outcome} | {percent('removed')} "
        f"| {percent('protected_channels')} | {step} | {row.get('seconds', row['process_seconds'])} |"
    )


if __name__ == "__main__":
    main()
