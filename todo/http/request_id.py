"""The `X-Request-ID` header: one id for each request, in its answer, its problem and the log."""

import logging
import re
from random import getrandbits

from flask import Flask, Response, g, has_request_context, request
from flask.logging import default_handler

HEADER = "X-Request-ID"

# What a log can hold without doubt; anything else the client sends is replaced.
PATTERN = "^[A-Za-z0-9._:+/=-]{1,128}$"


def register(app: Flask) -> None:
    """Give every request of `app` an id: the client's own where it is sane, else a new one."""
    app.before_request(_take_or_make)
    app.after_request(_send)
    default_handler.addFilter(_stamp)


def _take_or_make() -> None:
    sent = request.headers.get(HEADER, "")
    g.request_id = sent if re.fullmatch(PATTERN, sent) else f"{getrandbits(128):032x}"


def _send(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    return response


def _stamp(record: logging.LogRecord) -> bool:
    # A line of the log stays one line, whatever stands in the address.
    record.msg = str(record.msg).encode("unicode_escape").decode()
    record.request_id = g.get("request_id", "-") if has_request_context() else "-"
    return True
