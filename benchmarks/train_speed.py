"""The training step of dense networks against slim ones, and seconds per epoch of 50,000 images.

    python benchmarks/train_speed.py --data hf:DIR --batches 256

In the shape of table 7 of the Prospect Pruning paper: VGG-19 and ResNet-18, dense and with 80, 90 and 95 % removed, by
the plans of ProsPr and of 3SP (`--methods prospr/global 3sp/global`). Writes benchmarks/results/train-speed.json and
its Markdown twin after every plan, on whatever device there is. Seconds per epoch are those of the step times
50,000 / batch; loading and augmenting images are not in them.
"""

import speed

EPOCH_IMAGES = 50_000


def main() -> None:
    """Measures and writes the tables."""
    parser = speed.parser_of(
        __doc__,
        "train-speed",
        engines=["train"],
        methods=["prospr/global", "3sp/global"],
        budgets=["params=0.8", "params=0.9", "params=0.95"],
        round_to=[1, 8],
        batches=[256],
    )
    options = parser.parse_args()
    cells = speed.measured(options)
    for cell in cells:
        cell["epoch_seconds"] = {name: epoch_seconds(cell, name) for name in ("dense", "slim")}
    extra = (("s per epoch", lambda c: f"{c['epoch_seconds']['dense']:.1f} -> {c['epoch_seconds']['slim']:.1f}"),)
    heading = f"## Seconds per epoch of {EPOCH_IMAGES:,} images\n\n{by_budget(cells)}\n\n## All comparisons\n"
    speed.write(options, cells, heading, extra)
    print(by_budget(cells))


def epoch_seconds(cell: dict, name: str) -> float:
    """Seconds for all images, from the median step."""
    return cell[f"{name}_ms"] / 1000 * EPOCH_IMAGES / cell["batch"]


def by_budget(cells: list[dict]) -> str:
    """Architectures and methods down, dense and the budgets across."""
    budgets = list(dict.fromkeys(cell["budget"] for cell in cells))
    rows = [["arch", "method", "round to", "engine", "batch", "dense", *budgets], ["---"] * (6 + len(budgets))]
    keys = ("arch", "method", "round_to", "engine", "batch")
    for key in dict.fromkeys(tuple(cell[name] for name in keys) for cell in cells):
        same = {cell["budget"]: cell for cell in cells if tuple(cell[name] for name in keys) == key}
        slim = [gain(same[budget]) if budget in same else "impossible" for budget in budgets]
        dense = next(iter(same.values()))["epoch_seconds"]["dense"]
        rows.append([*map(str, key), f"{dense:.1f}", *slim])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def gain(cell: dict) -> str:
    """Seconds per epoch of the slim network, then its speed-up."""
    return f"{cell['epoch_seconds']['slim']:.1f}; {speed.speedup(cell)}"


if __name__ == "__main__":
    main()
