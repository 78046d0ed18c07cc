"""The page in a browser, on a running server, for tests that use it as a person does."""

import time
import unittest
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import urlsplit

from flask import Flask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.browser import CHROMIUM, NONE, chromium
from tests.support.server import Server

TODOS = "/api/v1/todos"
READER: dict[str, Any] = {"locale": "en-GB", "timezone_id": "UTC"}
BATCH = 1000  # operations
PATIENCE = 10  # seconds, for what takes a fraction of one on an idle machine


_running = ExitStack()


def setUpModule() -> None:
    """Start a server and a browser; a module whose tests are on the page takes this for its own."""
    if not CHROMIUM:
        raise unittest.SkipTest(NONE)
    PageTest.server = _running.enter_context(Server(TODO_BUSY_TIMEOUT="100"))
    PageTest.browser = _running.enter_context(chromium())
    PageTest.profile = PageTest.browser.new_context(**READER)


def tearDownModule() -> None:
    """End them."""
    _running.close()


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the tests' own output is enough."""


@contextmanager
def serve(app: Flask) -> Iterator[str]:
    """Serve an app of this process, and give its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_token(app: Flask, *options: str) -> str:
    """Make a token as who runs the service does."""
    result = app.test_cli_runner().invoke(args=["token", "create", f"reader {options}", *options])
    return result.output.strip()


class PageTest(unittest.TestCase):
    """A test that begins with an empty list."""

    server: ClassVar[Server]
    browser: ClassVar[Browser]
    profile: ClassVar[BrowserContext]

    def setUp(self) -> None:
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        ids = [todo["id"] for todo in self.saved()]
        for start in range(0, len(ids), BATCH):
            self.batch([{"op": "delete", "id": todo_id} for todo_id in ids[start : start + BATCH]])

    def tearDown(self) -> None:
        self.assertEqual([], self.faults)
        self.assertLessEqual(len(self.hosts), 1, self.hosts)

    def open(self, path: str = "/", *, url: str = "", **context: Any) -> Page:
        """Open a window, in a browser profile of its own where it is special; note what goes wrong."""
        profile = self.browser.new_context(**READER | context) if context else self.profile
        page = profile.new_page()
        self.addCleanup(profile.close if context else page.close)
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._note)
        page.on("request", self._note_host)
        page.goto((url or self.server.url) + path)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        # A refused or failed request is no fault of the page.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.faults.append(message.text)

    def _note_host(self, request: Any) -> None:
        if host := urlsplit(request.url).netloc:
            self.hosts.add(host)

    def batch(self, operations: list[dict[str, Any]]) -> None:
        answer = self.server.request("POST", f"{TODOS}/batch", {"operations": operations})
        self.assertEqual(200, answer.status, answer.json)

    def given(self, *todos: dict[str, Any] | str) -> None:
        """Make todos, each of its members or only its title; the last one is the newest."""
        made = [{"title": todo} if isinstance(todo, str) else todo for todo in todos]
        for start in range(0, len(made), BATCH):
            self.batch([{"op": "create", "todo": todo} for todo in made[start : start + BATCH]])

    def saved(self) -> list[dict[str, Any]]:
        """What the service holds, the oldest first."""
        todos: list[dict[str, Any]] = self.server.request("GET", TODOS).json
        return todos

    def assertSaved(self, *expected: str | dict[str, Any]) -> None:
        """Wait until the service holds these todos, given by title or by some members, and no other."""
        wanted = [{"title": todo} if isinstance(todo, str) else todo for todo in expected]
        deadline = time.monotonic() + PATIENCE
        while True:
            nothing: dict[str, Any] = {}
            pairs = zip_longest(self.saved(), wanted, fillvalue=nothing)
            found = [{name: todo.get(name) for name in some} for todo, some in pairs]
            if found == wanted or time.monotonic() > deadline:
                self.assertEqual(wanted, found)
                return
            time.sleep(0.02)

    def assertShown(self, page: Page, *titles: str) -> None:
        expect(page.locator("#list .title")).to_have_text(list(titles))


def new_todo(page: Page) -> Locator:
    """The field that a todo is added with."""
    return page.get_by_placeholder("What needs to be done?")


def row(page: Page, title: str) -> Locator:
    """The todo of this title in the list."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("checkbox", name=f"Completed: {title}"))
