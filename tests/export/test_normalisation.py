import copy

import numpy as np
import onnxruntime
import pytest
import torch

from slimprune.errors import UsageError, VerificationError
from slimprune.export import InputForm, export_onnx, read_metadata, verify_onnx
from slimprune.preprocessing import Preprocessing

from .cases import Segmenter, images, seeded

HOW = Preprocessing((0.5, 0.25, 0.75), (0.5, 0.25, 0.125), 8, 8, class_names=("a", "b", "c", "d", "e"))
PIXELS = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def normalised(pixels):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (HOW.mean, HOW.std))
    return (pixels / 255 - mean) / std


@pytest.mark.parametrize(
    ("kind", "given"),
    [(None, PIXELS / 255), ("uint8", PIXELS), ("normalized", normalised(PIXELS))],
)
def test_a_file_takes_what_it_says_and_computes_the_model_s_output(classifier, tmp_path, kind, given):
    path = tmp_path / "model.onnx"
    export_onnx(classifier, normalised(PIXELS)[:1], path, preprocessing=HOW, input=kind)
    session = onnxruntime.InferenceSession(path)
    with torch.no_grad():
        expected = copy.deepcopy(classifier).eval()(normalised(PIXELS))
    assert session.get_inputs()[0].name == "input"
    np.testing.assert_allclose(session.run(None, {"input": given.numpy()})[0], expected.numpy(), rtol=1e-4, atol=1e-4)
    stated = read_metadata(path)
    assert (stated["input"], stated["channel_order"]) == (kind or "unit", "RGB")
    for known in (None, HOW):
        check = verify_onnx(classifier, path, normalised(PIXELS), preprocessing=known)
        assert (check.top1_agreement, check.samples) == (1, 5)


def test_height_and_width_stay_free(tmp_path):
    model, path = seeded(Segmenter), tmp_path / "model.onnx"
    assert export_onnx(model, images(1), path, preprocessing=HOW, input="uint8").size_step == 2
    check = verify_onnx(model, path, normalised(PIXELS))
    assert (check.size_step, check.top1_agreement) == (2, 1)
    assert read_metadata(path)["size_step"] == "2"


def test_pixels_and_normalised_inputs_are_each_other_s_inverse():
    for kind in ("unit", "uint8"):
        form = InputForm(kind, HOW)
        assert torch.equal(InputForm("uint8", HOW).pixels(normalised(PIXELS)), PIXELS)
        torch.testing.assert_close(form.normalised(form.pixels(normalised(PIXELS))), normalised(PIXELS))


def test_a_file_that_normalises_otherwise_is_found_out(classifier, tmp_path):
    other = Preprocessing((0.5,) * 3, (0.5,) * 3, 8, 8)
    path = export_onnx(classifier, images(1), tmp_path / "model.onnx", preprocessing=other).path
    with pytest.raises(VerificationError, match=r"to state mean \[0.5, 0.25, 0.75\] and std .*, got mean"):
        verify_onnx(classifier, path, normalised(PIXELS), preprocessing=HOW)
    bare = export_onnx(classifier, images(1), path, metadata={"input": "unit"}).path
    with pytest.raises(VerificationError, match="expected metadata mean beside input unit, got none"):
        verify_onnx(classifier, bare, normalised(PIXELS))


def test_a_form_needs_a_preprocessing_that_fits(classifier, tmp_path):
    with pytest.raises(UsageError, match=r"expected a preprocessing \(mean and std\) beside input uint8, got none"):
        export_onnx(classifier, images(1), tmp_path / "model.onnx", input="uint8")
    grey = Preprocessing((0.5,), (0.5,), 8, 8)
    with pytest.raises(UsageError, match=r"expected inputs \[N, 1, H, W\] beside 1 numbers of mean and std, got"):
        export_onnx(classifier, images(1), tmp_path / "model.onnx", preprocessing=grey)
    assert list(tmp_path.iterdir()) == []
