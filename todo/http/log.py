"""The log on standard error, as text or as JSON: a line for each request, and errors.

Log lines contain the path but not the query string, which may hold search terms or feed tokens.
"""

import logging
import os
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from flask import Flask, has_request_context, request
from flask.logging import default_handler
from msgspec import UNSET, Struct, UnsetType

from todo.clock import timestamp
from todo.config import PREFIX, StartupError
from todo.http import middleware
from todo.http.problem import REQUEST_ID

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

FORMATS = ("text", "json", "off")
STDERR = 2
_TEXT = "%s %s %s %s %s %sms %s\n"
# A line must fit into one atomic write to a pipe (POSIX, PIPE_BUF), because all processes write to it.
MAX_PATH = 2000
MAX_METHOD = 20

_PLAIN = re.compile("[A-Za-z0-9._:/-]{1,200}")  # most paths
_SAFE = "/:@!$&'()*+,;="


class Line(Struct):
    """The log line of a request. `duration` is in milliseconds, until the end of the response."""

    time: str
    remote_address: str
    method: str
    path: str
    status: int
    duration: float
    request_id: str


class Message(Struct, omit_defaults=True):
    """The log line of an error."""

    time: str
    level: str
    message: str
    request_id: str
    traceback: str | UnsetType = UNSET


class JsonFormatter(logging.Formatter):
    """Format a log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, including the traceback."""
        message = Message(
            time=timestamp(),
            level=record.levelname,
            message=record.getMessage(),
            request_id=getattr(record, "request_id", "-"),
            traceback=self.formatException(record.exc_info) if record.exc_info else UNSET,
        )
        return msgspec.json.encode(message).decode()


def register(app: Flask) -> None:
    """Log errors of `app` in the format of the setting LOG_FORMAT.

    Raises StartupError for an unknown format.
    """
    form = app.config["LOG_FORMAT"]
    if form not in FORMATS:
        raise StartupError(f"LOG_FORMAT is {form!r}. Set {PREFIX}LOG_FORMAT to one of {', '.join(FORMATS)}.")
    default_handler.addFilter(_stamp)
    default_handler.setFormatter(
        JsonFormatter()
        if form == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(request_id)s %(message)s")
    )
    if ignored := app.extensions["todo.ignored_variables"]:
        app.logger.warning("Ignored variables that Kubernetes sets for a Service: %s", ", ".join(ignored))


def _stamp(record: logging.LogRecord) -> bool:
    # Escape line breaks, which the path may contain.
    record.msg = str(record.msg).encode("unicode_escape").decode()
    record.request_id = request.environ.get(REQUEST_ID, "-") if has_request_context() else "-"
    return True


def log_requests(app: Flask) -> None:
    """Log each request to `app`, unless LOG_FORMAT is off."""
    if app.config["LOG_FORMAT"] != "off":
        middleware.observe(app, partial(_log, as_json=app.config["LOG_FORMAT"] == "json"))


def _log(environ: "WSGIEnvironment", _: str, status: int, duration: float, *, as_json: bool) -> None:
    values = (
        timestamp(),
        _quoted(environ.get("REMOTE_ADDR") or "-"),
        _quoted(environ["REQUEST_METHOD"])[:MAX_METHOD],
        _quoted(environ["PATH_INFO"]),
        status,
        round(duration * 1000, 3),
        environ[REQUEST_ID],
    )
    line = msgspec.json.encode(Line(*values)) + b"\n" if as_json else (_TEXT % values).encode()
    # The locks of `logging` cost more than the rest of this function.
    with suppress(OSError):
        os.write(STDERR, line)


def _quoted(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        text = quote(text.encode("latin-1").decode(errors="replace"), safe=_SAFE)
    return text[:MAX_PATH]
