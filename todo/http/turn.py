"""Turns: of the threads of a process, one at a time works at a request.

The interpreter runs one thread at a time anyhow (https://docs.python.org/3/glossary.html#term-GIL), and
where others want to run, every call of SQLite's, one for each row of a list, hands over to them and
has to wait for them: together they take twice the time for the same work, and thrice for lists. So
they take turns. Who waits for something else pauses, and who takes long loses its turn.
"""

import threading
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from flask import Flask

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Seconds after which the next thread no longer waits for the one before, such as a long search.
LONGEST = 0.01


class _Turn:
    """The turn of a process."""

    def __init__(self) -> None:
        self._taken = threading.Lock()
        self._holder: list[int] = []  # the thread, or none
        self._since = 0.0

    def take(self) -> None:
        """Wait for the turn."""
        while not self._taken.acquire(timeout=LONGEST):
            if time.monotonic() - self._since >= LONGEST and self._lose():
                break
        self._since = time.monotonic()
        self._holder.append(threading.get_ident())

    def _lose(self) -> bool:
        """Take the turn away from its holder, for this thread; false where the holder has just given it."""
        try:
            self._holder.pop()
        except IndexError:
            return False
        return True

    def give(self) -> bool:
        """Give the turn to the next thread; false where this one does not have it, or has lost it."""
        try:
            self._holder.remove(threading.get_ident())
        except ValueError:
            return False
        self._taken.release()
        return True


_TURN = _Turn()


def register(app: Flask) -> None:
    """Have the threads that serve `app` take turns; outermost of all, as all of it is work."""
    app.wsgi_app = partial(_serve, app.wsgi_app)  # type: ignore[method-assign]


def _serve(
    application: "WSGIApplication", environ: "WSGIEnvironment", start_response: "StartResponse"
) -> Iterable[bytes]:
    _TURN.take()
    try:
        return application(environ, start_response)
    finally:
        _TURN.give()


class Pause:
    """Let the others work while this thread waits for something, if it is its turn at all."""

    def __enter__(self) -> None:
        self._had_turn = _TURN.give()

    def __exit__(self, *_: object) -> None:
        if self._had_turn:
            _TURN.take()
