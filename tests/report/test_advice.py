import pytest

from slimprune.report.advice import change_for

CHANGES = {
    "asked for by --protect layer1.*": "leave out --protect layer1.*",
    "there is no rule for erfinv in head": "register a rule for erfinv (see Extending), or use operators that have one",
    "sort in gate joins several channels": "let sort in gate work on every channel by itself",
    "a weight of conv is computed from others": "let conv own its weight as a plain parameter",
    "not proven: relative difference 6.4e+00, tolerance 1e-05 (add in code is broadcast over channels)": (
        "let add in code take one value for each channel, or multiply"
    ),
    "not proven: the slim model fails in training mode: shape '[2, 32]' is invalid for input of size 512": (
        "let the code read widths from its tensors (x.shape[1]), not from numbers kept elsewhere"
    ),
    "a reason of tomorrow": "replace what the reason names by operators that have a rule (see Extending)",
}


@pytest.mark.parametrize("reason", CHANGES)
def test_what_to_change_follows_from_the_reason(reason):
    assert change_for(reason) == CHANGES[reason]
