"""Accuracy, bytes and speed of slim networks in int8 and fp16 beside fp32, in onnxruntime on the CPU.

    python benchmarks/precision.py --arch resnet20 --weights benchmarks/weights/resnet20-cifar10.safetensors \
        --data hf:../shared/data/cifar10 --of macs --ratio 0.5 --epochs 1 --amp --seeds 0 1 2 --threads 1

Every cell is a run of `slimprune compress --int8 --fp16`; its files are then timed again in more pairs than the report
has. Accuracies are those of the whole test set. Cells that are already in the file are kept, so that several commands
can fill it.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import slimprune
from slimprune.measure import load_average
from slimprune.report import markdown_table
from slimprune.timing.precision import compare_precisions

RESULTS = Path(__file__).parent / "results"
INT8_INSTRUCTIONS = ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
"""Names in /proc/cpuinfo of instructions that multiply 8-bit integers."""


def main() -> None:
    """Run the cells that are missing and write the file and its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--data", default="digits")
    parser.add_argument(
        "--weights", help="of a trained network; without them the slim network is trained from the start"
    )
    parser.add_argument("--of", default="macs", choices=["params", "macs"])
    parser.add_argument("--ratio", type=float, default=0.5, help="share to remove")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=200, help="pairs of each comparison")
    parser.add_argument("--seconds", type=float, default=10.0, help="most time of each comparison")
    parser.add_argument("--out", type=Path, default=RESULTS / "precision-cpu.json")
    options = parser.parse_args()
    cells = json.loads(options.out.read_text())["cells"] if options.out.exists() else []
    for seed in options.seeds:
        about = {**asked(options), "seed": seed}
        if not any(about.items() <= cell.items() for cell in cells):
            cells.append({**about, **measured(options, seed)})
            write(options.out, cells)
    write(options.out, cells)
    print(table(cells))


def asked(options: argparse.Namespace) -> dict:
    """Return the settings that the figures of a cell depend on, except for the seed."""
    names = ("arch", "data", "weights", "of", "ratio", "epochs", "train_size", "amp", "batches", "threads")
    return {name: getattr(options, name) for name in names}


def measured(options: argparse.Namespace, seed: int) -> dict:
    """Compress one network and time its files in pairs."""
    given = {name: asked(options)[name] for name in ("arch", "data", "weights", "of", "ratio", "amp")}
    for name in ("epochs", "train_size"):
        given |= {} if getattr(options, name) is None else {name: getattr(options, name)}
    print(f"{options.arch}, seed {seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "net.onnx"
        report = slimprune.compress(
            **given, seed=seed, out=out, int8=True, fp16=True, device="cpu", bench_threads=options.threads
        ).to_json()
        files = report["precisions"]["files"]
        for file in files[1:]:
            file["speed"] = [speed(options, report, folder, file["file"], batch) for batch in options.batches]
    return {
        "metric": report["precisions"]["metric"],
        "dense": (report["accuracies"] or {}).get("dense"),
        "dense_bytes": report["weight_bytes"]["dense"],
        "removed": {of: report[of]["removed"] for of in ("params", "macs")},
        "files": files,
        "circumstances": circumstances(),
    }


def speed(options: argparse.Namespace, report: dict, folder: str, name: str, batch: int) -> dict:
    """Time a file beside the one of fp32 on test images."""
    data = slimprune.load_data(options.data)
    pixels = data.pixels(data.samples(batch)).float() / 255
    sampling = slimprune.Sampling(options.samples, options.seconds)
    first = Path(folder) / "net.onnx"
    return dict(compare_precisions(first, Path(folder) / name, pixels, threads=options.threads, sampling=sampling))


def circumstances() -> dict:
    """Return what the figures depend on besides the settings."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    return {
        "command": f"python benchmarks/{Path(sys.argv[0]).name} " + " ".join(sys.argv[1:]),
        "int8_instructions": [name for name in INT8_INSTRUCTIONS if name in flags],
        "load_average": load_average(),
        **slimprune.versions(),
    }


def write(out: Path, cells: list[dict]) -> None:
    """Write all cells as JSON and as a Markdown page."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".part")
    partial.write_text(json.dumps({"cells": cells}, indent=1) + "\n")
    partial.replace(out)
    out.with_suffix(".md").write_text("\n".join([table(cells), "", *notes(cells)]) + "\n")


def table(cells: list[dict]) -> str:
    """Return a table with a row for every file."""
    batches = cells[0]["batches"]
    head = [
        "arch",
        "data",
        "removed",
        "seed",
        "file",
        "bytes",
        "zstd",
        "dense / zstd",
        "top-1",
        "points",
        "calibration",
    ]
    head += [f"speed-up, batch {batch}" for batch in batches]
    rows = [row(cell, file) for cell in cells for file in cell["files"]]
    return markdown_table(head, rows, left=(0, 1, 2, 4, 10))


def row(cell: dict, file: dict) -> list[str]:
    """Return the cells of one file."""
    first, calibration = cell["files"][0], file["calibration"]
    lost = 100 * (file["accuracy"] - first["accuracy"])
    speeds = [gain(speed) for speed in file["speed"]] or [""] * len(cell["batches"])
    return [
        cell["arch"],
        cell["data"],
        f"{100 * cell['removed'][cell['of']]:.1f} % of {cell['of']}",
        str(cell["seed"]),
        file["precision"],
        f"{file['bytes']:,}",
        f"{file['zstd_bytes']:,}",
        f"{cell['dense_bytes'] / file['zstd_bytes']:.1f}",
        f"{100 * file['accuracy']:.2f} %",
        "" if file is first else f"{lost:+.2f}",
        "" if calibration is None else calibration["method"],
        *speeds,
    ]


def gain(speed: dict) -> str:
    """Format the speed-up over fp32 with its interval and the times."""
    low, high = speed["interval"]
    times = f"{speed['fp32_ms']:.3f} -> {speed['ms']:.3f} ms"
    return f"{speed['speedup']:.2f} ({low:.2f}-{high:.2f}), {times}"


def notes(cells: list[dict]) -> list[str]:
    """Return how the figures were obtained, one line per command and machine."""
    lines = [
        "- accuracy on the whole test set in onnxruntime; int8 calibrated on 256 training images, the method chosen "
        "on 256 others; dense / zstd: bytes of the dense network's weights in fp32 over those of the file after "
        "Zstandard; speed-up over fp32: interleaved pairs with 99 % intervals",
    ]
    for cell in cells:
        about, one = cell["circumstances"], cell["files"][-1]["speed"][0]
        versions = ", ".join(f"{name} {about[name]}" for name in ("torch", "onnxruntime", "onnx"))
        instructions = ", ".join(about["int8_instructions"]) or "none known"
        busy = max(speed["disturbed"] for file in cell["files"] for speed in file["speed"])
        machine = f"{one['device']} (int8 instructions: {instructions}), {one['threads']} thread(s), {versions}"
        load = f"load average {about['load_average']}; other work had the core for up to {100 * busy:.0f} % of the time"
        lines.append(f"- seed {cell['seed']} of `{about['command']}`: {machine}; {load}, left out")
    return lines


if __name__ == "__main__":
    main()
