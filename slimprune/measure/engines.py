"""What runs a network while it is timed: each engine turns a network and its inputs into a call."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, UsageError, first_line
from slimprune.measure.machine import undisturbed_seconds
from slimprune.measure.sampling import Call, Stopwatch

_CAPTURE_WARM_UP = 3
_CUDA_PROVIDER = "CUDAExecutionProvider"
_ERRORS_ONLY = 3


@dataclass(frozen=True, eq=False)
class Subject:
    """A network that is to be timed.

    Attributes:
        module: on any device; left untouched.
        onnx: the same network as an ONNX file, for engines that run those.
    """

    module: nn.Module
    onnx: Path | None = None


@dataclass(frozen=True)
class Place:
    """Where a network runs.

    Attributes:
        device: of the inputs and the weights.
        threads: of one operator on the CPU.
    """

    device: torch.device
    threads: int

    @property
    def stopwatch(self) -> Stopwatch:
        """On the CPU without the time that other work had the cores; on CUDA wall-clock until the device is done."""
        if self.device.type == "cpu":
            return Stopwatch(undisturbed_seconds)
        return Stopwatch(synchronise=lambda: torch.cuda.synchronize(self.device))


@dataclass(frozen=True)
class Engine:
    """One way to run a network.

    Attributes:
        name: what `--engine` takes.
        description: one line for people.
        prepare: subject, inputs [N, ...] on the CPU and place to the call that is timed.
        needs: the only device type that it runs on; `any` follows the device asked for.
        runs_onnx: whether it takes the ONNX file.
        smallest_batch: fewest samples that it can take.
    """

    name: str
    description: str
    prepare: Callable[[Subject, Tensor, Place], Call]
    needs: Literal["any", "cpu", "cuda"] = "any"
    runs_onnx: bool = False
    smallest_batch: int = 1

    def place(self, device: torch.device, threads: int) -> Place:
        """Where it runs when `device` is asked for."""
        return Place(torch.device("cpu") if self.needs == "cpu" else device, threads)

    def absence(self, device: torch.device) -> str | None:
        """Why it cannot run beside `device`; None where it can."""
        if self.needs == "cuda" and device.type != "cuda":
            return f"engine {self.name} needs a CUDA device, got {device.type}"
        if self.needs == "cuda" and self.runs_onnx and _CUDA_PROVIDER not in onnxruntime.get_available_providers():
            return f"engine {self.name} needs onnxruntime's {_CUDA_PROVIDER}, which this installation lacks"
        return None

    def prepared(self, subject: Subject, inputs: Tensor, place: Place) -> Call:
        """The call that is timed, made once to see that it works.

        Raises:
            UnsupportedModelError: the network cannot be run that way.
        """
        try:
            call = self.prepare(subject, inputs, place)
            call()
        except (RuntimeError, ValueError, TypeError) as error:
            rule = f"expected a network that engine {self.name} can run on inputs {list(inputs.shape)}"
            raise UnsupportedModelError(f"{rule}, got {first_line(error)}") from error
        return call


def find_engines(names: tuple[str, ...], device: torch.device) -> list[Engine]:
    """The engines of those names, each once; those that can run beside `device` where no name is given.

    Raises:
        UsageError: an unknown name, or an engine that cannot run here.
    """
    if not names:
        return [engine for engine in ENGINES.values() if engine.absence(device) is None]
    found = []
    for name in dict.fromkeys(names):
        if name not in ENGINES:
            raise UsageError(f"expected an engine ({', '.join(ENGINES)}), got {name!r}")
        absence = ENGINES[name].absence(device)
        if absence is not None:
            raise UsageError(absence)
        found.append(ENGINES[name])
    return found


def _inference(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Forward pass in eval mode, operator by operator."""
    module, inputs = _copied(subject.module, place).eval(), inputs.to(place.device)

    def call() -> None:
        with torch.inference_mode():
            module(inputs)

    return call


def _captured_inference(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Forward pass in eval mode, recorded once as a CUDA graph and replayed."""
    module, inputs = _copied(subject.module, place).eval(), inputs.to(place.device)
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(place.device)
    with torch.cuda.device(place.device), torch.no_grad():
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_CAPTURE_WARM_UP):
                module(inputs)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            output = module(inputs)
    kept = (module, inputs, output)  # a graph reads and writes memory that it does not own

    def call() -> object:
        graph.replay()
        return kept

    return call


def _training_step(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Forward pass in training mode, loss, backward pass and a step of SGD with momentum and weight decay.

    The learning rate is 0: the arithmetic is the same, while the weights, and with them what is timed, do not change.
    """
    module, inputs = _copied(subject.module, place).train(), inputs.to(place.device)
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(trainable, lr=0.0, momentum=0.9, weight_decay=5e-4, fused=True)
    with torch.no_grad():
        loss = _synthetic_loss(module(inputs))

    def call() -> None:
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss(module(inputs)))
        optimiser.step()

    return call


def _synthetic_loss(output: Tensor) -> Callable[[Tensor], Tensor]:
    """Cross-entropy of a random class per sample for an output [N, K > 1]; otherwise of a random mask of its shape."""
    generator = torch.Generator().manual_seed(0)
    if output.ndim == 2 and output.shape[1] > 1:
        classes = torch.randint(output.shape[1], output.shape[:1], generator=generator).to(output.device)
        return lambda logits: F.cross_entropy(logits, classes)
    mask = torch.randint(2, output.shape, generator=generator).to(output)
    return lambda logits: F.binary_cross_entropy_with_logits(logits, mask)


def _onnx_on_cpu(subject: Subject, inputs: Tensor, place: Place) -> Call:
    session = _session(subject, place, "CPUExecutionProvider")
    feed = {session.get_inputs()[0].name: inputs.numpy()}
    return lambda: session.run(None, feed)


def _onnx_on_cuda(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Inputs and outputs stay on the device."""
    session, index = _session(subject, place, _CUDA_PROVIDER), place.device.index or 0
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(inputs.numpy(), "cuda", index)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    binding.bind_output(session.get_outputs()[0].name, "cuda", index)
    return lambda: session.run_with_iobinding(binding)


def _session(subject: Subject, place: Place, provider: str) -> onnxruntime.InferenceSession:
    """A session of the one provider, with the threads of the place."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = options.inter_op_num_threads = place.threads
    settings = {"device_id": str(place.device.index or 0)} if provider == _CUDA_PROVIDER else {}
    session = onnxruntime.InferenceSession(str(subject.onnx), options, providers=[(provider, settings)])
    if session.get_providers()[0] != provider:  # onnxruntime falls back to the CPU without an error
        raise RuntimeError(f"a session on {session.get_providers()[0]}, not on {provider}")
    return session


def _copied(module: nn.Module, place: Place) -> nn.Module:
    return copy.deepcopy(module).to(place.device)


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("torch", "torch, inference operator by operator", _inference),
        Engine("torch-captured", "torch, inference captured in a CUDA graph", _captured_inference, needs="cuda"),
        Engine("onnxruntime", "onnxruntime on the CPU", _onnx_on_cpu, needs="cpu", runs_onnx=True),
        Engine("onnxruntime-cuda", "onnxruntime on CUDA", _onnx_on_cuda, needs="cuda", runs_onnx=True),
        Engine("train", "torch, a training step with fused SGD", _training_step, smallest_batch=2),
    )
}
"""All engines by name."""
