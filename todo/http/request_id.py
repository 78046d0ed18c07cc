"""The `X-Request-ID` header: one id for each request, in its answer, its problem and the log."""

import re
from random import getrandbits
from typing import TYPE_CHECKING

from todo.http.problem import REQUEST_ID

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

HEADER = "X-Request-ID"

# What a log can hold without doubt; anything else the client sends is replaced.
PATTERN = "^[A-Za-z0-9._:+/=-]{1,128}$"


def identify(environ: "WSGIEnvironment") -> tuple[str, str]:
    """Give the request its id, the client's own where it is sane, and return the header that tells it."""
    sent = environ.get("HTTP_X_REQUEST_ID", "")
    is_sane = sent and re.fullmatch(PATTERN, sent)
    request_id = environ[REQUEST_ID] = sent if is_sane else f"{getrandbits(128):032x}"
    return HEADER, request_id
