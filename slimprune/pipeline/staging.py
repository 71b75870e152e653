"""Outputs that appear only when complete: made in a hidden folder next to the target, then renamed into place."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from slimprune.errors import FORWARD_ERRORS, DataError, SlimpruneError, UsageError, VerificationError, out_of_memory
from slimprune.ranks.group import LostRankError, copy_folder, joined
from slimprune.types import PRECISIONS, Precision

ONNX, BUNDLE = ".onnx", ".slim"
_LOCK, _MARKER, _FORMER = "lock", "fingerprint", "former"
_DONE = ("search.json", "plan.json", "masks.safetensors", "checkpoint.json")
"""Files from which an interrupted run can resume."""


@dataclass(frozen=True)
class Outputs:
    """The files of one run: `NAME.onnx` and, next to it, `NAME.slim/`, `NAME.report.json`, `.md` and `.html`.

    Files of lower precision are `NAME.int8.onnx` and `NAME.fp16.onnx`. A segmentation network also has
    `NAME.pictures/`. If only the bundle is requested, there is no ONNX file.

    Attributes:
        out: Requested output: the ONNX file, or the bundle alone.
        stage: Hidden folder in which everything is made.
    """

    out: Path
    stage: Path

    @property
    def onnx(self) -> Path | None:
        """Path of the ONNX file; None if only the bundle is requested."""
        return self.out if self.out.suffix == ONNX else None

    def lower(self, precision: Precision) -> Path:
        """Return the path of the further ONNX file of a lower precision."""
        return self.out.with_suffix(f".{precision}{ONNX}")

    @property
    def bundle(self) -> Path:
        """Path of the bundle."""
        return self.out.with_suffix(BUNDLE)

    @property
    def report(self) -> Path:
        """Path of the JSON report."""
        return self.out.with_suffix(".report.json")

    @property
    def markdown(self) -> Path:
        """Path of the Markdown report."""
        return self.out.with_suffix(".report.md")

    @property
    def page(self) -> Path:
        """Path of the HTML report."""
        return self.out.with_suffix(".report.html")

    @property
    def pictures(self) -> Path:
        """Path of the folder of pictures."""
        return self.out.with_suffix(".pictures")

    def staged(self, target: Path) -> Path:
        """Return the path at which `target` is made before it is published."""
        return self.stage / target.name

    def resume_from(self, fingerprint: str) -> None:
        """Empty the stage unless an interrupted run with the same fingerprint left its files there.

        Of several processes that share a run, each gets the files of the first one.
        """
        marker = self.stage / _MARKER
        if joined().first and not (marker.exists() and marker.read_text() == fingerprint):
            self.empty()
            marker.write_text(fingerprint)
        copy_folder(self.stage, leave_out=(_LOCK,))

    def empty(self) -> None:
        """Remove everything from the stage except its lock."""
        for entry in self.stage.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != _LOCK:
                entry.unlink()

    def publish(self) -> None:
        """Move everything that was staged into place, where it replaces what an earlier run left."""
        for target in self._targets():
            if self.staged(target).is_dir():
                _replace_folder(self.staged(target), target)
            elif self.staged(target).exists():
                os.replace(self.staged(target), target)

    def publish_instead(self) -> None:
        """Take all outputs of an earlier run away, then publish, the requested output last.

        A kill in between leaves no mixture of two runs, and never the requested output without the others.
        """
        former = self.stage / _FORMER
        former.mkdir(exist_ok=True)
        for target in reversed(self._targets()):
            if target.exists():
                shutil.rmtree(former / target.name, ignore_errors=True)
                os.replace(target, former / target.name)
        self.publish()

    def _targets(self) -> list[Path]:
        """Return the paths of all outputs, the requested one last."""
        lower = (self.lower(precision) for precision in PRECISIONS)
        beside = [self.bundle, self.pictures, self.report, self.markdown, self.page, *lower]
        return [*(target for target in beside if target != self.out), self.out]


@contextmanager
def staged_outputs(out: Path | None, run: str | None, *, more: Sequence[str] = ()) -> Iterator[Outputs]:
    """Yield outputs with a stage next to `out`, which is kept if the run stops with work that can be resumed.

    Such work is trials of a search, a plan, masks or a checkpoint. After a `SlimpruneError`, which would occur again,
    nothing is kept, unless reading data or writing to disk failed temporarily. If the run can be resumed, the exception
    gets a note that names the folder. Of several processes that share a run, only the first one writes its outputs: the
    stage of the others is a temporary folder.

    Args:
        out: Requested ONNX file or bundle; its parent folders are created.
        run: Name of the run; a stage that a run of the same name left is resumed. None for a run that cannot be
            resumed: it starts with an empty stage and keeps nothing.
        more: Endings of further files that `out` may be.

    Raises:
        UsageError: If `onnx` is None, the outputs cannot be written there, or another process executes the same run.
    """
    if out is None:
        raise UsageError("expected an ONNX file to write (--out), got none")
    if not joined().first:
        with TemporaryDirectory(prefix="slimprune-") as folder:
            yield Outputs(out, Path(folder))
        return
    name = f"process-{os.getpid()}" if run is None else run[:12]
    outputs = Outputs(out, out.parent / f".{out.stem}.slimprune-{name}")
    try:
        _check_targets(outputs, more)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    with _exclusive(outputs.stage, out):
        keep = False
        if run is None:
            outputs.empty()
        try:
            yield outputs
        except BaseException as error:
            done = run is not None and any(any(outputs.stage.rglob(name)) for name in _DONE)
            keep = done and (not isinstance(error, SlimpruneError) or _may_pass(error))
            if keep:
                error.add_note(_kept(error, f"the same command goes on from what was done, kept in {outputs.stage}"))
            raise
        finally:
            if not keep:
                shutil.rmtree(outputs.stage, ignore_errors=True)


@contextmanager
def resumable_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder for unfinished work, inside a folder that a run fills piece by piece.

    Finished pieces are always kept. Unfinished work is kept if an exception stops the run. An exception that is not a
    `SlimpruneError` gets a note that the same command resumes the run.

    Raises:
        UsageError: If the folder cannot be written to, or another process is working in it.
    """
    stage = folder / ".unfinished"
    with _exclusive(stage, folder):
        keep = False
        try:
            yield stage
        except BaseException as error:
            keep = any(stage.rglob("*.json"))
            if not isinstance(error, SlimpruneError) and any(folder.rglob("*.json")):
                error.add_note(_kept(error, f"the same command goes on from what is finished in {folder}"))
            raise
        finally:
            if not keep:
                shutil.rmtree(stage, ignore_errors=True)


