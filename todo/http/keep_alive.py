"""Request bodies and streams of slow clients, which must not hold all threads of a worker.

The server's WSGI interface blocks a thread until a body has arrived or a chunk was sent, without a
timeout. So only a share of the threads may wait for clients, and a thread of each worker ends the
connections that take too long.

Bodies are received before the view runs. If a part of a body stays unread, the server closes the connection
without notice, and the client loses its next request (RFC 9112, section 9.3).
"""

import ctypes
import math
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask, Response, request

from todo.http import body, problem
from todo.http.problem import ContentTooLarge, FieldError, RequestTimeout, Unavailable, ValidationFailed

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_RECEIVED = 1024 * 1024  # bytes; no route accepts a larger body
MAX_BODIES = 128  # maximum number of incomplete bodies per worker
MAX_STREAMS = 32  # per worker
TIMEOUT = 30  # seconds for a body to arrive, or for a client to accept more of a response
TIMEOUT_UNDER_LOAD = 5  # seconds, while more than half of MAX_BODIES are incomplete
CROWD = 8  # number of slow clients after which memory is returned to the system
TRIM_AFTER = 40  # seconds; the server ends idle threads after 30

_TOO_MANY = "Too many slow requests. Try again."
_RECEIVED = "todo.body_received"
_INFO = struct.Struct("44xI4xI")  # tcpi_last_data_sent and tcpi_last_data_recv of tcp_info, milliseconds ago
_OPEN_FILES = Path("/proc/self/fd")
CAN_WATCH = _OPEN_FILES.is_dir() and hasattr(socket, "TCP_USER_TIMEOUT")

_bodies: set[object] = set()  # incomplete bodies; add() and discard() are atomic
_streams: set[object] = set()
_last_ended = [0.0]  # when `watch` ended a connection


def register(app: Flask) -> None:
    """Receive the body of every request of `app` before its view runs, and bound the number of streams.

    If a body stays unread, because it is too large or another check failed first, the response has
    `Connection: close`.
    """
    app.before_request(_receive)
    app.after_request(_finish)


def _receive() -> None:
    environ = request.environ
    if not _has_body(environ):
        return
    length = request.content_length  # None if the body is chunked
    if length is not None and length > MAX_RECEIVED:
        raise _too_large()
    if len(_bodies) >= MAX_BODIES:
        raise Unavailable(_TOO_MANY)
    began = time.monotonic()
    token = object()
    _bodies.add(token)
    try:
        # One byte beyond the limit shows that a body of unknown length is too large.
        content = environ["wsgi.input"].read(MAX_RECEIVED + 1 if length is None else length)
    finally:
        _bodies.discard(token)
    if len(content) > MAX_RECEIVED:
        raise _too_large()
    # A truncated chunked body looks complete here. The JSON parser rejects it.
    if length is not None and len(content) < length:
        if _last_ended[0] > began:
            raise RequestTimeout
        detail = f"The body has {len(content)} bytes, but its Content-Length is {length}"
        raise ValidationFailed(FieldError(detail=detail, pointer="#"))
    environ["wsgi.input"] = BytesIO(content)
    environ[_RECEIVED] = True


def _has_body(environ: "WSGIEnvironment") -> bool:
    is_chunked = environ.get("HTTP_TRANSFER_ENCODING") and environ.get("wsgi.input_terminated")
    return bool(is_chunked) or environ.get("CONTENT_LENGTH", "0") not in {"", "0"}


def _too_large() -> ContentTooLarge:
    detail = f"Send a body of at most {MAX_RECEIVED} bytes. Most routes accept only {body.MAX_BYTES} bytes."
    return ContentTooLarge(detail)


def _finish(response: Response) -> Response:
    environ = request.environ
    if _has_body(environ) and _RECEIVED not in environ:  # an earlier check refused the request
        response.headers["Connection"] = "close"
    if not response.is_streamed or response.status_code != HTTPStatus.OK:
        return response
    try:
        check_streams()
    except Unavailable as error:
        response.close()
        return problem.to_response(error)
    token = object()
    _streams.add(token)
    response.call_on_close(partial(_streams.discard, token))
    return response


def check_streams() -> None:
    """Raise Unavailable if this worker already sends MAX_STREAMS streams."""
    if len(_streams) >= MAX_STREAMS:
        raise Unavailable(_TOO_MANY)


def watch(port: int) -> None:
    """End connections to `port` of this worker whose request body takes too long. Never returns.

    Works on Linux only, which reports when a connection last received and sent data. A request is
    incomplete, or its response has not begun, if nothing was sent since data was last received.
    """
    while not _bound_writes(port):
        time.sleep(0.05)
    waiting: dict[tuple[int, object], float] = {}
    trim_at = math.inf
    while True:
        time.sleep(0.5)
        now = time.monotonic()
        if len(_bodies) + len(_streams) >= CROWD:
            trim_at = now + TRIM_AFTER
        elif now >= trim_at:
            trim_at = math.inf
            with suppress(AttributeError):  # only glibc keeps freed memory
                ctypes.CDLL(None).malloc_trim(0)
        timeout = TIMEOUT_UNDER_LOAD if len(_bodies) > MAX_BODIES / 2 else TIMEOUT
        still_waiting = {}
        for connection in _connections(port) if _bodies else ():
            with suppress(OSError):  # the listening socket, or a closed connection
                key = connection.fileno(), connection.getpeername()
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
                last_sent, last_received = _INFO.unpack(info)
                if last_received <= last_sent:
                    since = still_waiting[key] = waiting.get(key, now)
                    if now - since >= timeout:
                        # The thread gets a truncated body, and can still send a response.
                        _last_ended[0] = now
                        connection.shutdown(socket.SHUT_RD)
        waiting = still_waiting


def _bound_writes(port: int) -> bool:
    """Let the system end connections whose client accepts no data. Return False before listen()."""
    for connection in _connections(port):
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            # Connections inherit this timeout. It also applies while the client's window is closed.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TIMEOUT * 1000)
            return True
    return False


def _connections(port: int) -> Iterator[socket.socket]:
    """Yield the sockets of this process with the local `port`. The server does not expose them."""
    for file in list(_OPEN_FILES.iterdir()):
        with suppress(OSError):  # not a socket, or closed
            connection = socket.socket(fileno=int(file.name))
            try:
                is_tcp = connection.family in {socket.AF_INET, socket.AF_INET6}
                if is_tcp and connection.getsockname()[1] == port:
                    yield connection
            finally:
                connection.detach()
