"""Outputs that appear only when whole: a hidden folder beside the target, published at the end by renaming."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slimprune.errors import UsageError


@dataclass(frozen=True)
class Outputs:
    """The files of one run: `NAME.onnx` and, beside it, `NAME.slim/`, `NAME.report.json` and `NAME.report.md`.

    Attributes:
        onnx: the ONNX file that was asked for.
        stage: hidden folder in which everything is made.
    """

    onnx: Path
    stage: Path

    @property
    def bundle(self) -> Path:
        """Where the bundle goes."""
        return self.onnx.with_suffix(".slim")

    @property
    def report(self) -> Path:
        """Where the JSON report goes."""
        return self.onnx.with_suffix(".report.json")

    @property
    def markdown(self) -> Path:
        """Where the Markdown report goes."""
        return self.onnx.with_suffix(".report.md")

    def staged(self, target: Path) -> Path:
        """Where `target` is made before it is published."""
        return self.stage / target.name

    def publish(self) -> None:
        """Moves everything that was staged into place, replacing what a former run left there."""
        for target in (self.bundle, self.report, self.markdown, self.onnx):
            if self.staged(target).is_dir():
                _replace_folder(self.staged(target), target)
            elif self.staged(target).exists():
                os.replace(self.staged(target), target)


@contextmanager
def staged_outputs(onnx: Path, run: str) -> Iterator[Outputs]:
    """A stage beside `onnx`; it stays only when the run is interrupted, so that the same run can go on from it.

    Args:
        onnx: the file that was asked for; its parent folders are made.
        run: name of the run; a stage that a run of the same name left is taken up again.

    Raises:
        UsageError: the outputs cannot be written there.
    """
    _check_target(onnx)
    outputs = Outputs(onnx, onnx.parent / f".{onnx.stem}.slimprune-{run[:12]}")
    made = [parent for parent in onnx.parents if not parent.exists()]
    keep = False
    try:
        _make(outputs.stage)
        yield outputs
    except KeyboardInterrupt:
        keep = any(outputs.stage.rglob("checkpoint.json"))
        raise
    finally:
        if not keep:
            shutil.rmtree(outputs.stage, ignore_errors=True)
            _remove_empty(made)


def _check_target(onnx: Path) -> None:
    if onnx.suffix != ".onnx":
        raise UsageError(f"expected --out to end in .onnx, got {onnx}")
    if onnx.is_dir():
        raise UsageError(f"expected --out to be a file, got the folder {onnx}")
    bundle = onnx.with_suffix(".slim")
    if bundle.exists() and not (bundle / "slim.json").is_file():
        raise UsageError(f"cannot write the bundle: {bundle} exists and is not a bundle")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / "probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write to {folder.parent}: {error.strerror}") from error


def _replace_folder(new: Path, target: Path) -> None:
    former = new.with_name(new.name + ".former")
    if target.exists():
        os.replace(target, former)
    os.replace(new, target)
    shutil.rmtree(former, ignore_errors=True)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
