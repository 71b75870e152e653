"""Memory and time of one ProsPr draw through many steps on large images: predicted from small runs, and confirmed.

    python benchmarks/scale.py

What tensors take is predicted by the allocations of small draws, which torch's profiler lists: the same ones come in
the same order at every batch size, so two batch sizes tell how much of each moment's memory belongs to an image and
how much does not, and which moment is the highest at any size. An image takes memory and time in proportion to its
pixels. Each further stored step takes a vector of weights. Times are those of one step by a gradient and one by a
Hessian-vector product, also at two batch sizes, times the numbers of them that a draw asks for.

The same prediction is made for draws that are then run here, each in a process of its own (`--steps` at `--batch`, and
one step at `--large-batch-here`), and for draws that are too large for that (`--large-...`). What is measured is the
growth of the process and the processor time of its one computing thread. Writes NAME.json and NAME.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import slimprune
from slimprune.measure import PeakMemory, environment, load_average
from slimprune.report import markdown_table
from slimprune.saliency import Problem, meta_gradient
from slimprune.saliency.adjoint import State, after_step
from slimprune.saliency.criteria.prospr import ProsPr
from slimprune.saliency.problem import precise_arithmetic
from slimprune.saliency.reversal import in_reverse

RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Environment with which glibc returns freed memory at once, so that the process's size is what tensors take."""
FEW, MANY = (2, 4), 3
"""Batch sizes of the draws whose allocations are listed, and their steps beside one: with steps of all kinds."""
Rows = Sequence[Mapping[str, Any]]


