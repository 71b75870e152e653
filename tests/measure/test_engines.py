import copy

import onnxruntime
import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError, UsageError
from slimprune.export import export_onnx
from slimprune.measure import ENGINES, Place, Subject, engines, find_engines

CPU = torch.device("cpu")
INPUTS = torch.randn(4, 3, 8, 8)
HERE = [name for name, engine in ENGINES.items() if engine.absence(CPU) is None]


def network(*tail):
    layers = (nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    return nn.Sequential(*layers, *(tail or (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))))


@pytest.fixture
def subject(tmp_path):
    module = network()
    return Subject(module, export_onnx(module, INPUTS, tmp_path / "net.onnx").path)


@pytest.mark.parametrize("name", HERE)
def test_an_engine_can_be_called_again_and_again_and_leaves_the_network_untouched(subject, name):
    before, training = copy.deepcopy(subject.module.state_dict()), subject.module.training
    call = ENGINES[name].prepared(subject, INPUTS, Place(CPU, 1))
    for _ in range(3):
        call()
    assert subject.module.training == training
    assert all(torch.equal(before[key], value) for key, value in subject.module.state_dict().items())
    assert all(parameter.grad is None for parameter in subject.module.parameters())


def test_a_training_step_has_all_its_parts_and_keeps_the_weights(monkeypatch):
    """Gradients of every weight, momentum of the fused optimiser, running statistics of batch norm; no new weights."""
    module = network()
    monkeypatch.setattr(engines, "_copied", lambda module, place: module)
    weights = [parameter.detach().clone() for parameter in module.parameters()]
    made = []
    sgd = torch.optim.SGD
    monkeypatch.setattr(torch.optim, "SGD", lambda *args, **options: made.append(sgd(*args, **options)) or made[-1])
    ENGINES["train"].prepared(Subject(module), INPUTS, Place(CPU, 1))
    assert module.training
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert made[0].defaults["fused"]
    assert len(made[0].state) == len(weights)
    assert module[1].running_mean.abs().sum() > 0
    assert all(torch.equal(*pair) for pair in zip(weights, module.parameters(), strict=True))


@pytest.mark.parametrize("tail", [(), (nn.Conv2d(6, 1, 1),), (nn.Conv2d(6, 3, 1),), (nn.Flatten(), nn.Linear(216, 1))])
def test_any_output_can_be_trained(tail):
    ENGINES["train"].prepared(Subject(network(*tail)), INPUTS, Place(CPU, 1))


def test_frozen_layers_stay_frozen():
    module = network()
    module[0].requires_grad_(False)
    ENGINES["train"].prepared(Subject(module), INPUTS, Place(CPU, 1))
    module.requires_grad_(False)
    with pytest.raises(UnsupportedModelError, match="engine train can run on inputs"):
        ENGINES["train"].prepared(Subject(module), INPUTS, Place(CPU, 1))


def test_a_network_that_fails_is_refused_in_one_line():
    with pytest.raises(UnsupportedModelError, match=r"engine torch can run on inputs \[4, 3, 8, 8\], got .*shape"):
        ENGINES["torch"].prepared(Subject(nn.Linear(3, 3)), INPUTS, Place(CPU, 1))


def test_onnxruntime_gets_the_threads(subject):
    options = engines._session(subject, Place(CPU, 3), "CPUExecutionProvider").get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 3)


def test_a_session_that_falls_back_to_another_provider_is_refused(subject, monkeypatch):
    plain = onnxruntime.InferenceSession(str(subject.onnx), providers=["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, **options: plain)
    with pytest.raises(RuntimeError, match="on CPUExecutionProvider, not on CUDAExecutionProvider"):
        engines._session(subject, Place(torch.device("cuda", 0), 1), "CUDAExecutionProvider")


def test_engines_are_found_by_name_or_by_what_is_there():
    assert [engine.name for engine in find_engines((), CPU)] == ["torch", "onnxruntime", "train"]
    assert [engine.name for engine in find_engines(("train", "torch", "train"), CPU)] == ["train", "torch"]
    on_cuda = [engine.name for engine in find_engines((), torch.device("cuda", 0))]
    assert {"torch", "torch-captured", "onnxruntime", "train"} <= set(on_cuda)


def test_onnxruntime_on_the_cpu_stays_there():
    assert ENGINES["onnxruntime"].place(torch.device("cuda", 0), 2) == Place(CPU, 2)
    assert ENGINES["train"].place(torch.device("cuda", 0), 2).device.type == "cuda"


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("tensorrt", "cpu", r"expected an engine \(torch, torch-captured, .*\), got 'tensorrt'"),
        ("torch-captured", "cpu", "engine torch-captured needs a CUDA device, got cpu"),
        ("onnxruntime-cuda", "cuda", "needs onnxruntime's CUDAExecutionProvider, which this installation lacks"),
    ],
)
def test_engines_that_are_not_there_are_refused(monkeypatch, name, device, message):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match=message):
        find_engines((name,), torch.device(device))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_captured_network_runs_on_cuda(subject):
    place = Place(torch.device("cuda", 0), 1)
    ENGINES["torch-captured"].prepared(subject, INPUTS, place)()
    place.stopwatch.synchronise()
