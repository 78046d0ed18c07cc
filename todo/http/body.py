"""Request bytes to a struct, or a problem that names every fault.

JSON is taken as I-JSON (RFC 7493) has it: UTF-8, no member twice, no lone surrogate.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import msgspec
from flask import request
from msgspec import NODEFAULT, Struct
from werkzeug.exceptions import RequestEntityTooLarge

from todo.http.problem import ContentTooLarge, Fault, UnsupportedMediaType, ValidationFailed

MAX_BYTES = 64 * 1024

# The value of a member that was sent more than once: of no type that any member has.
_REPEATED = object()

S = TypeVar("S", bound=Struct)


def read(kind: type[S]) -> S:
    """The body of the current request as a `kind`.

    Raises UnsupportedMediaType, ContentTooLarge, or ValidationFailed with a fault for each member
    that is missing, unknown or wrong.
    """
    return check(kind, parse(_bytes()))


def check(kind: type[S], value: Any, pointer: str = "#") -> S:
    """`value`, as JSON has it, as a `kind`; `pointer` is where it stands in the body.

    Raises ValidationFailed.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=from_json)
    except msgspec.ValidationError:
        raise ValidationFailed(*faults(kind, value, pointer)) from None


def parse(body: bytes) -> Any:
    """The JSON value in `body`; raises ValidationFailed where it is none."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        _fail(f"The body must be UTF-8, and its byte {error.start} is not")
    if not text.strip():
        _fail('The body must be a JSON object, such as {"title": "Buy milk"}, and is empty')
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False, default=repr).encode()
    except json.JSONDecodeError as error:
        _fail(f"The body must be JSON: {error.msg}, at line {error.lineno} column {error.colno}")
    except UnicodeEncodeError:
        _fail("The body must not have half of a surrogate pair (\\ud800 to \\udfff alone)")
    except RecursionError:
        _fail("The body must be a JSON object that is not nested")
    except ValueError:
        _fail("The body must not have a number of thousands of digits")
    return value


def faults(kind: type[Struct], value: Any, pointer: str = "#") -> Iterator[Fault]:
    """Every fault of `value` as a `kind`, in the order of its members."""
    if not isinstance(value, dict):
        yield Fault("The body must be a JSON object" if pointer == "#" else "must be an object", pointer)
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in (name for name in value if name not in fields):
        known = ", ".join(fields)
        yield Fault(f"{name[:80]} is not a member that can be sent: send only {known}", _join(pointer, name))
    descriptions = describe(kind)
    for name, field in fields.items():
        if name not in value:
            if field.default is NODEFAULT and field.default_factory is NODEFAULT:
                yield Fault(f"{name} is required: {descriptions[name]}", _join(pointer, name))
            continue
        if value[name] is _REPEATED:
            yield Fault(f"{name} must be sent only once", _join(pointer, name))
            continue
        try:
            msgspec.convert(value[name], field.type, dec_hook=from_json)
        except msgspec.ValidationError:
            yield Fault(f"{name} must be {descriptions[name]}", _join(pointer, name))


def from_json(kind: Any, value: Any) -> Any:
    """msgspec's hook for a type that reads itself, such as a wall time."""
    return kind.from_json(value)


def json_schema(kind: Any) -> dict[str, Any]:
    """msgspec's hook for the JSON Schema of such a type."""
    schema: dict[str, Any] = kind.json_schema()
    return schema


def _bytes() -> bytes:
    if not request.is_json:
        raise UnsupportedMediaType
    # Of a body that does not announce its length, the framework would drop what is over the limit.
    request.max_content_length = MAX_BYTES + 1
    with suppress(RequestEntityTooLarge):
        body = request.get_data()
        if len(body) <= MAX_BYTES:
            return body
    raise ContentTooLarge(f"Send a body of at most {MAX_BYTES} bytes.")


def _join(pointer: str, name: str) -> str:
    token = name.replace("~", "~0").replace("/", "~1")
    return f"{pointer}/{quote(token[:80])}"


def _fail(detail: str) -> NoReturn:
    raise ValidationFailed(Fault(detail, "#")) from None


def _mark_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        members |= {name: _REPEATED for name, count in counts.items() if count > 1}
    return members


def _no_constant(name: str) -> NoReturn:
    _fail(f"The body must be JSON, and {name} is not")


_DECODER = json.JSONDecoder(object_pairs_hook=_mark_repeated, parse_constant=_no_constant)


def describe(kind: type[Struct]) -> dict[str, str]:
    """What each member of `kind` must be, for people, from its schema."""
    _, components = msgspec.json.schema_components([kind], schema_hook=json_schema)
    properties = components[kind.__name__]["properties"]
    return {name: schema["description"] for name, schema in properties.items()}
