"""How far a comparison is: the number of finished cells."""

from dataclasses import dataclass, field
from threading import Lock

from slimprune.types import Listener


@dataclass(eq=False)
class CellProgress:
    """The number of finished cells, reported to a listener."""

    listener: Listener
    total: int
    done: int = 0
    lock: Lock = field(default_factory=Lock)

    def add(self, cells: int, note: str = "") -> None:
        """Count and report further finished cells."""
        with self.lock:
            self.done += cells
            if cells:
                self.listener("cells", self.done, self.total, note)

    def drop(self, cells: int) -> None:
        """Reduce the total by the number of cells that will not be run."""
        if cells:
            self.total -= cells
            self.tell("")

    def tell(self, note: str) -> None:
        """Report the current step."""
        with self.lock:
            self.listener("cells", self.done, self.total, note)
