"""How far an epoch has come, so that a training that was stopped goes on at the same batch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from slimprune.measure.devices import random_state, set_random_state
from slimprune.ranks.group import Ranks, from_rank

LOSSES, SIZES = "losses", "sizes"


class PartialEpoch:
    """The steps of an epoch that are done.

    Args:
        losses: Loss of every step done.
        sizes: Samples of every step done.
        seconds: Wall-clock time that they took before the training was stopped.
        trained: Whether all steps are done, and the statistics of the ranks averaged; the test is not.
        ranks: Number of ranks that did the steps.
        own: What each rank had for itself, by "RANK.NAME"; empty if nothing was gathered.
    """

    def __init__(
        self,
        losses: Iterable[float] = (),
        sizes: Iterable[int] = (),
        seconds: float = 0.0,
        trained: bool = False,
        ranks: int = 1,
        own: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.sizes, self.seconds, self.trained, self.ranks = list(sizes), seconds, trained, ranks
        self._losses, self._own = list(losses), dict(own or {})
        self._unread: list[Tensor] = []

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return len(self.sizes)

    def add(self, loss: Tensor, size: int) -> None:
        """Add a step with its loss, a scalar that is not read yet."""
        self._unread.append(loss)
        self.sizes.append(size)

    def losses(self) -> list[float]:
        """Return the loss of every step done, which waits for the device."""
        if self._unread:
            self._losses += torch.stack(self._unread).cpu().double().tolist()
            self._unread = []
        return self._losses

    def end(self, device: torch.device, ranks: Ranks) -> None:
        """Note that all steps are done, and the statistics of the ranks averaged."""
        own = {f"{ranks.index}.{name}": state for name, state in _random_states(device).items()}
        self.trained, self.ranks, self._own = True, ranks.count, own

    def gather(self, buffers: Sequence[Tensor], device: torch.device, ranks: Ranks) -> None:
        """Collect what each rank has for itself: the states of its generators, and its buffers if there are others."""
        own = _random_states(device)
        if ranks.several:
            own |= {f"buffer.{number}": buffer.detach() for number, buffer in enumerate(buffers)}
        self.ranks = ranks.count
        self._own = {
            f"{rank}.{name}": from_rank(tensor, rank).cpu().contiguous()
            for rank in range(ranks.count)
            for name, tensor in own.items()
        }

    def restore_buffers(self, buffers: Sequence[Tensor], ranks: Ranks) -> None:
        """Give a rank its own buffers again, or the means over the former ranks if there were more or fewer."""
        for number, buffer in enumerate(buffers):
            found = [self._own.get(f"{rank}.buffer.{number}") for rank in range(self.ranks)]
            known = [tensor for tensor in found if tensor is not None]
            if known and self.ranks == ranks.count:
                buffer.copy_(known[ranks.index])
            elif known and buffer.is_floating_point():
                buffer.copy_(torch.stack(known).mean(0))

    def restore_generators(self, device: torch.device, ranks: Ranks) -> None:
        """Give a rank the states of its generators again, if there are as many ranks as before."""
        if self.ranks != ranks.count:
            return
        if (state := self._own.get(f"{ranks.index}.cpu")) is not None:
            torch.default_generator.set_state(state)
        if (state := self._own.get(f"{ranks.index}.{device.type}")) is not None and device.type != "cpu":
            set_random_state(device, state)

    def tensors(self) -> dict[str, Tensor]:
        """Return losses, sizes and what each rank had for itself."""
        losses = torch.tensor(self.losses(), dtype=torch.float64)
        return {LOSSES: losses, SIZES: torch.tensor(self.sizes), **self._own}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], seconds: float, trained: bool, ranks: int) -> Self:
        """Return an epoch from its `tensors`."""
        own = {name: tensor for name, tensor in tensors.items() if name not in (LOSSES, SIZES)}
        return cls(tensors[LOSSES].tolist(), tensors[SIZES].tolist(), seconds, trained, ranks, own)


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators of the CPU and of a device, by type."""
    own = {"cpu": torch.default_generator.get_state()}
    return own if device.type == "cpu" else {**own, device.type: random_state(device)}
