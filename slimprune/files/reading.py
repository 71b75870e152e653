"""Reading documents and checking them against their types; fields that a type does not name are kept."""

import json
from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import GetCoreSchemaHandler, GetPydanticSchema, TypeAdapter, ValidationError
from pydantic_core import core_schema

from slimprune.errors import UsageError, VerificationError, expected_and_found
from slimprune.files.report import ReportDocument

Value = TypeVar("Value")


def read_value(kind: type[Value], text: str | bytes, what: str) -> Value:
    """Return a value of some type, such as a frozen dataclass, from JSON text.

    Raises:
        VerificationError: If the text is not JSON, or a field is missing or invalid; the message starts with `what`
            and names the first such field.
    """
    try:
        value: Value = adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise VerificationError(f"{what} cannot be read: {expected_and_found(dict(error.errors()[0]))}") from error
    except UsageError as error:  # a dataclass that checks its own values
        raise VerificationError(f"{what} cannot be read: {error}") from error
    return value


def read_document(kind: type[Value], text: str | bytes, what: str) -> Value:
    """Return a document after checking it against its type; unknown fields, as of newer versions, are kept.

    Raises:
        VerificationError: If the text is not JSON, or a field is missing or invalid; see `read_value`.
    """
    read_value(kind, text, what)
    plain: Value = json.loads(text)
    return plain


def as_json(form: Any, read: Callable[[Any], Any], write: Callable[[Any], Any]) -> GetPydanticSchema:
    """Return an annotation that tells pydantic how to represent a type T that it does not know in JSON.

    Args:
        form: Type of the JSON form, which is checked before it is converted.
        read: Function from the JSON form to a T.
        write: Function from a T to the JSON form.
    """
    written = core_schema.plain_serializer_function_ser_schema(write)

    def schema(source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(read, handler.generate_schema(form), serialization=written)

    return GetPydanticSchema(schema)


def adapter(kind: type[Value]) -> TypeAdapter[Value]:
    """Return the cached pydantic adapter of a type, which validates, serialises and describes its values."""
    return cast("TypeAdapter[Value]", _adapter(cast(Hashable, kind)))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def report_schema() -> dict[str, Any]:
    """Return the JSON schema of `report.json`, stored in the package as `files/report.schema.json`."""
    schema: dict[str, Any] = json.loads(Path(__file__).with_name("report.schema.json").read_text(encoding="utf-8"))
    return schema


def make_report_schema() -> dict[str, Any]:
    """Make the JSON schema of `report.json` from the types."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **adapter(ReportDocument).json_schema()}
