"""The `Idempotency-Key` header: a POST that is sent again is carried out once.

The key, a hash of the request and the answer are stored in the transaction of the write itself, so
that they are there exactly when its effect is, a crash between the commit and the answer included.
See the IETF's draft-ietf-httpapi-idempotency-key-header.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

import msgspec
from flask import Response, request
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from todo import database
from todo.clock import utc_now
from todo.http.problem import (
    LOCK_TIMEOUTS,
    Fault,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    ValidationFailed,
    database_code,
)
from todo.models.idempotency_key import KEY_LENGTH, IdempotencyKey

HEADER = "Idempotency-Key"
KEPT = timedelta(hours=24)
REPLAYED = ("Idempotency-Replayed", "true")

_KEYS = IdempotencyKey.__table__
_FIND = select(*_KEYS.c).where(_KEYS.c.key == bindparam("key"))
_ANSWER = update(_KEYS).where(_KEYS.c.key == bindparam("the_key"))
# What another transaction is about to forget is not waited for.
_OLD = select(_KEYS.c.key).where(_KEYS.c.created_at < bindparam("before")).with_for_update(skip_locked=True)
_FORGET = delete(_KEYS).where(_KEYS.c.key.in_(bindparam("keys", expanding=True)))
KEY_PATTERN = rf"^[!-~]{{1,{KEY_LENGTH}}}$(?!\n)"
# What each answer gets anew.
_NOT_KEPT = {"content-length"}

T = TypeVar("T")


def once(
    write: Callable[[Connection], T], answer: Callable[[T], Response], *, writing: bool = False
) -> Response:
    """`write` in a transaction (see there for `writing`) and `answer`, or answer as before to the same key.

    Raises ValidationFailed for a malformed key, IdempotencyKeyReused where the key came with another
    request, and IdempotencyInProgress where that request is still under way.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return answer(database.run(write, writing=writing))  # while others write already
    if not re.match(KEY_PATTERN, key):
        raise ValidationFailed(Fault(detail=f"{HEADER} must be 1 to {KEY_LENGTH} visible ASCII characters"))
    request_hash = hashlib.sha256(f"{request.path}\n".encode() + request.get_data()).digest()
    while True:
        try:
            return database.run(partial(_once, write, answer, key, request_hash), writing=True)
        except _Taken:
            continue


def is_first(response: Response) -> bool:
    """Tell whether a write was carried out for `response`, rather than answered again."""
    return REPLAYED[0] not in response.headers


class _Taken(Exception):  # noqa: N818 - no error
    """Another transaction with the key was committed meanwhile; its answer is there now."""


def _once(
    write: Callable[[Connection], T],
    answer: Callable[[T], Response],
    key: str,
    request_hash: bytes,
    connection: Connection,
) -> Response:
    now = utc_now()
    old = connection.scalars(_OLD, {"before": now - KEPT}).all()
    if old:
        connection.execute(_FORGET, {"keys": old})
    stored = connection.execute(_FIND, {"key": key}).first()
    if stored is not None:
        if stored.request_hash != request_hash:
            raise IdempotencyKeyReused
        return Response(stored.body, stored.status, [*msgspec.json.decode(stored.headers), REPLAYED])
    # The key comes first: a transaction with the same one waits here for the end of this one.
    try:
        connection.execute(
            insert(_KEYS),
            {
                "key": key,
                "request_hash": request_hash,
                "status": 0,
                "headers": b"",
                "body": b"",
                "created_at": now,
            },
        )
    except IntegrityError:
        raise _Taken from None
    except DBAPIError as error:
        if database_code(error) in LOCK_TIMEOUTS:
            raise IdempotencyInProgress from None
        raise
    response = answer(write(connection))
    headers = [header for header in response.headers if header[0].lower() not in _NOT_KEPT]
    kept = {
        "status": response.status_code,
        "headers": msgspec.json.encode(headers),
        "body": response.get_data(),
    }
    connection.execute(_ANSWER, {"the_key": key, **kept})
    return response
