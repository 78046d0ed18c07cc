"""The `X-Request-ID` header: one ID for each request, in its response, its problem and the log."""

import re
from random import getrandbits
from typing import TYPE_CHECKING

from todo.http.problem import REQUEST_ID

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

HEADER = "X-Request-ID"

# IDs of clients that are safe in a log. All others are replaced.
PATTERN = "^[A-Za-z0-9._:+/=-]{1,128}$"


def identify(environ: "WSGIEnvironment") -> tuple[str, str]:
    """Set the request ID, reusing a valid X-Request-ID, and return the response header."""
    sent = environ.get("HTTP_X_REQUEST_ID", "")
    is_sane = sent and re.fullmatch(PATTERN, sent)
    request_id = environ[REQUEST_ID] = sent if is_sane else f"{getrandbits(128):032x}"
    return HEADER, request_id
