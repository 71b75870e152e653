"""What limits files that somebody else wrote: regular ones only, up to a size, with images up to a side."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

LARGEST_SIDE = 2**13
"""Most pixels a side of images."""


def read_bounded(file: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes; a pipe or a device could hang or never end.

    Raises:
        OSError: If the file cannot be read, is not a regular one or is larger.
    """
    if check_regular(file) > most:
        raise OSError(errno.EFBIG, f"Larger than {most:,} bytes", str(file))
    return file.read_bytes()


def check_regular(file: Path) -> int:
    """Return the size of a file in bytes after checking that it is a regular one.

    Raises:
        OSError: If it is not.
    """
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(kind, os.strerror(kind) if kind == errno.EISDIR else "Not a regular file", str(file))
    return status.st_size


def files_below(folder: Path, *, hidden: bool = True) -> Iterator[Path]:
    """Yield the regular files below a folder, through links too; a folder that links lead to again is read once.

    Raises:
        OSError: If a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        status = current.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.is_dir() and (hidden or not entry.name.startswith(".")):
                    waiting.append(Path(entry.path))
                elif entry.is_file():
                    yield Path(entry.path)
