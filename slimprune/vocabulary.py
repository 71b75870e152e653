"""Words that several parts of the package share; nothing is imported for them."""

from typing import Literal, get_args

AUTO = "auto"
"""In place of a value that is to be chosen."""

Task = Literal["classification", "segmentation"]
Quantity = Literal["params", "macs", "channels", "latency"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
