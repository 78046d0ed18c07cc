"""The log on standard error: a line for each request, and what went wrong, as text or as JSON.

A line has the path of a request and not its query, in which stand what people search for and the token
of a feed; nor anything of bodies.
"""

import logging
import os
import re
import time
from contextlib import suppress
from functools import partial
from urllib.parse import quote

import msgspec
from flask import Flask, Response, request
from flask.logging import default_handler
from msgspec import UNSET, Struct, UnsetType

from todo.clock import utc_now
from todo.config import PREFIX, StartupError
from todo.http import request_id
from todo.http.metrics import BEGAN

FORMATS = ("text", "json", "off")
STDERR = 2
# A line fits into what is written to a pipe in one piece (POSIX, PIPE_BUF), among those of other processes.
MAX_PATH = 2000

_PLAIN = re.compile("[A-Za-z0-9._:/-]{1,200}")  # most of them
_SAFE = "/:@!$&'()*+,;="


class Line(Struct):
    """What is told of a request; `duration` is in milliseconds, to the end of the answer."""

    time: str
    remote_address: str
    method: str
    path: str
    status: int
    duration: float
    request_id: str


class Message(Struct, omit_defaults=True):
    """What is told of an error."""

    time: str
    level: str
    message: str
    request_id: str
    traceback: str | UnsetType = UNSET


class JsonFormatter(logging.Formatter):
    """Make of a record one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, the traceback in it."""
        message = Message(
            time=_now(),
            level=record.levelname,
            message=record.getMessage(),
            request_id=getattr(record, "request_id", "-"),
            traceback=self.formatException(record.exc_info) if record.exc_info else UNSET,
        )
        return msgspec.json.encode(message).decode()


def register(app: Flask) -> None:
    """Have errors of `app` told in the form of the setting LOG_FORMAT.

    Raises StartupError where it is none.
    """
    form = app.config["LOG_FORMAT"]
    if form not in FORMATS:
        raise StartupError(
            f"LOG_FORMAT is {form!r}: set it ({PREFIX}LOG_FORMAT in the environment) to one of "
            f"{', '.join(FORMATS)}."
        )
    default_handler.setFormatter(
        JsonFormatter()
        if form == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(request_id)s %(message)s")
    )


def tell_requests(app: Flask) -> None:
    """Write a line for each request to `app`, unless the setting is off; before the first one."""
    if app.config["LOG_FORMAT"] != "off":
        app.after_request(partial(_tell, as_json=app.config["LOG_FORMAT"] == "json"))


def _tell(response: Response, *, as_json: bool) -> Response:
    environ = request.environ
    write = partial(
        _write,
        environ[BEGAN],
        as_json,
        _now(),
        _quoted(environ.get("REMOTE_ADDR") or "-"),
        environ["REQUEST_METHOD"],
        _quoted(request.path),
        response.status_code,
        request_id.current(),
    )
    if response.is_streamed:
        response.call_on_close(write)
    else:
        write()
    return response


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe=_SAFE)[:MAX_PATH]


def _write(  # noqa: PLR0913, PLR0917 - as many as there are members
    began: float,
    as_json: bool,
    now: str,
    address: str,
    method: str,
    path: str,
    status: int,
    request_id: str,
) -> None:
    duration = round((time.perf_counter() - began) * 1000, 3)
    if as_json:
        text = msgspec.json.encode(Line(now, address, method, path, status, duration, request_id)) + b"\n"
    else:
        text = f"{now} {address} {method} {path} {status} {duration}ms {request_id}\n".encode()
    # At once and without the locks of `logging`, which cost more than all the rest.
    with suppress(OSError):
        os.write(STDERR, text)


def _now() -> str:
    return f"{utc_now().isoformat(timespec='milliseconds')}Z"
