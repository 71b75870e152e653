"""Learned widths under a latency budget: is it met, and what does it give beside uniform widths and a MAC budget?

    python benchmarks/learned_latency.py --out benchmarks/results/learned-latency

Runs `slimprune compress` on the ResNet-8 of MLPerf Tiny and the digits with half of the latency in onnxruntime asked to
go: with learned and with uniform widths, and with learned widths under the MAC budget that leaves as many MACs as the
first. Every file is timed again by `slimprune bench`, in pairs with the dense network. Writes NAME.json after every
run (what is there is not run again) and NAME.md.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import slimprune
from slimprune.report import markdown_table

RATIO, CLOSE = 0.5, 0.05
NETWORK = ["--arch", "resnet8", "--data", "digits"]
PLACE = {"engine": "onnxruntime-cpu", "bench-batch": "8", "bench-threads": "1"}
TRAINING = ["--epochs", "20"]
LEARNED = ["--rule", "learned", "--sharing-epochs", "10"]


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True, help="name of the results, without suffix")
    options = parser.parse_args()
    file = options.out.with_suffix(".json")
    runs: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    timed = ["--of", "latency", "--ratio", str(RATIO), *(text for key in PLACE for text in (f"--{key}", PLACE[key]))]
    for seed in options.seeds:
        rows = {
            "learned, latency": lambda: [*LEARNED, *timed],
            "uniform, latency": lambda: ["--rule", "uniform", *timed],
            "learned, MACs": lambda seed=seed: [
                *LEARNED, "--of", "macs", "--ratio", f"{runs[f'learned, latency {seed}']['macs_removed']:.4f}",
            ],
        }  # fmt: skip
        for name, flags in rows.items():
            if f"{name} {seed}" not in runs:
                runs[f"{name} {seed}"] = {"row": name, **compressed([*flags(), "--seed", str(seed)])}
                file.write_text(json.dumps(runs, indent=1) + "\n")
                print(f"{name} {seed}: {runs[f'{name} {seed}']}", flush=True)
    options.out.with_suffix(".md").write_text(page_of(list(runs.values())))


def compressed(flags: list[str]) -> dict[str, Any]:
    """Compress the network with these options; return its accuracy and its latency, planned and timed again."""
    with TemporaryDirectory() as folder:
        out, timing = Path(folder) / "net.onnx", Path(folder) / "bench.json"
        command = ["compress", *NETWORK, *TRAINING, *flags]
        run([*command, "--out", str(out)])
        where = ["--engine", "onnxruntime", "--device", "cpu", "--batch", PLACE["bench-batch"]]
        run(["bench", f"{folder}/net.slim", *where, "--threads", PLACE["bench-threads"], "--out", str(timing)])
        report = json.loads(out.with_suffix(".report.json").read_text())
        (again,) = json.loads(timing.read_text())["latency"]
    return {
        "command": shlex.join(["slimprune", *command]),
        "rule": report["rule"],
        "final": report["training"]["final"],
        "macs": report["macs"]["slim"],
        "macs_removed": report["macs"]["removed"],
        "params": report["params"]["slim"],
        "planned": report["budget"]["achieved"] if report["budget"]["quantity"] == "latency" else None,
        "again": {key: again[key] for key in ("dense_ms", "slim_ms", "speedup", "interval", "disturbed")},
        "width_epochs": 0 if report["sharing"] is None else report["sharing"]["epochs"],
        "environment": report["environment"],
    }


def run(arguments: list[str]) -> None:
    """Run the program; its output is shown only if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "slimprune", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise SystemExit(done.stdout)


def page_of(runs: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown page."""
    lines = []
    for name in dict.fromkeys(run["row"] for run in runs):
        own = [run for run in runs if run["row"] == name]
        finals, left = [100 * run["final"] for run in own], [1 / run["again"]["speedup"] for run in own]
        planned = [f"{100 * (1 - run['planned']):.1f}" for run in own if run["planned"] is not None]
        met = sum(abs(one / (1 - RATIO) - 1) <= CLOSE for one in left)
        lines.append([
            name, f"{fmean(finals):.2f}" + (f" ± {stdev(finals):.2f}" if len(finals) > 1 else ""), len(own),
            ", ".join(planned), ", ".join(f"{100 * one:.1f}" for one in left), f"{met} of {len(own)}",
            f"{fmean(run['macs'] for run in own) / 1e6:.2f}M", f"{fmean(run['params'] for run in own) / 1e3:.1f}k",
            f"{fmean(run['width_epochs'] for run in own):.1f}",
        ])  # fmt: skip
    head = ["", "top-1, %", "seeds", "% of the latency left: by the plan", "timed again", "within 5 %", "MACs",
            "params", "epochs to choose"]  # fmt: skip
    facts = [f"{key}: {value}  " for key, value in {**runs[0]["environment"], **slimprune.versions()}.items()]
    parts = [
        "# Learned widths under a latency budget",
        f"`{shlex.join(['python', *sys.argv])}`",
        "\n".join(facts),
        f"{100 * RATIO:.0f} % of the latency asked to go ({PLACE['engine']}, batch {PLACE['bench-batch']}, "
        f"{PLACE['bench-threads']} thread). *Timed again*: `slimprune bench` on the finished file, 200 pairs with the "
        "dense network. *learned, MACs* has the MAC budget that leaves as many MACs as *learned, latency*.",
        markdown_table(head, lines, left=(0,)),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
