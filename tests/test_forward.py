"""Models with other signatures, in wrappers, with hooks, frozen or half precise: every step takes or refuses them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import prune as masks

import slimprune
from slimprune.errors import DataError, UnsupportedModelError
from slimprune.forward import ForwardAdapter, loss_of, split_batch, unwrap
from slimprune.graph import keep_channels, named_tensors, prove_removal
from tests.networks import EXAMPLE, Residual, halves, toy


class Masked(nn.Module):
    """Two named arguments, and a dict of outputs."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.hidden, self.head = nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, image, *, mask):
        x = F.relu(self.norm(self.conv(image))) * mask
        return {"logits": self.head(F.relu(self.hidden(x)).mean((2, 3))), "features": x}


def forward(model, batch):
    return model(batch["image"], mask=batch["mask"])


def loss(output, batch):
    return F.cross_entropy(output["logits"], batch["label"])


def correct(output, batch):
    hits = (output["logits"].argmax(1) == batch["label"]).sum().reshape(1)
    return hits, hits.new_full((1,), len(batch["label"]))


def batches(count):
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randn(4, 3, 8, 8, generator=generator),
            "mask": torch.rand(4, 1, 8, 8, generator=generator),
            "label": torch.randint(0, 4, (4,), generator=generator),
        }
        for _ in range(count)
    ]


def test_every_step_takes_a_forward_and_a_loss_of_ones_own():
    model, data = toy(Masked), batches(8)
    before = copy.deepcopy(model.state_dict())
    groups = slimprune.find_groups(model, data[0], forward_fn=forward)
    assert {group.id: group.protected_reason for group in groups}["conv"] == "model output"
    assert [group.id for group in groups if group.protected_reason is None] == ["hidden"]
    costs = slimprune.CostModel.of(model, groups, data[0], forward_fn=forward)
    assert costs.dense.macs == 64 * 8 * 27 + 36 * 6 * 72 + 4 * 6
    scores = slimprune.score(model, groups, data, loss, forward_fn=forward, draws=2)
    plan = slimprune.allocate(scores, groups, slimprune.Budget(0.4, "params"), costs)
    slim = slimprune.slim(model, plan)
    slim = slim.with_proof(slimprune.prove(model, slim, data[0], forward_fn=forward))
    settings = slimprune.TrainSettings(epochs=2, lr=0.05, device="cpu")
    metric = slimprune.Metric("accuracy", correct)
    result = slimprune.train(slim.module, data[:6], data[6:], settings, loss=loss, metric=metric, forward_fn=forward)
    assert 0 <= result.final <= 1
    assert isinstance(slim.module, Masked)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_forward_of_ones_own_gives_the_scores_and_weights_of_the_plain_one():
    model = toy(Residual)
    pairs = [(torch.randn(4, 3, 8, 8), torch.randint(0, 4, (4,))) for _ in range(4)]
    own = {"forward_fn": lambda model, batch: model(batch[0])}

    def results(loss, **options):
        example = pairs[0] if options else EXAMPLE
        groups = slimprune.find_groups(model, example, **options)
        scores = slimprune.score(model, groups, pairs, loss, draws=1, **options)
        trained = copy.deepcopy(model)
        settings = slimprune.TrainSettings(epochs=1, device="cpu", fast=False)
        counted = slimprune.top1 if not options else slimprune.Metric("top1", lambda o, b: slimprune.top1(o, b[1]))
        slimprune.train(trained, pairs[:3], pairs[3:], settings, loss=loss, metric=counted, **options)
        return {**scores.by_group, **dict(trained.named_parameters())}

    plain, called = results(F.cross_entropy), results(lambda output, batch: F.cross_entropy(output, batch[1]), **own)
    assert plain.keys() == called.keys()
    assert all(torch.equal(plain[name], called[name]) for name in plain)


def test_one_output_of_several_is_exported(tmp_path):
    class Several(Residual):
        def forward(self, x):
            return {"logits": super().forward(x)}

    model, path, first = toy(Several), tmp_path / "one.onnx", {"forward_fn": lambda model, x: model(x)["logits"]}
    with pytest.raises(UnsupportedModelError, match="one tensor, got dict"):
        slimprune.export_onnx(model, EXAMPLE, path)
    slimprune.export_onnx(model, EXAMPLE, path, **first)
    assert slimprune.verify_onnx(model, path, torch.randn(5, 3, 8, 8), **first).top1_agreement == 1


def test_the_module_behind_a_forward_keeps_names_and_mode():
    model = toy(Residual)
    twin = copy.deepcopy(ForwardAdapter(model, lambda model, batch: model(batch)))
    assert list(named_tensors(twin)) == list(named_tensors(model))
    twin.eval()
    assert not any(module.training for module in twin.modules())
    with torch.no_grad():
        twin.get_parameter("head.weight").zero_()
        assert torch.equal(twin(EXAMPLE), twin.get_parameter("head.bias").expand(1, 4))
    assert model.training
    assert bool(model.head.weight.any())


