import copy

import onnxruntime
import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.export import export_onnx
from slimprune.timing import ENGINES, Place, Subject, engine_at, engines, find_engines, onnx_calls
from slimprune.timing.layer_times import LayerClock
from slimprune.timing.layers import Layer

CPU = torch.device("cpu")
INPUTS = torch.randn(4, 3, 8, 8)
TRAINING = ["train", "train-fast", "train-amp", "train-fast-amp"]
HERE = [name for name, engine in ENGINES.items() if engine.absence(CPU) is None]


def network(*tail):
    layers = (nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    return nn.Sequential(*layers, *(tail or (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))))


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    module = network()
    return Subject(module, export_onnx(module, INPUTS, tmp_path_factory.mktemp("engines") / "net.onnx").path)


@pytest.mark.parametrize("name", HERE)
def test_an_engine_can_be_called_again_and_again_and_leaves_the_network_untouched(subject, name):
    before, training = copy.deepcopy(subject.module.state_dict()), subject.module.training
    call = ENGINES[name].prepared(subject, INPUTS, Place(CPU, 1))
    for _ in range(3):
        call()
    assert subject.module.training == training
    assert all(torch.equal(before[key], value) for key, value in subject.module.state_dict().items())
    assert all(parameter.grad is None for parameter in subject.module.parameters())


@pytest.fixture
def prepared(monkeypatch):
    """Prepares an engine that trains; returns the copy that it trains and the execution that it steps with."""

    def prepare(name, module):
        made = []
        copied, make_execution = engines._copied, engines.make_execution
        with monkeypatch.context() as patched:
            patched.setattr(engines, "_copied", lambda *given: made.append(copied(*given)) or made[-1])
            patched.setattr(engines, "make_execution", lambda *given: made.append(make_execution(*given)) or made[-1])
            ENGINES[name].prepared(Subject(module), INPUTS, Place(CPU, 1))
        return made

    return prepare


@pytest.mark.parametrize("name", TRAINING)
def test_a_training_step_has_all_its_parts_and_keeps_the_weights(prepared, name):
    """Gradients and momentum of every weight, running statistics of batch norm; no new weights."""
    module = network()
    trained, execution = prepared(name, module)
    assert trained.training
    assert all(parameter.grad is not None for parameter in trained.parameters())
    assert len(execution.optimizer.state) == len(list(module.parameters()))
    assert trained[1].running_mean.abs().sum() > 0
    assert all(torch.equal(*pair) for pair in zip(module.parameters(), trained.parameters(), strict=True))
    assert trained[0].weight.is_contiguous() == ("fast" not in name)
    assert execution.step.amp == name.endswith("amp")


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize("tail", [(), (nn.Conv2d(6, 1, 1),), (nn.Conv2d(6, 3, 1),), (nn.Flatten(), nn.Linear(216, 1))])
def test_any_output_can_be_trained(prepared, name, tail):
    trained, _ = prepared(name, network(*tail))
    gradients = [parameter.grad for parameter in trained.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert trained[0].weight.grad.abs().sum() > 0


def test_frozen_layers_stay_frozen(prepared):
    module = network()
    module[0].requires_grad_(False)
    trained, execution = prepared("train", module)
    assert [parameter.grad is None for parameter in trained.parameters()] == [True] * 2 + [False] * 4
    assert len(execution.optimizer.state) == 4
    module.requires_grad_(False)
    with pytest.raises(UnsupportedModelError, match="trainable parameters, got none"):
        ENGINES["train"].prepared(Subject(module), INPUTS, Place(CPU, 1))


@pytest.mark.parametrize("name", ["torch-nhwc", "train-fast"])
def test_weights_of_other_dimensions_may_stand_beside_images(prepared, name):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Unflatten(1, (2, 2)), nn.Conv3d(2, 2, (1, 3, 3)), nn.Flatten())
    copied, *_ = prepared(name, module)
    assert [copied[index].weight.is_contiguous() for index in (0, 2)] == [False, True]


def test_a_network_that_fails_is_refused_in_one_line():
    with pytest.raises(UnsupportedModelError, match=r"engine torch can run on inputs \[4, 3, 8, 8\], got .*shape"):
        ENGINES["torch"].prepared(Subject(nn.Linear(3, 3)), INPUTS, Place(CPU, 1))


def test_openvino_computes_what_torch_does_and_gets_the_threads(subject):
    pytest.importorskip("openvino")
    (found,) = onnx_calls.onnx_on_openvino(subject, INPUTS, Place(CPU, 1))().values()
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), copy.deepcopy(subject.module).eval()(INPUTS))


