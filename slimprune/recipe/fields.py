"""The fields of a recipe, their valid values, and the recipe with its defaults filled in."""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    field_validator,
)

from slimprune.bounded import LARGEST_SIDE
from slimprune.errors import UsageError
from slimprune.recipe.defaults import (
    CRITERION_OPTIONS,
    DENSE_TASKS,
    MASK_DISTANCE,
    OF_WEIGHTS,
    find_defaults,
    gradual_defaults,
    names_segmentation,
)
from slimprune.recipe.values import (
    LARGEST,
    MOST,
    MOST_AT_ONCE,
    MOST_EPOCHS,
    MOST_THREADS,
    Share,
    as_amp,
    as_list,
    as_names,
    as_rounding,
    as_shares,
    as_weights,
    plain,
)
from slimprune.types import AUTO, InputKind, Precision, Quantity, Unit, WidthSearch

LATER_FIELDS = (
    "mean", "std", "class_names", "input", "pretrained", "reset_head", "reconstruct", "int8", "fp16", "max_loss",
    "optimizer", "warm_up", "label_smoothing", "class_weights", "ema", "mixup", "cutmix", "resized_crop", "patience",
    "distill", "temperature", "regularizer", "regularizer_strength", "validation", "sharing_epochs", "average", "unit",
    "inner_weight_decay", "on_host", "steps_stored", "score_temperature", "by_magnitude", "prune_from", "prune_until",
    "task", "metric", "mask_distance", "milestones", "width_search", "width_cap", "width_confidence", "further_metrics",
    "prune_epoch", "sync_bn", "bf16_gradients", "split_draws", "score_balanced",
)  # fmt: skip
"""Fields that files of earlier versions lack; where they have no value they do not count for a recipe's hash."""


When = Literal["before-training", "during-training", "trained", "after-training", "rewind", "gradual", "early-bird"]


