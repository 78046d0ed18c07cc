"""The `Idempotency-Key` header: a POST that is retried takes effect once.

The key, a hash of the request and the response are stored in the transaction of the write, so they exist
exactly if the effect exists, even after a crash. See the IETF's draft-ietf-httpapi-idempotency-key-header.
"""

import hashlib
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import msgspec
from flask import Response, g, request
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from todo import database
from todo.clock import utc_now
from todo.database.errors import LOCK_TIMEOUTS, error_code
from todo.http.problem import (
    FieldError,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    ValidationFailed,
)
from todo.models.idempotency_key import KEY_LENGTH, IdempotencyKey

HEADER = "Idempotency-Key"
KEY_RETENTION = timedelta(hours=24)
KEY_PATTERN = rf"^[!-~]{{1,{KEY_LENGTH}}}$(?!\n)"
REPLAYED = ("Idempotency-Replayed", "true")
# Bytes of all stored responses. Beyond this limit, the oldest keys are deleted early.
MAX_STORED = 256 * 1024 * 1024
PURGE_STEP = 500  # maximum number of keys that a request deletes
# Intervals at which each worker looks for expired keys and adds up all sizes.
PURGE_SECONDS = 1
SIZE_CHECK_SECONDS = 60

_KEYS = IdempotencyKey.__table__
_FIND = select(*_KEYS.c).where(_KEYS.c.key == bindparam("key"))
_INSERT = insert(_KEYS)
_STORE = update(_KEYS).where(_KEYS.c.key == bindparam("stored_key"))
# Servers skip keys that another transaction is deleting.
_OLDEST = select(_KEYS.c.key).order_by(_KEYS.c.created_at).limit(PURGE_STEP).with_for_update(skip_locked=True)
_EXPIRED = _OLDEST.where(_KEYS.c.created_at < bindparam("before"))
_DELETE = delete(_KEYS).where(_KEYS.c.key.in_(bindparam("keys", expanding=True)))
_SIZE = select(func.coalesce(func.sum(func.length(_KEYS.c.body)), 0))

T = TypeVar("T")
_next_purge = _next_size_check = 0.0  # by the monotonic clock


def run_idempotent(work: Callable[[Connection], T], represent: Callable[[T], Response]) -> Response:
    """Run `work` in a transaction and represent its result, or replay the response stored for the key.

    Raises ValidationFailed for a malformed key, IdempotencyKeyReused if the key was used with another
    request, and IdempotencyInProgress if that request is still running.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return represent(database.write(work))
    if not re.match(KEY_PATTERN, key):
        raise ValidationFailed(
            FieldError(detail=f"{HEADER} must be 1 to {KEY_LENGTH} visible ASCII characters")
        )
    request_hash = hashlib.sha256(f"{request.path}\n".encode() + request.get_data()).digest()
    stored_key = _stored_key(key)

    def run_or_replay(connection: Connection) -> Response:
        stored = connection.execute(_FIND, {"key": stored_key}).first()
        if stored is not None and stored.created_at < utc_now() - KEY_RETENTION:
            connection.execute(_DELETE, {"keys": [stored_key]})
            stored = None
        if stored is None:
            _reserve(connection, stored_key, request_hash)
            response = represent(work(connection))
            _store(connection, stored_key, response)
            return response
        if stored.request_hash != request_hash:
            raise IdempotencyKeyReused
        return Response(stored.body, stored.status, [*msgspec.json.decode(stored.headers), REPLAYED])

    _purge()
    while True:
        try:
            return database.write(run_or_replay)
        except _KeyConflict:
            continue


class _KeyConflict(Exception):  # not a failure
    """Another transaction has just committed the same key, and its response."""


def _stored_key(key: str) -> str:
    """Return the key as stored. A key belongs to its token: other clients cannot replay its response."""
    token_id = g.get("token_id")
    # Clients cannot send a space in a key.
    return key if token_id is None else f"token {token_id} {hashlib.sha256(key.encode()).hexdigest()}"


def _reserve(connection: Connection, key: str, request_hash: bytes) -> None:
    """Insert the key first, so that other transactions with the same key wait for this one."""
    row = {"key": key, "request_hash": request_hash, "created_at": utc_now()}
    try:
        connection.execute(_INSERT, row | {"status": 0, "headers": b"", "body": b""})
    except IntegrityError:
        raise _KeyConflict from None
    except DBAPIError as error:
        if error_code(error) in LOCK_TIMEOUTS:
            raise IdempotencyInProgress from None
        raise


def _store(connection: Connection, key: str, response: Response) -> None:
    body = response.get_data()
    headers = [header for header in response.headers if header[0] != "Content-Length"]
    values = {"status": response.status_code, "headers": msgspec.json.encode(headers), "body": body}
    connection.execute(_STORE, {"stored_key": key, **values})


def _purge() -> None:
    """Delete at most PURGE_STEP expired keys in a separate transaction."""
    global _next_purge, _next_size_check  # of this worker
    now = time.monotonic()
    if now < _next_purge:
        return
    is_size_check = now >= _next_size_check

    def work(connection: Connection) -> int:
        keys = connection.scalars(_EXPIRED, {"before": utc_now() - KEY_RETENTION}).all()
        if not keys and is_size_check and (connection.scalar(_SIZE) or 0) > MAX_STORED:
            keys = connection.scalars(_OLDEST).all()
        if keys:
            connection.execute(_DELETE, {"keys": keys})
        return len(keys)

    if database.write(work) < PURGE_STEP:
        _next_purge = now + PURGE_SECONDS
        if is_size_check:
            _next_size_check = now + SIZE_CHECK_SECONDS
