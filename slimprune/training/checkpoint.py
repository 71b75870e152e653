"""Checkpoints, with which an interrupted training continues as if it had not been interrupted.

A folder holds `checkpoint.json` (settings, history, name and SHA-256 of the weights), one
`checkpoint-<epoch>.safetensors` (parameters, buffers, the optimizer's state, averaged weights) and `metrics.jsonl`
(one line per epoch). A checkpoint within an epoch, `checkpoint-<epoch>-<step>.safetensors`, also holds the losses of
its steps and the states of the generators.
The JSON file is authoritative and replaced last, so a crash at any moment leaves the previous checkpoint valid.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from slimprune.errors import UsageError, VerificationError, kind_and_line
from slimprune.files import adapter, read_value, write_atomically
from slimprune.training.averaging import AVERAGED, Averaging
from slimprune.training.partial_epoch import PartialEpoch
from slimprune.training.result import EpochRecord
from slimprune.training.state import fill_state, state_tensors

STATE_FILE = "checkpoint.json"
METRICS_FILE = "metrics.jsonl"
BEGUN = "begun."
"""First part of the names of what belongs to an epoch of which some steps are done."""

Fingerprint = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class _Begun:
    """The epoch behind the history, of which some steps are done: see `PartialEpoch`."""

    seconds: float
    trained: bool
    ranks: int


@dataclass(frozen=True)
class _State:
    """Content of `checkpoint.json`."""

    fingerprint: dict[str, str | int | float | bool]
    epoch: int
    weights: str
    sha256: str
    history: list[EpochRecord]
    begun: _Begun | None = None


@dataclass(frozen=True)
class Restored:
    """What a checkpoint tells beside weights.

    Attributes:
        history: Records of the completed epochs; empty if there are none.
        begun: Epoch of which some steps are done; None if the next one starts anew.
    """

    history: list[EpochRecord] = field(default_factory=list)
    begun: PartialEpoch | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoint folder of one run.

    Attributes:
        folder: Folder that is created at the first write.
        fingerprint: Settings that determine the result; a checkpoint with other settings raises an error.
    """

    folder: Path
    fingerprint: Fingerprint

    def restore(self, model: nn.Module, optimizer: Optimizer, averaging: Averaging | None = None) -> Restored:
        """Load the latest state in the folder, if any, into model, optimizer and averaged weights.

        Returns:
            The completed epochs, and one that was begun; neither if there is no checkpoint, in which case nothing is
            changed.

        Raises:
            VerificationError: If the checkpoint is damaged, or belongs to other settings or another model.
        """
        if not (self.folder / STATE_FILE).exists():
            return Restored()
        state = self._read_state()
        tensors = _read_tensors(self.folder / state.weights, state.sha256)
        averaged = {name: tensors.pop(name) for name in list(tensors) if name.startswith(AVERAGED)}
        partial = {name.removeprefix(BEGUN): tensors.pop(name) for name in list(tensors) if name.startswith(BEGUN)}
        if averaging is not None:
            averaging.check(averaged)
        fill_state(model, optimizer, tensors)
        if averaging is not None:
            averaging.fill(averaged)
        begun = None if state.begun is None else PartialEpoch.of(partial, **asdict(state.begun))
        return Restored(state.history, begun)

    def start_metrics(self, history: Sequence[EpochRecord]) -> None:
        """Write `metrics.jsonl` with the epochs completed so far, removing lines of earlier runs."""
        lines = "".join(_metrics_line(record) for record in history)
        self._write(METRICS_FILE, lines.encode())

    def save(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        history: Sequence[EpochRecord],
        averaging: Averaging | None = None,
        begun: PartialEpoch | None = None,
    ) -> None:
        """Write the state after the last epoch of the history, and that epoch's line of metrics.

        Args:
            model: The model.
            optimizer: Its optimizer.
            history: Records of the completed epochs.
            averaging: Averaged weights, if there are any.
            begun: Epoch behind the history of which some steps are done; the state is then that after these.

        Raises:
            UsageError: If the folder cannot be written to.
        """
        tensors = {**state_tensors(model, optimizer), **(averaging.tensors() if averaging else {})}
        name, about = f"checkpoint-{len(history):04d}.safetensors", None
        if begun is not None:
            tensors |= {f"{BEGUN}{name}": tensor for name, tensor in begun.tensors().items()}
            name = f"checkpoint-{len(history):04d}-{begun.steps:06d}.safetensors"
            about = _Begun(begun.seconds, begun.trained, begun.ranks)
        weights = save(tensors)
        digest = hashlib.sha256(weights).hexdigest()
        state = _State(dict(self.fingerprint), len(history), name, digest, list(history), about)
        self._write(name, weights)
        self._write(STATE_FILE, adapter(_State).dump_json(state, indent=2))
        if begun is None:
            self._add_metrics(history[-1])
        for old in self.folder.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink(missing_ok=True)

    def _add_metrics(self, record: EpochRecord) -> None:
        with _writable(self.folder / METRICS_FILE) as path, path.open("a", encoding="utf-8") as metrics:
            metrics.write(_metrics_line(record))

    def _read_state(self) -> _State:
        path = self.folder / STATE_FILE
        try:
            text = path.read_bytes()
        except OSError as error:
            raise VerificationError(f"expected a readable checkpoint in {path}, got {kind_and_line(error)}") from error
        state = read_value(_State, text, f"checkpoint {path}")
        _check_fingerprint(self.fingerprint, state.fingerprint)
        if state.epoch != len(state.history) or not (state.history or state.begun):
            raise VerificationError(f"expected one record per epoch in {path}, got {len(state.history)}")
        return state

    def _write(self, name: str, data: bytes) -> None:
        with _writable(self.folder / name) as path:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)


@contextmanager
def _writable(path: Path) -> Iterator[Path]:
    try:
        yield path
    except OSError as error:
        raise UsageError(f"expected a writable {path}, got {kind_and_line(error)}") from error


def _metrics_line(record: EpochRecord) -> str:
    return json.dumps(asdict(record)) + "\n"


def _check_fingerprint(expected: Fingerprint, found: Fingerprint) -> None:
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            rule = f"expected a checkpoint of {key} {expected.get(key)}"
            raise VerificationError(
                f"{rule}, got one of {key} {found.get(key)}; use another folder or the same settings"
            )


def _read_tensors(path: Path, digest: str) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise VerificationError(f"expected weights of SHA-256 {digest[:12]} in {path}, got {found[:12]}")
        return load(data)
    except (OSError, SafetensorError) as error:
        raise VerificationError(f"expected readable weights in {path}, got {kind_and_line(error)}") from error