def test_the_quantised_network_is_close_and_not_the_same(tmp_path):
    """Processors without products of four 8-bit numbers saturate sums: this network's are small enough for them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        inputs, module = torch.randn(4, 3, 8, 8), network()
    subject = Subject(module, export_onnx(module, inputs, tmp_path / "net.onnx").path)
    (found,) = onnx_calls.quantised_on_cpu(subject, inputs[:1], Place(CPU, 1))()
    with torch.no_grad():
        expected = copy.deepcopy(module).eval()(inputs[:1])
    difference = (torch.from_numpy(found) - expected).abs().max()
    assert 0 < difference < 0.1 * expected.abs().max()


def test_an_engine_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"engine openvino needs the package openvino: pip install 'slimprune\[openvino\]'"
    ):
        find_engines(("openvino",), CPU)


def test_onnxruntime_gets_the_threads(subject):
    options = onnx_calls._session(subject, Place(CPU, 3), "CPUExecutionProvider").get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 3)


def test_a_session_that_falls_back_to_another_provider_is_refused(subject, monkeypatch):
    plain = onnxruntime.InferenceSession(str(subject.onnx), providers=["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, **options: plain)
    with pytest.raises(RuntimeError, match="on CPUExecutionProvider, not on CUDAExecutionProvider"):
        onnx_calls._session(subject, Place(torch.device("cuda", 0), 1), "CUDAExecutionProvider")


def test_engines_are_found_by_name_or_by_what_is_there():
    usual = ["torch", "torch-nhwc", "onnxruntime", "train", "train-fast"]
    assert [engine.name for engine in find_engines((), CPU)] == usual
    assert [engine.name for engine in find_engines(("train", "torch", "train"), CPU)] == ["train", "torch"]
    on_cuda = [engine.name for engine in find_engines((), torch.device("cuda", 0))]
    assert {*usual, "torch-captured"} <= set(on_cuda)


def test_onnxruntime_on_the_cpu_stays_there():
    assert ENGINES["onnxruntime"].place(torch.device("cuda", 0), 2) == Place(CPU, 2)
    assert ENGINES["train"].place(torch.device("cuda", 0), 2).device.type == "cuda"


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("tensorrt", "cpu", r"expected an engine \(torch, torch-nhwc, .*\), got 'tensorrt'"),
        ("torch-captured", "cpu", "engine torch-captured needs a CUDA device, got cpu"),
        ("onnxruntime-cuda", "cuda", "needs onnxruntime's CUDAExecutionProvider, which this installation lacks"),
    ],
)
def test_engines_that_are_not_there_are_refused(monkeypatch, name, device, message):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match=message):
        find_engines((name,), torch.device(device))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", ["torch-captured", *TRAINING])
def test_a_captured_network_runs_on_cuda(subject, name):
    place = Place(torch.device("cuda", 0), 1)
    before = copy.deepcopy(subject.module.state_dict())
    ENGINES[name].prepared(subject, INPUTS, place)()
    place.stopwatch.synchronise()
    assert all(torch.equal(before[key], value) for key, value in subject.module.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", ["torch-captured", "train-fast", "train-fast-amp"])
def test_a_network_that_cannot_be_captured_is_refused(name):
    class Waiting(nn.Flatten):
        def forward(self, images):
            return super().forward(images) * float(images.sum())

    with pytest.raises(UnsupportedModelError, match="makes the host wait"):
        ENGINES[name].prepared(
            Subject(network(Waiting(), nn.Linear(216, 5))), INPUTS, Place(torch.device("cuda", 0), 1)
        )


@pytest.mark.parametrize(
    ("name", "device", "engine", "where"),
    [
        ("onnxruntime", "cpu", "onnxruntime", "cpu"),
        ("onnxruntime-cpu", "cpu", "onnxruntime", "cpu"),
        ("torch-cpu", "cuda", "torch", "cpu"),
        ("torch", "cuda", "torch", "cuda"),
    ],
)
def test_a_name_may_say_where_it_runs(name, device, engine, where):
    found, place = engine_at(name, torch.device(device))
    assert (found.name, place.type) == (engine, where)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torch-cuda", "engine torch-cuda needs a CUDA device, which is not present"),
        ("torch-captured-cpu", "engine torch-captured runs on cuda only, got cpu"),
        ("tensorrt-cpu", r"expected an engine \(torch, .*\), got 'tensorrt-cpu'"),
    ],
)
def test_a_place_where_it_cannot_run_is_refused(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=message):
        engine_at(name, CPU)


CONVOLUTION = Layer("conv", 8, 3, (6, 6), kernel=(3, 3), stride=(1, 1), padding=(0, 0), dilation=(1, 1))


@pytest.mark.parametrize("layer", [CONVOLUTION, Layer("linear", 5, 7, ()), Layer("linear", 5, 7, (3,))])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_int8_engine_times_layers_for_latency_budgets(layer, batch):
    (seconds,) = LayerClock(ENGINES["onnxruntime-int8"], Place(CPU, 1), batch).seconds([layer])
    assert seconds > 0
