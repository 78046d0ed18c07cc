"""The cursor of the next page, and the link to that page."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from flask import request

from todo.http.problem import FieldError, ValidationFailed
from todo.schemas import CURSOR_RULE

DIGEST_BYTES = 9


def encode(position: Sequence[Any], belongs_to: str) -> str:
    """Encode the position after which the next page of the query `belongs_to` begins."""
    return base64.urlsafe_b64encode(_digest(belongs_to) + msgspec.json.encode(position)).decode().rstrip("=")


def decode(cursor: str, belongs_to: str, types: Sequence[Any]) -> list[Any]:
    """Decode the position in `cursor` into a value for each of `types`.

    Raises ValidationFailed unless `cursor` belongs to the query `belongs_to`.
    """
    position_type: Any = tuple.__class_getitem__(tuple(types))
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = msgspec.json.decode(data[DIGEST_BYTES:], type=position_type)
    except (ValueError, msgspec.MsgspecError):
        data, position = b"", ()
    if data[:DIGEST_BYTES] != _digest(belongs_to):
        raise ValidationFailed(FieldError(detail=f"cursor must be {CURSOR_RULE}", parameter="cursor"))
    # Timestamps are UTC with an offset in JSON, and without one in the database.
    return [value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in position]


def _digest(belongs_to: str) -> bytes:
    return hashlib.blake2b(belongs_to.encode(), digest_size=DIGEST_BYTES).digest()


def next_link(cursor: str) -> str:
    """Return the `Link` header (RFC 8288) of the page at `cursor`, with all other parameters."""
    sent = parse_qsl(request.query_string.decode(), keep_blank_values=True)
    query = [(name, value) for name, value in sent if name != "cursor"]
    host = request.environ["HTTP_HOST"]  # `request.host` is empty if the name has an underscore
    address = f"{request.scheme}://{host}{quote(request.root_path + request.path)}"
    return f'<{address}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
