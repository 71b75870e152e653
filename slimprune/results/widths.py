"""How channels were scored, and how widths were found."""

from dataclasses import dataclass
from typing import Self

from slimprune.files import EarlyBirdOutcome, ScoringOutcome, SearchOutcome, SharingOutcome, adapter
from slimprune.saliency import Scores


@dataclass(frozen=True)
class Saliency:
    """How the channels were scored.

    Attributes:
        criterion: Name of the criterion.
        steps: Number of inner training steps.
        draws: Number of independent draws that were averaged.
        stability: Expected Spearman correlation, over all channels, of the scores with those of very many draws; None
            for one draw.
        seconds: Wall-clock time of the scoring.
        peak_bytes: Peak memory of the scoring; see `measure.PeakMemory`.
        layer_agreement: Spearman correlation of the layers' mean scores between two halves of the draws; None for one
            draw, and where sums over layers are not of these draws alone.
    """

    criterion: str
    steps: int
    draws: int
    stability: float | None
    seconds: float
    peak_bytes: int
    layer_agreement: float | None = None

    @classmethod
    def of(cls, criterion: str, scores: Scores, seconds: float, peak_bytes: int) -> Self:
        """Return what is reported of the scores of a criterion."""
        return cls(criterion, scores.steps, scores.draws, scores.stability, seconds, peak_bytes, scores.layer_agreement)

    def to_json(self) -> ScoringOutcome:
        """Return the plain form for JSON."""
        plain: ScoringOutcome = adapter(Saliency).dump_python(self, mode="json")
        return plain


@dataclass(frozen=True)
class SearchTrial:
    """One short training of a prospect search.

    Attributes:
        rule: Allocation rule that was tried.
        epochs: Epochs of the training, whose learning-rate schedule ran to its end.
        loss: Mean training loss of the last epoch.
        params: Parameters of the candidate.
        macs: Multiply-accumulates of the candidate.
    """

    rule: str
    epochs: int
    loss: float
    params: int
    macs: int


@dataclass(frozen=True)
class Search:
    """How the allocation rule was found by short trainings.

    Attributes:
        rule: Rule that won.
        trials: All short trainings, in order.
        seconds: Wall-clock time of the search; if it was resumed, the time since then.
    """

    rule: str
    trials: tuple[SearchTrial, ...]
    seconds: float

    @property
    def epochs(self) -> int:
        """Epochs of all trials together."""
        return sum(trial.epochs for trial in self.trials)

    def to_json(self) -> SearchOutcome:
        """Return the plain form for JSON."""
        return {
            "rule": self.rule,
            "trials": adapter(tuple[SearchTrial, ...]).dump_python(self.trials, mode="json"),
            "seconds": self.seconds,
            "epochs": self.epochs,
        }


@dataclass(frozen=True)
class EarlyBird:
    """Where an Early-Bird ticket was drawn.

    Attributes:
        epoch: Epoch of the training after which channels were removed.
        distances: Shares of all channels that only one of two epochs in a row would keep, from the second epoch on.
        mask_distance: Distance below which the last ones had to be.
    """

    epoch: int
    distances: tuple[float, ...]
    mask_distance: float

    def to_json(self) -> EarlyBirdOutcome:
        """Return the plain form for JSON."""
        return {"epoch": self.epoch, "distances": list(self.distances), "mask_distance": self.mask_distance}


@dataclass(frozen=True)
class Sharing:
    """How the widths were found by weight sharing.

    Attributes:
        rule: Rule that gives the widths; `uniform` if none were better.
        search: How widths were searched, `cross-entropy` or `evolution`.
        training: Epochs in which the shared weights were trained.
        evaluations: Number of evaluated width vectors.
        images: Images of one evaluation.
        epoch_images: Training images of one epoch.
        loss: Loss of the best widths with shared weights, on other images than those of the search.
        uniform_loss: Loss of uniform widths on the same images.
        generations: Least loss in each generation of the search.
        seconds: Wall-clock time; if the search was resumed, the time since then.
    """

    rule: str
    search: str
    training: int
    evaluations: int
    images: int
    epoch_images: int
    loss: float
    uniform_loss: float
    generations: tuple[float, ...]
    seconds: float

    @property
    def epochs(self) -> float:
        """Cost in epochs of training at the budget; an image that is evaluated costs a third of one that is trained."""
        return self.training + self.evaluations * self.images / (3 * self.epoch_images)

    def to_json(self) -> SharingOutcome:
        """Return the plain form for JSON."""
        plain: SharingOutcome = adapter(Sharing).dump_python(self, mode="json")
        return {**plain, "epochs": round(self.epochs, 2)}
