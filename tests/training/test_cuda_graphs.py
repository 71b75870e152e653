import pytest
import torch

from slimprune.training import cuda_graphs
from slimprune.training.cuda_graphs import CapturedCallable, NotCapturableError, RefuseHostSync, capture

from .cases import record_by_calling

ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (lambda x: x * x.sum().item(), "_local_scalar_dense"),
        (lambda x: x[x > 0].sum(), "makes the host wait"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x.view(1, 3)[:, torch.tensor([True, False, True])], "makes the host wait"),
        (lambda x: x.to("meta"), "copies between cpu and meta"),
        (lambda x: torch.empty(3, device="meta")[torch.tensor([2, 0])], "makes the host wait"),
        (lambda x: torch.tensor([1.0], device="meta"), "values from the host"),
        (lambda x: torch.as_tensor(data=[1.0], device="meta"), "values from the host"),
        (lambda x: torch.asarray([1.0], device="meta"), "values from the host"),
        (lambda x: torch.empty(1, device="meta").new_tensor([1.0]), "values from the host"),
        (lambda x: torch.autograd.backward((x.requires_grad_() * 2).sum().item()), "makes the host wait"),
    ],
)
def test_work_that_waits_is_refused(work, reason):
    with pytest.raises(NotCapturableError, match=reason), RefuseHostSync():
        work(torch.rand(3))


def test_ordinary_work_is_let_through_and_gives_the_same():
    images = torch.rand(2, 3)

    def gradient():
        weight = torch.arange(9.0).reshape(3, 3).requires_grad_()
        rows = (images @ weight).softmax(1).bfloat16().float()
        loss = rows.sum() + rows[:, torch.tensor([2, 0])].sum() + rows[torch.arange(2), torch.tensor([0, 1])].sum()
        torch.autograd.backward(loss + torch.as_tensor(rows).sum())
        return weight.grad

    with RefuseHostSync():
        guarded = gradient()
    assert torch.equal(guarded, gradient())
    assert guarded.abs().sum() > 0


def test_tensors_of_the_device_may_be_made_of_its_tensors():
    on_device = torch.empty(2, device="meta")
    with RefuseHostSync():
        assert torch.as_tensor(on_device) is on_device
        assert torch.asarray(on_device).device.type == "meta"


class Sum:
    """Adds what it is called with; can be put back."""

    def __init__(self, fails_at=()):
        self.total, self.calls, self.fails_at = 0.0, 0, fails_at

    def __call__(self, values):
        self.calls += 1
        self.total += values.sum().item()
        if self.calls in self.fails_at:
            raise RuntimeError("no\nmore")
        return values.sum()

    def snapshot(self):
        total = self.total

        def restore():
            self.total = total

        return restore


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "capture", record_by_calling)


@pytest.mark.usefixtures("on_cpu")
def test_work_is_recorded_when_its_first_shape_comes_again_and_the_trial_calls_leave_no_trace():
    work, notes = Sum(), []
    recorded = CapturedCallable(work, work, notes.append, work.snapshot)
    state = torch.get_rng_state()
    sums = [recorded(torch.full((size,), value)).item() for size, value in [(4, 1.0), (2, 5.0), (4, 2.0), (4, 3.0)]]
    assert sums == [4.0, 10.0, 8.0, 12.0]
    assert work.total == sum(sums)
    assert work.calls == 4 + cuda_graphs.WARM_UP
    assert notes == []
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("fails_at", [1, 2, 4])
def test_work_that_fails_gives_way_to_the_fallback_for_good(fails_at):
    """In its first call, at the first trial call of the recording, or at the third."""
    work, plain, notes = Sum([fails_at]), Sum(), []
    recorded = CapturedCallable(work, plain, notes.append, work.snapshot)
    for value in (1.0, 2.0, 3.0):
        assert recorded(torch.full((2,), value)).item() == 2 * value
    assert work.total + plain.total == 12.0
    assert notes == ["not captured in a CUDA graph: no"]
    assert plain.calls == (3 if fails_at == 1 else 2)


def test_what_is_not_one_tensor_each_goes_the_plainer_way_at_once():
    notes, seen = [], []
    recorded = CapturedCallable(pytest.fail, lambda *given: seen.append(given) or torch.zeros(1), notes.append)
    for _ in range(2):
        recorded({"image": torch.zeros(1)}, torch.zeros(2))
    assert len(seen) == 2
    assert notes == ["not captured in a CUDA graph: inputs and targets are not one tensor each"]


def test_other_errors_than_those_of_torch_are_not_swallowed():
    def work(values):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        CapturedCallable(work, work, lambda note: None)(torch.rand(2))


@ON_CUDA
def test_a_recording_follows_inputs_and_weights():
    weight = torch.rand(3, 2, device="cuda")
    inputs = torch.rand(4, 3, device="cuda")
    replayed = capture(lambda values: values @ weight, inputs)
    for _ in range(2):
        inputs, _ = torch.rand(4, 3, device="cuda"), weight.add_(1)
        torch.testing.assert_close(replayed(inputs), inputs @ weight)


@ON_CUDA
def test_work_that_waits_is_refused_and_cuda_goes_on():
    notes = []
    recorded = CapturedCallable(lambda x: x * x.sum().item(), lambda x: x + 1, notes.append)
    inputs = torch.ones(3, device="cuda")
    assert [recorded(inputs).sum().item() for _ in range(3)] == [9, 6, 6]
    assert len(notes) == 1
    assert capture(lambda x: 2 * x, inputs)(inputs).sum().item() == 6
