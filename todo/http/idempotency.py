"""The `Idempotency-Key` header: a POST that is sent again is carried out once.

The key, a hash of the request and the answer are stored in the transaction of the write itself, so
that they are there exactly when its effect is, a crash between the commit and the answer included.
See the IETF's draft-ietf-httpapi-idempotency-key-header.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta

import msgspec
from flask import Response, request
from sqlalchemy import Connection, delete, insert, select

from todo.clock import utc_now
from todo.http.problem import Fault, IdempotencyKeyReused, ValidationFailed
from todo.models.database import transaction
from todo.models.idempotency import KEY_LENGTH, IdempotencyKey

HEADER = "Idempotency-Key"
KEPT = timedelta(hours=24)
REPLAYED = ("Idempotency-Replayed", "true")

_KEYS = IdempotencyKey.__table__
KEY_PATTERN = rf"^[!-~]{{1,{KEY_LENGTH}}}$(?!\n)"
# What each answer gets anew.
_NOT_KEPT = {"content-length"}


def once(write: Callable[[Connection], Response], *, writing: bool = False) -> Response:
    """Answer with `write` in a transaction (see there for `writing`), or as it did to the same key before.

    Raises ValidationFailed for a malformed key, and IdempotencyKeyReused where the key came with
    another request.
    """
    key = request.headers.get(HEADER)
    if key is None:
        with transaction(writing=writing) as connection:
            return write(connection)
    if not re.match(KEY_PATTERN, key):
        raise ValidationFailed(Fault(detail=f"{HEADER} must be 1 to {KEY_LENGTH} visible ASCII characters"))
    request_hash = hashlib.sha256(f"{request.path}\n".encode() + request.get_data()).digest()
    now = utc_now()
    with transaction(writing=True) as connection:
        connection.execute(delete(_KEYS).where(_KEYS.c.created_at < now - KEPT))
        stored = connection.execute(select(*_KEYS.c).where(_KEYS.c.key == key)).first()
        if stored is None:
            response = write(connection)
            headers = [header for header in response.headers if header[0].lower() not in _NOT_KEPT]
            connection.execute(
                insert(_KEYS),
                {
                    "key": key,
                    "request_hash": request_hash,
                    "status": response.status_code,
                    "headers": msgspec.json.encode(headers),
                    "body": response.get_data(),
                    "created_at": now,
                },
            )
            return response
    if stored.request_hash != request_hash:
        raise IdempotencyKeyReused
    return Response(stored.body, stored.status, [*msgspec.json.decode(stored.headers), REPLAYED])
