"""Train the ResNet-20 whose weights are benchmarks/weights/resnet20-cifar10.safetensors (float16).

    python benchmarks/resnet20_weights.py --out benchmarks/weights/resnet20-cifar10.safetensors

Ten epochs of a cosine schedule that is laid out for twenty, then two in which the rate falls from 0.05 to 0 in a line.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

import slimprune
from slimprune.files import write_atomically
from slimprune.models import InputSpec, build
from slimprune.training import TrainSettings
from slimprune.training.settings import learning_rate

FIRST, LAST, PLANNED = 10, 2, 20


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", help="data set (default: cifar10)")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    given = parser.parse_args()
    data = slimprune.load_data(given.data)
    torch.manual_seed(0)
    model = build("resnet20", InputSpec(data.channels, data.height, data.width, data.classes))
    trained(model, data)
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(given.out, save(halves))


def trained(model: nn.Module, data: slimprune.ImageData) -> None:
    """Train the model in place, and print its accuracy after every epoch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    batches = data.train_batches(128)
    steps, planned = len(batches), TrainSettings(PLANNED, lr=0.1, schedule="cosine")
    rates = [learning_rate(planned, step, steps) for step in range(FIRST * steps)]
    rates += [0.05 * (1 - step / (LAST * steps)) for step in range(LAST * steps)]
    for epoch in range(1, FIRST + LAST + 1):
        if epoch == FIRST + 1:
            batches = data.train_batches(128, seed=1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        batches.set_epoch(epoch)
        model.train()
        for step, (images, labels) in enumerate(batches, start=(epoch - 1) * steps):
            optimizer.param_groups[0]["lr"] = rates[step]
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy = slimprune.evaluate(model, data.test_batches(500), slimprune.top1, device="cpu")
        print(f"epoch {epoch}: {100 * accuracy:.2f} %", flush=True)


if __name__ == "__main__":
    main()
