"""A limit on the requests of each client: the token's where one is valid, else the address's.

Without a storage each process counts for itself; with one, they all count together. Where the storage is
out of reach each counts for itself again, rather than serve nobody, or without a limit.
"""

import math
import time

from flask import Flask, Response, current_app, g, request

from todo.config import PREFIX, StartupError
from todo.http import problem

IN_MEMORY = "memory://"
# The storage is on the way of every request.
STORAGE_TIMEOUT = 1  # seconds
_TIMEOUTS = ("socket_timeout", "socket_connect_timeout")


def register(app: Flask) -> None:
    """Refuse requests to `app` beyond the setting RATE_LIMIT; after the clients are known.

    Raises StartupError where a setting is none.
    """
    rate, storage = app.config["RATE_LIMIT"], app.config["RATE_LIMIT_STORAGE"] or IN_MEMORY
    if not rate:
        return
    from flask_limiter import Limiter  # few need it
    from flask_limiter.errors import RateLimitExceeded
    from limits import parse_many
    from limits.errors import ConfigurationError

    try:
        parse_many(rate)
    except ValueError:
        raise StartupError(
            f"RATE_LIMIT is {rate!r}: set it ({PREFIX}RATE_LIMIT in the environment) to a number of requests "
            "in a time, such as 100/minute."
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
    except (ConfigurationError, ImportError, ValueError) as error:
        raise StartupError(
            f"RATE_LIMIT_STORAGE can't be used: {error}. Install the category redis of the Pipfile, and "
            "set it to a URL such as redis://localhost:6379."
        ) from None
    limiter.request_filter(_is_free)

    def answer(_: Exception) -> Response:
        current = limiter.current_limit
        seconds = 1 if current is None else math.ceil(current.window.reset_time - time.time())
        return problem.answer(problem.TooManyRequests(max(1, seconds)))

    app.register_error_handler(RateLimitExceeded, answer)


def _client() -> str:
    token_id = g.get("token_id")
    return f"address {request.remote_addr}" if token_id is None else f"token {token_id}"


def _is_free() -> bool:
    """Tell whether a request counts for nothing: the page, the docs and health cost next to nothing."""
    return hasattr(current_app.view_functions.get(request.endpoint or ""), "is_public")