@pytest.mark.parametrize(
    ("batch", "found"), [({"image": 1}, "a dict"), ((1, 2, 3), "3 parts"), (torch.zeros(2, 3), "a Tensor")]
)
def test_batches_that_are_no_pairs_are_one_line(batch, found):
    with pytest.raises(DataError, match=rf"expected batches \(inputs, targets\).*forward_fn, got {found}"):
        split_batch(batch, None)
    model = toy(Residual)
    with pytest.raises(DataError, match="expected batches"):
        slimprune.score(model, slimprune.find_groups(model, EXAMPLE), [batch] * 4, F.cross_entropy, draws=1)
    settings = slimprune.TrainSettings(epochs=1, device="cpu")
    with pytest.raises(DataError, match="expected batches"):
        slimprune.train(model, [batch], [batch], settings, loss=F.cross_entropy, metric=slimprune.top1)


def test_losses_that_are_no_scalar_are_one_line():
    model, pair = toy(Residual), (torch.randn(4, 3, 8, 8), torch.randint(0, 4, (4,)))

    def each(output, target):
        return F.cross_entropy(output, target, reduction="none")

    with pytest.raises(UnsupportedModelError, match=r"scalar tensor, got one of shape \[4\]"):
        slimprune.score(model, slimprune.find_groups(model, EXAMPLE), [pair] * 4, each, draws=1)
    settings = slimprune.TrainSettings(epochs=1, device="cpu")
    with pytest.raises(UnsupportedModelError, match=r"scalar tensor, got one of shape \[4\]"):
        slimprune.train(model, [pair], [pair], settings, loss=each, metric=slimprune.top1)
    with pytest.raises(UnsupportedModelError, match="scalar tensor, got a float"):
        loss_of(lambda output, target: 1.0, None, None)
    with pytest.raises(
        UnsupportedModelError, match="the loss fails on an output and a target of kind dict and Tensor: "
    ):
        loss_of(F.cross_entropy, {"logits": torch.zeros(2, 3)}, torch.zeros(2, dtype=torch.int64))


def test_operators_without_second_derivatives_are_one_line():
    model, pairs = toy(Residual), [(torch.randn(4, 3, 8, 8), torch.randint(0, 4, (4,)))] * 4
    groups = slimprune.find_groups(model, EXAMPLE)
    with pytest.raises(UnsupportedModelError, match=r"second derivatives, got .*multi_margin.*prospr-first-order"):
        slimprune.score(model, groups, pairs, F.multi_margin_loss, draws=1)
    assert slimprune.score(model, groups, pairs, F.multi_margin_loss, criterion="snip", draws=1).by_group["stem"].any()


