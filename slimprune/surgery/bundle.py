"""Slim models on disk: a folder with safetensors weights and a JSON description, all covered by digests."""

import hashlib
import json
import math
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from slimprune.bounded import read_bounded
from slimprune.budget import Plan
from slimprune.errors import UsageError, VerificationError, kind_and_line
from slimprune.files import read_document, read_value
from slimprune.forward import unwrap
from slimprune.graph import named_tensors, with_tensors
from slimprune.measure import versions
from slimprune.models import (
    InputSpec,
    MainOutput,
    build,
    built_from,
    configuration_of,
    configuration_of_object,
    from_configuration,
    is_user_code,
)
from slimprune.preprocessing import LabelConfig, Preprocessing, ProcessorConfig, as_configs, from_configs
from slimprune.registry import code_file

SCHEMA_VERSION = 1
LARGEST_FILE, LARGEST_DESCRIPTION = 2**36, 2**28
"""Most bytes of a file of a bundle and of its description."""
_WEIGHTS, _DESCRIPTION = "weights.safetensors", "slim.json"
_PROCESSOR, _LABELS = "preprocessor_config.json", "config.json"
_ARCHITECTURE, _CODE = "architecture.json", "architecture.py"
_README = """A slim model made by slimprune. Its tensors are narrower than those of the dense architecture, so that
`load_state_dict` of the dense class refuses them. Load it with

    import slimprune
    model = slimprune.load("{name}")
"""


@dataclass(frozen=True)
class Origin:
    """How to build the dense model again, and what it takes.

    Attributes:
        arch: Architecture as `models.build` takes it; None for a model that was passed as an object.
        inputs: The images and classes for which it was built; None if the model takes other than one tensor.
        main_output: Whether only the output "out" of several is used; see `models.MainOutput`.
        shape: Shape of one sample of a model that takes one tensor but no images [N, C, H, W]; None otherwise.
    """

    arch: str | None
    inputs: InputSpec | None = None
    main_output: bool = False
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.shape is not None and not (all(size > 0 for size in self.shape) and math.prod(self.shape) < 2**31):
            raise UsageError(f"expected a shape of at least one and below 2 ** 31 numbers, got {list(self.shape)}")

    @classmethod
    def of_object(cls, inputs: object, output: object, *, main_output: bool = False) -> "Origin":
        """Return the origin of a model that was passed as an object.

        Args:
            inputs: What the model takes; its shape is recorded if it is one tensor [N, ...].
            output: What the model gave for it; a tensor's second dimension tells the number of classes.
            main_output: See the attribute.
        """
        if not isinstance(inputs, Tensor) or inputs.ndim < 1:
            return cls(None, main_output=main_output)
        shape = tuple(inputs.shape[1:])
        classes = output.shape[1] if isinstance(output, Tensor) and output.ndim > 1 else 1
        channels, height, width = (*shape, 1, 1, 1)[:3]
        spec = InputSpec(channels, height, width, max(1, classes))
        return cls(None, spec, main_output, None if len(shape) == 3 else shape)

    @property
    def sample_shape(self) -> tuple[int, ...] | None:
        """Shape of one sample of the input; None if it is unknown or there are several inputs."""
        if self.inputs is None or self.shape is not None:
            return self.shape
        return self.inputs.channels, self.inputs.height, self.inputs.width

    @property
    def is_user_code(self) -> bool:
        """Whether building it runs code that its name refers to, not slimprune's or an installed package's."""
        return self.arch is not None and is_user_code(self.arch)


def _plain_name(name: str) -> str:
    if name in ("", ".", "..") or set(name) & {"/", "\\", "\0"}:
        raise ValueError("Input should be the name of a file in the bundle")
    return name


