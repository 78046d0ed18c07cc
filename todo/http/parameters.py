"""Query strings: parse them into structs, and report every invalid parameter."""

import re
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from flask import request
from msgspec import Struct

from todo.http.body import fields, rules
from todo.http.problem import FieldError, ValidationFailed
from todo.schemas import decode_hook

S = TypeVar("S", bound=Struct)

# Parameter values that are JSON literals, if the parameter is not a string.
_LITERAL = re.compile("true|false|0|[1-9][0-9]{0,18}")


class NoParameters(Struct):
    """The parameters of a route without parameters."""


def read(struct_type: type[S], *, ignore_unknown: bool = False) -> S:
    """Parse the query of the current request into `struct_type`, whose members are the known parameters.

    Raises ValidationFailed with an error for each parameter that is unknown, repeated or invalid.
    """
    known = fields(struct_type)
    members: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, text in _pairs():
        field = known.get(name)
        if field is None:
            if not ignore_unknown:
                hint = f"Use one of {', '.join(known)}" if known else "This route has no parameters"
                errors.append(
                    FieldError(detail=f"Unknown parameter {name[:80]}. {hint}", parameter=name[:80])
                )
        elif field.name in members:
            errors.append(FieldError(detail=f"{name} must be sent only once", parameter=name))
        else:
            try:
                members[field.name] = _convert(text, field.type)
            except msgspec.ValidationError:
                members[field.name] = None
                errors.append(FieldError(detail=f"{name} must be {rules(struct_type)[name]}", parameter=name))
    if errors:
        raise ValidationFailed(*errors)
    return struct_type(**members)


def refuse() -> None:
    """Raise ValidationFailed if the query has any parameter."""
    read(NoParameters)


def _pairs() -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            request.query_string.decode(), keep_blank_values=True, errors="strict", max_num_fields=100
        )
    except UnicodeDecodeError:
        detail = "The query must be UTF-8, percent-encoded"
    except ValueError:
        detail = "The query must have at most 100 parameters"
    raise ValidationFailed(FieldError(detail=detail))


def _convert(text: str, field_type: Any) -> Any:
    try:
        return msgspec.convert(text, field_type, dec_hook=decode_hook)
    except msgspec.ValidationError:
        if not _LITERAL.fullmatch(text):
            raise
        return msgspec.convert(msgspec.json.decode(text), field_type)
