"""Writing files completely or not at all, checking that they can be written, and their digests."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from slimprune.errors import UsageError


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Yield a hidden path next to `file` that replaces it at the end; on failure `file` stays as it was.

    Raises:
        OSError: If the folder cannot be written to.
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
    """Write a file completely or not at all; text as UTF-8.

    Raises:
        OSError: If the file cannot be written.
    """
    with atomic_write(file) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(files: Iterable[Path]) -> None:
    """Check that files can be written, before any time is spent on their content.

    Raises:
        UsageError: If one of them is a folder, or its nearest existing folder cannot be written to.
    """
    for file in files:
        if file.is_dir():
            raise UsageError(f"expected to write a file, got the folder {file}")
        nearest = next(parent for parent in (file.parent, *file.parent.parents) if parent.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
            raise UsageError(f"cannot write {file}: {nearest} is no folder that can be written to")


def write_files(texts: Mapping[Path, str]) -> None:
    """Write files, each completely or not at all, and create their folders.

    Raises:
        UsageError: If one of them cannot be written.
    """
    for file, text in texts.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, text)
        except OSError as error:
            raise UsageError(f"cannot write {file}: {error.strerror}") from error


CONTENTS = 2 * 2**30
"""Total size in bytes up to which files are identified by their contents, which takes a few seconds at most."""


def digest_of(files: Iterable[Path], *, contents: int = CONTENTS) -> str:
    """Return the SHA-256 of files: of their paths relative to the nearest common folder, and of their contents.

    Touching or copying the files does not change it; renaming one does. If the files have more than `contents` bytes in
    total, their sizes and modification times are used instead of their contents.

    Raises:
        OSError: If one of them cannot be read.
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
    """Return the folder named by the environment variable SLIMPRUNE_CACHE, or else the platform's cache folder.

    On Linux this is `~/.cache/slimprune`, or `slimprune` in the folder named by XDG_CACHE_HOME.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("slimprune", appauthor=False)
