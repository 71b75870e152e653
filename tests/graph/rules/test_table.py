import torch

from slimprune.graph.rules import table
from tests.graph.following import mean, reason


def test_an_operator_without_a_rule_protects_what_reaches_it():
    assert reason(lambda net, x: mean(torch.fft.rfft(x).real)) == "there is no rule for _fft_r2c"


def test_a_rule_that_fails_protects_what_reached_it(monkeypatch):
    def broken(flow, call):
        raise IndexError("list index out of range\nmore")

    monkeypatch.setitem(table.RULES, "mean", broken)
    found = reason(lambda net, x: mean(x))
    assert found == "channels cannot be followed through mean: list index out of range"


def test_every_rule_names_an_operator_of_torch():
    known = torch.ops.aten
    assert not {name for name in table.RULES if not hasattr(known, name) and not hasattr(known, f"{name}_")}
