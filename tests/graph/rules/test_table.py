import torch
import torchvision

from slimprune.graph import OPERATORS
from tests.extensions import replaced_entry
from tests.graph.following import mean, reason


def test_an_operator_without_a_rule_protects_what_reaches_it():
    assert reason(lambda net, x: mean(torch.linalg.matrix_exp(x))) == "there is no rule for linalg_matrix_exp"


def test_a_rule_that_fails_protects_what_reached_it(monkeypatch):
    def broken(flow, call):
        raise IndexError("list index out of range\nmore")

    replaced_entry(monkeypatch, OPERATORS, "mean", broken)
    found = reason(lambda net, x: mean(x))
    assert found == "channels cannot be followed through mean: list index out of range"


def test_every_rule_names_an_operator_of_torch():
    known, names = torch.ops.aten, {entry.name for entry in OPERATORS.entries() if entry.built_in}
    assert len(names) > 100
    unknown = {name for name in names if not hasattr(known, name) and not hasattr(known, f"{name}_")}
    assert {name.partition("::")[0] for name in unknown} == {"torchvision"}
    assert all(hasattr(torchvision.ops, name.partition("::")[2]) for name in unknown)


def test_every_rule_is_described():
    assert all(description != "without a description" for _, description in OPERATORS.rows())


def test_operators_that_are_not_torchs_own_go_by_their_namespace():
    """A stranger's `mul` is not torch's."""

    @torch.library.custom_op("of_a_test::mul", mutates_args=())
    def mul(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    assert reason(lambda net, x: mean(mul(x))) == "there is no rule for of_a_test::mul"
