"""A bundle made ready to run: its slim network, which gives one tensor, and inputs for it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimprune.bounded import LARGEST_SIDE
from slimprune.data import ImageData, is_user_code, load
from slimprune.errors import UnsupportedModelError, UsageError, VerificationError, first_line
from slimprune.forward import ForwardAdapter, name_of
from slimprune.models import InputSpec, is_detector, main_output, with_one_input
from slimprune.pipeline.workload import OWN_BATCHES, SAMPLES
from slimprune.surgery import Bundle, build_dense
from slimprune.timing.compare import noise

Model = nn.Module | str
"""A dense model, or the architecture that builds it."""


@dataclass(frozen=True, eq=False)
class OpenedBundle:
    """The slim network of a bundle with inputs on which to run it.

    Attributes:
        module: The slim network in eval mode: [N, ...] -> one tensor.
        samples: Test images, or noise of the recorded shape if there are none.
        images: Data set of the samples, normalised as the network takes it; None if they are noise.
    """

    module: nn.Module
    samples: Tensor
    images: ImageData | None

    @property
    def noise(self) -> bool:
        """Whether the samples are noise."""
        return self.images is None


def open_bundle(bundle: Bundle, *, data: str | None, model: Model | None, trust_code: bool) -> OpenedBundle:
    """Return the network of a bundle with samples of the data set `data`, of the bundle's own, or of noise.

    Args:
        bundle: The bundle.
        data: Data set to take samples from instead of the bundle's.
        model: Dense model, or the architecture that builds it, instead of the bundle's.
        trust_code: Whether to run the code that the bundle names for building its dense model and loading its data.

    Raises:
        UsageError: If the bundle lacks what is needed and was not given, or names code and `trust_code` is false.
        UnsupportedModelError: If the network fails on the samples.
    """
    images = _normalised(bundle, _data_set(bundle, data, trust_code))
    samples = _noise(bundle) if images is None else _samples(bundle, images)
    inputs = None if images is None else InputSpec(images.channels, images.height, images.width, images.classes)
    dense = build_dense(bundle, model=model, inputs=inputs, trust_code=trust_code)
    return OpenedBundle(with_one_tensor(bundle.rebuild(dense), samples[:2]), samples, images)


def with_one_tensor(module: nn.Module, sample: Tensor) -> nn.Module:
    """Return a module that gives one tensor, in eval mode: the main output of several by name, or that of a detector.

    Raises:
        UnsupportedModelError: If the module fails on the sample.
    """
    if is_detector(module):
        module = with_one_input(module, *sample.shape[-2:])
    try:
        with torch.no_grad():
            output = module.eval()(sample)
    except Exception as error:
        found = f"{name_of(module)} fails on inputs {list(sample.shape)}: {first_line(error)}"
        raise UnsupportedModelError(found) from error
    return module if main_output(output) is output else ForwardAdapter(module, _main_output_of)


def _main_output_of(module: nn.Module, inputs: Tensor) -> Any:
    return main_output(module(inputs))


def _data_set(bundle: Bundle, data: str | None, trust_code: bool) -> ImageData | None:
    """Return the data set `data`, or the bundle's if it is None; None if the bundle names none.

    Raises:
        UsageError: If the bundle loads its data by code although `trust_code` is false.
    """
    recorded, shape = bundle.recipe.get("data"), bundle.origin.sample_shape
    named = data or (recorded if isinstance(recorded, str) and recorded != OWN_BATCHES else None)
    if named is None:
        return None
    if data is None and is_user_code(named) and not trust_code:
        raise UsageError(f"bundle {bundle.folder} loads its data by the code {named}: allow it with --trust-code")
    size = bundle.recipe.get("image_size")
    if isinstance(size, bool) or (isinstance(size, int) and not 1 <= size <= LARGEST_SIDE):
        raise VerificationError(f"bundle {bundle.folder}: expected image_size in 1 ... {LARGEST_SIDE}, got {size}")
    if bundle.origin.arch is None and shape is not None and len(shape) == 3 and shape[1] == shape[2]:
        size = shape[1]
    return load(named, image_size=size if isinstance(size, int) else None)


def _normalised(bundle: Bundle, data: ImageData | None) -> ImageData | None:
    how = bundle.preprocessing
    return data if data is None or how is None else data.with_normalisation(how.mean, how.std)


def _samples(bundle: Bundle, data: ImageData) -> Tensor:
    shape, samples = bundle.origin.sample_shape, data.samples(SAMPLES)
    found = tuple(samples.shape[1:])
    if bundle.origin.arch is None and shape is not None and found != shape:
        raise UsageError(f"expected images of shape {shape}, for which {bundle.folder} was made, got {found}")
    return samples


def _noise(bundle: Bundle) -> Tensor:
    shape = bundle.origin.sample_shape
    if shape is None:
        raise UsageError(
            f"expected --data for bundle {bundle.folder}, which names no data set and no shape of one input, got none"
        )
    return noise(SAMPLES, shape)
