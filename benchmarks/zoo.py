"""Removal of half of the channels of many models of other libraries, and its outcome.

    python benchmarks/zoo.py --out benchmarks/results/zoo.json
    python benchmarks/zoo.py --out benchmarks/results/zoo.json --against torch-pruning
    python benchmarks/zoo.py --set third-party --out benchmarks/results/zoo-third-party.json

The first set is every torchvision model and one model of every timm family (`zoo_timm.txt`); the second is a hundred
networks of other libraries (`zoo_third_party.py`, whose requirements are in `zoo_third_party.txt`).

Every model runs in a separate process, with random weights. Those of the first set read the smallest square input of
`SIDES` on which they run in eval and in training mode. Half of the channels of every group that may be slimmed are
removed (the first half is kept), the removal is proven, and the slim model does one forward and backward pass in
training mode. With `--against torch-pruning`, that library instead removes half of the channels of every layer it can,
within 60 seconds of processor time, and its result is also compared with the silenced dense model. NAME.json and the
tables of NAME.md are written after every model; existing rows are not run again.
"""

import argparse
import copy
import json
import multiprocessing
import platform
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
import zoo_third_party
from torch import nn
from zoo_network import Network, count
from zoo_page import generic, page
from zoo_third_party import NETWORKS

import slimprune

SIDES = (32, 64, 96, 128, 224, 240, 256, 288, 299)
TIMM = Path(__file__).with_name("zoo_timm.txt")


def main() -> None:
    """Run the missing models."""
    options = parse()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    rows = found.setdefault(options.against or "models", [])
    done = {row["model"] for row in rows}
    for name in [name for name in options.models or names_of(options.set) if name not in done]:
        if name in NETWORKS:
            zoo_third_party.imported(name)
        rows.append(in_a_process(name, options))
        hidden = ("circumstances", "reasons")
        print(" ".join(f"{key}={value}" for key, value in rows[-1].items() if key not in hidden), flush=True)
        write(options.out, found)
    write(options.out, found)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=["torchvision-timm", "third-party"], default="torchvision-timm")
    parser.add_argument("--models", nargs="+", help="names; all of the set by default")
    parser.add_argument("--against", choices=["torch-pruning"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600, help="seconds per model")
    parser.add_argument("--out", type=Path, default=Path("zoo.json"))
    return parser.parse_args()


def names_of(which: str) -> list[str]:
    """Return the names of a set of models.

    The first is torchvision's classification and segmentation models and one model of each timm family.
    """
    if which == "third-party":
        return list(NETWORKS)
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
    chosen = " --set third-party" if name in NETWORKS else ""
    library = zoo_third_party.PACKAGES.get(name.partition(":")[0], name.partition(":")[0])
    others = [*([options.against] if options.against else []), *([library] if ":" in name else [])]
    packages = {package: metadata.version(package) for package in others}
    return {
        "command": f"python benchmarks/zoo.py{chosen} --models {name} --threads {options.threads}{against}",
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
    network = built(name)
    started = time.process_time()
    if options.against:
        from zoo_torch_pruning import slimmed
    else:
        slimmed = slimmed_by_us
    slim, found = slimmed(network)
    seconds = round(time.process_time() - started, 1)
    row = {"side": network.example[0].shape[-1], "params": count(network.module), "seconds": seconds, **found}
    if slim is not None:
        row["removed"] = round(1 - count(slim) / count(network.module), 4)
        row["trains"] = network.trains(slim)
        if row["outcome"] == "proven" and row["trains"] is not True:
            row["outcome"] = "wrong"
    return row


def built(name: str) -> Network:
    """Build a network, torchvision's with auxiliary heads, which reads the smallest square images that it can."""
    if name in NETWORKS:
        return zoo_third_party.built(name)
    if name.startswith("timm:"):
        return built_by_timm(name)
    settings: dict[str, Any] = {"weights": None}
    if "segmentation" in torchvision.models.get_model_builder(name).__module__:
        settings.update(weights_backbone=None, **({} if name.startswith("lraspp") else {"aux_loss": True}))
    if name in ("googlenet", "inception_v3"):
        settings["init_weights"] = False
    if name.startswith("vit"):
        side = 2 * int(name.split("_")[-1])
        return on_images(torchvision.models.get_model(name, image_size=side, **settings), side)
    model = torchvision.models.get_model(name, **settings)
    for side in SIDES:
        if runs(network := on_images(model, side)):
            return network
    raise RuntimeError(f"{name} runs on none of {SIDES}")


def built_by_timm(name: str) -> Network:
    """Build a timm model that reads the smallest square images for which it can be built and runs in both modes."""
    for side in SIDES:
        try:
            model = slimprune.build(name, slimprune.InputSpec(3, side, side, 1000))
        except slimprune.SlimpruneError:
            continue
        if runs(network := on_images(model, side)):
            return network
    raise RuntimeError(f"{name} runs on none of {SIDES}")


def on_images(model: nn.Module, side: int) -> Network:
    """Return a model as a network that reads square images."""
    return Network(model, (torch.zeros(1, 3, side, side),))


def runs(network: Network) -> bool:
    """Return whether a network runs in both modes."""
    return network.trains(copy.deepcopy(network.module), backward=False) is True


def slimmed_by_us(network: Network) -> tuple[nn.Module | None, dict[str, Any]]:
    """Remove half of the channels of every unprotected group with slimprune."""
    model, example = network.module, network.example
    clocks = time.process_time(), time.perf_counter()
    spent: dict[str, float] = {}
    try:
        groups = slimprune.find_groups(model, example)
        spent = {"find_seconds": time.process_time() - clocks[0], "find_wall": time.perf_counter() - clocks[1]}
        spent = {name: round(seconds, 1) for name, seconds in spent.items()}
        costs = slimprune.CostModel.of(model, groups, example)
        free = sum(group.width for group in groups if group.protected_reason is None)
        whole = sum(group.width for group in groups)
        if free == 0:
            counts = Counter(generic(group.protected_reason or "") for group in groups)
            reason = "; ".join(reason for reason, _ in counts.most_common(3))
            return None, {"outcome": "refused", "reason": reason, **spent}
        plan = slimprune.allocate(None, groups, slimprune.Budget(0.5 * free / whole, "channels"), costs, rule="uniform")
        slim = slimprune.slim(model, plan)
        proof = slimprune.prove(model, slim, example)
    except slimprune.SlimpruneError as error:
        return None, {"outcome": "refused", "reason": str(error), **spent}
    protected = [g for g in groups if g.protected_reason not in (None, "model output")]
    return slim.module, {
        "outcome": "proven" if proof.passed else "wrong",
        "reason": None if proof.passed else proof.reason,
        "max_rel_diff": proof.max_rel_diff,
        **spent,
        "groups": len(groups),
        "protected_channels": round(sum(group.width for group in protected) / whole, 4),
        "reasons": {group.id: group.protected_reason for group in protected},
    }


def write(out: Path, found: dict[str, list[dict[str, Any]]]) -> None:
    """Write NAME.json and the tables of NAME.md."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    out.with_suffix(".md").write_text(page(found))


if __name__ == "__main__":
    main()
