"""Documents from text, checked against their types; what a type does not name is kept."""

import json
from collections.abc import Callable, Hashable
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar, cast

from pydantic import GetCoreSchemaHandler, GetPydanticSchema, TypeAdapter, ValidationError
from pydantic_core import core_schema

from slimprune.errors import UsageError, VerificationError, expected_and_found
from slimprune.files.report import ReportDocument

Value = TypeVar("Value")


def read_value(kind: type[Value], text: str | bytes, what: str) -> Value:
    """The value of some type, such as a frozen dataclass, from JSON text.

    Raises:
        VerificationError: it is not JSON, or a field is missing or odd; the message names the first such field.
    """
    try:
        value: Value = adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise VerificationError(f"{what} cannot be read: {expected_and_found(dict(error.errors()[0]))}") from error
    except UsageError as error:  # a dataclass that checks its own values
        raise VerificationError(f"{what} cannot be read: {error}") from error
    return value


def read_document(kind: type[Value], text: str | bytes, what: str) -> Value:
    """A document, checked against its type, with what the type does not name: newer versions may have more.

    Raises:
        VerificationError: as `read_value`.
    """
    read_value(kind, text, what)
    plain: Value = json.loads(text)
    return plain


def as_json(form: Any, read: Callable[[Any], Any], write: Callable[[Any], Any]) -> GetPydanticSchema:
    """How a type T that pydantic does not know stands in JSON, for the annotation of a field of that type.

    Args:
        form: type of what stands in JSON; it is checked before it is read.
        read: from that form to a T.
        write: back.
    """
    written = core_schema.plain_serializer_function_ser_schema(write)

    def schema(source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(read, handler.generate_schema(form), serialization=written)

    return GetPydanticSchema(schema)


def adapter(kind: type[Value]) -> TypeAdapter[Value]:
    """What checks values of a type, writes them and describes it; made once for each."""
    return cast("TypeAdapter[Value]", _adapter(cast(Hashable, kind)))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def report_schema() -> dict[str, Any]:
    """The JSON schema of `report.json`, which lies in the package as `files/report.schema.json`."""
    schema: dict[str, Any] = json.loads(files("slimprune.files").joinpath("report.schema.json").read_text())
    return schema


def make_report_schema() -> dict[str, Any]:
    """The same made from the types."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **adapter(ReportDocument).json_schema()}
