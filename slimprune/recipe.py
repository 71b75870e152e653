"""The validated description of a run: YAML or flags to a typed object, whose hash names the run."""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
)

from slimprune.errors import UsageError


def _as_list(value: object) -> object:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _as_shares(value: object) -> object:
    """`macs=0.8,channels=0.5` as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [(of.strip(), share.strip()) for of, _, share in (part.partition("=") for part in value.split(","))]
    if len({of for of, _ in pairs}) < len(pairs):
        raise ValueError("Input should be each quantity once")
    return dict(pairs)


def _in_range(share: float) -> float:
    if not 0 < share < 1:
        raise ValueError("Input should be a share in (0, 1)")
    return share


def _as_rounding(value: object) -> object:
    if value is None or value == AUTO:
        return value
    if isinstance(value, int | str) and not isinstance(value, bool) and str(value).isdecimal() and int(value) > 0:
        return int(value)
    raise ValueError(f"Input should be a whole number of at least 1, or {AUTO}")


AUTO = "auto"
Quantity = Literal["params", "macs", "channels", "latency"]
Share = Annotated[float, AfterValidator(_in_range)]
Description = TypeVar("Description", bound=BaseModel)


class Recipe(BaseModel):
    """Settings of one `compress` run; every field is a flag of the same name.

    A field that is None takes the default of its architecture, data set or budget, see `with_defaults`; options of a
    criterion that are None take the criterion's own default.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, allow_inf_nan=False, populate_by_name=True, serialize_by_alias=True
    )

    arch: str | None = Field(None, description="architecture name, package.module:factory or path/to/file.py:factory")
    data: str = Field("digits", description="a data set (`slimprune list data`) or path/to/file.py:function")
    image_size: int | None = Field(None, ge=1, description="side in pixels to which large images are resized")
    train_size: int | None = Field(None, ge=1, description="train and score on this many images only, drawn once")
    ratio: Share = Field(0.9, description="share to remove, in (0, 1)")
    of: Quantity = Field("params", description="what the ratio counts")
    also: Annotated[dict[Quantity, Share], BeforeValidator(_as_shares)] = Field(
        {}, alias="and", description="shares of other quantities that have to go as well, such as macs=0.8"
    )
    when: Literal["before-training", "after-training", "rewind"] = Field(
        "before-training",
        description="which network is scored: the initial one, or the trained one whose kept weights are inherited or "
        "go back to an early step",
    )
    rewind_step: int | None = Field(
        None, ge=0, description="training step to which `--when rewind` goes back (default: after 2 % of them)"
    )
    dense_epochs: int | None = Field(None, ge=1, description="epochs of the dense network (default: as --epochs)")
    weights: Path | None = Field(None, description="safetensors file with initial weights to start from")
    init: Literal["keep", "reinit", "rescale"] = Field("keep", description="initial weights of the slim network")
    twin: Literal["shuffle", "invert"] | None = Field(
        None, description="same widths, other channels: random ones, or those with the lowest scores"
    )
    criterion: str = Field(
        "prospr", description="how channels are scored (`slimprune list criteria`), or path/to/file.py:Class"
    )
    rule: str | None = Field(
        None, description="how the budget is shared out (`slimprune list rules`), or path/to/file.py:function"
    )
    floor: float = Field(0.05, ge=0, lt=1, description="share of its channels that every layer keeps at least")
    gate: Literal["consumer", "norm", "producer"] = Field("consumer", description="where the gates sit")
    steps: int | None = Field(None, ge=0, description="inner training steps")
    draws: int | None = Field(None, ge=1, description="independent draws that are averaged")
    inner_lr: float | None = Field(None, gt=0, description="learning rate of the inner training")
    inner_momentum: float | None = Field(None, ge=0, lt=1, description="momentum of the inner training")
    rounds: int | None = Field(None, ge=1, description="narrowing steps of criteria that prune little by little")
    score_batch: int | None = Field(None, ge=1, description="batch size of the scoring")
    dtype: Literal["float32", "float64"] = Field("float32", description="precision of the scoring")
    round_to: Annotated[int | Literal["auto"] | None, PlainValidator(_as_rounding)] = Field(
        None, description="widths become multiples of this; auto: of what pays by measured times"
    )
    engine: str | None = Field(
        None, description="what latency is measured with (`slimprune list engines`); -cpu or -cuda behind it says where"
    )
    bench_batch: int | None = Field(None, ge=1, description="samples at once when latency is measured")
    bench_threads: int | None = Field(None, ge=1, description="threads on the CPU when latency is measured")
    protect: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(
        (), description="layers, by name or pattern, whose channels all stay"
    )
    loss: Literal["auto", "cross-entropy", "bce", "dice", "bce+dice"] = Field(
        "auto", description="what scoring and training minimise; auto is cross-entropy, for masks binary"
    )
    epochs: int | None = Field(None, ge=1, description="training epochs")
    batch_size: int | None = Field(None, ge=1, description="training batch size")
    lr: float | None = Field(None, gt=0, description="training learning rate")
    weight_decay: float = Field(5e-4, ge=0, description="training weight decay")
    schedule: Literal["step", "cosine"] | None = Field(None, description="learning rate schedule")
    train_dense: bool = Field(False, description="also train the dense network by the same recipe, to compare")
    device: str = Field("auto", description="cpu, cuda, cuda:N, or auto")
    amp: bool = Field(False, description="train in bfloat16 autocast")
    fast: bool | None = Field(
        None, description="train channels-last, on CUDA captured in a graph (default: wherever the model allows)"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, draws and batches")
    out: Path | None = Field(None, description="the ONNX file to write; bundle and report go beside it")

    @field_validator("device")
    @classmethod
    def _device_known(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise ValueError("Input should be auto, cpu, cuda or cuda:N")
        return device

    @property
    def hash(self) -> str:
        """SHA-256 of the settings that decide the result; `out`, `device` and `fast` are left out."""
        plain = self.model_dump(mode="json", exclude={"out", "device", "fast"})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def criterion_options(self) -> dict[str, Any]:
        """The options that were set for the criterion, under the criterion's names."""
        options = {option: getattr(self, field) for field, option in CRITERION_OPTIONS.items()}
        return {name: value for name, value in options.items() if value is not None}

    def with_defaults(self, *, segmentation: bool | None = None) -> "Recipe":
        """The same recipe with the defaults of its task, data set and budget filled in.

        Args:
            segmentation: whether that is the task; None to go by the name of the architecture.
        """
        if segmentation is None:
            segmentation = names_segmentation(self.arch or "")
        of_task = _SEGMENTATION if segmentation else {}
        defaults = {**_PAPER, **of_task, **_BY_DATA.get(self.data, {}), "rule": DEFAULT_RULES[self.of]}
        defaults["round_to"] = AUTO if "latency" in (self.of, *self.also) else 1
        return self.model_copy(update={name: value for name, value in defaults.items() if getattr(self, name) is None})


PANELS: Mapping[str, tuple[str, ...]] = {
    "network": ("arch", "weights", "device", "seed"),
    "data": ("data", "image_size", "train_size"),
    "budget": ("ratio", "of", "also", "rule", "floor", "protect", "round_to", "engine", "bench_batch", "bench_threads"),
    "scoring": (
        "when", "rewind_step", "criterion", "gate", "steps", "draws", "inner_lr", "inner_momentum", "rounds",
        "score_batch", "dtype", "twin",
    ),
    "training": (
        "epochs", "batch_size", "lr", "weight_decay", "schedule", "loss", "init", "amp", "fast", "train_dense",
        "dense_epochs",
    ),
    "output": ("out",),
}  # fmt: skip
"""What each field is about: the panels in which the help of a command shows their flags, in that order."""

_PAPER: Mapping[str, Any] = {
    "epochs": 200, "batch_size": 256, "lr": 0.1, "schedule": "step", "draws": 8, "score_batch": 128,
}  # fmt: skip
_SEGMENTATION: Mapping[str, Any] = {
    "epochs": 100, "batch_size": 16, "lr": 0.1, "schedule": "cosine", "draws": 8, "score_batch": 16,
}  # fmt: skip
_SEGMENTATION_FAMILIES = ("deeplabv3_", "fcn_", "lraspp_")


def names_segmentation(arch: str) -> bool:
    """Whether an architecture is one of those for segmentation that go by a name; a user's own does not.

    >>> [names_segmentation(arch) for arch in ("unet:depth=3", "fcn_resnet50", "unet.py:build", "fcn_net:build")]
    [True, True, False, False]
    """
    name, _, rest = arch.partition(":")
    return name == "unet" or (name.startswith(_SEGMENTATION_FAMILIES) and not rest)


_BY_DATA: Mapping[str, Mapping[str, Any]] = {
    "digits": {
        "epochs": 12, "batch_size": 64, "lr": 0.05, "schedule": "cosine", "draws": 2, "score_batch": 64,
    },
}  # fmt: skip
BENCH_BATCH = 8
_BY_MACHINE: Mapping[str, str] = {
    "round_to": f"{AUTO} for latency, 1 otherwise",
    "engine": "onnxruntime on the CPU, torch on CUDA",
    "bench_batch": str(BENCH_BATCH),
    "bench_threads": "all cores",
}
CRITERION_OPTIONS: Mapping[str, str] = {
    "steps": "steps", "inner_lr": "lr", "inner_momentum": "momentum", "rounds": "rounds",
}  # fmt: skip
"""Field of the recipe -> name of the criterion's option."""
DEFAULT_RULES: Mapping[str, str] = {
    "params": "global", "macs": "uniform", "channels": "global", "latency": "uniform",
}  # fmt: skip
"""By measurement (README, "Rules, measured"); top-1 in %, short trainings on CIFAR-10:

    removed                     global   tempered   uses ** 0.2   uniform
    VGG-19, 95 % of params       65.06      57.16                   58.58
    VGG-19, 95 % of MACs         41.01      57.93                   59.47
    ResNet-20, 80 % of params    63.49      63.45                   63.14
    ResNet-20, 80 % of MACs      33.75      53.19         54.86     56.84   (another recipe than the rows above)

At equal MACs and in longer trainings `early` differs from uniform by +0.9 points on VGG-19, +1.2 on U-Net and -1.7 on
ResNet-20: better on some networks, not on all, so uniform stays the default.
"""


SCORED_RULES: Mapping[str, str] = {**DEFAULT_RULES, "macs": "tempered", "latency": "tempered"}
"""The best of the rules that look at scores, for comparisons of criteria."""


def make_recipe(settings: Mapping[str, Any]) -> Recipe:
    """A recipe from plain settings.

    Raises:
        UsageError: an unknown field or a bad value; the message names the field.
    """
    return validated(Recipe, _as_in_files(settings))


def validated(kind: type[Description], settings: Mapping[str, Any]) -> Description:
    """A description of that kind from plain settings.

    Raises:
        UsageError: an unknown field or a bad value; the message names the field.
    """
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        known = [field.alias or name for name, field in kind.model_fields.items()]
        raise UsageError("; ".join(_sentence(dict(problem), known) for problem in error.errors())) from error


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, not validated yet.

    Raises:
        UsageError: the file is missing, not YAML, or not a mapping.
    """
    try:
        settings = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsageError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise UsageError(f"recipe {path}: expected a mapping of fields, got {type(settings).__name__}")
    return _as_in_files(settings)


def _as_in_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under the names of files and flags, such as `and`, which no argument of Python's can have.

    Raises:
        UsageError: a field under both of its names.
    """
    aliases = {name: field.alias for name, field in Recipe.model_fields.items() if field.alias}
    for name, alias in aliases.items():
        if name in settings and alias in settings:
            raise UsageError(f"expected {alias} once, got {name} as well")
    return {aliases.get(name, name): value for name, value in settings.items()}


def default_text(name: str) -> str:
    """The default of a field in words; "" where there is nothing to say."""
    if name == "rule":
        return ", ".join(f"{rule} for {of}" for of, rule in DEFAULT_RULES.items())
    if name in _BY_MACHINE:
        return _BY_MACHINE[name]
    if name in CRITERION_OPTIONS:
        return "the criterion's own"
    if name in _PAPER:
        others: dict[str, list[str]] = {}
        for what, defaults in {"segmentation": _SEGMENTATION, **_BY_DATA}.items():
            if defaults[name] != _PAPER[name]:
                others.setdefault(str(defaults[name]), []).append(what)
        exceptions = [f", {value} for {' and '.join(where)}" for value, where in others.items()]
        return f"{_PAPER[name]}{''.join(exceptions)}"
    default = Recipe.model_fields[name].default
    return "" if default is None or default is False or default in ((), {}) else str(default)


def _sentence(problem: Mapping[str, Any], known: Sequence[str]) -> str:
    name, found = ".".join(str(part) for part in problem["loc"] if part != "[key]"), problem["input"]
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return f"unknown field {name!r} ({hint})"
    if problem["type"] == "path_type":
        return f"{name}: expected a path, got {found!r}"
    rule = problem["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    # pydantic's own remark on the value repeats what follows.
    for remark in (", unable to ", ", got "):
        rule = rule.partition(remark)[0]
    return f"{name}: {rule}, got {found!r}"
