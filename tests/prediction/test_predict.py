"""Predictions of ONNX files, beside what torch says of the same images through the data pipeline."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import slimprune
from slimprune.errors import DataError, UsageError, VerificationError
from slimprune.prediction import find_images, predict, write_masks
from slimprune.preprocessing import Preprocessing
from slimprune.surgery import read
from tests.commands import Run, listing
from tests.conftest import Compressed
from tests.export.cases import Classifier, OneSize, Segmenter, images, seeded

MODES = ("RGB", "L", "1", "LA", "P", "RGBA", "CMYK", "I;16")
HOW = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 8, 8, class_names=("a", "b", "c", "d", "e"))


def photo(number: int, width: int, height: int) -> Image.Image:
    """Smooth colours, so that resizing matters."""
    coarse = np.random.default_rng(number).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of photos of several sizes and modes; its test images are what is predicted."""
    folder = tmp_path_factory.mktemp("photos")
    for part in ("train", "val"):
        (folder / part / "any").mkdir(parents=True)
    photo(0, 16, 16).save(folder / "train" / "any" / "a.png")
    for number, mode in enumerate(MODES):
        image = photo(number, (16, 40, 7)[number % 3], (16, 23, 30)[number % 3])
        if mode == "I;16":
            grey = np.asarray(image.convert("L")).astype(np.uint16)
            Image.fromarray(grey * 257).save(folder / "val" / "any" / "deep.png")
        else:
            suffix = "jpg" if mode == "CMYK" else "png"
            image.convert(mode).save(folder / "val" / "any" / f"{mode}.{suffix}")
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(9, 50, 20).save(folder / "val" / "any" / "turned.jpg", exif=turned)
    return folder


def test_photos_of_several_sizes_and_modes_agree_with_torch_on_the_bundle(compressed: Compressed, photos: Path) -> None:
    bundle = read(compressed.bundle)
    assert bundle.preprocessing is not None
    data = slimprune.load_data(f"folder:{photos}", image_size=16)
    data = data.with_normalisation(bundle.preprocessing.mean, bundle.preprocessing.std)
    samples = data.samples(20)
    with torch.no_grad():
        expected = slimprune.load(compressed.bundle, trust_code=True)(samples).softmax(1)
    found = predict(compressed.onnx, photos / "val")
    assert len(found) == len(samples) == len(MODES) + 1
    for one, probabilities in zip(found, expected, strict=True):
        ordered = probabilities.sort(descending=True)
        assert [row.name for row in one.classes] == list(map(str, ordered.indices.tolist()))
        assert [row.probability for row in one.classes] == pytest.approx(ordered.values.tolist(), rel=1e-5)


def test_images_in_0_to_1_give_the_test_accuracy_of_the_report(compressed: Compressed, data: str) -> None:
    loaded = slimprune.load_data(data)
    assert isinstance(loaded, slimprune.TensorData)
    pixels, labels = loaded.parts["test"]
    (output,) = onnxruntime.InferenceSession(compressed.onnx).run(None, {"input": (pixels / 255).numpy()})
    accuracy = compressed.document["training"]["final"]
    assert (output.argmax(1) == labels.numpy()).mean() == pytest.approx(accuracy, abs=1e-9)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "classifier.onnx"
    slimprune.export_onnx(seeded(Classifier), images(1), path, preprocessing=HOW, input="uint8")
    return path


def test_classes_are_named_and_as_many_as_asked_for(
    classifier: Path, photos: Path, slimprune: Callable[..., Run], folder: Path
) -> None:
    file = photos / "val" / "any" / "RGB.png"
    (whole,) = predict(classifier, file)
    assert sorted(row.name for row in whole.classes) == ["a", "b", "c", "d", "e"]
    assert sum(row.probability for row in whole.classes) == pytest.approx(1)
    best = whole.classes[0]
    code, out, err = slimprune("predict", classifier, photos / "val" / "any" / "R*.png", "--top", 2)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [len(lines), lines[0], lines[3]] == [6, str(file), str(file.with_name("RGBA.png"))]
    assert lines[1].split() == [f"{100 * best.probability:.2f}", "%", best.name]
    (row,) = json.loads(slimprune("predict", classifier, file, "--top", 1, "--json")[1])
    assert row == {
        "image": str(file), "box": [0, 0, 16, 16], "classes": [{"name": best.name, "probability": best.probability}],
    }  # fmt: skip
    assert listing(folder) == []


