import copy
from dataclasses import replace

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from slimprune.errors import DataError, UsageError, VerificationError
from slimprune.export import OnnxCheck, export_onnx, verify_onnx
from slimprune.export.verification import _agrees

from .cases import InSteps, Segmenter, images, seeded


def test_a_right_file_passes_and_the_model_is_left_as_it_was(classifier, written):
    before = copy.deepcopy(classifier.state_dict())
    check = verify_onnx(classifier, written, images(7))
    assert check.max_abs_diff < 1e-5
    assert replace(check, max_abs_diff=0.0) == OnnxCheck(written, 18, 0.0, 1.0, 7, (1, 2, 5))
    assert classifier.training
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_segmentation_network_passes_at_every_batch_size(outputs, tmp_path):
    model = seeded(Segmenter, outputs)
    export_onnx(model, images(3), tmp_path / "model.onnx")
    check = verify_onnx(model, tmp_path / "model.onnx", images(9), batches=(1, 4, 9, 64))
    assert check.max_abs_diff < 1e-5
    assert check.batches == (1, 4, 9, 64)


def test_a_file_of_free_size_is_compared_at_other_sizes(tmp_path):
    model = seeded(InSteps, 1)
    export_onnx(model, images(3), tmp_path / "model.onnx")
    check = verify_onnx(model, tmp_path / "model.onnx", images(9))
    assert (check.size_step, check.sizes) == (1, ((9, 11), (4, 9), (8, 6)))
    assert check.max_abs_diff < 1e-5