class _Once(torch.autograd.Function):
    """x squared, with a gradient that torch must not differentiate."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


def test_a_function_that_can_be_differentiated_once_is_named_as_such():
    """Torch itself would leave its second derivative out."""
    model = toy(Residual)
    groups = slimprune.find_groups(model, EXAMPLE)
    pairs = [(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]))] * 4

    def loss(output, target):
        return F.cross_entropy(_Once.apply(output), target)

    with pytest.raises(
        UnsupportedModelError, match=r"second derivatives, got .*once_differentiable.*prospr-first-order"
    ):
        slimprune.score(model, groups, pairs, loss, draws=1)
    assert slimprune.score(model, groups, pairs, loss, criterion="prospr-first-order", draws=1).by_group["stem"].any()


def test_wrappers_are_taken_off_at_every_step():
    model = toy(Residual)
    wrapped = torch.compile(nn.DataParallel(model))
    assert unwrap(wrapped) is model
    groups = slimprune.find_groups(wrapped, EXAMPLE)
    assert [group.id for group in groups] == ["stem", "inner", "head"]
    costs = slimprune.CostModel.of(wrapped, groups, EXAMPLE)
    plan = slimprune.allocate(None, groups, slimprune.Budget(0.5, "channels"), costs, rule="uniform")
    slim = slimprune.slim(wrapped, plan)
    assert type(slim.module) is Residual
    assert slimprune.prove(wrapped, slim, EXAMPLE).passed
    pairs = [(torch.randn(4, 3, 8, 8), torch.randint(0, 4, (4,)))] * 4
    assert slimprune.score(wrapped, groups, pairs, F.cross_entropy, draws=1).by_group.keys() == {"stem", "inner"}


@pytest.mark.filterwarnings("ignore::FutureWarning:torch.jit")
def test_what_is_no_module_of_python_code_is_one_line():
    refusals = {
        "Residual, which torch.jit scripted or traced": torch.jit.trace(toy(Residual).eval(), EXAMPLE),
        "inner, a OptimizedModule": toy(Residual),
        "got weight of inner, which is computed from others: take off weight_norm": toy(Residual),
        "expected a torch.nn.Module, got function": forward,
    }
    compiled, masked = list(refusals.values())[1:3]
    compiled.inner = torch.compile(compiled.inner)
    masks.random_unstructured(masked.inner, "weight", 0.5)
    for message, model in refusals.items():
        with pytest.raises(UnsupportedModelError, match=message):
            slimprune.find_groups(model, EXAMPLE)


def slimmed(model, example=EXAMPLE):
    groups = slimprune.find_groups(model, example)
    kept = halves(groups)
    slim = keep_channels(model, groups, kept)
    assert kept
    assert prove_removal(model, slim, groups, kept, example).max_rel_diff <= 1e-9
    return slim, groups


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precise_weights_are_proven_in_float64_and_keep_their_dtype(dtype):
    slim, _ = slimmed(toy(Residual).to(dtype), EXAMPLE.to(dtype))
    assert {parameter.dtype for parameter in slim.parameters()} == {dtype}
    assert slim(torch.zeros(2, 3, 8, 8, dtype=dtype)).dtype == dtype


def test_frozen_weights_stay_frozen_and_as_they_are():
    model = toy(Residual)
    model.inner.requires_grad_(False)
    slim, groups = slimmed(model)
    assert [name for name, parameter in slim.named_parameters() if not parameter.requires_grad] == ["inner.weight"]
    before = slim.inner.weight.clone()
    pairs = [(torch.randn(4, 3, 8, 8), torch.randint(0, 4, (4,)))] * 4
    assert slimprune.score(model, groups, pairs, F.cross_entropy, draws=1).by_group["inner"].isfinite().all()
    settings = slimprune.TrainSettings(epochs=1, device="cpu", weight_decay=0.1)
    slimprune.train(slim, pairs, pairs, settings, loss=F.cross_entropy, metric=slimprune.top1)
    assert torch.equal(slim.inner.weight, before)


def test_compress_takes_wrappers_off_and_says_what_is_frozen(tmp_path):
    model = toy(Residual)
    model.inner.requires_grad_(False)
    pairs = [(torch.randn(16, 3, 8, 8), torch.randint(0, 4, (16,)))] * 2
    settings = {"ratio": 0.3, "epochs": 1, "draws": 1, "criterion": "magnitude", "out": tmp_path / "net.slim"}
    report = slimprune.compress(nn.DataParallel(model), train_batches=pairs, test_batches=pairs, **settings)
    assert "frozen, so slimmed but not trained: inner.weight" in report.warnings
    loaded = slimprune.load(tmp_path / "net.slim", model=nn.DataParallel(model))
    assert type(loaded) is Residual
    width = len(report.plan.kept["inner"])
    assert loaded.inner.weight.shape[0] == width < 5


class InPlace(Residual):
    """In-place operators, dropout and a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1, 6).view(6, 1, 1), persistent=False)

    def forward(self, x):
        x = F.relu_(self.stem_bn(self.stem(x))).mul_(self.scale)
        y = F.dropout2d(F.relu(self.inner_bn(self.inner(x)), inplace=True), 0.3, self.training, inplace=True)
        x = x.add_(self.outer_bn(self.outer(y)))
        return self.head(F.relu_(x).mean((2, 3)))


def test_in_place_operators_dropout_and_buffers_that_are_not_saved():
    slim, groups = slimmed(toy(InPlace))
    assert [group.id for group in groups if group.protected_reason is None] == ["stem", "inner"]
    assert slim.scale.shape == (3, 1, 1)
    assert "scale" not in slim.state_dict()


def test_hooks_stay_on_the_slim_model_and_count_in_the_proof():
    model, calls = toy(Residual), []
    model.inner.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    model.outer.register_forward_hook(lambda module, inputs, output: calls.append(1))
    slim, _ = slimmed(model)
    plain = copy.deepcopy(slim)
    plain.inner._forward_pre_hooks.clear()
    images, before = torch.randn(2, 3, 8, 8), len(calls)
    assert not torch.allclose(slim.eval()(images), plain.eval()(images))
    assert len(calls) == before + 2


def test_a_hook_of_a_fixed_width_protects_its_channels():
    model, gains = toy(Residual), torch.rand(5, 1, 1)
    model.inner.register_forward_hook(lambda module, inputs, output: output * gains.to(output))
    reasons = {group.id: group.protected_reason for group in slimprune.find_groups(model, EXAMPLE)}
    assert reasons["stem"] is None
    assert reasons["inner"].startswith("not proven: the slim model fails")
