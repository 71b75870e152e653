"""Images per second and memory of shards that two ranks share, beside torchvision's ImageFolder.

    python benchmarks/loading.py
    python benchmarks/loading.py --source parquet --images 16000 --padding 300000 --side 96 --size 64

Makes JPEG files and the same images in ten shards in a temporary place, tar files or parquet files with row groups of
100 images. Random bytes behind each image (`--padding`) make a set larger than memory that is decoded fast. Two ranks,
each with workers of its own, read three epochs of the shards at the same time; then one process reads the files by an
`ImageFolder` and a `DataLoader` with as many workers in all. Counts how often every image came, and samples the
resident memory of all processes.
"""

import argparse
import io
import json
import multiprocessing
import os
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from slimprune.data import load
from slimprune.data.streamed_data import StreamedData
from slimprune.measure import environment
from slimprune.ranks.group import Ranks
from slimprune.report import markdown_table

RESULTS = Path(__file__).parent / "results"
RANKS, SHARDS, TESTED, ROWS_OF_GROUP = 2, 10, 20, 100
Put = Callable[[int, bytes], None]
Epochs = list[dict[str, Any]]


def main() -> None:
    """Make the data, read it both ways and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=("webdataset", "parquet"), default="webdataset")
    parser.add_argument("--padding", type=int, default=0, help="random bytes behind each image")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=160, help="pixels a side of the JPEG files")
    parser.add_argument("--size", type=int, default=128, help="pixels a side of the batches")
    parser.add_argument("--batch", type=int, default=256, help="images in a batch of all ranks")
    parser.add_argument("--workers", type=int, default=2, help="workers of each rank")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kind = "" if options.source == "webdataset" else f"-{options.source}"
    options.out = options.out or RESULTS / f"loading{kind}-cpu.json"
    with tempfile.TemporaryDirectory() as made:
        make(Path(made), options)
        shards, counted = read_by_ranks(Path(made), options)
        files = read_by_image_folder(Path(made) / "files" / "train", options)
    write(options, shards, counted, files)


def make(folder: Path, options: argparse.Namespace) -> None:
    """Write every image as a file of its class and into a shard, labelled by its own number."""
    generator = torch.Generator().manual_seed(0)
    write_into = {"webdataset": tar_files, "parquet": parquet_files}[options.source]
    for part, count in (("train", options.images), ("val" if options.source == "webdataset" else "test", TESTED)):
        with write_into(folder, part) as put:
            for number in range(count):
                data = encoded(generator, options.side) + os.urandom(options.padding)
                target = folder / "files" / part / str(number % 10)
                target.mkdir(parents=True, exist_ok=True)
                (target / f"{number:06}.jpg").write_bytes(data)
                put(number, data)


@contextmanager
def tar_files(folder: Path, part: str) -> Iterator[Put]:
    """Yield a function that writes an image into one of the tar files."""
    with ExitStack() as stack:
        paths = [folder / f"{part}-{number:02}.tar" for number in range(SHARDS)]
        archives = [stack.enter_context(tarfile.open(path, "w")) for path in paths]

        def put(number: int, data: bytes) -> None:
            for suffix, content in (("jpg", data), ("cls", str(number).encode())):
                member = tarfile.TarInfo(f"{number:06}.{suffix}")
                member.size = len(content)
                archives[number % SHARDS].addfile(member, io.BytesIO(content))

        yield put


@contextmanager
def parquet_files(folder: Path, part: str) -> Iterator[Put]:
    """Yield a function that writes an image into one of the parquet files."""
    import datasets
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    names = [str(number) for number in range(10**5)]
    schema = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}).arrow_schema
    with ExitStack() as stack:
        paths = [folder / f"{part}-{number:05}-of-{SHARDS:05}.parquet" for number in range(SHARDS)]
        writers = [stack.enter_context(ParquetWriter(path, schema)) for path in paths]
        waiting: list[list[dict[str, Any]]] = [[] for _ in paths]

        def flush(shard: int) -> None:
            if waiting[shard]:
                writers[shard].write_table(pyarrow.Table.from_pylist(waiting[shard], schema))
                waiting[shard].clear()

        def put(number: int, data: bytes) -> None:
            waiting[number % SHARDS].append({"image": {"bytes": data, "path": None}, "label": number})
            if len(waiting[number % SHARDS]) == ROWS_OF_GROUP:
                flush(number % SHARDS)

        yield put
        for shard in range(SHARDS):
            flush(shard)


def encoded(generator: torch.Generator, side: int) -> bytes:
    """Return a smooth random image as JPEG."""
    coarse = torch.randint(256, (1, 3, 20, 20), generator=generator).float()
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 255)
    file = io.BytesIO()
    Image.fromarray(smooth[0].byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=90)
    return file.getvalue()


def read_by_ranks(folder: Path, options: argparse.Namespace) -> tuple[Epochs, Counter[int]]:
    """Read the epochs by all ranks at once; return each rank's, and how often every image came in all of them."""
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    together = context.Barrier(RANKS)
    ranks = [
        context.Process(target=read_share, args=(index, folder, options, together, queue)) for index in range(RANKS)
    ]
    for rank in ranks:
        rank.start()
    found = [queue.get() for _ in ranks]
    for rank in ranks:
        rank.join()
    counted = Counter(label for _, labels in found for label in labels)
    return [epoch for epochs, _ in found for epoch in epochs], counted


