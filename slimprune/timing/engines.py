"""Engines of timed networks, each of which turns a network and its inputs into a call."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product
from typing import Literal

import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, UsageError, first_line
from slimprune.timing.onnx_calls import CUDA_PROVIDER, onnx_on_cpu, onnx_on_cuda, onnx_on_openvino, quantised_on_cpu
from slimprune.timing.sampling import Call
from slimprune.timing.subject import Place, Subject
from slimprune.training import TrainSettings, capture, channels_last, make_execution, to_channels_last


@dataclass(frozen=True)
class Engine:
    """A method to run a network.

    Attributes:
        name: Value of `--engine`.
        description: One line for users.
        prepare: Function of subject, inputs [N, ...] on the CPU and place that returns the timed call.
        needs: The only device type that it runs on; `any` follows the requested device.
        package: Package that runs the network.
        smallest_batch: Smallest batch size that it supports.
        on_request: Whether it is used only if named.
    """

    name: str
    description: str
    prepare: Callable[[Subject, Tensor, Place], Call]
    needs: Literal["any", "cpu", "cuda"] = "any"
    package: Literal["torch", "onnxruntime", "openvino"] = "torch"
    smallest_batch: int = 1
    on_request: bool = False

    @property
    def runs_onnx(self) -> bool:
        """Whether it runs the ONNX file."""
        return self.package != "torch"

    def place(self, device: torch.device, threads: int) -> Place:
        """Return the place where the engine runs if `device` is requested."""
        return Place(torch.device("cpu") if self.needs == "cpu" else device, threads)

    def absence(self, device: torch.device) -> str | None:
        """Return why the engine cannot run with `device`; None if it can."""
        if self.needs == "cuda" and device.type != "cuda":
            return f"engine {self.name} needs a CUDA device, got {device.type}"
        if self.needs == "cuda" and self.runs_onnx and CUDA_PROVIDER not in onnxruntime.get_available_providers():
            return f"engine {self.name} needs onnxruntime's {CUDA_PROVIDER}, which this installation lacks"
        if find_spec(self.package) is None:
            return f"engine {self.name} needs the package {self.package}: pip install 'slimprune[{self.package}]'"
        return None

    def prepared(self, subject: Subject, inputs: Tensor, place: Place) -> Call:
        """Return the call to be timed, after one call that checks that it works.

        Raises:
            UnsupportedModelError: If the engine cannot run the network.
        """
        try:
            call = self.prepare(subject, inputs, place)
            call()
        except (RuntimeError, ValueError, TypeError) as error:
            rule = f"expected a network that engine {self.name} can run on inputs {list(inputs.shape)}"
            raise UnsupportedModelError(f"{rule}, got {first_line(error)}") from error
        return call


def find_engines(names: tuple[str, ...], device: torch.device) -> list[Engine]:
    """Return the engines of those names, each once; without names, the usual ones that can run with `device`.

    Raises:
        UsageError: If a name is unknown, or an engine cannot run here.
    """
    if not names:
        return [engine for engine in ENGINES.values() if engine.absence(device) is None and not engine.on_request]
    found = []
    for name in dict.fromkeys(names):
        if name not in ENGINES:
            raise UsageError(f"expected an engine ({', '.join(ENGINES)}), got {name!r}")
        absence = ENGINES[name].absence(device)
        if absence is not None:
            raise UsageError(absence)
        found.append(ENGINES[name])
    return found


def engine_at(name: str, device: torch.device) -> tuple[Engine, torch.device]:
    """Return an engine and the device that it runs on if `device` is requested.

    Args:
        name: Name of the engine; a suffix `-cpu` or `-cuda` overrides `device`.
        device: Device of everything else.

    Raises:
        UsageError: If the name is unknown, or the engine cannot run there.
    """
    base, _, where = name.rpartition("-")
    if name not in ENGINES and base in ENGINES and where in ("cpu", "cuda"):
        name, device = base, device if device.type == where else torch.device(where)
        if ENGINES[name].needs not in ("any", where):
            raise UsageError(f"engine {name} runs on {ENGINES[name].needs} only, got {where}")
        if where == "cuda" and not torch.cuda.is_available():
            raise UsageError(f"engine {name}-{where} needs a CUDA device, which is not present")
    (engine,) = find_engines((name,), device)
    return engine, engine.place(device, 1).device


def _inference(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Return a forward pass in eval mode, executed operator by operator."""
    module, inputs = _copied(subject.module, place).eval(), inputs.to(place.device)

    def call() -> None:
        with torch.inference_mode():
            module(inputs)

    return call


