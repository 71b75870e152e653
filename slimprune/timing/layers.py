"""Single layers of a network, in a form that an engine can time at any width."""

import copy
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from slimprune.timing.subject import Subject

_OPSET, _IR_VERSION = 18, 10
_WEIGHT = 0.01
"""Value of all weights of timed layers; apart from denormal numbers, times depend on sizes only."""

_CONVOLUTIONS: dict[tuple[str, int], type[nn.Module]] = {
    ("conv", 1): nn.Conv1d,
    ("conv", 2): nn.Conv2d,
    ("conv", 3): nn.Conv3d,
    ("transposed", 1): nn.ConvTranspose1d,
    ("transposed", 2): nn.ConvTranspose2d,
    ("transposed", 3): nn.ConvTranspose3d,
}


@dataclass(frozen=True)
class Layer:
    """A convolution, transposed convolution or linear layer, without norm and activation.

    Attributes:
        kind: Kind of layer.
        rows: Size of the weight along its first dimension.
        columns: Size of the weight along its second dimension.
        size: Spatial size of one input sample, or for a linear layer the positions at which it is applied.
        bias: Whether the layer has a bias; most engines fold a norm after a convolution into one.
        kernel: Size of the kernel.
        groups: Groups of a grouped convolution.
        stride: Stride of a convolution.
        padding: Padding on each side.
        dilation: Dilation of a convolution.
        output_padding: Output padding of a transposed convolution.
    """

    kind: Literal["conv", "transposed", "linear"]
    rows: int
    columns: int
    size: tuple[int, ...]
    bias: bool = True
    kernel: tuple[int, ...] = ()
    groups: int = 1
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()

    @property
    def inputs(self) -> int:
        """Number of input channels or features."""
        return self.rows if self.kind == "transposed" else self.columns * self.groups

    @property
    def outputs(self) -> int:
        """Number of output channels or features."""
        return self.columns * self.groups if self.kind == "transposed" else self.rows

    @property
    def description(self) -> str:
        """All settings in one line, unique to the layer."""
        return " ".join(f"{name}={_plain(value)}" for name, value in asdict(self).items())

    def resized(self, rows: int, columns: int) -> "Layer":
        """Return the layer with another weight size; the groups of a depthwise convolution follow its rows."""
        whole_groups = self.groups > 1 and self.groups >= max(self.inputs, self.outputs) // self.groups
        groups = max(1, self.groups * rows // self.rows) if whole_groups else self.groups
        return replace(self, rows=rows, columns=columns, groups=groups)

    def sample(self, batch: int) -> Tensor:
        """Return standard normal inputs: [N, channels, *size], or [N, *positions, features] for a linear layer."""
        shape = (*self.size, self.inputs) if self.kind == "linear" else (self.inputs, *self.size)
        return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))

    def subject(self, folder: Path | None) -> Subject:
        """Return the layer as a module, or as an ONNX file if a folder is given."""
        if folder is None:
            return Subject(self._module())
        file = folder / "layer.onnx"
        file.write_bytes(self._onnx().SerializeToString())
        return Subject(nn.Identity(), file)

    def _module(self) -> nn.Module:
        if self.kind == "linear":
            made: nn.Module = torch.nn.utils.skip_init(nn.Linear, self.columns, self.rows, bias=self.bias)
        else:
            more = {"output_padding": self.output_padding} if self.kind == "transposed" else {}
            made = torch.nn.utils.skip_init(
                _CONVOLUTIONS[self.kind, len(self.kernel)],
                self.inputs,
                self.outputs,
                self.kernel,
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                groups=self.groups,
                bias=self.bias,
                **more,
            )
        for parameter in made.parameters():
            nn.init.constant_(parameter, _WEIGHT)
        return made

    def _onnx(self) -> onnx.ModelProto:
        tokens = self.kind == "linear" and self.size
        turned = (self.columns, self.rows) if tokens else (self.rows, self.columns, *self.kernel)
        weights = [_constant("weight", turned)] + ([_constant("bias", (self.outputs,))] if self.bias else [])
        names = ["input", *(tensor.name for tensor in weights)]
        if tokens:
            nodes = [helper.make_node("MatMul", names[:2], ["product"])]
            nodes.append(helper.make_node("Add", ["product", "bias"], ["output"]) if self.bias else _renamed("product"))
        elif self.kind == "linear":
            nodes = [helper.make_node("Gemm", names, ["output"], transB=1)]
        else:
            nodes = [self._convolution_node(names)]
        shape = ["N", *self.sample(1).shape[1:]]
        graph = helper.make_graph(
            nodes,
            "layer",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * len(shape))],
            weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)

    def _convolution_node(self, names: list[str]) -> onnx.NodeProto:
        attributes: dict[str, Any] = {
            "kernel_shape": self.kernel,
            "strides": self.stride,
            "pads": (*self.padding, *self.padding),
            "dilations": self.dilation,
            "group": self.groups,
        }
        if self.kind == "conv":
            return helper.make_node("Conv", names, ["output"], **attributes)
        return helper.make_node("ConvTranspose", names, ["output"], **attributes, output_padding=self.output_padding)


def traced_layers(model: nn.Module, example: Tensor) -> list[tuple[str, Layer]]:
    """Return every use of a convolution or linear layer in one forward pass in eval mode, as (weight name, layer).

    Layers whose weight is computed from parameters rather than a parameter itself are left out.

    Args:
        model: Any module that accepts `example`; it is left unchanged.
        example: Input [N, ...] on the model's device.
    """
    copied = copy.deepcopy(model).eval()
    tracer = _Tracer(copied)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), tracer:
        copied(example[:1])
    return tracer.found


class _Tracer(TorchDispatchMode):
    """Mode that records the layers called in a forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {parameter.data_ptr(): name for name, parameter in model.named_parameters()}
        self.found: list[tuple[str, Layer]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = func._overloadpacket
        if kind is torch.ops.aten.convolution:
            self._note(args[1], args[1].shape, *_convolution(*args))
        elif kind in (torch.ops.aten.mm, torch.ops.aten.addmm):
            inputs, turned = args[-2:]
            positions = () if inputs.shape[0] == 1 else (inputs.shape[0],)
            self._note(turned, turned.shape[::-1], "linear", positions, {"bias": kind is torch.ops.aten.addmm})
        return func(*args, **(kwargs or {}))

    def _note(self, weight: Tensor, shape: Any, kind: Any, size: tuple[int, ...], rest: dict[str, Any]) -> None:
        name = self._names.get(weight.data_ptr())
        if name is not None and weight.numel() == prod(shape):
            self.found.append((name, Layer(kind, shape[0], shape[1], size, **rest)))


def _convolution(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> tuple[str, tuple[int, ...], dict[str, Any]]:
    """Return kind, spatial size and further settings from the arguments of torch's operator for all convolutions."""
    sizes = {"stride": stride, "padding": padding, "dilation": dilation}
    if transposed:
        sizes["output_padding"] = output_padding
    kernel = tuple(weight.shape[2:])
    # A single number applies to all dimensions.
    rest = {name: tuple(value) * (len(kernel) // len(value)) for name, value in sizes.items()}
    kind = "transposed" if transposed else "conv"
    return kind, tuple(inputs.shape[2:]), {**rest, "kernel": kernel, "groups": groups}


def _constant(name: str, shape: tuple[int, ...]) -> TensorProto:
    values = torch.full(shape, _WEIGHT).numpy()
    return onnx.numpy_helper.from_array(values, name)


def _renamed(name: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [name], ["output"])


def _plain(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