class Edge(nn.Module):
    """Differs from `InSteps` only where there is a ninth row."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        y = self.inner(x)
        return torch.cat([y[:, :, :8], y[:, :, 8:] + 1], dim=2)


def test_a_file_that_is_wrong_at_other_sizes_only_is_refused(tmp_path):
    model = seeded(InSteps, 1)
    export_onnx(model, images(3), tmp_path / "model.onnx")
    with pytest.raises(VerificationError, match=r"within 0\.000\d+ of torch's from .*, got 1"):
        verify_onnx(Edge(model), tmp_path / "model.onnx", images(9))


def test_channels_last_samples_and_double_models_are_compared_in_float32(classifier, written):
    samples = images(3).double().to(memory_format=torch.channels_last)
    assert verify_onnx(copy.deepcopy(classifier).double(), written, samples).samples == 3


def rewrite(source, target, change):
    """A copy without metadata, so that only its content can give it away."""
    model = onnx.load(source)
    del model.metadata_props[:]
    change(model)
    onnx.save(model, target)
    return target


def raise_one_weight(model):
    weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(weights).copy()
    values.flat[5] += 0.1
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


def fix_the_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def ask_for_wider_images(model):
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 9


def lose_the_operator_set(model):
    del model.opset_import[:]


def use_an_unknown_operator(model):
    model.graph.node[0].op_type = "Unheard"


def add_an_output(model):
    model.graph.output.add().CopyFrom(model.graph.output[0])
    model.graph.output[1].name = model.graph.node[0].output[0]


def spoil_the_last_weight(model):
    weights = model.graph.initializer[0]
    values = numpy_helper.to_array(weights) * float("nan")
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


def nothing(model):
    pass


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (raise_one_weight, "outputs within 0.0001 of torch's"),
        (spoil_the_last_weight, "got nan"),
        (fix_the_batch, "free batch dimension"),
        (ask_for_wider_images, "valid ONNX|input for samples"),
        (lose_the_operator_set, "valid ONNX"),
        (use_an_unknown_operator, "valid ONNX"),
        (add_an_output, "one input and one output, got 1 and 2|valid ONNX"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(classifier, written, tmp_path, change, rule, capfd):
    path = rewrite(written, tmp_path / "wrong.onnx", change)
    with pytest.raises(VerificationError, match=rule) as caught:
        verify_onnx(classifier, path, images(3))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_file_without_digest_is_judged_by_its_outputs(classifier, written, tmp_path):
    path = rewrite(written, tmp_path / "plain.onnx", nothing)
    assert verify_onnx(classifier, path, images(3)).top1_agreement == 1.0


def test_an_altered_weight_under_a_digest_is_refused_by_the_digest(classifier, written, tmp_path):
    model = onnx.load(written)
    raise_one_weight(model)
    onnx.save(model, tmp_path / "altered.onnx")
    with pytest.raises(VerificationError, match="SHA-256"):
        verify_onnx(classifier, tmp_path / "altered.onnx", images(3))


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x07"])
def test_a_file_that_is_no_model_is_refused(classifier, tmp_path, data):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(VerificationError, match="ONNX"):
        verify_onnx(classifier, path, images(3))


def test_another_model_is_refused(classifier, written):
    other = copy.deepcopy(classifier)
    nn.init.normal_(other.head.bias)
    with pytest.raises(VerificationError, match="within"):
        verify_onnx(other, written, images(3))
    other.head = nn.Linear(6 * 4 * 4, 4)
    with pytest.raises(VerificationError, match=r"outputs \[3, 4\] in all, got batches of \[\[1, 5\]"):
        verify_onnx(other, written, images(3))


def test_large_outputs_may_differ_by_as_large_a_share(classifier, written):
    """A thousand times the outputs have a thousand times the rounding."""
    scaled, off = copy.deepcopy(classifier).eval(), 2e-4
    largest = float(scaled(images(3)).detach().abs().max())
    scaled.head.bias.data += off
    with pytest.raises(VerificationError, match=r"within 0\.000\d+ of torch's"):
        verify_onnx(scaled, written, images(3), tolerance=off / 2 / max(1, largest))
    scaled.head.bias.data += 1000 - off
    shifted = export_onnx(scaled, images(1), written.with_name("shifted.onnx")).path
    scaled.head.bias.data += 0.01
    assert verify_onnx(scaled, shifted, images(3)).max_abs_diff > 0.005


def test_a_difference_within_the_tolerance_that_changes_a_prediction_is_refused(classifier, written):
    other = copy.deepcopy(classifier).eval()
    # Every logit moves by 5: two of them move apart by 10, which is no tie.
    other.head.bias.data += torch.tensor([-5.0, -5.0, -5.0, 5.0, -5.0])
    largest = float(other(images(7)).detach().abs().max())
    with pytest.raises(VerificationError, match=r"predictions of torch from .*model.onnx, got 0\.\d+ of them"):
        verify_onnx(other, written, images(7), tolerance=5.5 / max(1, largest), batches=(7,))


@pytest.mark.parametrize(
    ("expected", "actual", "agrees"),
    [
        ([[0.0, 1.0, 0.5]], [[0.0, 0.6, 0.5]], [True]),
        ([[0.0, 1.0, 0.5]], [[0.0, 0.4, 0.5]], [False]),
        ([[0.0, 1.0, 0.95]], [[0.0, 0.94, 0.95]], [True]),  # 1.0 - 0.95 is less than the tolerance
        ([[0.05]], [[-0.05]], [True]),
        ([[0.5]], [[-0.05]], [False]),
        ([0.5, -0.5], [0.4, 0.4], [True, False]),
    ],
)
def test_predictions_agree_up_to_ties(expected, actual, agrees):
    assert _agrees(torch.tensor(expected), torch.tensor(actual), 0.1).flatten().tolist() == agrees


def test_every_pixel_is_a_prediction():
    expected, actual = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    assert _agrees(expected, actual, 1e-4).numel() == 2 * 4 * 5
    assert _agrees(expected[:, :1], actual[:, :1], 1e-4).numel() == 2 * 4 * 5


@pytest.mark.parametrize(
    ("samples", "options", "kind"),
    [
        (images(7)[:0], {}, DataError),
        (images(1), {"batches": ()}, UsageError),
        (images(1), {"batches": (1, 0)}, UsageError),
        (images(1), {"tolerance": 0.0}, UsageError),
        (images(1), {"tolerance": float("nan")}, UsageError),
        (images(1)[0], {}, VerificationError),
        (images(1)[..., :7], {}, VerificationError),
    ],
)
def test_arguments_outside_their_range_are_refused(classifier, written, samples, options, kind):
    with pytest.raises(kind, match="expected"):
        verify_onnx(classifier, written, samples, **options)


def test_a_model_that_gives_no_numbers_is_named(classifier, written):
    broken = copy.deepcopy(classifier)
    with torch.no_grad():
        broken.head.bias[0] = float("nan")
    with pytest.raises(VerificationError, match="expected finite outputs of Classifier on real samples"):
        verify_onnx(broken, written, images(4))
