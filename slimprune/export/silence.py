"""Calls of libraries that print."""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnxruntime


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress prints, warnings and log messages of the libraries that write ONNX files."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def onnxruntime_tools() -> Iterator[None]:
    """Let onnxruntime's converters run, silently and with a search path of their own.

    `onnxruntime.transformers` adds its folder to the search path and imports from there. Its modules have names such as
    `models` and would be found in place of others, so the path is restored.
    """
    before = list(sys.path)
    folder = Path(onnxruntime.__file__).parent / "transformers"
    sys.path.append(str(folder))
    try:
        with silence():
            yield
    finally:
        sys.path[:] = before
