"""Bearer tokens (RFC 6750), demanded where the setting REQUIRE_TOKEN says so."""

import hmac
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from flask import Flask, current_app, g, request
from sqlalchemy import Row, bindparam, or_, select, update
from sqlalchemy.exc import DBAPIError

from todo.clock import utc_now
from todo.database import Transaction
from todo.http.problem import Forbidden, Unauthorized
from todo.models.token import Token, hash_secret

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# How exactly `last_used_at` is known: to write it at each request would make writes of reads.
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
    """Let everybody in to `view`, tokens or not."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def takes_feed_token(view: V) -> V:
    """Let a feed's token in to `view`, in the parameter `token`, for clients that can't send headers."""
    view.takes_feed_token = True  # type: ignore[attr-defined]
    return view


def register(app: Flask) -> None:
    """Ask every request to `app` for its token, where the setting REQUIRE_TOKEN says so."""
    if app.config["REQUIRE_TOKEN"]:
        app.before_request(_authenticate)


def _authenticate() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    if (
        view is None
        or hasattr(view, "is_public")
        or request.method == "OPTIONS"  # a browser asks it before it sends the token
    ):
        return
    feed_secret = request.args.get("token") if hasattr(view, "takes_feed_token") else None
    token = _find(_bearer() if feed_secret is None else feed_secret)
    if token is None or token.feed != (feed_secret is not None):
        raise Unauthorized(
            "The token is unknown, revoked or expired. Ask who runs the service for a new one."
        )
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
    secret_hash = hash_secret(secret)
    with Transaction() as connection:
        token = connection.execute(_SELECT, {"secret_hash": secret_hash}).first()
    if token is None or not hmac.compare_digest(token.secret_hash, secret_hash):
        return None
    return token if token.expires_at is None or utc_now() < token.expires_at else None


def _touch(token: Row[*tuple[Any, ...]]) -> None:
    now = utc_now()
    if token.last_used_at is None or token.last_used_at < now - LAST_USED_STEP:
        # A database that can't be written may still be read.
        with suppress(DBAPIError), Transaction() as connection:
            connection.execute(_TOUCH, {"token_id": token.id, "before": now - LAST_USED_STEP, "now": now})
