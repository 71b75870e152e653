"""Images in tar files ("shards") in the layout of WebDataset: DIR/train-*.tar and DIR/val-*.tar (or DIR/test-*.tar).

A sample is consecutive files that share a name up to its first dot: an image and a class number, as 0001.jpg and
0001.cls. Shards are indexed once and then read at random, so that an epoch is a true permutation and is divided exactly
among ranks and workers; a stream with a shuffle buffer has neither.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from slimprune.bounded import read_bounded
from slimprune.data.arrays import MOST_CLASSES
from slimprune.data.decoding import choose_size
from slimprune.data.encoded_images import EncodedImages
from slimprune.data.image_data import ImageData
from slimprune.data.image_listing import SUFFIXES, TEST_FOLDERS
from slimprune.data.streamed_data import STREAM_ABOVE, hold_or_stream
from slimprune.errors import DataError, first_line, visible
from slimprune.preprocessing import image_size as size_of_image

CLASS_SUFFIX, CLASS_NAMES = ".cls", "classes.txt"
LONGEST_NUMBER, LARGEST_TEXT = 20, 2**24
"""Most bytes of a class number, and of the file of class names."""


@dataclass(frozen=True, eq=False)
class ShardSamples(EncodedImages):
    """Images with labels at known places of tar files.

    Attributes:
        shards: The tar files.
        places: Shard, offset in bytes, length in bytes and label of every image, int64 [N, 4].
        size: Side in pixels that images are resized and cropped to; None leaves them unchanged.
    """

    shards: tuple[Path, ...]
    places: Tensor
    size: int | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.places)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Yield height and width of every image."""
        return (size_of_image(*self.encoded(index)[:2]) for index in range(len(self)))

    def encoded(self, index: int) -> tuple[bytes, str, int]:
        """Return an encoded image, where it is in words, and its class index."""
        shard, offset, length, label = self.places[index].tolist()
        path = self.shards[shard]
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(length)
        except OSError as error:
            raise DataError(f"expected to read shard '{path}', got {error.strerror}") from error
        return data, f"'{path}', byte {offset}", label


def load_shards(name: str, source: str, image_size: int | None = None, stream_above: int = STREAM_ABOVE) -> ImageData:
    """Load a folder of shards.

    Images that all have one size of up to 64 pixels keep it. Otherwise the shorter side is resized and the centre
    cropped to a square. Classes have the names in DIR/classes.txt, one a line, or else their numbers.

    Args:
        name: Name of the set in reports.
        source: The folder.
        image_size: Side in pixels that images are resized and cropped to; by default 224 if they need resizing.
        stream_above: Decoded size in bytes above which images are decoded each time they are read.

    Raises:
        DataError: If shards, images or class numbers are missing, damaged or inconsistent.
    """
    folder = Path(os.path.expanduser(source))
    train, test = (_indexed(shards) for shards in _shards(folder))
    size = choose_size((size for part in (train, test) for size in part.sizes()), image_size, keep_large=False)
    largest = max(int(part.places[:, 3].max()) for part in (train, test))
    train, test = (replace(part, size=size) for part in (train, test))
    return hold_or_stream(name, train, test, _class_names(folder, largest + 1), stream_above)


def shard_files(folder: Path) -> list[Path]:
    """List the files of both parts, and the class names if there are any.

    Raises:
        DataError: If one of the parts is missing.
    """
    train, test = _shards(folder)
    return [*train, *test, *folder.glob(CLASS_NAMES)]


def _shards(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the shards for training and for testing, in order of their names."""
    found = {part: tuple(sorted(folder.glob(f"{part}-*.tar"))) for part in ("train", *TEST_FOLDERS)}
    test = next((found[part] for part in TEST_FOLDERS if found[part]), ())
    if not found["train"] or not test:
        missing = "val-*.tar or test-*.tar" if found["train"] else "train-*.tar"
        raise DataError(f"expected shards {missing} in '{folder}', found none")
    return found["train"], test


def _indexed(shards: tuple[Path, ...]) -> ShardSamples:
    places = [(number, *place) for number, shard in enumerate(shards) for place in _places(shard)]
    return ShardSamples(shards, torch.tensor(places))


def _places(shard: Path) -> list[tuple[int, int, int]]:
    """Return offset, length and label of every image of a shard."""
    found: list[tuple[int, int, int]] = []
    try:
        with tarfile.open(shard, "r:") as archive:
            key, files = "", dict[str, tarfile.TarInfo]()
            for member in archive:
                own, suffix = _key(member.name)
                if files and own != key:
                    found.append(_place(archive, files, key, shard))
                    files = {}
                if not member.isfile():
                    continue
                if suffix in files:
                    raise DataError(f"expected one {suffix} of sample {visible(own)!r} in '{shard}', got two")
                key, files[suffix] = own, member
            if files:
                found.append(_place(archive, files, key, shard))
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"expected '{shard}' to be a tar file without compression, got {first_line(error)}") from error
    if not found:
        raise DataError(f"expected samples in '{shard}', found none")
    return found


def _key(name: str) -> tuple[str, str]:
    """Split a file's name at the first dot behind its folders: the key of the sample, and the suffix in lower case."""
    folder, slash, file = name.rpartition("/")
    stem, dot, rest = file.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{rest}".lower()


def _place(archive: tarfile.TarFile, files: dict[str, tarfile.TarInfo], key: str, shard: Path) -> tuple[int, int, int]:
    images = [member for suffix, member in files.items() if suffix in SUFFIXES]
    where = f"sample {visible(key)!r} of '{shard}'"
    if len(images) != 1 or CLASS_SUFFIX not in files:
        got = ", ".join(visible(suffix) for suffix in files)
        raise DataError(f"expected one image and a class number ({CLASS_SUFFIX}) in {where}, got {got}")
    (image,) = images
    if image.offset_data + image.size > shard.stat().st_size:
        raise DataError(f"expected the whole of {where}, got a shard that ends early")
    return image.offset_data, image.size, _label(archive, files[CLASS_SUFFIX], where)


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> int:
    opened = archive.extractfile(member)
    text = b"" if opened is None else opened.read(LONGEST_NUMBER + 1)
    if not re.fullmatch(rb"\s*\d{1,19}\s*", text) or int(text) >= MOST_CLASSES:
        raise DataError(f"expected a class number below {MOST_CLASSES:,} in {where}, got {text!r}")
    return int(text)


def _class_names(folder: Path, count: int) -> tuple[str, ...]:
    file = folder / CLASS_NAMES
    if not file.exists():
        return tuple(str(number) for number in range(count))
    try:
        names = tuple(visible(line.strip()) for line in read_bounded(file, LARGEST_TEXT).decode().splitlines())
    except (OSError, ValueError) as error:
        raise DataError(f"expected text in UTF-8 in '{file}', got {first_line(error)}") from error
    names = tuple(name for name in names if name)
    if len(names) < count:
        raise DataError(f"expected a name for each of {count} classes in '{file}', got {len(names)}")
    return names
