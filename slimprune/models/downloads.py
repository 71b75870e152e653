"""Files of pretrained weights in the caches of torch and of the Hugging Face hub, downloaded if they are reachable."""

import importlib
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch

from slimprune.errors import DataError, first_line

SECONDS = 5
"""Time in which a server has to answer."""

_DIGEST = re.compile(r"-([a-f0-9]{8,})\.")


def from_url(url: str, what: str) -> Path:
    """Return the file of a URL in torch's cache; download it if it is not there.

    Args:
        url: Address of the file; the digest in its name, if any, is checked.
        what: Description of the file in errors.

    Raises:
        DataError: If the file is not in the cache and cannot be downloaded; the message says where to put it.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(urlparse(url).path).name)
    if file.is_file():
        return file
    try:
        _check_online()
        file.parent.mkdir(parents=True, exist_ok=True)
        digest = _DIGEST.search(file.name)
        with _impatient():
            torch.hub.download_url_to_file(url, str(file), digest and digest[1], progress=False)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{what}: download {url} to {file} ({first_line(error)})") from error
    return file


def cached_in_hub(repository: str, name: str) -> Path | None:
    """Return a file of a repository, possibly with "@revision", from the Hugging Face hub's cache; None if absent."""
    repository, _, revision = repository.partition("@")
    try:
        hub: Any = importlib.import_module("huggingface_hub")
        cached = hub.try_to_load_from_cache(repository, name, revision=revision or None)
    except (ImportError, ValueError):  # not installed, or no name of a repository
        return None
    return Path(cached) if isinstance(cached, str) else None


def from_hub(repository: str, names: Sequence[str], what: str, remedy: str = "and give it by --weights") -> Path:
    """Return a file of a repository on the Hugging Face hub from its cache; download it if it is not there.

    Args:
        repository: "owner/name", possibly with "@revision".
        names: Names that the file may have, the preferred one first.
        what: Description of the file in errors.
        remedy: What to do with a file that was downloaded by other means.

    Raises:
        DataError: If no such file is in the cache or can be downloaded; the message says where to put it.
    """
    for name in names:
        cached = cached_in_hub(repository, name)
        if cached is not None:
            return cached
    hub: Any = importlib.import_module("huggingface_hub")
    repository, _, revision = repository.partition("@")
    address = f"https://huggingface.co/{repository}/resolve/{revision or 'main'}/{names[0]}"
    told = f"download {address} {remedy}, or `hf download {repository}` to {hub.constants.HF_HUB_CACHE}"
    try:
        _check_online()
        with _impatient():
            return _download_first(hub, repository, names, revision or None)
    except Exception as error:  # the hub's HTTP library differs between versions
        raise DataError(f"{what}: {told} ({first_line(error)})") from error


def _download_first(hub: Any, repository: str, names: Sequence[str], revision: str | None) -> Path:
    """Download the first of the files that the repository has."""
    for name in names[:-1]:
        try:
            return Path(hub.hf_hub_download(repository, name, revision=revision, etag_timeout=SECONDS))
        except hub.errors.EntryNotFoundError as error:
            if isinstance(error, hub.errors.LocalEntryNotFoundError):  # the hub cannot be reached
                raise
    return Path(hub.hf_hub_download(repository, names[-1], revision=revision, etag_timeout=SECONDS))


def _check_online() -> None:
    """Raise an error if the environment forbids downloads."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise OSError("HF_HUB_OFFLINE is set")


@contextmanager
def _impatient() -> Iterator[None]:
    """Limit how long sockets that are opened within the context wait for a server."""
    former = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(former)
