"""What masks of single weights leave of a network."""

from dataclasses import dataclass

from slimprune.files import MasksOutcome
from slimprune.masks import LayerSparsity


@dataclass(frozen=True)
class Masks:
    """What masks of single weights leave of a network, whose channels all stay.

    Attributes:
        rule: How the weights that stay are divided among the layers.
        layers: Every convolution and linear layer, in the model's order.
    """

    rule: str
    layers: tuple[LayerSparsity, ...]

    @property
    def weights(self) -> int:
        """Number of weights of all layers, biases and norms apart."""
        return sum(layer.weights for layer in self.layers)

    @property
    def kept(self) -> int:
        """Number of those that are not masked."""
        return sum(layer.kept for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers for one sample."""
        return sum(layer.macs for layer in self.layers)

    @property
    def sparse_macs(self) -> int:
        """Those in which a weight that stays is a factor."""
        return sum(layer.sparse_macs for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of the weights that are masked."""
        return 1 - self.kept / self.weights

    @property
    def empty(self) -> list[str]:
        """Names of the layers whose weights are all masked."""
        return [layer.layer for layer in self.layers if layer.kept == 0]

    @property
    def without_weights(self) -> str | None:
        """A sentence that names the layers whose weights are all masked; None if there are none."""
        if not (empty := self.empty):
            return None
        count = f"{len(empty)} of {len(self.layers)} layers"
        return f"no weight is left in {count}, whose outputs depend on no input any more: {', '.join(empty)}"

    def to_json(self) -> MasksOutcome:
        """Return the plain form for JSON."""
        return {
            "rule": self.rule,
            "weights": self.weights,
            "kept": self.kept,
            "sparsity": self.sparsity,
            "macs": self.macs,
            "sparse_macs": self.sparse_macs,
            "layers": [
                {
                    "layer": layer.layer,
                    "weights": layer.weights,
                    "kept": layer.kept,
                    "sparsity": layer.sparsity,
                    "macs": layer.macs,
                    "sparse_macs": layer.sparse_macs,
                }
                for layer in self.layers
            ],
            "empty": self.empty,
        }