def _channels_last_inference(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Return a forward pass in eval mode, with images and weights in channels-last order."""
    return _inference(_channels_last(subject), channels_last(inputs), place)


def _captured_inference(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Return a forward pass in eval mode and channels-last order, captured once as a CUDA graph and replayed."""
    module = _copied(_channels_last(subject).module, place).eval()
    with torch.no_grad():
        captured = capture(module, channels_last(inputs.to(place.device)))
    return lambda: captured.graph.replay()


def _training(*, fast: bool, amp: bool) -> Callable[[Subject, Tensor, Place], Call]:
    """Return a function that prepares training steps, fast or plain, with the same execution as `training.train`.

    A step comprises forward pass, backward pass and the update of SGD. The learning rate is 0: the arithmetic is the
    same, but the weights, on which the times depend, do not change.
    """
    settings = TrainSettings(epochs=1, amp=amp, fast=fast)

    def prepare(subject: Subject, inputs: Tensor, place: Place) -> Call:
        subject, inputs = (_channels_last(subject), channels_last(inputs)) if fast else (subject, inputs)
        module, inputs = _copied(subject.module, place).train(), inputs.to(place.device)
        with torch.no_grad():
            loss, targets = _synthetic_task(module(inputs))
        execution = make_execution(module, settings, loss, place.device, _refuse)
        for _ in range(2):  # the second one is captured if the execution uses CUDA graphs
            execution.step(inputs, targets, 0.0)
        return lambda: execution.step(inputs, targets, 0.0)

    return prepare


def _refuse(reason: str) -> None:
    raise RuntimeError(reason)


def _synthetic_task(output: Tensor) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """Return cross-entropy and random classes for an output [N, K > 1], otherwise binary cross-entropy and a mask."""
    generator = torch.Generator().manual_seed(0)
    if output.ndim == 2 and output.shape[1] > 1:
        classes = torch.randint(output.shape[1], output.shape[:1], generator=generator)
        return F.cross_entropy, classes.to(output.device)
    return F.binary_cross_entropy_with_logits, torch.randint(2, output.shape, generator=generator).to(output)


def _channels_last(subject: Subject) -> Subject:
    """Return a copy of the network in channels-last order."""
    module = copy.deepcopy(subject.module)
    to_channels_last(module)
    return replace(subject, module=module)


def _copied(module: nn.Module, place: Place) -> nn.Module:
    return copy.deepcopy(module).to(place.device)


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("torch", "torch, inference operator by operator", _inference),
        Engine("torch-nhwc", "torch, inference in channels-last order", _channels_last_inference),
        Engine("torch-captured", "the same captured in a CUDA graph", _captured_inference, needs="cuda"),
        Engine("onnxruntime", "onnxruntime on the CPU", onnx_on_cpu, needs="cpu", package="onnxruntime"),
        Engine("onnxruntime-cuda", "onnxruntime on CUDA", onnx_on_cuda, needs="cuda", package="onnxruntime"),
        Engine(
            "onnxruntime-int8",
            "onnxruntime on the CPU, the network quantised to int8",
            quantised_on_cpu,
            needs="cpu",
            package="onnxruntime",
            on_request=True,
        ),
        Engine(
            "openvino",
            "OpenVINO on the CPU (pip install 'slimprune[openvino]')",
            onnx_on_openvino,
            needs="cpu",
            package="openvino",
            on_request=True,
        ),
        *(
            Engine(
                f"train{'-fast' if fast else ''}{'-amp' if amp else ''}",
                f"torch, a {'fast' if fast else 'plain'} training step in {'bfloat16' if amp else 'float32'}",
                _training(fast=fast, amp=amp),
                smallest_batch=2,
                on_request=amp,
            )
            for amp, fast in product((False, True), repeat=2)
        ),
    )
}
"""All engines by name."""
