"""Bearer tokens (RFC 6750), required if the setting REQUIRE_TOKEN is on."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, timedelta
from typing import Any, TypeVar

from flask import Flask, current_app, g, request
from sqlalchemy import Row, bindparam, or_, select, update
from sqlalchemy.exc import DBAPIError

from todo import database
from todo.clock import utc_now
from todo.database.errors import DatabaseUnavailable
from todo.http import response_cache
from todo.http.problem import Forbidden, Unauthorized
from todo.models.token import Token, hash_secret

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# Precision of `last_used_at`. A smaller step would turn many reads into writes.
LAST_USED_STEP = timedelta(minutes=1)

_TOKENS = Token.__table__
_SELECT = select(*_TOKENS.c).where(_TOKENS.c.secret_hash == bindparam("secret_hash"))
_TOUCH = (
    update(_TOKENS)
    .where(
        _TOKENS.c.id == bindparam("token_id"),
        or_(_TOKENS.c.last_used_at.is_(None), _TOKENS.c.last_used_at < bindparam("before")),
    )
    .values(last_used_at=bindparam("now"))
)

V = TypeVar("V", bound=Callable[..., Any])


def public(view: V) -> V:
    """Allow `view` without a token."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def is_public() -> bool:
    """Return True if the route of the current request needs no token."""
    return hasattr(current_app.view_functions.get(request.endpoint or ""), "is_public")


def takes_feed_token(view: V) -> V:
    """Accept a feed token in the parameter `token` of `view`, for clients that cannot send headers."""
    view.takes_feed_token = True  # type: ignore[attr-defined]
    return view


def register(app: Flask) -> None:
    """Require a token for every request to `app` if the setting REQUIRE_TOKEN is on."""
    if app.config["REQUIRE_TOKEN"]:
        app.before_request(_authenticate)


def _authenticate() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    if (
        view is None
        or hasattr(view, "is_public")
        or request.method == "OPTIONS"  # browsers send preflight requests without the token
    ):
        return
    feed_secret = request.args.get("token") if hasattr(view, "takes_feed_token") else None
    token = _find(_bearer() if feed_secret is None else feed_secret)
    if token is None or token.feed != (feed_secret is not None):
        raise Unauthorized("The token is unknown, revoked or expired. Ask the operator for a new token.")
    g.token_id = token.id
    if token.read_only and request.method not in SAFE_METHODS:
        raise Forbidden
    _touch(token)


def _bearer() -> str:
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise Unauthorized
    return authorization.token


def _find(secret: str) -> Row[*tuple[Any, ...]] | None:
    with database.read() as connection:
        token = connection.execute(_SELECT, {"secret_hash": hash_secret(secret)}).first()
    is_expired = token is not None and token.expires_at is not None and token.expires_at <= utc_now()
    return None if is_expired else token


def _touch(token: Row[*tuple[Any, ...]]) -> None:
    """Record the use of the token, and limit how long a cached response may skip this check."""
    now = utc_now()
    due = now if token.last_used_at is None else token.last_used_at + LAST_USED_STEP
    if due <= now:
        values = {"token_id": token.id, "before": now - LAST_USED_STEP, "now": now}
        # A read-only database can still serve reads.
        with suppress(DBAPIError, DatabaseUnavailable):
            database.write(lambda connection: connection.execute(_TOUCH, values))
    response_cache.expire(min(filter(None, (due, token.expires_at))).replace(tzinfo=UTC).timestamp())
