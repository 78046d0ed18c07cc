"""Connections that stay usable after an answer (RFC 9112, section 9.3).

When an answer leaves a part of the request's body unread, the server closes the connection without
saying so, and a client that keeps its connections loses its next request.
"""

from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge

from todo.http import body
from todo.http.problem import ContentTooLarge

# No body that is larger is taken anywhere.
MAX_RECEIVED = 1024 * 1024


def register(app: Flask) -> None:
    """Receive the body of every request of `app` before it is answered, whatever the answer needs.

    Of a body over the limit the rest stays unread; its answer says that the connection ends there.
    """
    app.before_request(_receive)


def _receive() -> None:
    sent = request.environ
    if "CONTENT_LENGTH" not in sent and "HTTP_TRANSFER_ENCODING" not in sent:
        return
    # A body of unknown length would be cut at the limit; one byte more shows that it is longer.
    request.max_content_length = MAX_RECEIVED + 1
    try:
        fits = len(request.get_data()) <= MAX_RECEIVED
    except RequestEntityTooLarge:
        fits = False
    if not fits:
        detail = f"Send a body of at most {MAX_RECEIVED} bytes; most addresses take only {body.MAX_BYTES}."
        raise ContentTooLarge(detail, headers=[("Connection", "close")])