def read_share(index: int, folder: Path, options: argparse.Namespace, together: Any, queue: Any) -> None:
    """Read the share of one rank, whose workers are forked, as those of a program by itself are."""
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    data = load(f"{options.source}:{folder}", image_size=options.size, stream_above=0)
    batches = replace(cast(StreamedData, data), workers=options.workers).train_batches(options.batch)
    share, labels, epochs = batches.shared(Ranks(index, RANKS)), [], []
    for epoch in range(1, options.epochs + 1):
        share.set_epoch(epoch)
        together.wait()
        began, peak, count = time.perf_counter(), 0, 0
        for images, targets in share:
            labels += targets.tolist()
            count += len(images)
            peak = max(peak, resident())
        seconds = time.perf_counter() - began
        epochs.append({"rank": index, "epoch": epoch, "images": count, "seconds": seconds, "peak": peak})
    queue.put((epochs, labels))


def resident() -> int:
    """Return the bytes in memory of this process and its workers; pages that processes share count once, in parts."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    return sum(1024 * int(_proportional(process).split()[1]) for process in (str(own), *children))


def _proportional(process: str) -> str:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(line for line in lines if line.startswith("Pss:"))


def read_by_image_folder(folder: Path, options: argparse.Namespace) -> Epochs:
    """Read the files as torchvision's users do, resized, cropped and normalised alike."""
    torch.set_num_threads(1)
    sized = [transforms.Resize(options.size), transforms.CenterCrop(options.size), transforms.ToTensor()]
    more = [transforms.RandomHorizontalFlip(), transforms.Normalize([0.5] * 3, [0.25] * 3)]
    prepare = transforms.Compose([*sized, *more])
    loader = DataLoader(
        ImageFolder(str(folder), prepare), options.batch, shuffle=True, num_workers=RANKS * options.workers
    )
    epochs = []
    for epoch in range(1, options.epochs + 1):
        began, count, peak = time.perf_counter(), 0, 0
        for images, _ in loader:
            count += len(images)
            peak = max(peak, resident())
        epochs.append({"epoch": epoch, "images": count, "seconds": time.perf_counter() - began, "peak": peak})
    return epochs


def write(options: argparse.Namespace, shards: Epochs, counted: Counter[int], files: Epochs) -> None:
    """Write the results as JSON and as a table."""
    usable = options.images // options.batch * options.batch
    rows = []
    for epoch in range(1, options.epochs + 1):
        own = [entry for entry in shards if entry["epoch"] == epoch]
        (theirs,) = (entry for entry in files if entry["epoch"] == epoch)
        speed = sum(entry["images"] for entry in own) / max(entry["seconds"] for entry in own)
        peak = sum(entry["peak"] for entry in own)
        rows.append([epoch, f"{speed:,.0f}", f"{peak / 2**20:,.0f}", f"{theirs['images'] / theirs['seconds']:,.0f}",
                     f"{theirs['peak'] / 2**20:,.0f}"])  # fmt: skip
    often = {str(times): number for times, number in sorted(Counter(counted.values()).items())}
    exact = sum(counted.values()) == options.epochs * usable and max(counted.values()) <= options.epochs
    document = {
        "command": " ".join(["python", *sys.argv]), "environment": environment(torch.device("cpu")),
        "load": os.getloadavg()[0],
        "settings": {name: value for name, value in vars(options).items() if name != "out"},
        "ranks": RANKS, "shards": SHARDS, "epochs": shards, "image_folder": files,
        "images_by_times_seen": often, "no_image_twice_an_epoch": exact,
    }  # fmt: skip
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    head = ["epoch", "shards, images/s", "MiB", "ImageFolder, images/s", "MiB "]
    facts = ", ".join(f"{name} {value}" for name, value in document["environment"].items())
    text = [
        "# Loading shards beside ImageFolder",
        f"{options.images:,} JPEG files of {options.side} pixels, each with {options.padding:,} bytes more, in "
        f"{SHARDS} shards ({options.source}), batches of {options.batch} at "
        f"{options.size} pixels; shards by {RANKS} ranks with {options.workers} workers each, files by one process "
        f"with {RANKS * options.workers}. Peak memory is that of all processes; pages that they share count once.",
        markdown_table(head, rows),
        f"Images by how often they came in {options.epochs} epochs: "
        + ", ".join(f"{number:,} came {times} times" for times, number in often.items())
        + f". An epoch has {usable // options.batch} whole batches, {usable:,} images, "
        + ("none of them twice." if exact else "SOME OF THEM TWICE."),
        f"Circumstances: {facts}; load {document['load']:.1f} on {os.cpu_count()} cores; `{document['command']}`.",
    ]
    options.out.with_suffix(".md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
