"""Costs of networks, counted on the networks themselves."""

from dataclasses import dataclass

from slimprune.budget import Cost
from slimprune.files import SecondCount


@dataclass(frozen=True)
class Measured:
    """The costs of one network, counted on the network itself.

    Attributes:
        cost: Parameters, MACs and channels.
        weight_bytes: Bytes of parameters and persistent buffers.
    """

    cost: Cost
    weight_bytes: int


@dataclass(frozen=True)
class SecondOpinion:
    """The MACs of both networks as fvcore counts them, by other formulas on another graph.

    Attributes:
        dense: MACs of the dense network; None if fvcore cannot trace it.
        slim: MACs of the slim network; None if fvcore cannot trace it.
        note: Why fvcore cannot trace a network; None if it can trace both.
    """

    dense: int | None
    slim: int | None
    note: str | None = None

    def to_json(self) -> SecondCount:
        """Return the plain form for JSON."""
        return {"dense": self.dense, "slim": self.slim, "note": self.note}


def differ(macs: int, others: int) -> bool:
    """Return whether two counts of MACs differ by more than a thousandth, which rounding cannot explain."""
    return abs(macs - others) > 0.001 * others
