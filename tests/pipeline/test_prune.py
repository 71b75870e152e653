"""One call from a network to a proven slim module; what a training loop does afterwards is plain torch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import slimprune
from slimprune.errors import BudgetError, DataError, SlimpruneError, UnsupportedModelError, UsageError
from slimprune.saliency import make_criterion
from tests.own_network import fresh

EXAMPLE = torch.zeros(2, 3, 8, 8)
BATCHES = [(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(n)), torch.arange(4)) for n in range(3)]


def test_the_channels_with_the_largest_weights_stay() -> None:
    model = fresh()
    with torch.no_grad():
        for layer in (model.first, model.second):
            assert isinstance(layer, nn.Conv2d)
            size = torch.tensor([1.0 if channel % 2 else 0.1 for channel in range(layer.out_channels)])
            layer.weight.copy_(size.view(-1, 1, 1, 1).expand_as(layer.weight))
            layer.bias.zero_()  # type: ignore[union-attr]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    slim = slimprune.prune(model, EXAMPLE, ratio=0.5, of="channels", rule="uniform")
    # 28 channels, of which the head keeps 4; of 14 that may stay 10 are left for 8 + 16 in equal shares.
    assert {group: kept.tolist() for group, kept in slim.plan.kept.items()} == {
        "first": [1, 3, 5],
        "second": [1, 3, 5, 7, 9, 11, 13],
        "head": [0, 1, 2, 3],
    }
    assert slim.proof is not None
    assert slim.proof.passed
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert slim.recipe["criterion"] == "magnitude"
    assert str(slim).splitlines()[:2] == [
        "removed     50.00% of channels (0.5 asked), rule uniform",
        "channels    28 -> 14",
    ]


@pytest.mark.parametrize(
    ("options", "criterion", "rule", "draws"),
    [
        ({"data": BATCHES}, "taylor", "global", 3),
        ({"data": iter(BATCHES * 3), "of": "macs"}, "taylor", "uniform", 8),
        ({"data": BATCHES, "criterion": make_criterion("prospr", steps=2, lr=0.01)}, "prospr", "global", 1),
        ({"data": BATCHES, "criterion": "snip", "draws": 2, "rule": "tempered"}, "snip", "tempered", 2),
        ({"criterion": "random", "also": {"macs": 0.6}}, "random", "global", 8),
    ],
)
def test_defaults_depend_on_what_is_given(options: dict[str, Any], criterion: str, rule: str, draws: int) -> None:
    slim = slimprune.prune(fresh(), EXAMPLE, ratio=0.5, **options)
    assert {"criterion": criterion, "rule": rule, "draws": draws}.items() <= slim.recipe.items()
    assert slim.plan.budget.ratios == {options.get("of", "params"): 0.5, **options.get("also", {})}
    assert slim.plan.budget.allows(slim.plan.slim, slim.plan.dense)


def test_widths_layers_and_floor_are_as_asked() -> None:
    slim = slimprune.prune(fresh(), EXAMPLE, ratio=0.3, round_to=4, protect="first, he*")
    assert (slim.plan.widths["first"], slim.plan.widths["second"] % 4) == (8, 0)
    with pytest.raises(BudgetError, match="the floor"):
        slimprune.prune(fresh(), EXAMPLE, ratio=0.6, floor=0.9)


def test_a_function_calls_models_of_other_signatures() -> None:
    batches = [{"pixels": inputs, "label": targets} for inputs, targets in BATCHES]
    options: dict[str, Any] = {"forward_fn": lambda model, batch: model(batch["pixels"])["logits"]}
    slim = slimprune.prune(
        fresh("named"), batches[0], ratio=0.5, data=batches,
        loss=lambda output, batch: F.cross_entropy(output, batch["label"]), **options,
    )  # fmt: skip
    assert slim.origin.sample_shape is None
    with pytest.raises(UsageError, match=r"needs a loss of \(output, batch\) beside forward_fn"):
        slimprune.prune(fresh("named"), batches[0], ratio=0.5, data=batches, **options)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"criterion": "prospr"}, UsageError, "criterion prospr needs batches: give data=..., or take magnitude"),
        ({"criterion": "bn-scale", "data": BATCHES}, UsageError, "expected no data beside criterion bn-scale"),
        ({"loss": F.cross_entropy}, UsageError, "expected no loss beside criterion magnitude"),
        ({"draws": 2}, UsageError, "expected no draws beside criterion magnitude"),
        ({"data": []}, DataError, "expected 1 batches to score with, got 0"),
        ({"data": BATCHES, "draws": 4}, DataError, "expected 4 batches to score with, got 3"),
        ({"of": "latency"}, UsageError, "expected a budget of params, macs or channels, got latency"),
        ({"also": {"latency": 0.5}}, UsageError, "expected a budget of params, macs or channels, got latency"),
        ({"rule": "search"}, UsageError, "expected a rule that `allocate` knows, got search"),
        ({"round_to": "auto"}, UsageError, "expected round_to as a whole number, got 'auto'"),
        ({"protect": ["first", "second"]}, BudgetError, "expected channels that may be removed, got none"),
    ],
)
def test_options_without_effect_and_missing_ones_are_refused(
    options: dict[str, Any], kind: type[SlimpruneError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        slimprune.prune(fresh(), EXAMPLE, **{"ratio": 0.5, **options})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_model_without_removable_channels_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"got none \(weight: model output\)"):
        slimprune.prune(nn.Linear(3, 4), torch.zeros(2, 3), ratio=0.5)


@pytest.mark.parametrize("training", [True, False])
def test_mode_dtype_and_frozen_parameters_are_those_of_the_model(training: bool) -> None:
    model = fresh().to(torch.bfloat16).train(training)
    model.first.requires_grad_(False)
    module = slimprune.prune(model, EXAMPLE.bfloat16(), ratio=0.5).module
    assert module.training is training
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    assert frozen == {"first.weight", "first.bias"}
    assert {parameter.dtype for parameter in module.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_it_computes_the_same_in_any_context(context: Callable[[], Any]) -> None:
    expected = slimprune.prune(fresh(), EXAMPLE, ratio=0.5, of="macs", data=BATCHES)
    model = fresh()
    with context():
        found = slimprune.prune(model, EXAMPLE, ratio=0.5, of="macs", data=BATCHES)
    assert found.plan.to_json() == expected.plan.to_json()
    assert not any(parameter.is_inference() for parameter in found.module.parameters())


def test_hooks_go_along_and_states_of_training_go_through_state_dicts() -> None:
    model, calls = fresh(), []
    model.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    slim = slimprune.prune(model, EXAMPLE, ratio=0.5)
    calls.clear()
    slim.module(torch.zeros(5, 3, 8, 8))
    assert calls == [5]
    again = slimprune.prune(model, EXAMPLE, ratio=0.5)
    with torch.no_grad():
        for parameter in slim.module.parameters():
            parameter.add_(1)
    again.module.load_state_dict(slim.module.state_dict())
    assert torch.equal(again.module(BATCHES[0][0]), slim.module(BATCHES[0][0]))
