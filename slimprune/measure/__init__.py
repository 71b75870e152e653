"""What a network costs: multiply-accumulates, parameters, bytes of weights, and memory while it runs."""

from slimprune.measure.macs import count_macs
from slimprune.measure.memory import PeakMemory
from slimprune.measure.size import count_params, weight_bytes

__all__ = ["PeakMemory", "count_macs", "count_params", "weight_bytes"]
