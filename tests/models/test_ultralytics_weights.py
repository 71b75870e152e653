"""Files of ultralytics, which hold whole modules, read as weights alone."""

import importlib
import pickle

import pytest
import torch
from torch import nn

from slimprune.errors import DataError
from slimprune.models import InputSpec, build, class_branches, fill, read_weights


def yolo(classes):
    pytest.importorskip("ultralytics", reason="needs the extra ultralytics")
    torch.manual_seed(classes)
    return build("yolo:yolov8n", InputSpec(3, 64, 64, classes))


@pytest.fixture
def saved(tmp_path):
    """A network of 80 classes and its file, as the library saves it in half precision."""
    model = yolo(80)
    library = importlib.import_module("ultralytics").YOLO("yolov8n.yaml")
    library.model = model
    library.save(tmp_path / "yolov8n.pt")
    return model, tmp_path / "yolov8n.pt"


def filled(file, classes, *, reset_head=False):
    model = yolo(classes)
    options = {"outputs": classes, "reset_head": reset_head, "branches": class_branches(model)}
    return model, fill(model, read_weights(file), f"weights {file}", **options)


def test_a_file_gives_the_weights_of_its_module(saved):
    dense, file = saved
    model, missing = filled(file, 80)
    assert missing == []
    expected = dense.half().float().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_other_classes_leave_out_only_layers_of_the_branch_of_classes(saved):
    dense, file = saved
    # 80 classes make this branch 80 wide, and two classes 64
    with pytest.raises(DataError, match=r"expected 2 outputs of the head model.22.cv3.0.2, .*, got 80: --reset-head"):
        filled(file, 2)
    model, missing = filled(file, 2, reset_head=True)
    assert {name.split(".")[2] for name in missing} == {"cv3"}
    assert "model.22.cv3.2.2.bias" in missing
    assert torch.equal(model.model[22].cv2[0][0].conv.weight, dense.half().float().model[22].cv2[0][0].conv.weight)


def test_the_averaged_module_of_an_unfinished_training_is_taken(tmp_path):
    model = yolo(80)
    torch.save({"epoch": 3, "model": None, "ema": model, "train_args": {"lr0": 0.01}}, tmp_path / "last.pt")
    assert filled(tmp_path / "last.pt", 80)[1] == []


class Evil(nn.Module):
    """A module whose file asks for a call while it is read."""

    def __reduce__(self):
        return exec, ("raise SystemExit('the code of the file was run')",)


def test_code_beside_a_module_is_refused_and_not_run(tmp_path):
    torch.save({"model": yolo(80), "more": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match=r"contains code or objects \(exec\)"):
        read_weights(tmp_path / "evil.pt")


class Called:
    """An object whose file calls a class of the library, which would build a network of the file's choice."""

    def __reduce__(self):
        tasks = importlib.import_module("ultralytics.nn.tasks")
        return tasks.DetectionModel, ({"activation": "raise_an_error()", "backbone": [], "head": []},)


def test_classes_of_the_library_are_not_called(tmp_path):
    torch.save({"model": yolo(80), "more": Called()}, tmp_path / "w.pt")
    assert len(read_weights(tmp_path / "w.pt")) == len(yolo(80).state_dict())


def test_modules_of_others_are_refused_as_before(tmp_path):
    torch.save({"model": nn.Linear(2, 2)}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"a state_dict.. alone is read"):
        read_weights(tmp_path / "w.pt")
    (tmp_path / "p.pt").write_bytes(pickle.dumps({"model": 3}))
    with pytest.raises(DataError):
        read_weights(tmp_path / "p.pt")