def test_no_heavy_library_is_imported(classifier: Path, photos: Path, tmp_path: Path) -> None:
    script = "import sys; from slimprune.cli import run; assert run(sys.argv[1:]) == 0; print(*sys.modules)"
    command = [sys.executable, "-c", script, "predict", str(classifier), str(photos / "val")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"onnxruntime", "numpy", "PIL"} <= loaded
    assert not loaded & {"torch", "torchvision", "onnx", "matplotlib", "fvcore", "safetensors"}


def test_masks_have_the_size_of_the_image(photos: Path, slimprune: Callable[..., Run], tmp_path: Path) -> None:
    """The network is given the whole image at the scale of the training, in steps of 2: 40x23 becomes 14x8."""
    import slimprune as package

    model, path, file = seeded(Segmenter), tmp_path / "masks.onnx", photos / "val" / "any" / "L.png"
    pixels = np.asarray(Image.open(file).convert("RGB").resize((14, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (HOW.mean, HOW.std))
    with torch.no_grad():
        logits = model.eval()(((torch.tensor(pixels) / 255 - mean) / std)[None])[0, 0]
        threshold = logits.quantile(0.6) + 1e-4
        model.out.bias -= threshold
    small = logits > threshold
    assert 0.3 < small.float().mean() < 0.5
    package.export_onnx(model, images(1), path, preprocessing=HOW)
    (found,) = predict(path, file)
    assert found.share == pytest.approx(float(small.float().mean()))
    assert found.mask is not None
    assert (found.mask.shape, found.box, found.classes) == ((23, 40), (0, 0, 40, 23), ())
    back = Image.fromarray(small.numpy()).convert("L").resize((40, 23), Image.Resampling.NEAREST)
    assert np.array_equal(found.mask, np.asarray(back))
    code, out, err = slimprune("predict", path, file, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    written = tmp_path / "out" / "L.mask.png"
    assert out.splitlines()[1].strip() == f"{100 * found.share:.2f} % foreground, {written} is written"
    assert np.array_equal(np.asarray(Image.open(written)), found.mask)


def test_a_network_of_one_size_sees_the_centre(photos: Path, tmp_path: Path) -> None:
    file = photos / "val" / "any" / "L.png"
    slimprune.export_onnx(seeded(OneSize), images(1), tmp_path / "masks.onnx", preprocessing=HOW)
    (found,) = predict(tmp_path / "masks.onnx", [file])
    assert found.mask is not None
    assert found.box == (8, 0, 31, 23)  # 23 of 40 columns
    assert not found.mask[:, :8].any()
    assert not found.mask[:, 31:].any()
    with pytest.raises(UsageError, match=r"of different names for masks in one folder, got two for L\.mask\.png"):
        write_masks([found, found], tmp_path)


def test_a_file_that_does_not_say_how_images_become_its_input_is_refused(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.onnx"
    slimprune.export_onnx(seeded(Classifier), images(1), path)
    with pytest.raises(VerificationError, match=r"bare\.onnx to state how images become its input"):
        predict(path, photos)


def test_images_are_found_once_each_in_order(photos: Path) -> None:
    folder = photos / "val" / "any"
    names = [path.name for path in find_images([folder / "RGBA.png", str(folder / "R*"), photos / "val"])]
    assert names[:2] == ["RGBA.png", "RGB.png"]
    assert len(names) == len(set(names)) == len(MODES) + 1
    with pytest.raises(DataError, match=r"expected image files at .*\.gif, found none"):
        find_images([folder / "*.gif"])
