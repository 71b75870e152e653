"""One epoch of a training: its random numbers and its steps, which may be stopped between two of them."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed, nn

from slimprune.errors import DataError, SlimpruneError
from slimprune.forward import ForwardFn
from slimprune.interruption import signals_put_off
from slimprune.measure.devices import seed_device
from slimprune.ranks.group import LostRankError, wait_for_all
from slimprune.training.averaging import Averaging
from slimprune.training.batches import Batches, after, first_tensor, on_device, pair_of, set_epoch
from slimprune.training.data_parallel import BY_ITSELF, AcrossRanks
from slimprune.training.distributed import rank
from slimprune.training.mixing import Mixing
from slimprune.training.partial_epoch import PartialEpoch
from slimprune.training.progress import TrainProgress
from slimprune.training.result import EpochRecord
from slimprune.training.schedule import learning_rate
from slimprune.training.settings import TrainSettings
from slimprune.training.step import Step

AfterStep = Callable[[int], None]
Keep = Callable[[PartialEpoch], None]


@dataclass(frozen=True)
class Run:
    """Values that are the same for all steps of a training."""

    model: nn.Module
    settings: TrainSettings
    steps_per_epoch: int
    told: TrainProgress
    after_step: AfterStep
    device: torch.device
    forward_fn: ForwardFn | None = None
    averaging: Averaging | None = None
    mixing: Mixing | None = None
    across: AcrossRanks = BY_ITSELF

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context in which the model holds the averaged weights, if there are any."""
        return nullcontext() if self.averaging is None else self.averaging.in_use()

    def buffers(self) -> list[Tensor]:
        """Return the buffers themselves: the model's, and the averaged ones if there are any."""
        return [*self.model.buffers(), *(() if self.averaging is None else self.averaging.buffers())]

    def lr(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step; both numbers start at 1."""
        return learning_rate(self.settings, (epoch - 1) * self.steps_per_epoch + step - 1, self.steps_per_epoch)


@dataclass(frozen=True, eq=False)
class Epoch:
    """One epoch, from its beginning or from the step behind which the training was stopped.

    Attributes:
        run: The training.
        number: Number of the epoch, from 1.
        done: The steps that are done.
        keep: Function that stores the training with the steps done, called by all ranks; None to store nothing, in
            which case a signal that stops the program is not put off to the end of a step.
    """

    run: Run
    number: int
    done: PartialEpoch
    keep: Keep | None = None
    _started: float = field(default_factory=time.perf_counter, init=False)

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Give the context the epoch's random numbers; if it is interrupted behind the last step, keep the steps."""
        with epoch_randomness(self.run.settings.seed, self.number, self.run.device):
            try:
                yield
            except (KeyboardInterrupt, LostRankError):
                if self.keep is not None and self.done.trained:
                    self._keep(self.keep)
                raise

    def train(self, make_step: Step, batches: Batches) -> None:
        """Take the steps that are not done, and average the statistics of the ranks."""
        run = self.run
        if self.done.trained:
            self.done.restore_generators(run.device, run.across.ranks)
            return
        run.model.train()
        set_epoch(batches, self.number)
        with signals_put_off(self.keep is not None and (run.across.ranks.several or not _replicated())) as stop:
            left = after(batches, self.done.steps)
            self.done.restore_generators(run.device, run.across.ranks)
            for step, batch in enumerate(on_device(left, run.device), start=self.done.steps + 1):
                self._step(make_step, batch, step)
                if step < run.steps_per_epoch and run.across.any_wants(stop.number is not None):
                    self._keep_all()
                    stop.act()
            if not self.done.steps:
                raise DataError(f"expected training batches in epoch {self.number}, got none")
            # On an accelerator the losses are read only here, which synchronises once per epoch, not once per step.
            self._check_finite(self.done.losses(), 1)
            run.across.average_statistics(run.buffers())
            self.done.end(run.device, run.across.ranks)

    def record(self, test_metric: float) -> EpochRecord:
        """Return the record of the epoch, whose last part ends now."""
        losses = zip(self.done.losses(), self.done.sizes, strict=True)
        mean = math.fsum(loss * size for loss, size in losses) / sum(self.done.sizes)
        lr = self.run.lr(self.number, self.done.steps)
        return EpochRecord(self.number, lr, mean, test_metric, self._seconds())

    def _step(self, make_step: Step, batch: object, step: int) -> None:
        run = self.run
        inputs, targets = pair_of(batch, run.forward_fn)
        if run.mixing is not None:
            inputs, targets = run.mixing(inputs, targets)
        loss = make_step(inputs, targets, run.lr(self.number, step))
        if run.averaging is not None:
            run.averaging.update()
        if run.device.type == "cpu":
            self._check_finite([loss.item()], step)
        self.done.add(loss, len(first_tensor(inputs)))
        run.after_step((self.number - 1) * run.steps_per_epoch + step)
        run.told.step(self.number, step)

    def _keep_all(self) -> None:
        """Store the steps done, with what each rank has for itself; no rank ends before they are stored."""
        self._check_finite(self.done.losses(), 1)
        if self.keep is not None:
            self.done.gather(self.run.buffers(), self.run.device, self.run.across.ranks)
            self._keep(self.keep)
        wait_for_all()

    def _keep(self, keep: Keep) -> None:
        self.done.seconds = self._seconds()
        keep(self.done)

    def _seconds(self) -> float:
        return self.done.seconds + time.perf_counter() - self._started

    def _check_finite(self, values: Iterable[float], first_step: int) -> None:
        for step, value in enumerate(values, start=first_step):
            if not math.isfinite(value):
                where = f"epoch {self.number}, step {step} (lr {self.run.lr(self.number, step):g})"
                rule = "training stopped: expected a finite loss"
                raise SlimpruneError(f"{rule}, got {value} at {where}; a lower --lr usually helps")


@contextmanager
def epoch_randomness(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of the CPU and of this device only, and restore both afterwards."""
    with _forked_generators(device):
        # Large strides keep the streams of neighbouring seeds, epochs and ranks apart.
        number = (seed * 1_000_000_007 + epoch * 1_000_003 + rank()) % 2**63
        torch.default_generator.manual_seed(number)
        seed_device(device, number)
        yield


def _forked_generators(device: torch.device) -> AbstractContextManager[None]:
    """Return a context after which the generators of the CPU and of this device have their former states."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[device], device_type=device.type)


def _replicated() -> bool:
    """Return whether other processes train replicas of their own accord, which cannot stop at the same step."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