class Recipe(BaseModel):
    """Settings of one `compress` run; every field is a flag of the same name.

    A field that is None takes the default of its architecture, data set or budget; see `with_defaults`. Options of a
    criterion that are None take the criterion's own default.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )

    arch: str | None = Field(None, description="architecture name, package.module:factory or path/to/file.py:factory")
    data: str = Field("digits", description="a data set (`slimprune list data`) or path/to/file.py:function")
    task: str | None = Field(
        None,
        description="what the network is for (`slimprune list tasks`), or path/to/file.py:TASK (default: by the "
        "data's targets)",
    )
    image_size: int | None = Field(
        None, ge=1, le=LARGEST_SIDE, description="side in pixels to which large images are resized"
    )
    train_size: int | None = Field(
        None, ge=1, le=MOST, description="train and score on this many images only, drawn once"
    )
    validation: Share | None = Field(
        None,
        description="share of the training images to hold out for testing after every epoch; the test images are then "
        "used once, at the end",
    )
    mean: Annotated[tuple[float, ...], BeforeValidator(as_list)] = Field(
        (),
        description="mean per channel of pixels in 0..1, for the normalisation (default: that of the pretrained "
        "weights, or of the data)",
    )
    std: Annotated[tuple[float, ...], BeforeValidator(as_list)] = Field(
        (), description="standard deviation per channel, beside --mean"
    )
    class_names: Annotated[tuple[str, ...], BeforeValidator(as_names)] = Field(
        (), description="names of the classes, or a text file with a name per line (default: the data's)"
    )
    unit: Unit = Field(
        "channels",
        description="what is pruned: whole channels, which are removed, or single weights of convolutions and linear "
        "layers, which are held at zero and make nothing faster",
    )
    ratio: Share = Field(0.9, description="share to remove, in (0, 1)")
    of: Quantity = Field("params", description="what the ratio counts")
    also: Annotated[dict[Quantity, Share], BeforeValidator(as_shares)] = Field(
        {}, alias="and", description="shares of other quantities that have to go as well, such as macs=0.8"
    )
    when: When | None = Field(
        None,
        description="which network is scored: the untrained one, the given weights as they are, the dense network "
        "after its training, or that one with the kept weights of an early step; gradual: weights are masked in the "
        "course of the training; during-training: the training goes on without what is pruned after --prune-epoch; "
        "early-bird: the training goes on without channels once those to keep settle",
    )
    rewind_step: int | None = Field(
        None, ge=0, le=MOST, description="training step to which `--when rewind` goes back (default: after 2 % of them)"
    )
    prune_epoch: int | None = Field(
        None,
        ge=1,
        le=MOST_EPOCHS,
        description="epoch of the training after which `--when during-training` scores and prunes (default: 1)",
    )
    prune_from: int | None = Field(
        None, ge=0, le=MOST_EPOCHS, description="epoch after which `--when gradual` begins to mask weights (default: 0)"
    )
    prune_until: int | None = Field(
        None,
        ge=1,
        le=MOST_EPOCHS,
        description="epoch after which `--when gradual` has masked them all (default: half of the epochs)",
    )
    mask_distance: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of the channels in which two epochs of `--when early-bird` may differ (default: 0.1)",
    )
    dense_epochs: int | None = Field(
        None,
        ge=0,
        le=MOST_EPOCHS,
        description="epochs of the dense network (default: as --epochs); 0 with given weights",
    )
    weights: Path | None = Field(
        None, description="weights of a trained network: safetensors, or a checkpoint .pth, .pt, .tar, .ckpt, .bin"
    )
    pretrained: bool = Field(False, description="start from the weights that torchvision, timm or transformers has")
    reset_head: bool = Field(
        False, description="leave out the given weights of a head with another number of classes than the data"
    )
    init: Literal["keep", "reinit", "rescale"] = Field("keep", description="initial weights of the slim network")
    reconstruct: bool | None = Field(
        None,
        description="solve the layers behind removed channels anew by least squares (default: for trained networks, "
        "where it lowers the loss)",
    )
    twin: Literal["shuffle", "invert"] | None = Field(
        None, description="same widths, other channels: random ones, or those with the lowest scores"
    )
    criterion: str | None = Field(
        None, description="how channels are scored (`slimprune list criteria`), or path/to/file.py:Class"
    )
    rule: str | None = Field(
        None, description="how the budget is shared out (`slimprune list rules`), or path/to/file.py:function"
    )
    sharing_epochs: int | None = Field(
        None,
        ge=1,
        description="epochs of weight sharing before `--rule learned` (default: 15 % of --epochs, at most 20)",
    )
    width_search: WidthSearch | None = Field(
        None,
        description="how `--rule learned` searches widths, with equally many evaluations: evolution is that of "
        "MetaPruning (default: cross-entropy)",
    )
    width_cap: float | None = Field(
        None,
        gt=1,
        le=LARGEST,
        description="greatest width of a layer under `--rule learned`, as a multiple of its uniform width (default: 2, "
        "or 16 where only parameters are limited)",
    )
    width_confidence: float | None = Field(
        None,
        ge=0.5,
        lt=1,
        description="how certain it must be that the widths which `--rule learned` has found are better than uniform "
        "ones; 0.5 takes them if their mean loss is less (default: 0.95)",
    )
    floor: float = Field(0.05, ge=0, lt=1, description="share of its channels that every layer keeps at least")
    gate: Literal["consumer", "norm", "producer"] = Field(
        "consumer", description="where the gates sit; producer is the place in the ProsPr code"
    )
    steps: int | None = Field(None, ge=0, le=10_000, description="inner training steps")
    draws: int | None = Field(None, ge=1, le=1_000_000, description="independent draws that are averaged")
    average: Literal["signed", "absolute"] | None = Field(
        None, description="how draws are averaged: signed, and the sign taken off the mean, or off every draw"
    )
    inner_lr: float | None = Field(None, gt=0, le=LARGEST, description="learning rate of the inner training")
    inner_momentum: float | None = Field(
        None, ge=0, lt=1, description="momentum of the inner training; the ProsPr code takes 0"
    )
    inner_weight_decay: float | None = Field(
        None, ge=0, le=LARGEST, description="weight decay of the inner training; the ProsPr code takes 0"
    )
    on_host: bool | None = Field(
        None, description="keep the weights of all inner training steps in host memory, not on the device"
    )
    steps_stored: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="most vectors of weights of the inner training to keep at once, below --steps; the steps between "
        "are computed again",
    )
    rounds: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="rounds of pruning and fine-tuning of a trained network, of training, masking and rewinding "
        "(--unit weights --when rewind), of masking in the course of the training (--when gradual), or of criteria "
        "that have rounds",
    )
    score_temperature: float | None = Field(
        None, gt=0, le=1e6, description="what GraSP divides the network's output by"
    )
    by_magnitude: bool | None = Field(
        None, description="rank by the size of GraSP's scores, whatever their sign (Frankle et al., 2021)"
    )
    score_batch: int | None = Field(None, ge=1, le=MOST_AT_ONCE, description="batch size of the scoring")
    score_balanced: bool = Field(
        False, description="score on batches with equally many images of each class, as the code of GraSP does"
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="precision of the scoring")
    round_to: Annotated[int | Literal["auto"] | None, PlainValidator(as_rounding)] = Field(
        None, description="widths become multiples of this; auto: of what pays by measured times"
    )
    engine: str | None = Field(
        None, description="what latency is measured with (`slimprune list engines`); -cpu or -cuda behind it says where"
    )
    bench_batch: int | None = Field(None, ge=1, le=MOST_AT_ONCE, description="samples at once when latency is measured")
    bench_threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="threads on the CPU when latency is measured"
    )
    protect: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (), description="layers, by name or pattern, whose channels all stay"
    )
    loss: str = Field(
        AUTO,
        description="what scoring and training minimise, by its name in the task; auto is the first one",
    )
    metric: str = Field(AUTO, description="what networks are judged by, by its name in the task; auto is the first one")
    further_metrics: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (), description="further metrics of the task to state for trained networks, such as top5"
    )
    epochs: int | None = Field(None, ge=1, le=MOST_EPOCHS, description="training epochs")
    batch_size: int | None = Field(None, ge=1, le=MOST_AT_ONCE, description="training batch size")
    lr: float | None = Field(None, gt=0, le=LARGEST, description="training learning rate")
    weight_decay: float = Field(5e-4, ge=0, le=LARGEST, description="training weight decay")
    schedule: Literal["step", "cosine"] | None = Field(None, description="learning rate schedule")
    milestones: Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_EPOCHS)], ...], BeforeValidator(as_list)] = Field(
        (),
        description="epochs after which the learning rate is divided by 10, such as 30,60,90; schedule step is the "
        "default beside them (default: 50 and 75 % of the epochs)",
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="optimizer: SGD with momentum 0.9, or AdamW")
    warm_up: float | None = Field(
        None,
        ge=0,
        le=MOST_EPOCHS,
        description="linear warm-up of the learning rate: a share of the steps if below 1, otherwise epochs",
    )
    label_smoothing: float = Field(0, ge=0, lt=1, description="share of every label that is spread over all classes")
    class_weights: Annotated[tuple[float, ...] | Literal["balanced"], BeforeValidator(as_weights)] = Field(
        (),
        description="weight of each class in the cross-entropy, for masks that of the foreground; or balanced: in "
        "inverse proportion to the classes' training samples",
    )
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of a moving average of the weights, which is tested and kept"
    )
    mixup: float | None = Field(
        None, ge=1e-3, le=1e3, description="mix images of a batch; parameter of MixUp's Beta distribution"
    )
    cutmix: float | None = Field(
        None, ge=1e-3, le=1e3, description="paste parts of other images; parameter of CutMix's Beta distribution"
    )
    resized_crop: float | None = Field(
        None, gt=0, lt=1, description="train on random crops of at least this share of an image, resized to the whole"
    )
    patience: int | None = Field(
        None, ge=1, le=MOST_EPOCHS, description="stop the training after this many epochs without a lower training loss"
    )
    distill: float | None = Field(
        None, gt=0, le=1, description="weight of the dense network's outputs as targets, beside the labels"
    )
    temperature: float = Field(4, ge=1e-3, le=1e6, description="temperature of the distillation")
    regularizer: Literal["bn-l1", "polarization", "group-lasso"] | None = Field(
        None, description="penalty that makes channels sparse in the dense training before pruning"
    )
    regularizer_strength: float = Field(1e-4, gt=0, le=LARGEST, description="factor of that penalty")
    log: str | None = Field(
        None,
        description="folder for TensorBoard event files; tensorboard: NAME.tensorboard next to the output",
    )
    train_dense: bool = Field(False, description="also train the dense network by the same recipe, to compare")
    device: str = Field("auto", description="cpu, cuda, cuda:N, mps, xpu, xpu:N, or auto: cuda if present")
    amp: Annotated[bool | Literal["auto"], PlainValidator(as_amp)] = Field(
        False, description="train in bfloat16 autocast; auto: where that makes a training step faster, measured once"
    )
    fast: bool | None = Field(
        None, description="train channels-last, on CUDA captured in a graph (default: wherever the model allows)"
    )
    sync_bn: bool = Field(
        False, description="several processes: batch norms take their statistics over the batches of all of them"
    )
    bf16_gradients: bool = Field(False, description="several processes: gradients are sent in bfloat16")
    split_draws: bool = Field(
        False, description="several processes: all make every draw of the scoring together, each on its rows of a batch"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, draws and batches")
    input: InputKind | None = Field(
        None,
        description="what the ONNX file takes: pixels in 0..1, pixels that are already normalised, or bytes",
    )
    int8: bool = Field(
        False, description="also write NAME.int8.onnx, quantised to 8-bit integers and calibrated on training images"
    )
    fp16: bool = Field(False, description="also write NAME.fp16.onnx, in 16-bit floats")
    max_loss: float = Field(
        1.0,
        ge=0,
        le=100,
        description="loss of accuracy by --int8 or --fp16, in points (a metric without a unit: in percent of it), "
        "above which the report begins with it",
    )
    out: Path | None = Field(
        None, description="the ONNX file to write, next to bundle and report; NAME.slim for no ONNX"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain_text(cls, value: object) -> object:
        return plain(value)

    @field_validator("device")
    @classmethod
    def _device_known(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", device):
            raise ValueError("Input should be auto, cpu, cuda, cuda:N, mps, xpu or xpu:N")
        return device

    @field_validator("log")
    @classmethod
    def _log_named(cls, log: str | None) -> str | None:
        if log is not None and not log.strip():
            raise ValueError("Input should be tensorboard or a folder")
        return log

    @property
    def hash(self) -> str:
        """SHA-256 of the settings that decide the result, which excludes `out`, `device`, `fast` and `log`."""
        return self.hash_without()

    def hash_without(self, *names: str) -> str:
        """Return the hash without further fields."""
        absent = {name for name in LATER_FIELDS if getattr(self, name) == type(self).model_fields[name].default}
        plain = self.model_dump(mode="json", exclude={"out", "device", "fast", "log", *absent, *names})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def has_weights(self) -> bool:
        """Whether the network starts from the weights of a file or from pretrained ones."""
        return self.weights is not None or self.pretrained

    @property
    def lower_precisions(self) -> tuple[Precision, ...]:
        """Precisions of the further ONNX files."""
        wanted: tuple[tuple[Precision, bool], ...] = (("fp16", self.fp16), ("int8", self.int8))
        return tuple(precision for precision, given in wanted if given and self.writes_onnx)

    @property
    def writes_onnx(self) -> bool:
        """Whether the run writes an ONNX file."""
        return self.out is not None and self.out.suffix == ".onnx"

    @property
    def rewinds_masks(self) -> bool:
        """Whether masks of single weights are found by trainings, after each of which the weights are rewound."""
        return self.unit == "weights" and self.when == "rewind"

    @property
    def scores_final_weights(self) -> bool:
        """Whether the scored network is a trained one whose weights the slim network may keep."""
        return self.when in ("trained", "after-training")

    def criterion_options(self) -> dict[str, Any]:
        """Return the options that are set for the criterion, under the criterion's names."""
        options = {option: getattr(self, field) for field, option in CRITERION_OPTIONS.items()}
        if self.scores_final_weights or self.rewinds_masks or self.when == "gradual":
            del options["rounds"]
        return {name: value for name, value in options.items() if value is not None}

    def with_defaults(self, *, segmentation: bool | None = None) -> "ResolvedRecipe":
        """Return the recipe with the defaults of its task, data set and budget filled in.

        Args:
            segmentation: Whether the task is segmentation; None to decide by the name of the architecture.
        """
        if segmentation is None:
            segmentation = names_segmentation(self.arch or "") or self.task in DENSE_TASKS
        when = self._resolved_when()
        limited = (self.of, *self.also)
        gentle = when == "trained" or (when == "after-training" and self.has_weights)
        adamw = self.optimizer == "adamw"
        defaults = find_defaults(
            "coco" if self.task == "detection" else self.data,
            limited,
            segmentation=segmentation,
            fine_tuning=gentle,
            adamw=adamw,
        )
        if self.unit == "weights":
            defaults = {**defaults, **OF_WEIGHTS}
        if when == "early-bird":
            defaults = {**defaults, "mask_distance": MASK_DISTANCE}
        if when == "during-training":
            defaults = {**defaults, "prune_epoch": 1}
        if when == "gradual":
            defaults = {**defaults, **gradual_defaults(self.epochs or defaults["epochs"])}
        if self.milestones:
            defaults = {**defaults, "schedule": "step"}
        given = {name: value for name, value in self if value is not None}
        return ResolvedRecipe.model_validate({**defaults, **given, "when": when})

    def _resolved_when(self) -> "When":
        """Return which network is scored; a network with given weights, except for its head, is trained already."""
        given = self.has_weights
        if self.dense_epochs == 0 and not given:
            raise UsageError("expected dense_epochs of at least 1 for a network without given weights, got 0")
        if given and self.when in (None, "after-training"):
            return "after-training" if self.reset_head else "trained"
        return self.when or "before-training"