def main() -> None:
    """Measure, predict, confirm and write the tables."""
    options = parse()
    if options.one is not None:
        torch.set_num_threads(1)
        what, *numbers = options.one
        print(json.dumps(RUNS[what](options, *map(int, numbers))))
        return
    single = [run("passes", batch) for batch in (FEW[0], options.batch)]
    draws = {steps: [run("allocations", batch, steps) for batch in FEW] for steps in (1, MANY)}
    costs = Costs.of(single, draws, options.size)
    confirmed = []
    settings = [(options.batch, steps, 0) for steps in options.steps]
    settings += [(options.batch, max(options.steps), options.steps_stored), (options.large_batch_here, 1, 0)]
    for batch, steps, stored in settings:
        found = run("draw", batch, steps, stored)
        confirmed.append(compared(costs.of_draw(steps, stored, batch, options.size), found))
        print(json.dumps(confirmed[-1]), flush=True)
    large = [
        costs.of_draw(steps, stored, options.large_batch, options.large_size)
        for steps in options.large_steps
        for stored in (0, options.large_stored)
        if stored < steps
    ]
    write(options, single[-1], confirmed, large)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--batch", type=int, default=8, help="batch of the runs here")
    parser.add_argument("--size", type=int, default=64, help="pixels a side in the runs here")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 3, 6])
    parser.add_argument("--steps-stored", type=int, default=3, help="for one more run of the most steps")
    parser.add_argument("--large-batch-here", type=int, default=64, help="batch of a last run here, of one step")
    parser.add_argument("--large-batch", type=int, default=256)
    parser.add_argument("--large-size", type=int, default=224)
    parser.add_argument("--large-steps", type=int, nargs="+", default=[1, 3, 100, 1024])
    parser.add_argument("--large-stored", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scale-cpu")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


# What is measured, in a process of its own


def run(*what: object) -> Any:
    """Return what this script finds in a new process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", *map(str, what)]
    return json.loads(subprocess.check_output(command, env={**os.environ, **RETURNED}).splitlines()[-1])


class Batches(Sequence[tuple[Tensor, Tensor]]):
    """Random batches, each made when it is asked for."""

    def __init__(self, count: int, batch: int, size: int) -> None:
        self._count, self._batch, self._size = count, batch, size

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._count

    def __getitem__(self, step: Any) -> Any:
        """Return batch `step`."""
        if not 0 <= step < self._count:
            raise IndexError(step)
        generator = torch.Generator().manual_seed(step)
        shape = (self._batch, 3, self._size, self._size)
        return torch.randn(shape, generator=generator), torch.randint(1000, (self._batch,), generator=generator)


def problem_of(options: argparse.Namespace, count: int, batch: int) -> Problem:
    """Return a scoring problem with `count` batches; without groups, whose share of the cost is small."""
    torch.manual_seed(0)
    # the layers of the network for large images take images of any size
    model = slimprune.build(options.arch, slimprune.InputSpec(3, options.large_size, options.large_size, 1000))
    prepared = Problem.prepare(model, [], F.cross_entropy, "consumer", torch.float32)
    return replace(prepared, batches=Batches(count, batch, options.size))


def draw(options: argparse.Namespace, batch: int, steps: int, stored: int) -> dict[str, Any]:
    """Return memory and time of one draw."""
    problem, criterion = problem_of(options, steps + 1, batch), ProsPr(steps, lr=1e-3, steps_stored=stored or None)
    with PeakMemory() as memory, precise_arithmetic():
        clock, processor = time.perf_counter(), time.thread_time()
        criterion.signed(problem)
        spent = {"cpu_seconds": time.thread_time() - processor, "wall_seconds": time.perf_counter() - clock}
    return {"batch": batch, "peak_bytes": memory.peak_bytes, **spent}


def allocations(options: argparse.Namespace, batch: int, steps: int) -> list[int]:
    """Return the bytes that tensors take in a draw, after each allocation and release."""
    problem, criterion = problem_of(options, steps + 1, batch), ProsPr(steps, lr=1e-3)
    only_cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=only_cpu, profile_memory=True) as profile, precise_arithmetic():
        criterion.signed(problem)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return list(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def passes(options: argparse.Namespace, batch: int) -> dict[str, Any]:
    """Return the times of a step of the inner training and of one of the adjoint, and what their graphs keep."""
    problem, criterion = problem_of(options, 3, batch), ProsPr(2, lr=1e-3)
    weights = problem.initial
    state = State(weights, torch.zeros_like(weights))
    with precise_arithmetic():
        gradient = cpu_seconds(lambda: after_step(problem, criterion, problem.gradient, state, 1))
        both = cpu_seconds(lambda: meta_gradient(problem, criterion))  # as many gradients as products: two of each
        return {
            "batch": batch,
            "parameters": weights.numel(),
            "forward_bytes": bytes_kept(problem, lambda: problem.loss_at(weights.clone().requires_grad_(), 0)),
            "second_order_bytes": bytes_kept(problem, lambda: problem.curvature(weights, 0)),
            "gradient_seconds": gradient,
            "product_seconds": both / 2 - gradient,
        }


RUNS = {"draw": draw, "allocations": allocations, "passes": passes}


def bytes_kept(problem: Problem, make: Callable[[], object]) -> int:
    """Return the bytes of the tensors that a graph keeps for its backward passes, other than the weights."""
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.nbytes() < problem.initial.nbytes:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        graph = make()
    del graph
    return sum(found.values())


def cpu_seconds(compute: Callable[[], object], times: int = 3) -> float:
    """Return the median processor time of a few calls, after one that warms up."""
    compute()
    found = []
    for _ in range(times):
        started = time.thread_time()
        compute()
        found.append(time.thread_time() - started)
    return median(found)


# What is predicted


@dataclass(frozen=True)
class Memory:
    """Memory of a draw at every moment: pairs of bytes that do not depend on the batch, and bytes for an image."""

    moments: Sequence[tuple[float, float]]

    @classmethod
    def of(cls, few: Sequence[int], more: Sequence[int]) -> "Memory":
        """Return the memory by the allocations at both batch sizes of `FEW`."""
        if len(few) != len(more):
            raise SystemExit(f"expected equally many allocations at both batch sizes, got {len(few)} and {len(more)}")
        images = [(high - low) / (FEW[1] - FEW[0]) for low, high in zip(few, more, strict=True)]
        return cls([(low - FEW[0] * image, image) for low, image in zip(few, images, strict=True)])

    def peak(self, images: float) -> float:
        """Return the highest memory with so many images in a batch."""
        return max(fixed + images * image for fixed, image in self.moments)


@dataclass(frozen=True)
class Costs:
    """What a draw takes, by parts.

    Attributes:
        memory: Memory by the number of steps.
        vector_bytes: Memory of one vector of weights.
        gradient_seconds: Processor time of a step by a gradient: what does not depend on the batch, and for an image.
        product_seconds: The same of a step by a Hessian-vector product.
        size: Pixels a side of those images.
    """

    memory: Mapping[int, Memory]
    vector_bytes: int
    gradient_seconds: tuple[float, float]
    product_seconds: tuple[float, float]
    size: int

    @classmethod
    def of(cls, single: Rows, draws: Mapping[int, Sequence[Sequence[int]]], size: int) -> "Costs":
        """Return the costs by measurements of single passes, and by the allocations of draws by number of steps."""
        few, more = single
        memory = {steps: Memory.of(*of_batches) for steps, of_batches in draws.items()}
        times = []
        for name in ("gradient_seconds", "product_seconds"):
            image = (more[name] - few[name]) / (more["batch"] - few["batch"])
            times.append((few[name] - image * few["batch"], image))
        return cls(memory, 4 * few["parameters"], *times, size)

    def of_draw(self, steps: int, stored: int, batch: int, size: int) -> dict[str, Any]:
        """Return the predicted memory and time of a draw with `stored` vectors of weights in memory, 0 for all."""
        images, vectors, gradients = batch * (size / self.size) ** 2, stored or steps, computed(steps, stored or steps)
        alike = 1 if steps == 1 else MANY
        return {
            "steps": steps,
            "stored": stored,
            "batch": batch,
            "size": size,
            "gradients": gradients,
            "products": steps,
            "stored_bytes": vectors * self.vector_bytes,
            "peak_bytes": self.memory[alike].peak(images) + (vectors - alike) * self.vector_bytes,
            "cpu_seconds": sum(
                count * (fixed + images * image)
                for count, (fixed, image) in ((gradients, self.gradient_seconds), (steps, self.product_seconds))
            ),
        }


def computed(steps: int, room: int) -> int:
    """Return the number of gradients in a draw: of the final loss and of all steps but the last, whose is a product."""
    asked: list[int] = []

    def advance(state: int, step: int) -> int:
        asked.append(step)
        return state + 1

    size = 2 if ProsPr().momentum else 1
    list(in_reverse(0, steps, advance, value=int, kept=int, room=room, size=size))
    return len(asked)


# What is written


def compared(predicted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a prediction beside what was measured, with the relative differences."""
    deviation = {f"{name}_deviation": predicted[name] / found[name] - 1 for name in ("peak_bytes", "cpu_seconds")}
    return {**predicted, "measured": dict(found), **deviation}


def write(options: argparse.Namespace, one: Mapping[str, Any], confirmed: Rows, large: Rows) -> None:
    """Write everything as JSON, and the tables as Markdown."""
    circumstances = {
        "command": " ".join(["python", "benchmarks/scale.py", *sys.argv[1:]]),
        "arch": options.arch,
        "load": load_average(),
        **environment(torch.device("cpu")),
    }
    document = {"circumstances": circumstances, "passes": one, "confirmed": confirmed, "large": large}
    options.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    lines = [f"{name}: {value}  " for name, value in circumstances.items() if name != "command"]
    page = ["# Scoring through many steps", f"`{circumstances['command']}`", "\n".join(lines)]
    page += ["## Predicted and measured here", confirmed_table(confirmed)]
    page += ["## Predicted for large images", large_table(large)]
    options.out.with_suffix(".md").write_text("\n\n".join(page) + "\n")


def confirmed_table(rows: Rows) -> str:
    """Return predictions beside measurements."""
    head = ["M", "stored", "batch", "pixels", "peak, predicted", "measured", "deviation"]
    head += ["CPU time, predicted", "measured", "deviation", "by the clock"]
    cells = []
    for row in rows:
        found = row["measured"]
        memory = [gib(row["peak_bytes"]), gib(found["peak_bytes"]), f"{row['peak_bytes_deviation']:+.1%}"]
        times = [f"{row['cpu_seconds']:.1f} s", f"{found['cpu_seconds']:.1f} s", f"{row['cpu_seconds_deviation']:+.1%}"]
        cells.append([*setting(row), *memory, *times, f"{found['wall_seconds']:.1f} s"])
    return markdown_table(head, cells)


def large_table(rows: Rows) -> str:
    """Return predictions for draws that were not run."""
    head = ["M", "stored", "batch", "pixels", "stored weights", "all else", "gradients", "products", "CPU time"]
    cells = [
        [
            *setting(row),
            gib(row["stored_bytes"]),
            gib(row["peak_bytes"] - row["stored_bytes"]),
            f"{row['gradients']:,}",
            f"{row['products']:,}",
            f"{row['cpu_seconds'] / 3600:,.1f} h",
        ]
        for row in rows
    ]
    return markdown_table(head, cells)


def setting(row: Mapping[str, Any]) -> list[str]:
    """Return the settings of a draw."""
    return [str(row["steps"]), str(row["stored"] or "all"), str(row["batch"]), str(row["size"])]


def gib(size: float) -> str:
    """Format bytes."""
    return f"{size / 2**30:,.2f} GiB"


if __name__ == "__main__":
    main()