@dataclass(frozen=True, eq=False)
class _Description:
    """The parts of `slim.json` that are read; its widths and versions are for readers only."""

    architecture: Origin
    recipe: Mapping[str, Any]
    results: Mapping[str, Any]
    sha256: Mapping[Annotated[str, AfterValidator(_plain_name)], str]
    plan: Plan


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle read from disk and checked against its digests.

    Attributes:
        folder: Its folder.
        origin: How its dense model is built.
        plan: The plan of the slim module.
        recipe: The settings of the run, as plain values.
        results: What was measured, as plain values.
        weights_sha256: Digest of its weights.
        preprocessing: How images become the model's input; None if it is unknown.
        files: Names of its files that are covered by digests.
    """

    folder: Path
    origin: Origin
    plan: Plan
    recipe: Mapping[str, Any]
    results: Mapping[str, Any]
    weights_sha256: str
    preprocessing: Preprocessing | None = None
    files: Collection[str] = ()

    def rebuild(self, dense: nn.Module) -> nn.Module:
        """Return the slim module in eval mode, rebuilt from a freshly built dense one.

        Raises:
            VerificationError: If the weights cannot be read or do not belong to this architecture.
        """
        try:
            tensors = load_file(self.folder / _WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise VerificationError(f"bundle {self.folder}: {_WEIGHTS} cannot be read: {error}") from error
        _check_fit(self.folder, named_tensors(dense), tensors)
        return with_tensors(dense, tensors).eval()


def save(
    module: nn.Module,
    plan: Plan,
    folder: str | Path,
    *,
    origin: Origin,
    recipe: Mapping[str, Any],
    results: Mapping[str, Any],
    preprocessing: Preprocessing | None = None,
) -> Bundle:
    """Write a bundle into a folder, which is created if needed.

    Files that are already in the folder are covered by the digests too. The configuration of an architecture
    `hf:FOLDER_OR_ID`, or of a model object of transformers, is written as `architecture.json`, and the file of an
    architecture `FILE.py:FUNCTION` as `architecture.py`, so that the bundle can be loaded where these are not.

    Args:
        module: The slim module; `torch.compile`, `DataParallel` and `DistributedDataParallel` are taken off.
        plan: The plan of the slim module.
        folder: Folder to write to.
        origin: How the dense model is built.
        recipe: The settings of the run, as plain values.
        results: What was measured, as plain values.
        preprocessing: How images become the model's input; written in the form of Hugging Face's image processors.

    Returns:
        The bundle.
    """
    folder, module = Path(folder), unwrap(module)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in named_tensors(module).items()}
    (folder / _WEIGHTS).write_bytes(as_safetensors(tensors))
    (folder / "README.md").write_text(_README.format(name=folder.name))
    if is_bundle(folder):  # what an earlier one says of its preprocessing is not said of this one
        for name in (_PROCESSOR, _LABELS, _CODE, _ARCHITECTURE):
            (folder / name).unlink(missing_ok=True)
    for name, config in ({} if preprocessing is None else as_configs(preprocessing)).items():
        (folder / name).write_text(json.dumps(config, indent=1) + "\n")
    configuration = None if origin.arch is None else configuration_of(origin.arch)
    if configuration is not None:
        shutil.copy(configuration, folder / _ARCHITECTURE)
    of_object = configuration_of_object(module) if origin.arch is None else None
    if of_object is not None:
        (folder / _ARCHITECTURE).write_text(of_object)
    code = None if origin.arch is None or not _is_file_of_code(origin.arch) else code_file(origin.arch)
    if code is not None:
        shutil.copy(code, folder / _CODE)
    files = sorted(path for path in folder.iterdir() if path.name != _DESCRIPTION)
    description = {
        "schema_version": SCHEMA_VERSION,
        "architecture": asdict(origin),
        "widths": module_widths(module),
        "recipe": dict(recipe),
        "results": dict(results),
        "versions": versions(),
        "sha256": {path.name: _digest(path.read_bytes()) for path in files},
        "plan": json.loads(plan.to_json()),
    }
    description["digest"] = _digest(_canonical(description))
    (folder / _DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
    digests = description["sha256"]
    return Bundle(folder, origin, plan, recipe, results, digests[_WEIGHTS], preprocessing, tuple(digests))


def is_bundle(folder: Path) -> bool:
    """Return whether a folder holds a bundle, readable or not."""
    return (folder / _DESCRIPTION).is_file()


def read(folder: Path) -> Bundle:
    """Read and check a bundle; no model is built and no code of the bundle is run.

    Raises:
        UsageError: If the folder does not exist.
        VerificationError: If a file is missing, unreadable or altered.
    """
    if not folder.is_dir():
        raise UsageError(f"expected the folder of a bundle, got {folder}")
    try:
        text = read_bounded(folder / _DESCRIPTION, LARGEST_DESCRIPTION)
        description = _read_description(folder, text)
        for name, expected in description.sha256.items():
            if _digest(read_bounded(folder / name, LARGEST_FILE)) != expected:
                raise VerificationError(f"bundle {folder}: {name} was altered")
        preprocessing = _read_preprocessing(folder, description.sha256)
    except OSError as error:
        raise VerificationError(f"bundle {folder} cannot be read: {kind_and_line(error)}") from error
    return Bundle(
        folder=folder,
        origin=description.architecture,
        plan=description.plan,
        recipe=description.recipe,
        results=description.results,
        weights_sha256=description.sha256[_WEIGHTS],
        preprocessing=preprocessing,
        files=tuple(description.sha256),
    )


def load(folder: str | Path, *, model: nn.Module | None = None, trust_code: bool = False) -> nn.Module:
    """Return the slim module of a bundle, in eval mode; torch's generator does not change.

    Args:
        folder: The bundle.
        model: The dense model, for bundles of models that were passed as objects; it is not modified.
        trust_code: Whether the bundle may name the code (`file.py:factory`) that builds its dense model.

    Raises:
        UsageError: If the folder does not exist, or a model or `trust_code` is needed and was not given.
        VerificationError: If the bundle is unreadable or altered, or does not belong to the model.
    """
    return restore(read(Path(folder)), model=model, trust_code=trust_code)


def restore(bundle: Bundle, *, model: nn.Module | None = None, trust_code: bool = False) -> nn.Module:
    """Return the slim module of a bundle that has already been read; see `load`."""
    return bundle.rebuild(build_dense(bundle, model=model, trust_code=trust_code))


def build_dense(
    bundle: Bundle,
    *,
    model: nn.Module | str | None = None,
    inputs: InputSpec | None = None,
    trust_code: bool = False,
) -> nn.Module:
    """Return the dense module from which a bundle was made; torch's generator does not change.

    Args:
        bundle: The bundle.
        model: The dense model, or an architecture that builds it, in place of the one that the bundle names.
        inputs: Inputs for which an architecture is built if the bundle does not record them.
        trust_code: Whether the bundle may name the code that builds it.

    Raises:
        UsageError: If the model was passed as an object, or is built by code and `trust_code` is False, and none is
            given; or if nothing tells the inputs for which to build an architecture.
    """
    dense = unwrap(model) if isinstance(model, nn.Module) else _built(bundle, model, inputs, trust_code)
    return MainOutput(dense) if bundle.origin.main_output else dense


def _built(bundle: Bundle, arch: str | None, inputs: InputSpec | None, trust_code: bool) -> nn.Module:
    """Return the module that the architecture `arch` builds, or the bundle's own if it is None."""
    named, inputs = arch or bundle.origin.arch, bundle.origin.inputs or inputs
    if named is None and _ARCHITECTURE in bundle.files:
        with torch.random.fork_rng(devices=[]):
            return from_configuration(bundle.folder / _ARCHITECTURE)
    if named is None:
        raise UsageError(
            f"bundle {bundle.folder} was made from a model object: pass that dense model as model=..., or on the "
            "command line the function that builds it as --model FILE.py:FUNCTION"
        )
    if arch is None and bundle.origin.is_user_code and not trust_code:
        raise UsageError(f"bundle {bundle.folder} is built by the code {named}: allow it with --trust-code")
    if inputs is None:
        raise UsageError(f"expected a bundle that records the shape of one input tensor, got {bundle.folder}")
    if arch is None:
        if not bundle.origin.is_user_code:
            _check_sizes(bundle.folder, inputs)
        named = built_from(named, bundle.folder / _ARCHITECTURE)
        if _is_file_of_code(named) and code_file(named) is None and (bundle.folder / _CODE).is_file():
            named = f"{bundle.folder / _CODE}:{named.rpartition(':')[2]}"
    with torch.random.fork_rng(devices=[]):
        return build(named, inputs)


