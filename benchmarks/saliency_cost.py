"""Seconds and peak memory of one ProsPr draw against the number of inner steps, each in a process of its own.

    python benchmarks/saliency_cost.py --arch vgg19 --batch 64 --steps 3 12 --out benchmarks/results/NAME.json

The peak is the growth of the process's memory (on CUDA: of the allocator's peak) while scoring. Random images: the cost
does not depend on what they show.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import slimprune


def main() -> None:
    """Measures every number of steps and writes the table."""
    options = parse()
    if options.one is not None:
        print(json.dumps(measure(options, options.one)))
        return
    command = [sys.executable, __file__, *sys.argv[1:]]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # freed tensors go back to the system at once
    rows = [
        json.loads(subprocess.check_output([*command, "--one", str(steps)], env=environment)) for steps in options.steps
    ]
    first = rows[0]
    for row in rows:
        stored = (row["steps"] - first["steps"]) * row["params"] * 4
        row["beyond_stored_weights"] = row["peak_bytes"] / (first["peak_bytes"] + stored) - 1
        print(f"M = {row['steps']:3d}: {row['seconds']:7.1f} s, {row['peak_bytes'] / 2**30:6.2f} GiB, "
              f"{row['beyond_stored_weights']:+.1%} beyond the stored weights")  # fmt: skip
    device = torch.cuda.get_device_name() if options.device.startswith("cuda") else "CPU"
    circumstances = {
        "command": "python benchmarks/saliency_cost.py " + " ".join(sys.argv[1:]),
        "device": device,
        "threads": torch.get_num_threads(),
        **slimprune.versions(),
    }
    options.out.write_text(json.dumps({"circumstances": circumstances, "rows": rows}, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="vgg19")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, nargs="+", default=[3, 12])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace, steps: int) -> dict[str, float]:
    """One draw with `steps` inner steps."""
    torch.manual_seed(0)
    model = slimprune.build(options.arch, slimprune.InputSpec(3, 32, 32, 10)).to(options.device)
    groups = slimprune.find_groups(model, torch.zeros(2, 3, 32, 32, device=options.device))
    batch = (torch.randn(options.batch, 3, 32, 32), torch.randint(0, 10, (options.batch,)))
    criterion = slimprune.ProsPr(steps=steps, lr=1e-3)
    with slimprune.PeakMemory(options.device) as memory:
        started = time.perf_counter()
        slimprune.score(model, groups, [batch] * (steps + 1), F.cross_entropy, criterion=criterion, draws=1)
        seconds = time.perf_counter() - started
    params = sum(parameter.numel() for parameter in model.parameters())
    return {"steps": steps, "seconds": seconds, "peak_bytes": memory.peak_bytes, "params": params}


if __name__ == "__main__":
    main()