class ResolvedRecipe(Recipe):
    """A recipe with its defaults filled in.

    `arch`, `batch_size` and `score_batch` are None if a network and its batches are passed as objects. `criterion` is
    None if nothing is scored, so that the first channels of every layer stay. Other fields
    that may still be None are switched off (`weights`, `twin`, `train_size`) or decided by the data (`image_size`), the
    criterion (its options), the training (`dense_epochs`, `rewind_step`, `reconstruct`, `fast`) or the machine
    (`engine`, `bench_batch`, `bench_threads`).
    """

    when: When
    rule: str
    round_to: int | Literal["auto"]
    draws: int
    epochs: int
    lr: float
    schedule: Literal["step", "cosine"]

    @property
    def trains_dense(self) -> bool:
        """Whether the dense network is trained, before it is pruned or to compare."""
        if self.train_dense and self.when in ("before-training", "during-training", "gradual", "early-bird"):
            return True
        return self.when in ("after-training", "rewind")

    @property
    def masks_weights(self) -> bool:
        """Whether single weights are masked, and no channel is removed."""
        return self.unit == "weights"

    @property
    def inherits_training(self) -> bool:
        """Whether the slim network starts from the weights of a trained one."""
        return self.scores_final_weights and self.init == "keep"

    @property
    def pruning_epochs(self) -> tuple[int, int]:
        """Epochs after which gradual pruning begins and ends."""
        return self.prune_from or 0, self.prune_until or 0

    @property
    def rewinding_rounds(self) -> int:
        """Number of rounds of training, masking and rewinding; 1 for other recipes."""
        return (self.rounds or 1) if self.rewinds_masks else 1

    @property
    def pruning_rounds(self) -> int:
        """Number of rounds in which a trained network is pruned and fine-tuned; 1 for other networks."""
        return (self.rounds or 1) if self.scores_final_weights else 1

    def named(self) -> "NamedRecipe":
        """Return the recipe as one that names its network and data.

        Raises:
            UsageError: If the recipe names no architecture.
        """
        if self.arch is None:
            raise UsageError("expected an architecture (--arch), got none")
        return NamedRecipe.model_validate(dict(self))


class NamedRecipe(ResolvedRecipe):
    """A resolved recipe that names its network and data."""

    arch: str
    batch_size: int
    score_batch: int
