"""Peak memory of a whole `slimprune compress` beside the size of its data, for many small images.

    python benchmarks/data_memory.py

Makes a folder of JPEG files and a `tensors:` folder in a temporary place, runs the command on each in a process of its
own, and writes the largest resident memory of that process and of its children.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from slimprune.measure import environment
from slimprune.report import markdown_table

RESULTS = Path(__file__).parent / "results"
LIMIT = 2.0
"""Most GiB above the size of the data."""
RUN = ["--arch", "resnet8", "--ratio", "0.5", "--rule", "uniform", "--epochs", "1", "--batch-size", "128"]
MEASURED = """
import json, resource, sys
from slimprune.cli import run
code = run(sys.argv[1:])
kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
print(json.dumps([code, max(resource.getrusage(kind).ru_maxrss for kind in kinds)]))
"""


def main() -> None:
    """Make the data, run the commands and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="JPEG files of the folder")
    parser.add_argument("--size", type=int, default=96, help="pixels a side of the JPEG files")
    parser.add_argument("--rows", type=int, default=200_000, help="32-pixel images of the tensors")
    parser.add_argument("--out", type=Path, default=RESULTS / "data-memory-cpu.json")
    options = parser.parse_args()
    cells = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make_files(folder / "files", options.files, options.size)
        make_tensors(folder / "tensors", options.rows)
        for name, data, more, decoded in (
            ("folder", f"folder:{folder}/files", ["--image-size", "64"], options.files * 3 * 64**2),
            ("tensors", f"tensors:{folder}/tensors", [], options.rows * 3 * 32**2),
        ):
            cells.append({"data": name, "decoded": decoded, **measured(folder, data, more)})
    write(options, cells)


def make_files(folder: Path, count: int, side: int) -> None:
    """Write a folder of noisy JPEG files in ten classes, nine of ten for training."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        part = "test" if number % 10 == 0 else "train"
        place = folder / part / str(number % 7)
        place.mkdir(parents=True, exist_ok=True)
        coarse = torch.randint(256, (8, 8, 3), dtype=torch.uint8, generator=generator).numpy()
        Image.fromarray(coarse).resize((side, side)).save(place / f"{number}.jpg")


def make_tensors(folder: Path, count: int) -> None:
    """Write images [N, 3, 32, 32] and labels [N] as safetensors, nine of ten for training."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for part, rows in (("train", count * 9 // 10), ("test", count // 10)):
        images = torch.randint(256, (rows, 3, 32, 32), dtype=torch.uint8, generator=generator)
        save_file({"images": images, "labels": torch.arange(rows) % 10}, folder / f"{part}.safetensors")


def measured(folder: Path, data: str, more: list[str]) -> dict:
    """Return the peak memory of one run in bytes, and its command."""
    command = ["compress", *RUN, "--data", data, *more, "--out", str(folder / "out.onnx")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], stdout=subprocess.PIPE, text=True, check=True, env=os.environ
    )
    code, kilobytes = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise SystemExit(f"slimprune {' '.join(command)} ended with {code}")
    return {"command": " ".join(["slimprune", *command]).replace(str(folder), "DIR"), "peak": kilobytes * 1024}


def write(options: argparse.Namespace, cells: list[dict]) -> None:
    """Write the cells and their circumstances as JSON and as a table."""
    circumstances = {
        "command": f"python benchmarks/data_memory.py --files {options.files} --size {options.size} "
        f"--rows {options.rows}",
        **environment(torch.device("cpu")),
    }
    options.out.write_text(json.dumps({"circumstances": circumstances, "cells": cells}, indent=1) + "\n")
    head = ["data", "decoded, GiB", "peak, GiB", "above the data, GiB", f"below {LIMIT:g} GiB"]
    rows = [row(cell) for cell in cells]
    commands = "\n".join(f"- `{cell['command']}`" for cell in cells)
    facts = "; ".join(f"{name} {value}" for name, value in circumstances.items())
    options.out.with_suffix(".md").write_text(f"{markdown_table(head, rows)}\n\n{commands}\n- {facts}\n")
    print(options.out.with_suffix(".md").read_text())


def row(cell: dict) -> list[str]:
    """Return the line of the table for one kind of data."""
    above = (cell["peak"] - cell["decoded"]) / 2**30
    sizes = [f"{size / 2**30:.2f}" for size in (cell["decoded"], cell["peak"])]
    return [cell["data"], *sizes, f"{above:.2f}", "yes" if above < LIMIT else "no"]


if __name__ == "__main__":
    main()
