"""Capture of tensor computations in CUDA graphs, which replay hundreds of kernels with a single launch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from slimprune.errors import first_line

Work = Callable[..., Tensor]
Note = Callable[[str], None]
"""Callback for one line of text for users."""

WARM_UP = 3
"""Calls before the capture, in which libraries choose their algorithms and allocate memory."""

_ONE_AT_A_TIME = Lock()
"""Lock that allows one capture at a time per process, even if several threads train networks."""

_AWAITED = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten._unsafe_index.Tensor)
_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
_FACTORIES = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
_FROM_THE_HOST = "a tensor of values from the host is made on the device"


class NotCapturableError(RuntimeError):
    """Error for work in which the host would have to wait for the device."""


class RefuseHostSync(TorchDispatchMode):
    """Mode that rejects operators that a graph cannot contain.

    These read values on the host, have data-dependent shapes or copy between devices. Such an operator ends a capture
    with an error from which CUDA libraries do not always recover. This mode finds it earlier, in an ordinary call.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._functions = _RefuseHostValues()

    def __enter__(self) -> Self:
        self._functions.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        self._functions.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the operator.

        Raises:
            NotCapturableError: If the operator makes the host wait.
        """
        if not _AWAITED.isdisjoint(func.tags) and not _picks_by_number(func, args):
            raise NotCapturableError(f"{func} makes the host wait for the device")
        if func is torch.ops.aten.lift_fresh.default and args[0].device.type != "cpu":
            raise NotCapturableError(_FROM_THE_HOST)
        result = func(*args, **(kwargs or {}))
        if func in _COPIES:
            devices = {part.device for part in (result, *args) if isinstance(part, Tensor)}
            if len(devices) > 1:
                raise NotCapturableError(f"{func} copies between {' and '.join(sorted(map(str, devices)))}")
        return result


class _RefuseHostValues(TorchFunctionMode):
    """Mode that rejects functions creating a device tensor from Python values, a copy that dispatch does not see."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function.

        Raises:
            NotCapturableError: If the function copies values from the host.
        """
        result = func(*args, **(kwargs or {}))
        if func in _FACTORIES and result.device.type != "cpu" and not _made_of_tensor(func, args, kwargs or {}):
            raise NotCapturableError(_FROM_THE_HOST)
        return result


@dataclass(frozen=True, eq=False)
class CapturedGraph:
    """A captured graph with the tensors that it reads and writes.

    Attributes:
        work: Captured function, kept because the graph reads tensors that it owns.
        graph: Captured kernels.
        inputs: Tensors that the graph reads; new inputs are copied into them.
        output: Tensor that the graph writes; the next replay overwrites it.
    """

    work: Work
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Compute the work on these tensors, which must have the shapes and types of `inputs`."""
        for own, given in zip(self.inputs, tensors, strict=True):
            own.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.output


def capture(work: Work, *examples: Tensor) -> CapturedGraph:
    """Capture the work on tensors like the examples; it is called several times, including its side effects.

    Other threads may use the device at the same time, also for captures.

    Args:
        work: Function of tensors on one CUDA device that returns a tensor; every call must run the same operators.
        examples: Tensors that define shapes, types, memory order and device.

    Raises:
        RuntimeError: If the work cannot be captured.
    """
    device, inputs = examples[0].device, tuple(example.clone() for example in examples)
    with _ONE_AT_A_TIME, torch.cuda.device(device):
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        try:
            with torch.cuda.stream(side):
                with RefuseHostSync():
                    work(*inputs)
                for _ in range(WARM_UP - 1):
                    work(*inputs)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                    output = work(*inputs)
        finally:
            current.wait_stream(side)
    return CapturedGraph(work, graph, inputs, output)


def changes_nothing() -> Callable[[], None]:
    """Return a function that restores nothing, as the snapshot of work without side effects."""
    return lambda: None


@dataclass(eq=False)
class CapturedCallable:
    """Work that is captured when inputs like those of the first call are passed again, and replayed from then on.

    Inputs of other shapes, such as the last batch of an epoch, are passed to the work itself. Work that cannot be
    captured, or whose first call fails, is permanently replaced by `fallback`, and `note` is called with the reason.

    Attributes:
        work: Function of tensors on one CUDA device that returns a tensor.
        fallback: Simpler implementation of the same function.
        note: Called with the reason if there is no capture.
        snapshot: Function that saves everything that the work changes and returns a function to restore it, so that the
            calls needed for the capture have no effect.
    """

    work: Work
    fallback: Work
    note: Note
    snapshot: Callable[[], Callable[[], None]] = changes_nothing
    _captured: CapturedGraph | None = field(default=None, init=False)
    _first: tuple[Any, ...] | None = field(default=None, init=False)
    _refused: bool = field(default=False, init=False)

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Compute the work on these tensors; the next call may overwrite the returned tensor."""
        kinds = _kinds(tensors)
        if self._first is None:
            self._first = kinds
            if kinds is _OTHERS:
                self._refused = True
                self.note("not captured in a CUDA graph: inputs and targets are not one tensor each")
                return self.fallback(*tensors)
            return self._tried(lambda restore: self.work(*tensors), tensors)
        if self._refused:
            return self.fallback(*tensors)
        if kinds != self._first:
            return self.work(*tensors)
        if self._captured is None:
            return self._tried(lambda restore: self._recorded(tensors, restore), tensors)
        return self._captured(*tensors)

    def _tried(self, attempt: Callable[[Callable[[], None]], Tensor], tensors: Sequence[Tensor]) -> Tensor:
        restore = self.snapshot()
        try:
            return attempt(restore)
        except RuntimeError as error:
            restore()
            self._refused = True
            self.note(f"not captured in a CUDA graph: {first_line(error)}")
        return self.fallback(*tensors)

    def _recorded(self, tensors: Sequence[Tensor], restore: Callable[[], None]) -> Tensor:
        with torch.random.fork_rng(devices={tensor.device for tensor in tensors if tensor.is_cuda}):
            captured = capture(self.work, *tensors)
        restore()
        self._captured = captured
        return captured(*tensors)


def _picks_by_number(func: Any, args: Sequence[Any]) -> bool:
    """Return whether this is integer indexing on one device, whose shape, unlike that of masks, is fixed."""
    if func not in _INDEXING:
        return False
    source, indices = args[0], [index for index in args[1] if index is not None]
    return all(index.device == source.device and index.dtype not in (torch.bool, torch.uint8) for index in indices)


def _made_of_tensor(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a factory is given a device tensor; its copy stays on the device or is visible to dispatch."""
    position = 1 if function is Tensor.new_tensor else 0
    data = args[position] if len(args) > position else kwargs.get("data", kwargs.get("obj"))
    return isinstance(data, Tensor) and data.device.type != "cpu"


_OTHERS: tuple[Any, ...] = ("others",)


def _kinds(given: Sequence[Any]) -> tuple[Any, ...]:
    """Return shapes and types of tensors, or one common marker for anything else."""
    if not all(isinstance(tensor, Tensor) for tensor in given):
        return _OTHERS
    return tuple((tensor.shape, tensor.dtype) for tensor in given)
