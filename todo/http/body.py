"""Request bodies: parse them into structs, and report every invalid member.

The accepted JSON is I-JSON (RFC 7493): UTF-8, no duplicate members, no lone surrogates.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from itertools import islice
from sys import float_info
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin
from urllib.parse import quote

import msgspec
from flask import request
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo

from todo.http.problem import ContentTooLarge, FieldError, UnsupportedMediaType, ValidationFailed
from todo.schemas import decode_hook

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
MAX_BYTES = 64 * 1024
# Limits on the parts of a request that a response repeats.
MAX_FIELD_ERRORS = 1000
MAX_NAME = 80

# Sentinel for duplicate keys. No schema accepts it.
_REPEATED = object()

S = TypeVar("S", bound=Struct)


def read(struct_type: type[S], max_bytes: int = MAX_BYTES, media_types: tuple[str, ...] = (JSON,)) -> S:
    """Parse the body of the current request into `struct_type`.

    Raises UnsupportedMediaType, ContentTooLarge, or ValidationFailed with an error for each missing,
    unknown or invalid member.
    """
    if request.mimetype not in media_types:
        raise UnsupportedMediaType(f"Send JSON, with `Content-Type: {' or '.join(media_types)}`.")
    if request.headers.get("Content-Encoding", "").strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType("Send the body without a `Content-Encoding`.")
    content = request.get_data()
    if len(content) > max_bytes:
        raise ContentTooLarge(f"Send a body of at most {max_bytes} bytes.")
    value = parse(content)
    try:
        return msgspec.convert(value, struct_type, dec_hook=decode_hook)
    except msgspec.ValidationError:
        found = list(islice(field_errors(struct_type, value, "#"), MAX_FIELD_ERRORS))
    raise ValidationFailed(*found)


def parse(body: bytes) -> Any:
    """Return the JSON value in `body`. Raises ValidationFailed if it is invalid."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        _fail(f"The body must be UTF-8, but byte {error.start} is invalid")
    text = text.removeprefix("\ufeff")  # RFC 8259, section 8.1
    if not text.strip():
        _fail('The body must be a JSON object, such as {"title": "Buy milk"}, but it is empty')
    try:
        value = DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False, default=repr).encode()
    except json.JSONDecodeError as error:
        _fail(f"The body must be JSON: {error.msg}, at line {error.lineno} column {error.colno}")
    except UnicodeEncodeError:
        _fail("The body must not contain lone surrogates (\\ud800 to \\udfff alone)")
    except RecursionError:
        _fail("The body is nested too deeply")
    except ValueError:
        _fail("The body contains a number with thousands of digits")
    return value


def field_errors(struct_type: type[Struct], value: Any, pointer: str) -> Iterator[FieldError]:
    """Yield every error of the `value` at `pointer` as `struct_type`, unknown members first."""
    if not isinstance(value, dict):
        yield FieldError(detail=f"{_name(pointer)} must be a JSON object", pointer=pointer)
        return
    tag = struct_type.__struct_config__.tag_field
    members = fields(struct_type)
    for name in value:
        if name not in members and name != tag:
            known = ", ".join(filter(None, [tag, *members]))
            detail = f"{name[:MAX_NAME]} is not a known member: send only {known}"
            yield FieldError(detail=detail, pointer=_join(pointer, name))
    musts = rules(struct_type)
    for name, field in members.items():
        if name not in value:
            if field.required:
                yield FieldError(
                    detail=f"{_name(_join(pointer, name))} is required: {musts[name]}",
                    pointer=_join(pointer, name),
                )
        elif value[name] is _REPEATED:
            yield FieldError(
                detail=f"{_name(_join(pointer, name))} must be sent only once", pointer=_join(pointer, name)
            )
        else:
            yield from _member_errors(field.type, value[name], _join(pointer, name), musts[name])


def _member_errors(field_type: Any, value: Any, pointer: str, must: str) -> Iterator[FieldError]:
    inner = get_args(field_type)[0] if get_origin(field_type) is Annotated else field_type
    found: Iterator[FieldError] = iter(())
    if isinstance(inner, type) and issubclass(inner, Struct):
        found = field_errors(inner, value, pointer)
    elif get_origin(inner) is list and isinstance(value, list):
        variants = get_args(get_args(inner)[0])
        found = (
            error
            for i, item in enumerate(value)
            for error in _variant_errors(variants, item, f"{pointer}/{i}")
        )
    first = next(found, None)
    if first is not None:
        yield first
        yield from found
        return
    try:
        msgspec.convert(value, field_type, dec_hook=decode_hook)
    except msgspec.ValidationError:
        yield FieldError(detail=f"{_name(pointer)} must be {must}", pointer=pointer)


def _variant_errors(variants: Sequence[type[Struct]], value: Any, pointer: str) -> Iterator[FieldError]:
    """Yield every error of `value` as the struct that its tag selects."""
    by_tag = {str(variant.__struct_config__.tag): variant for variant in variants}
    tag_field = str(variants[0].__struct_config__.tag_field)
    tag = value.get(tag_field) if isinstance(value, dict) else None
    if isinstance(value, dict) and tag not in list(by_tag):
        detail = f"{_name(pointer)}/{tag_field} must be one of {', '.join(by_tag)}"
        yield FieldError(detail=detail, pointer=f"{pointer}/{tag_field}")
    else:
        yield from field_errors(by_tag.get(str(tag), variants[0]), value, pointer)


def _name(pointer: str) -> str:
    return pointer.removeprefix("#/") if pointer != "#" else "The body"


def _join(pointer: str, name: str) -> str:
    token = name.replace("~", "~0").replace("/", "~1")
    return f"{pointer}/{quote(token[:MAX_NAME])}"


def _fail(detail: str) -> NoReturn:
    raise ValidationFailed(FieldError(detail=detail, pointer="#")) from None


def _mark_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        members |= {name: _REPEATED for name, count in counts.items() if count > 1}
    return members


def _no_constant(name: str) -> NoReturn:
    _fail(f"The body must be JSON, but {name} is not valid JSON")


def _number(text: str) -> int | float:
    """Parse a number with a point or an exponent. Return an integer for 2.0 and 2e0."""
    try:
        number = Decimal(text)
    except InvalidOperation:  # the exponent is too large for Decimal
        return float(text)
    is_integer = number.adjusted() <= float_info.max_10_exp and number == number.to_integral_value()
    return int(number) if is_integer else float(text)


DECODER = json.JSONDecoder(object_pairs_hook=_mark_repeated, parse_float=_number, parse_constant=_no_constant)


@cache
def fields(struct_type: type[Struct]) -> dict[str, FieldInfo]:
    """Return the members of `struct_type` by their names in requests."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct_type)}


@cache
def rules(struct_type: type[Struct]) -> dict[str, str]:
    """Return the rule of each member of `struct_type`, which completes the sentence "title must be"."""
    return {name: _rule(field.type) for name, field in fields(struct_type).items()}


def _rule(field_type: Any) -> str:
    parts = get_args(field_type)
    own = (part.extra["rule"] for part in parts if isinstance(part, Meta) and part.extra)
    return next(own, "") or next(filter(None, map(_rule, parts)), "")
