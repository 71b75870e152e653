import logging
import re
import sys
import warnings

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.export import export_onnx, read_metadata

from .cases import Classifier, InSteps, OneSize, Segmenter, images, seeded


def test_the_file_is_described_and_its_graph_has_a_free_batch(classifier, tmp_path):
    file = export_onnx(classifier, images(1), tmp_path / "model.onnx")
    assert file.path == tmp_path / "model.onnx"
    assert file.bytes == file.path.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    model = onnx.load(file.path)
    assert file.opset == model.opset_import[0].version == 18
    [source], [target] = model.graph.input, model.graph.output
    assert (source.name, target.name) == ("input", "output")
    shapes = [[dim.dim_param or dim.dim_value for dim in end.type.tensor_type.shape.dim] for end in (source, target)]
    assert shapes == [["batch", 3, 8, 8], ["batch", 5]]


def run(path, inputs):
    session = onnxruntime.InferenceSession(path)
    return torch.from_numpy(session.run(None, {"input": inputs.numpy()})[0])


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_a_u_net_takes_any_batch_height_and_width(upsampling, tmp_path):
    from slimprune.models import InputSpec, build

    model = build(f"unet:depth=3,width=4,upsampling={upsampling}", InputSpec(3, 16, 24, 1))
    model(torch.randn(4, 3, 16, 24))
    file = export_onnx(model, torch.randn(1, 3, 16, 24), tmp_path / "model.onnx")
    [source] = onnx.load(file.path).graph.input
    assert [dim.dim_param or dim.dim_value for dim in source.type.tensor_type.shape.dim] == [
        "batch", 3, "height", "width",
    ]  # fmt: skip
    assert file.size_step == 1
    for batch, height, width in ((1, 16, 24), (3, 32, 48), (2, 13, 7), (1, 1, 1), (5, 19, 40)):
        inputs = torch.randn(batch, 3, height, width)
        with torch.no_grad():
            torch.testing.assert_close(run(file.path, inputs), model.eval()(inputs), rtol=1e-4, atol=1e-5)


def test_steps_of_height_and_width_stand_in_the_file(tmp_path):
    model = InSteps(4).eval()
    file = export_onnx(model, images(1), tmp_path / "model.onnx")
    assert file.size_step == 4
    for height, width in ((8, 8), (4, 12), (40, 8)):
        inputs = torch.randn(2, 3, height, width)
        with torch.no_grad():
            torch.testing.assert_close(run(file.path, inputs), model(inputs), rtol=1e-4, atol=1e-5)


class Halves(nn.Module):
    """Follows any size in torch; for an exporter, what it does depends on the height."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 1, 1)

    def forward(self, x):
        return self.small(x) if x.shape[2] < 9 else self.large(x)


@pytest.mark.parametrize("model", [OneSize(), Halves()])
def test_other_models_keep_their_size_and_a_free_batch(model, tmp_path):
    file = export_onnx(model, images(1), tmp_path / "model.onnx")
    assert file.size_step is None
    [source] = onnx.load(file.path).graph.input
    assert [dim.dim_param or dim.dim_value for dim in source.type.tensor_type.shape.dim] == ["batch", 3, 8, 8]
    torch.testing.assert_close(run(file.path, images(5)), model.eval()(images(5)).detach(), rtol=1e-4, atol=1e-5)


def test_equal_models_give_equal_bytes_and_metadata_is_part_of_them(tmp_path):
    data = []
    for number, metadata in enumerate([{"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "1", "b": "3"}]):
        path = tmp_path / f"{number}.onnx"
        export_onnx(seeded(Classifier), images(number + 1), path, metadata=metadata)
        assert read_metadata(path) == metadata
        data.append(path.read_bytes())
    assert data[0] == data[1] != data[2]


def test_nothing_of_this_machine_is_in_the_file(written):
    data = written.read_bytes()
    assert b"stack_trace" not in data
    assert not re.search(rb"\.py|File |/home|/tmp|/root", data)
    assert sys.prefix.encode() not in data
    model = onnx.load(written)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_notes_inside_nested_graphs_and_functions_go_too():
    from slimprune.export.onnx_file import serialise

    inner = onnx.helper.make_node("Relu", ["x"], ["y"], doc_string="private")
    graph = onnx.helper.make_graph([inner], "inner", [], [], doc_string="private")
    outer = onnx.helper.make_node("If", ["c"], ["y"], then_branch=graph, doc_string="private")
    outer.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="private")
    function = onnx.helper.make_function("f", "g", ["x"], ["y"], [inner], [], doc_string="private")
    main = onnx.helper.make_graph([outer], "main", [], [], doc_string="private")
    model = onnx.helper.make_model(main, functions=[function], doc_string="private")
    assert b"private" in model.SerializeToString()
    assert b"private" not in serialise(model, {})


def test_the_model_is_left_as_it_was(tmp_path):
    model = seeded(Classifier).double()
    model.head.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    export_onnx(model, images(1).double(), tmp_path / "model.onnx")
    assert [module.training for module in model.modules() if module is not model.head] == [True] * 6
    assert not model.head.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.dtype == before[name].dtype for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_exporting_says_nothing(tmp_path, caplog, capfd):
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(seeded(Segmenter), images(1), tmp_path / "model.onnx")
        assert logging.root.manager.disable == logging.NOTSET
    # torch's structured trace is no message: it reaches no handler but pytest's.
    assert not [record for record in caplog.records if record.name != "torch.__trace"]
    assert capfd.readouterr() == ("", "")


class Refused(nn.Module):
    """One of several things that an ONNX graph of one input and one output cannot be."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(8, 2), function

    def forward(self, x):
        return self.function(self.layer(x))


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (lambda y: y if y.sum() > 0 else -y, "ONNX exporter accepts .*data-dependent"),
        (lambda y: y.reshape(2, -1), r"3 rows of output for 3 samples, got \[2, 72\]"),
        (lambda y: y[:2] if len(y) == 2 else y, "free batch dimension, got one that depends on the batch size"),
        (lambda y: (y, y), "return one tensor, got tuple"),
        (lambda y: y.mean(dim=0), r"2 rows of output for 2 samples, got \[3, 8, 2\]"),
        (lambda y: y @ torch.ones(3, 3), r"takes inputs \[2, 3, 8, 8\], got RuntimeError"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(function, rule, tmp_path, capfd):
    with pytest.raises(UnsupportedModelError, match=rule) as caught:
        export_onnx(Refused(function), images(1), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_outputs_that_depend_on_other_samples_are_refused(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(UnsupportedModelError, match=r"running statistics, .* got 1 \(track_running_stats=False\)"):
        export_onnx(model, images(1), tmp_path / "model.onnx")


def test_what_cannot_be_copied_is_refused(tmp_path):
    model = Refused(torch.relu)
    model.lock = (item for item in ())
    with pytest.raises(UnsupportedModelError, match="can be copied, got TypeError"):
        export_onnx(model, images(1), tmp_path / "model.onnx")


def test_a_path_that_cannot_be_written_is_refused(classifier, tmp_path):
    with pytest.raises(UsageError, match="writable"):
        export_onnx(classifier, images(1), tmp_path / "absent" / "model.onnx")


def test_metadata_with_the_key_of_the_digest_is_refused(classifier, tmp_path):
    with pytest.raises(UsageError, match="free, got sha256"):
        export_onnx(classifier, images(1), tmp_path / "model.onnx", metadata={"sha256": "0"})
