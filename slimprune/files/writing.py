"""Files that are there either as they were or as a whole, whatever happens while they are written."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from slimprune.errors import UsageError


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
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


def write_atomically(file: Path, content: str | bytes) -> None:
    """Writes a file as a whole; text as UTF-8.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(file) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(files: Iterable[Path]) -> None:
    """Refuses files that cannot be written, before any time is spent on what is to stand in them.

    Raises:
        UsageError: one of them is a folder, or its nearest folder cannot be written to.
    """
    for file in files:
        if file.is_dir():
            raise UsageError(f"expected to write a file, got the folder {file}")
        nearest = next(parent for parent in (file.parent, *file.parent.parents) if parent.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
            raise UsageError(f"cannot write {file}: {nearest} is no folder that can be written to")


def write_files(texts: Mapping[Path, str]) -> None:
    """Writes files, each as a whole, and makes their folders.

    Raises:
        UsageError: one of them cannot be written.
    """
    for file, text in texts.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, text)
        except OSError as error:
            raise UsageError(f"cannot write {file}: {error.strerror}") from error


CONTENTS = 2 * 2**30
"""Bytes up to which files are told apart by their contents, in a few seconds at most."""


def digest_of(files: Iterable[Path], *, contents: int = CONTENTS) -> str:
    """SHA-256 of the paths of files, below their nearest common folder, and of their contents.

    A file that was touched or copied stays the same, one that was renamed does not. Where the files have more than
    `contents` bytes in all, their sizes and times of change stand for what is in them.

    Raises:
        OSError: one of them cannot be read.
    """
    stats = {file: file.stat() for file in sorted(files)}
    read = sum(stat.st_size for stat in stats.values()) <= contents
    folder = os.path.commonpath([file.absolute().parent for file in stats]) if stats else ""
    digest = hashlib.sha256()
    for file, stat in stats.items():
        digest.update(os.path.relpath(file, folder).encode(errors="surrogateescape") + b"\0")
        if read:
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        else:
            digest.update(f"{stat.st_size} {stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


VARIABLE = "SLIMPRUNE_CACHE"


def cache_folder() -> Path:
    """The folder that the environment variable SLIMPRUNE_CACHE names, without it the platform's for caches.

    On Linux that is ~/.cache/slimprune, or slimprune in the folder that XDG_CACHE_HOME names.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("slimprune", appauthor=False)
