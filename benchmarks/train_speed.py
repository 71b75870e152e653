"""Training speed of dense and slim networks: seconds per step and per epoch of 50,000 images.

    python benchmarks/train_speed.py --data hf:DIR --batches 256

Follows table 7 of the Prospect Pruning paper: VGG-19 and ResNet-18 for images of 32 and 64 pixels, dense and with 80,
90 and 95 % of the parameters removed (`--of macs`: of the MACs), with plans of ProsPr and of 3SP, and with plain and
fast steps. `--methods uniform` needs no scores. Every row is written to benchmarks/results/train-speed.json and the
corresponding Markdown file as soon as it is measured, on any device; the same command does not measure it again.
Seconds per epoch are those of the step times 50,000 / batch; they exclude loading and augmenting images.
"""

import speed

from slimprune.report import markdown_table

EPOCH_IMAGES = 50_000

PUBLISHED = {
    "vgg19": {"params=0.8": 1.10, "params=0.9": 1.26, "params=0.95": 1.30},
    "resnet18": {"params=0.8": 1.38, "params=0.9": 1.53, "params=0.95": 1.80},
}
"""Training speed-ups in table 7 of the paper (VGG-19 on CIFAR-100), which does not say what its sparsity refers to."""


def main() -> None:
    """Measure and write the tables."""
    parser = speed.parser_of(
        __doc__,
        "train-speed",
        engines=["train", "train-fast"],
        methods=["prospr/global", "3sp/global"],
        of=["params"],
        ratios=[0.8, 0.9, 0.95],
        round_to=[1, 8],
        batches=[256],
        image_sizes=[32, 64],
    )
    speed.measured(parser.parse_args(), extra=EXTRA, heading=heading)


def heading(cells: list[dict]) -> str:
    """Return the table in the form of the paper's."""
    title = f"## Seconds per epoch of {EPOCH_IMAGES:,} images; speed-up; share of the MAC reduction that it realises"
    return f"{title}\n\n{by_budget(cells)}\n\n## All comparisons\n"


def by_budget(cells: list[dict]) -> str:
    """Return a table with architectures and methods as rows, budgets as columns, and the paper's speed-ups."""
    budgets = list(dict.fromkeys(cell["budget"] for cell in cells))
    keys = ("arch", "image_size", "method", "round_to", "engine", "batch")
    head = ["arch", "pixels", "method", "round to", "engine", "batch", "dense", *budgets, "paper, table 7"]
    rows = []
    for key in dict.fromkeys(tuple(cell[name] for name in keys) for cell in cells):
        same = {cell["budget"]: cell for cell in cells if tuple(cell[name] for name in keys) == key}
        slim = [gain(same[budget]) if budget in same else "-" for budget in budgets]
        paper = " / ".join(f"{PUBLISHED.get(key[0], {}).get(budget, '-')}" for budget in budgets)
        rows.append([*map(str, key), f"{epoch_seconds(next(iter(same.values())), 'dense'):.1f}", *slim, paper])
    return markdown_table(head, rows, left=(0, 2, 4))


def gain(cell: dict) -> str:
    """Format seconds per epoch of the slim network, its speed-up and its share of the MAC reduction."""
    return f"{epoch_seconds(cell, 'slim'):.1f}; {speed.speedup(cell)}; {100 * cell['realised_share']:.0f} %"


def epoch_seconds(cell: dict, name: str) -> float:
    """Return the seconds for all images, computed from the median step."""
    return cell[f"{name}_ms"] / 1000 * EPOCH_IMAGES / cell["batch"]


def both(cell: dict, name: str, unit: float, digits: int) -> str:
    """Format a value that is measured only on CUDA as `dense -> slim`."""
    dense, slim = cell[name]["dense"], cell[name]["slim"]
    return "-" if dense is None else f"{dense / unit:.{digits}f} -> {slim / unit:.{digits}f}"


EXTRA = (
    ("s per epoch", lambda c: f"{epoch_seconds(c, 'dense'):.1f} -> {epoch_seconds(c, 'slim'):.1f}"),
    ("peak MiB", lambda c: both(c, "peak_bytes", 2**20, 0)),
    ("kernels per step", lambda c: both(c, "kernels", 1, 0)),
)


if __name__ == "__main__":
    main()