def _may_pass(error: SlimpruneError) -> bool:
    """Return whether the same run may succeed later, when the disk has free space or the data can be read again."""
    if isinstance(error, LostRankError):
        return True
    damaged = isinstance(error, VerificationError)  # such as an unreadable checkpoint: the run must start over
    return isinstance(error, DataError) or (isinstance(error.__cause__, OSError) and not damaged)


def _kept(error: BaseException, passing: str) -> str:
    """Return what a user is told about work that is kept: `passing` if the same command may get further next time."""
    if isinstance(error, FORWARD_ERRORS) and not out_of_memory(error):
        return "what was done is kept, but the same command is likely to end here again"
    return passing


def _check_targets(outputs: Outputs, more: Sequence[str]) -> None:
    if outputs.out.suffix not in (ONNX, BUNDLE, *more):
        raise UsageError(f"expected --out to end in .onnx, or in .slim for a bundle alone, got {outputs.out}")
    lower = (outputs.lower(precision) for precision in PRECISIONS)
    for file in (outputs.onnx, outputs.report, outputs.markdown, outputs.page, *lower):
        if file is not None and file.is_dir():
            raise UsageError(f"expected to write a file, got the folder {file}")
    if outputs.bundle.exists() and not (outputs.bundle / "slim.json").is_file():
        raise UsageError(f"cannot write the bundle: {outputs.bundle} exists and is not a bundle")
    pictures = outputs.pictures
    if pictures.exists() and not (pictures.is_dir() and all(file.suffix == ".png" for file in pictures.iterdir())):
        raise UsageError(f"cannot write the pictures: {pictures} exists and is not a folder of pictures")


@contextmanager
def _exclusive(stage: Path, target: Path) -> Iterator[None]:
    """Create the stage if necessary and hold its lock, which ends with the process.

    Folders that are empty at the end are removed after the lock is released, since Windows cannot remove open files.
    """
    made = [stage, *(parent for parent in stage.parents if not parent.exists())]
    lock = FileLock(stage / _LOCK)
    try:
        stage.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"expected to be the only run that makes {target}, got another at work") from error
    except OSError as error:
        _remove_empty(made)
        raise UsageError(f"cannot write {target}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
        _remove_empty(made)


def _replace_folder(new: Path, target: Path) -> None:
    former = new.with_name(new.name + ".former")
    shutil.rmtree(former, ignore_errors=True)
    if target.exists():
        os.replace(target, former)
    os.replace(new, target)
    shutil.rmtree(former, ignore_errors=True)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
