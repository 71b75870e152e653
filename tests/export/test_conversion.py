import logging
import sys
import warnings

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from slimprune.errors import DataError, UnsupportedModelError, UsageError, VerificationError
from slimprune.export import convert_onnx, export_onnx, read_metadata, verify_onnx
from slimprune.export.quantisation import METHODS
from slimprune.preprocessing import Preprocessing

from .cases import Segmenter, images, seeded

HOW = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.25), 8, 8)
PRECISIONS = ("fp16", "int8")


def shape(end):
    return [dim.dim_param or dim.dim_value for dim in end.type.tensor_type.shape.dim]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["unit", "normalized", "uint8"])
def test_a_converted_file_keeps_input_output_and_metadata(precision, kind, classifier, tmp_path):
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    export_onnx(classifier, images(2), source, preprocessing=HOW, input=kind, metadata={"recipe": "abc"})
    convert_onnx(source, target, precision, images=images(64))
    assert read_metadata(target) == {**read_metadata(source), "precision": precision}
    before, after = onnx.load(source), onnx.load(target)
    for one, other in zip(
        (before.graph.input, before.graph.output), (after.graph.input, after.graph.output), strict=True
    ):
        assert [end.name for end in one] == [end.name for end in other]
        assert [end.type.tensor_type.elem_type for end in one] == [end.type.tensor_type.elem_type for end in other]
        assert [shape(end) for end in one] == [shape(end) for end in other]
    assert {entry.domain for entry in after.opset_import} == {""}
    check = verify_onnx(classifier, target, images(40), preprocessing=HOW)
    assert (check.precision, check.samples, check.batches) == (precision, 40, (1, 2, 5))
    assert check.top1_agreement > 0.9
    assert 0 < check.max_abs_diff < {"fp16": 0.02, "int8": 0.3}[precision]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_int8_has_a_scale_per_channel_and_8_bit_weights(written, tmp_path):
    calibration = convert_onnx(written, tmp_path / "b.onnx", "int8", images=images(9))
    assert (calibration.images, calibration.held_out) == (4, 5)
    graph = onnx.load(tmp_path / "b.onnx").graph
    weights = {
        one.name: one for one in graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1
    }
    assert sorted(list(one.dims) for one in weights.values()) == [[5, 96], [6, 3, 3, 3]]
    scales = {one.name: list(one.dims) for one in graph.initializer}
    dequantised = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in weights]
    assert sorted(scales[node.input[1]] for node in dequantised) == [[5], [6]]
    activations = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    types = {one.name: one.data_type for one in graph.initializer}
    assert {types[node.input[2]] for node in activations} == {onnx.TensorProto.UINT8}


def test_fp16_has_16_bit_weights(written, tmp_path):
    assert convert_onnx(written, tmp_path / "b.onnx", "fp16") is None
    graph = onnx.load(tmp_path / "b.onnx").graph
    assert {one.data_type for one in graph.initializer if len(one.dims) > 1} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_segmenter_keeps_its_free_size(precision, tmp_path):
    model = seeded(Segmenter)
    export_onnx(model, images(2), tmp_path / "a.onnx")
    convert_onnx(tmp_path / "a.onnx", tmp_path / "b.onnx", precision, images=images(16))
    check = verify_onnx(model, tmp_path / "b.onnx", images(6))
    assert len(check.sizes) == 3
    assert check.top1_agreement > 0.9


@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_files_give_equal_bytes(precision, written, tmp_path):
    for name in ("b.onnx", "c.onnx"):
        convert_onnx(written, tmp_path / name, precision, images=images(8))
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


class Spiked(nn.Module):
    """A value in a thousand is so large that a range from minimum to maximum leaves few steps for the others."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)
        with torch.no_grad():
            self.first.weight[3], self.first.bias[3] = torch.tensor([1e3, 0, 0]).view(3, 1, 1), -3.2e3
            self.head.weight[:, 3] = 0

    def forward(self, x):
        return self.head(self.first(x).relu())


def test_the_method_that_keeps_most_predictions_is_taken(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Spiked().eval()
    export_onnx(model, images(2), tmp_path / "a.onnx")

    def calibrated(*methods):
        return convert_onnx(tmp_path / "a.onnx", tmp_path / "b.onnx", "int8", images=images(100), methods=methods)

    alone = [calibrated(method) for method in METHODS]
    assert [one.method for one in alone] == list(METHODS)
    assert alone[0].agreement < 0.995
    best = calibrated(*METHODS)
    assert best == max(alone, key=lambda one: one.agreement)
    assert best.agreement > alone[0].agreement
    assert calibrated("percentile", "min-max").method == "percentile"


def test_converting_says_nothing_and_leaves_the_search_path(written, tmp_path, caplog, capfd):
    path = list(sys.path)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        for precision in PRECISIONS:
            convert_onnx(
                written, tmp_path / "b.onnx", precision, images=images(8), methods=("entropy", "percentile", "min-max")
            )
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    assert sys.path == path


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"precision": "int8"}, UsageError, "expected training images for the calibration of int8, got none"),
        ({"precision": "int8", "images": images(4)[:0]}, DataError, "at least one image"),
        ({"precision": "fp32"}, UsageError, "expected to make fp16 or int8 of fp32, got fp32 of fp32"),
        ({"precision": "int8", "images": torch.randn(4, 3, 5, 5)}, UnsupportedModelError, "quantise to int8, got"),
    ],
)
def test_refusals(arguments, error, message, written, tmp_path):
    with pytest.raises(error, match=message):
        convert_onnx(written, tmp_path / "b.onnx", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_converted_file_is_no_source(written, tmp_path):
    convert_onnx(written, tmp_path / "b.onnx", "fp16")
    with pytest.raises(UsageError, match="got int8 of fp16"):
        convert_onnx(tmp_path / "b.onnx", tmp_path / "c.onnx", "int8", images=images(4))


def test_one_image_calibrates(written, tmp_path):
    calibration = convert_onnx(written, tmp_path / "b.onnx", "int8", images=images(1))
    assert (calibration.images, calibration.held_out) == (1, 1)
    assert onnxruntime.InferenceSession(tmp_path / "b.onnx").get_inputs()[0].shape[0] == "batch"


def test_an_unknown_precision_in_the_metadata(classifier, tmp_path):
    export_onnx(classifier, images(2), tmp_path / "a.onnx", metadata={"precision": "fp8"})
    with pytest.raises(VerificationError, match="expected metadata precision \\(fp32, fp16, int8\\), got 'fp8'"):
        verify_onnx(classifier, tmp_path / "a.onnx", images(2))
