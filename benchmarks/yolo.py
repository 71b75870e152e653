"""A YOLO11 on drawn scenes, dense and at half of the MACs, by this program's and by ultralytics' own interface.

    python benchmarks/yolo.py FOLDER

Draws the scenes into FOLDER and runs the command there, unless FOLDER has its results already. Then the same network is
judged three times on the 40 test scenes: by this program, from the ONNX file in onnxruntime, and by `YOLO.val` of
ultralytics, which has a metric of its own; and both ONNX files are timed. Needs the extra ultralytics.
"""

import argparse
import importlib.metadata
import json
import os
import shlex
from contextlib import chdir
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from results_page import detector_tables
from scenes import draw_scenes

import slimprune
from slimprune.cli import run
from slimprune.measure import environment, load_average
from slimprune.models.ultralytics_detectors import best_boxes
from slimprune.tasks import find_task

RESULTS = Path(__file__).parent / "results"
SIDE, BATCH, PAIRS, SECONDS = 96, 8, 200, 60.0
COMMAND = (
    "slimprune compress --arch yolo:yolo11n --data yolo:scenes/scenes.yaml --ratio 0.5 --of macs --epochs 40 "
    "--batch-size 8 --optimizer adamw --lr 0.002 --schedule cosine --train-dense --out y.onnx"
)
"""The run, in the folder of the scenes."""


def main() -> None:
    """Run, judge and time, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS / "yolo-scenes.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out.resolve()
    options.folder.mkdir(exist_ok=True)
    with chdir(options.folder):
        if not Path("scenes").is_dir():
            draw_scenes(Path("scenes"))
        if not Path("y.slim").is_dir() and run(shlex.split(COMMAND)[1:]):
            raise SystemExit("the run failed")
        write(out, measured())


def measured() -> dict[str, Any]:
    """Return what the run, onnxruntime, ultralytics and the stopwatch say."""
    report = json.loads(Path("y.report.json").read_text())
    rows = slimprune.bench(
        Path("y.slim"),
        slimprune.BenchSettings(
            ("onnxruntime",), (1, BATCH), threads=1, sampling=slimprune.Sampling(pairs=PAIRS, seconds=SECONDS)
        ),
    )["latency"]
    return {
        "command": COMMAND,
        "environment": environment(torch.device("cpu")) | {"ultralytics": version()},
        "load": load_average(),
        "cores": os.cpu_count(),
        "run": {key: report[key] for key in ("macs", "params", "training", "baselines", "onnx", "seconds")},
        "onnxruntime": by_onnxruntime(),
        "ultralytics": by_ultralytics(),
        "latency": rows,
    }


def version() -> str:
    """Return the version of ultralytics."""
    return importlib.metadata.version("ultralytics")


def by_onnxruntime() -> float:
    """Return the mean average precision of what the ONNX file gives for the test scenes."""
    session, tally = onnxruntime.InferenceSession("y.onnx"), find_task("detection").metric().start()
    for images, boxes in slimprune.load_data("yolo:scenes/scenes.yaml").test_batches(BATCH):
        (rows,) = session.run(None, {"input": images.numpy()})
        found = [best_boxes(one[:, :4], one[:, 4:], suppress=True) for one in torch.from_numpy(rows)]
        tally.add(found, (images, boxes))
    return tally.value(together=False)


def by_ultralytics() -> dict[str, float]:
    """Return the mean average precision that the library's own validation finds."""
    settings = {"imgsz": SIDE, "rect": False, "batch": BATCH, "workers": 0, "plots": False, "verbose": False}
    found = slimprune.load_yolo("y.slim").val(data="scenes/scenes.yaml", device="cpu", **settings).box
    return {"map": float(found.map), "map50": float(found.map50)}


def write(out: Path, document: dict[str, Any]) -> None:
    """Write the document, and a page beside it."""
    out.write_text(json.dumps(document, indent=1) + "\n")
    out.with_suffix(".md").write_text(f"# A YOLO11 on drawn scenes\n\n{detector_tables(document)}\n")


if __name__ == "__main__":
    main()
