"""Types of the keyword arguments of `compress` and others, for editors and type checkers.

The fields are those of `Recipe`, with the wider types that a recipe accepts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict

from slimprune.types import InputKind, Quantity, Unit, WidthSearch

_UnderAlias = TypedDict("_UnderAlias", {"and": Mapping[Quantity, float] | str}, total=False)
"""The field `and` of recipe files; as the name of an argument, where `and` is reserved, it is `also`."""


class SettingsBesideTask(_UnderAlias, total=False):
    """The fields of `Recipe` except `task`, `loss` and `metric`, for functions that have arguments of these names."""

    arch: str | None
    data: str
    image_size: int | None
    train_size: int | None
    validation: float | None
    mean: Sequence[float] | str
    std: Sequence[float] | str
    class_names: Sequence[str] | str
    unit: Unit
    ratio: float
    of: Quantity
    also: Mapping[Quantity, float] | str
    when: (
        Literal["before-training", "during-training", "trained", "after-training", "rewind", "gradual", "early-bird"]
        | None
    )
    rewind_step: int | None
    prune_epoch: int | None
    prune_from: int | None
    prune_until: int | None
    mask_distance: float | None
    dense_epochs: int | None
    weights: Path | str | None
    pretrained: bool
    reset_head: bool
    init: Literal["keep", "reinit", "rescale"]
    reconstruct: bool | None
    twin: Literal["shuffle", "invert"] | None
    criterion: str | None
    rule: str | None
    sharing_epochs: int | None
    width_cap: float | None
    width_confidence: float | None
    width_search: WidthSearch | None
    floor: float
    gate: Literal["consumer", "norm", "producer"]
    steps: int | None
    draws: int | None
    average: Literal["signed", "absolute"] | None
    inner_lr: float | None
    inner_momentum: float | None
    inner_weight_decay: float | None
    on_host: bool | None
    steps_stored: int | None
    rounds: int | None
    score_temperature: float | None
    by_magnitude: bool | None
    score_batch: int | None
    score_balanced: bool
    dtype: Literal["float32", "float64"]
    round_to: int | Literal["auto"] | None
    engine: str | None
    bench_batch: int | None
    bench_threads: int | None
    protect: Sequence[str] | str
    further_metrics: Sequence[str] | str
    epochs: int | None
    batch_size: int | None
    lr: float | None
    weight_decay: float
    schedule: Literal["step", "cosine"] | None
    milestones: Sequence[int] | str
    optimizer: Literal["sgd", "adamw"]
    warm_up: float | None
    label_smoothing: float
    class_weights: Sequence[float] | str | Literal["balanced"]
    ema: float | None
    mixup: float | None
    cutmix: float | None
    resized_crop: float | None
    patience: int | None
    distill: float | None
    temperature: float
    regularizer: Literal["bn-l1", "polarization", "group-lasso"] | None
    regularizer_strength: float
    log: str | None
    train_dense: bool
    device: str
    amp: bool | Literal["auto"]
    fast: bool | None
    sync_bn: bool
    bf16_gradients: bool
    split_draws: bool
    seed: int
    input: InputKind | None
    int8: bool
    fp16: bool
    max_loss: float
    out: Path | str | None


class RecipeSettings(SettingsBesideTask, total=False):
    """The fields of `Recipe`."""

    task: str | None
    loss: str
    metric: str
