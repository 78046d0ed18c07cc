"""A cache of finished responses, which is never stale.

Each worker caches responses to GET and HEAD with an `ETag` in its memory. The version of the database is read
before a response is created. The response is reused only while the database has this version. So any commit
by any process, a shell included, empties the cache. There is no time to live.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from flask import request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Parts of a request that a response can depend on. The first five include the headers of trusted proxies.
_KEY = (
    "REQUEST_METHOD",
    "wsgi.url_scheme",
    "SERVER_NAME",
    "HTTP_HOST",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "HTTP_ACCEPT",
    "HTTP_AUTHORIZATION",
    "HTTP_IF_NONE_MATCH",
    "HTTP_ORIGIN",
)
_METHODS = {"GET", "HEAD"}
_STATUSES = {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED}
# Requests with a body bypass the cache, because the body must be read.
_BODY = {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"}
_EXPIRES = "todo.response_expires"
OVERHEAD = 2000  # approximate bytes of an entry without its body


class Response(NamedTuple):
    """A finished response of a route."""

    status: str
    headers: list[tuple[str, str]]
    body: list[bytes]
    route: str


class _Entry(NamedTuple):
    response: Response
    expires: float  # a Unix time
    size: int  # bytes


class Place(NamedTuple):
    """The place of a response in the cache: its key and the version of the database."""

    key: tuple[str | None, ...]
    version: Hashable


class ResponseCache:
    """The responses of one version of the database, up to `max_bytes` in total."""

    def __init__(self, max_bytes: int, version: Callable[[], Hashable]) -> None:
        self.size = 0
        self._max_bytes = max_bytes
        self._read_version = version
        self._version: Hashable = None
        self._entries: OrderedDict[tuple[str | None, ...], _Entry] = OrderedDict()
        self._lock = Lock()

    def find(self, environ: "WSGIEnvironment") -> tuple[Place | None, Response | None]:
        """Return the place of the response to a request, and the response if there is one.

        The place is None if the request is not cacheable.
        """
        if environ["REQUEST_METHOD"] not in _METHODS or not environ.keys().isdisjoint(_BODY):
            return None, None
        version = self._read_version()
        if version is None:
            return None, None
        place = Place(tuple(map(environ.get, _KEY)), version)
        with self._lock:
            if version != self._version:
                self._version, self.size = version, 0
                self._entries.clear()
            entry = self._entries.get(place.key)
            if entry is None:
                return place, None
            if time.time() >= entry.expires:
                self.size -= self._entries.pop(place.key).size
                return place, None
            self._entries.move_to_end(place.key)
            return place, entry.response

    def store(self, place: Place, environ: "WSGIEnvironment", response: Response) -> None:
        """Store a response if it has an ETag and depends only on its key and its version."""
        expires = environ.get(_EXPIRES, math.inf)
        has_etag = any(name == "ETag" for name, _ in response.headers)
        if int(response.status[:3]) not in _STATUSES or not expires or not has_etag:
            return
        size = OVERHEAD + sum(map(len, response.body)) + sum(len(part) for part in place.key if part)
        with self._lock:
            if place.version != self._version or place.key in self._entries or size > self._max_bytes:
                return
            self._entries[place.key] = _Entry(response, expires, size)
            self.size += size
            while self.size > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self.size -= oldest.size


def expire(unix_time: float) -> None:
    """Expire the response to the current request at `unix_time`."""
    environ = request.environ
    environ[_EXPIRES] = min(unix_time, environ.get(_EXPIRES, unix_time))


def skip() -> None:
    """Do not store the response to the current request, because it depends on the time."""
    expire(0)