def _is_file_of_code(arch: str) -> bool:
    """Return whether an architecture is a function in a file, which can be copied; a module has others around it."""
    return is_user_code(arch) and arch.rpartition(":")[0].endswith(".py")


def module_widths(module: nn.Module) -> dict[str, dict[str, int]]:
    """Return the width attributes of every layer that has any, by module name."""
    attributes = ("in_channels", "out_channels", "groups", "in_features", "out_features", "num_features")
    found = {
        name: {key: getattr(layer, key) for key in attributes if isinstance(getattr(layer, key, None), int)}
        for name, layer in module.named_modules()
        if any(True for _ in layer.parameters(recurse=False))
    }
    return {name: widths for name, widths in found.items() if widths}


def _read_description(folder: Path, text: bytes) -> _Description:
    what = f"bundle {folder}"
    plain = read_document(dict[str, Any], text, what)
    if plain.pop("digest", None) != _digest(_canonical(plain)):
        raise VerificationError(f"{what}: {_DESCRIPTION} was altered")
    if plain.get("schema_version") != SCHEMA_VERSION:
        raise VerificationError(f"{what}: expected schema_version {SCHEMA_VERSION}, got {plain.get('schema_version')}")
    description = read_value(_Description, text, what)
    if _WEIGHTS not in description.sha256:
        raise VerificationError(f"{what} cannot be read: sha256.{_WEIGHTS}: expected a field, got none")
    return description


