import pytest

from slimprune import errors

CODES = {
    "UsageError": 2,
    "BudgetError": 3,
    "UnsupportedModelError": 4,
    "VerificationError": 5,
    "DataError": 6,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_every_error_has_its_exit_code(name, code):
    kind = getattr(errors, name)
    assert kind.exit_code == code
    assert issubclass(kind, errors.SlimpruneError)


def test_no_two_errors_share_an_exit_code():
    codes = [kind.exit_code for kind in errors.SlimpruneError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes


@pytest.mark.parametrize(("text", "line"), [("one\ntwo", "one"), ("\n one ", "one"), ("", "ValueError")])
def test_an_error_in_one_line(text, line):
    assert errors.first_line(ValueError(text)) == line
    assert errors.kind_and_line(ValueError(text)) == ("ValueError" if line == "ValueError" else f"ValueError: {line}")
