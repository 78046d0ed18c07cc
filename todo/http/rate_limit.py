"""A rate limit per client: per token if tokens are required, otherwise per address.

Without a storage each worker counts separately. With a storage all workers count together. While the
storage is unreachable, each worker counts separately.
"""

import math
import time

from flask import Flask, Response, g, request

from todo.config import PREFIX, StartupError
from todo.http import auth, problem

IN_MEMORY = "memory://"
STORAGE_TIMEOUT = 1  # seconds; every request waits for the storage
_TIMEOUTS = ("socket_timeout", "socket_connect_timeout")


def register(app: Flask) -> None:
    """Reject requests to `app` beyond the setting RATE_LIMIT. Authentication must come first.

    Raises StartupError for an invalid setting.
    """
    rate, storage = app.config["RATE_LIMIT"], app.config["RATE_LIMIT_STORAGE"] or IN_MEMORY
    if not rate:
        return
    from flask_limiter import Limiter  # imported here, because most services have no rate limit
    from flask_limiter.errors import RateLimitExceeded
    from limits import parse_many

    try:
        parse_many(rate)
    except ValueError:
        raise StartupError(
            f"RATE_LIMIT is {rate!r}. Set {PREFIX}RATE_LIMIT to a number of requests per time, "
            "such as 100/minute."
        ) from None
    timeouts: dict[str, str | int] = {} if storage == IN_MEMORY else dict.fromkeys(_TIMEOUTS, STORAGE_TIMEOUT)
    try:
        limiter = Limiter(
            _client,
            app=app,
            application_limits=[rate],
            storage_uri=storage,
            storage_options=timeouts,
            in_memory_fallback_enabled=True,
        )
    except Exception:
        raise StartupError(
            f"RATE_LIMIT_STORAGE is invalid. Set {PREFIX}RATE_LIMIT_STORAGE to a URL such as "
            "redis://localhost:6379, and install the extra redis."
        ) from None
    limiter.request_filter(auth.is_public)  # page, documentation and health

    def _handle_exceeded(_: Exception) -> Response:
        current = limiter.current_limit
        seconds = 1 if current is None else math.ceil(current.window.reset_time - time.time())
        return problem.to_response(problem.TooManyRequests(max(1, seconds)))

    app.register_error_handler(RateLimitExceeded, _handle_exceeded)


def _client() -> str:
    token_id = g.get("token_id")
    return f"address {request.remote_addr}" if token_id is None else f"token {token_id}"
