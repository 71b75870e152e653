"""Files that are there either as they were or as a whole, whatever happens while they are written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Yields a hidden path beside `file` to write to; it takes the file's place at the end, or goes if that fails.

    Raises:
        OSError: the folder cannot be written to; or whatever the caller raises.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(file: Path, content: str | bytes) -> None:
    """Writes a file as a whole; text as UTF-8.

    Raises:
        OSError: it cannot be written.
    """
    with whole(file) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
