"""Images per second that one core decodes to a size: whole JPEG files, or files reduced by Pillow while decoding.

    python benchmarks/decoding.py

Draws images of photographs' sizes, with details from the size of a pixel to that of the image, and decodes them in
turns both ways. Also tells by how much the pixels differ.
"""

import argparse
import io
import json
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from slimprune.data.encoded_images import to_size
from slimprune.measure import environment, load_average
from slimprune.preprocessing import filled, read_rgb
from slimprune.report import markdown_table

RESULTS = Path(__file__).parent / "results"
DETAILS = ((0.008, 130), (0.05, 50), (0.25, 30), (1, 12))
"""Grids of random colours, as shares of the image's pixels a side, and how much each of them weighs."""


def main() -> None:
    """Draw the images, decode them and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=750)
    parser.add_argument("--sizes", default="96,128,224,352")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS / "decoding-cpu.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = [drawn(number, options.height, options.width) for number in range(options.images)]
    cells = [compared(files, int(size), options.rounds) for size in options.sizes.split(",")]
    write(options, sum(map(len, files)) / len(files), cells)


def drawn(seed: int, height: int, width: int) -> bytes:
    """Return a random image as JPEG."""
    generator, image = torch.Generator().manual_seed(seed), torch.zeros(1, 3, height, width)
    for share, weight in DETAILS:
        coarse = torch.rand(1, 3, round(height * share), round(width * share), generator=generator)
        image += weight * torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    file = io.BytesIO()
    Image.fromarray(image[0].clamp(0, 255).byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=90)
    return file.getvalue()


def whole(file: bytes, where: str, size: int) -> Image.Image:
    """Decode all of a file, and resize it."""
    return filled(read_rgb(file, where), size, size, Image.Resampling.BILINEAR)


def compared(files: list[bytes], size: int, rounds: int) -> dict[str, object]:
    """Return the seconds of every round both ways, and the differences of the pixels."""
    ways, seconds, found = {"whole": whole, "reduced": to_size}, {"whole": [], "reduced": []}, {}
    for _ in range(rounds):
        for way, decode in ways.items():
            began = time.process_time()
            found[way] = np.stack([decode(file, "", size) for file in files]).astype(int)
            seconds[way].append(time.process_time() - began)
    gaps = np.abs(found["whole"] - found["reduced"])
    differences = {"mean": float(gaps.mean()), "p99": int(np.quantile(gaps, 0.99)), "largest": int(gaps.max())}
    return {"size": size, "seconds": seconds, "differences": differences}


def write(options: argparse.Namespace, length: float, cells: list[dict]) -> None:
    """Write the results as JSON and as a table."""
    document = {
        "command": "python benchmarks/decoding.py", "environment": environment(torch.device("cpu")),
        "load": load_average(), "bytes": length, "cells": cells,
        "settings": {name: value for name, value in vars(options).items() if name != "out"},
    }  # fmt: skip
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    rows = []
    for cell in cells:
        speeds = [[options.images / each for each in cell["seconds"][way]] for way in ("whole", "reduced")]
        ratio = median(one / other for one, other in zip(*cell["seconds"].values(), strict=True))
        gaps = cell["differences"]
        shown = [f"{median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f})" for each in speeds]
        rows.append(
            [cell["size"], *shown, f"{ratio:.2f}", f"{gaps['mean']:.2f}", f"{gaps['p99']:.0f}", gaps["largest"]]
        )
    head = ["size", "whole, images/s", "reduced, images/s", "times", "mean difference", "99 %", "largest"]
    facts = ", ".join(f"{name} {value}" for name, value in document["environment"].items())
    text = [
        "# Decoding JPEG files to a size",
        f"{options.images} drawn images of {options.width} x {options.height} ({length / 1024:,.0f} kB), "
        f"decoded by one process, {options.rounds} rounds in turns: median of images per second of CPU time (slowest "
        "to fastest round). Differences are those of pixels in 0..255.",
        markdown_table(head, rows),
        f"Circumstances: {facts}; load {document['load']}; `{document['command']}`.",
    ]
    options.out.with_suffix(".md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
