import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

import pytest
from typing_extensions import TypedDict

from slimprune.errors import UsageError, VerificationError
from slimprune.files import (
    ComparisonDocument,
    ReportDocument,
    adapter,
    as_json,
    make_report_schema,
    read_document,
    read_value,
    report_schema,
)

OLD = Path(__file__).parent.parent / "old_files" / "report.json"
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


class Sizes(TypedDict):
    widths: list[int]
    note: NotRequired[str]


@dataclass(frozen=True)
class Share:
    ratio: float
    name: Annotated[complex, as_json(str, complex, str)] = 1j

    def __post_init__(self) -> None:
        if self.ratio > 1:
            raise UsageError(f"expected ratio of at most 1, got {self.ratio}")


def test_a_value_survives_json() -> None:
    share = Share(0.1 + 0.2, 2 + 3j)
    assert read_value(Share, adapter(Share).dump_json(share), "share") == share
    assert read_value(Share, '{"ratio": 1}', "share") == Share(1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "share a.json cannot be read: expected JSON, got EOF while parsing an object"),
        ("[]", "share a.json cannot be read: expected an object, got []"),
        ("{}", "share a.json cannot be read: ratio: expected a field, got none"),
        ('{"ratio": "1"}', "share a.json cannot be read: ratio: expected a valid number, got '1'"),
        ('{"ratio": 1, "name": 3}', "share a.json cannot be read: name: expected a valid string, got 3"),
        ('{"ratio": 2}', "share a.json cannot be read: expected ratio of at most 1, got 2.0"),
    ],
)
def test_what_is_odd_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(VerificationError) as caught:
        read_value(Share, text, "share a.json")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_long_values_are_cut_short_in_messages() -> None:
    with pytest.raises(VerificationError) as caught:
        read_value(Share, json.dumps({"ratio": "1" * 10_000}), "share")
    assert len(str(caught.value)) < 300


def test_a_document_keeps_what_its_type_does_not_name() -> None:
    plain = {"widths": [1, 2], "of newer versions": {"a": None}}
    assert read_document(Sizes, json.dumps(plain), "sizes") == plain
    with pytest.raises(VerificationError, match=r"sizes cannot be read: widths\.1: expected a valid integer"):
        read_document(Sizes, '{"widths": [1, "2"]}', "sizes")


def test_the_schema_in_the_package_is_that_of_the_types() -> None:
    """After a change of the types: write `make_report_schema()` to `slimprune/files/report.schema.json`."""
    assert report_schema() == make_report_schema()


def test_reports_of_earlier_versions_are_read() -> None:
    assert read_document(ReportDocument, OLD.read_bytes(), "report") == json.loads(OLD.read_text())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda report: report.pop("proof"), "report cannot be read: proof: expected a field, got none"),
        (lambda report: report["params"].pop("slim"), "params.slim: expected a field, got none"),
        (lambda report: report["budget"].update(quantity="watts"), "budget.quantity: expected 'params', 'macs', "),
        (lambda report: report["widths"][3].update(dense=None), "widths.3.dense: expected a valid integer, got None"),
        (lambda report: report.update(schema_version=2), "schema_version: expected 1, got 2"),
    ],
)
def test_a_damaged_report_is_refused_with_the_field(damage: Any, message: str) -> None:
    report = json.loads(OLD.read_text())
    damage(report)
    with pytest.raises(VerificationError) as caught:
        read_document(ReportDocument, json.dumps(report), "report")
    assert message in str(caught.value)


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*/compare.json")), ids=lambda file: file.parent.name)
def test_comparisons_of_earlier_versions_are_read(file: Path) -> None:
    assert read_document(ComparisonDocument, file.read_bytes(), "comparison") == json.loads(file.read_text())
