"""Engines of timed networks, each of which turns a network and its inputs into a call."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, UsageError, first_line
from slimprune.measure.devices import synchronise
from slimprune.measure.machine import undisturbed_seconds
from slimprune.timing.sampling import Call, Stopwatch
from slimprune.training import TrainSettings, capture, channels_last, make_execution, to_channels_last

_CUDA_PROVIDER = "CUDAExecutionProvider"
_ERRORS_ONLY = 3


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to be timed.

    Attributes:
        module: Network on any device; it is left unchanged.
        onnx: ONNX file of the same network, for engines that run ONNX files.
    """

    module: nn.Module
    onnx: Path | None = None


@dataclass(frozen=True)
class Place:
    """Device and threads that run a network.

    Attributes:
        device: Device of the inputs and the weights.
        threads: Threads of one operator on the CPU.
    """

    device: torch.device
    threads: int

    @property
    def stopwatch(self) -> Stopwatch:
        """Stopwatch of undisturbed time on the CPU, and of wall-clock time until an accelerator has finished.

        Undisturbed time excludes the time during which other work used the cores.
        """
        if self.device.type == "cpu":
            return Stopwatch(undisturbed_seconds)
        return Stopwatch(synchronise=lambda: synchronise(self.device))


@dataclass(frozen=True)
class Engine:
    """A method to run a network.

    Attributes:
        name: Value of `--engine`.
        description: One line for users.
        prepare: Function of subject, inputs [N, ...] on the CPU and place that returns the timed call.
        needs: The only device type that it runs on; `any` follows the requested device.
        runs_onnx: Whether it runs the ONNX file.
        smallest_batch: Smallest batch size that it supports.
        on_request: Whether it is used only if named.
    """

    name: str
    description: str
    prepare: Callable[[Subject, Tensor, Place], Call]
    needs: Literal["any", "cpu", "cuda"] = "any"
    runs_onnx: bool = False
    smallest_batch: int = 1
    on_request: bool = False

    def place(self, device: torch.device, threads: int) -> Place:
        """Return the place where the engine runs if `device` is requested."""
        return Place(torch.device("cpu") if self.needs == "cpu" else device, threads)

    def absence(self, device: torch.device) -> str | None:
        """Return why the engine cannot run with `device`; None if it can."""
        if self.needs == "cuda" and device.type != "cuda":
            return f"engine {self.name} needs a CUDA device, got {device.type}"
        if self.needs == "cuda" and self.runs_onnx and _CUDA_PROVIDER not in onnxruntime.get_available_providers():
            return f"engine {self.name} needs onnxruntime's {_CUDA_PROVIDER}, which this installation lacks"
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


def _onnx_on_cpu(subject: Subject, inputs: Tensor, place: Place) -> Call:
    session = _session(subject, place, "CPUExecutionProvider")
    feed = {session.get_inputs()[0].name: inputs.numpy()}
    return lambda: session.run(None, feed)


def _onnx_on_cuda(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Return a call whose inputs and outputs stay on the device."""
    session, index = _session(subject, place, _CUDA_PROVIDER), place.device.index or 0
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(inputs.numpy(), "cuda", index)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    binding.bind_output(session.get_outputs()[0].name, "cuda", index)
    return lambda: session.run_with_iobinding(binding)


def _session(subject: Subject, place: Place, provider: str) -> onnxruntime.InferenceSession:
    """Open a session with one provider and the threads of the place."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = options.inter_op_num_threads = place.threads
    settings = {"device_id": str(place.device.index or 0)} if provider == _CUDA_PROVIDER else {}
    session = onnxruntime.InferenceSession(str(subject.onnx), options, providers=[(provider, settings)])
    if session.get_providers()[0] != provider:  # onnxruntime falls back to the CPU without an error
        raise RuntimeError(f"a session on {session.get_providers()[0]}, not on {provider}")
    return session


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
        Engine("onnxruntime", "onnxruntime on the CPU", _onnx_on_cpu, needs="cpu", runs_onnx=True),
        Engine("onnxruntime-cuda", "onnxruntime on CUDA", _onnx_on_cuda, needs="cuda", runs_onnx=True),
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