def _read_preprocessing(folder: Path, files: Collection[str]) -> Preprocessing | None:
    if _PROCESSOR not in files:
        return None
    what = f"bundle {folder}: {_PROCESSOR}"
    processor = read_value(ProcessorConfig, (folder / _PROCESSOR).read_bytes(), what)
    labels = read_value(LabelConfig, (folder / _LABELS).read_bytes(), what) if _LABELS in files else None
    try:
        return from_configs(processor, labels)
    except UsageError as error:
        raise VerificationError(f"{what} cannot be used: {error}") from error


def _check_sizes(folder: Path, inputs: InputSpec) -> None:
    """Check that channels and classes are sizes of the weights, before a network of these sizes is built."""
    try:
        with safe_open(folder / _WEIGHTS, "pt") as file:
            sizes = {size for name in file.keys() for size in file.get_slice(name).get_shape()}  # noqa: SIM118 no dict
    except (SafetensorError, OSError) as error:
        raise VerificationError(f"bundle {folder}: {_WEIGHTS} cannot be read: {error}") from error
    for what in ("channels", "classes"):
        if getattr(inputs, what) > max(sizes, default=1):
            raise VerificationError(
                f"bundle {folder}: expected {what} of a size of the weights, at most {max(sizes, default=1)}, "
                f"got {getattr(inputs, what)}"
            )


def _check_fit(folder: Path, dense: Mapping[str, Tensor], slim: Mapping[str, Tensor]) -> None:
    unmatched = sorted(dense.keys() ^ slim.keys())
    if unmatched:
        raise VerificationError(f"bundle {folder} does not belong to this model: {unmatched[0]} is in only one of them")
    for name, tensor in slim.items():
        large = dense[name]
        if tensor.ndim != large.ndim or any(a > b for a, b in zip(tensor.shape, large.shape, strict=True)):
            raise VerificationError(
                f"bundle {folder} does not belong to this model: {name} has shape {tuple(tensor.shape)}, "
                f"the dense one {tuple(large.shape)}"
            )
        if tensor.is_floating_point() != large.is_floating_point() or tensor.is_complex() != large.is_complex():
            kinds = f"{_kind(large)}, got {_kind(tensor)}"
            raise VerificationError(f"bundle {folder} does not belong to this model: expected {name} in {kinds}")
        if not tensor.isfinite().all() and large.isfinite().all():
            raise VerificationError(f"bundle {folder}: expected finite numbers in {name}, got nan or inf")


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _canonical(description: Mapping[str, Any]) -> bytes:
    return json.dumps(description, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
