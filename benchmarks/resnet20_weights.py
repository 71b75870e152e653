"""Train the ResNet-20 whose weights are benchmarks/weights/resnet20-cifar10.safetensors (float16).

    python benchmarks/resnet20_weights.py --amp --out benchmarks/weights/resnet20-cifar10.safetensors

Twenty epochs of the whole training set.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

import slimprune
from slimprune.files import write_atomically
from slimprune.models import InputSpec, build


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="hf:../shared/data/cifar10", help="data set (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of a cosine schedule (default: %(default)s)")
    parser.add_argument("--amp", action="store_true", help="train in bfloat16 autocast")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    given = parser.parse_args()
    data = slimprune.load_data(given.data)
    torch.manual_seed(0)
    model = build("resnet20", InputSpec(data.channels, data.height, data.width, data.classes))
    settings = slimprune.TrainSettings(given.epochs, lr=0.1, schedule="cosine", amp=given.amp)
    slimprune.train(
        model,
        data.train_batches(128),
        data.test_batches(500),
        settings,
        loss=nn.functional.cross_entropy,
        metric=slimprune.top1,
        progress=lambda stage, done, total, note: print(note, flush=True) if done % 390 == 0 else None,
        checkpoint=given.out.with_suffix(".checkpoint"),
    )
    halves = {name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(given.out, save(halves))


if __name__ == "__main__":
    main()
