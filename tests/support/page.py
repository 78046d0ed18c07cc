"""The page in a browser with a running server, for tests that use the page like a person."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import zip_longest
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, Page, Route, expect
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.server import Server

TODOS = "/api/v1/todos"
# Service workers would respond instead of the routes that tests intercept.
READER: dict[str, Any] = {"locale": "en-GB", "timezone_id": "UTC", "service_workers": "block"}
BATCH = 1000  # operations
TIMEOUT = 20_000  # milliseconds, for actions that take a fraction of a second on an idle machine
UNREACHABLE = "The service can’t be reached."

Todo = dict[str, Any]


class Site:
    """A service with an empty list, and the browser windows that show its page."""

    def __init__(self, server: Server, browser: Browser) -> None:
        self.server = server
        self.browser = browser
        self.profile = browser.new_context(**READER)
        self._others: list[BrowserContext] = []
        self._pages: list[Page] = []
        self.errors: list[str] = []
        self.hosts: set[str] = set()

    def clear(self) -> None:
        """Delete all todos."""
        ids = [todo["id"] for todo in self.saved()]
        for start in range(0, len(ids), BATCH):
            self.batch([{"op": "delete", "id": todo_id} for todo_id in ids[start : start + BATCH]])

    def close(self) -> None:
        for profile in (self.profile, *self._others):
            profile.close()

    def open(self, path: str = "/", *, url: str = "", script: str = "", **context: Any) -> Page:
        """Open a window, with `context` in a new browser profile. Record every error of the page."""
        profile = self.profile
        if context:
            profile = self.browser.new_context(**READER | context)
            self._others.append(profile)
        page = profile.new_page()
        self._pages.append(page)
        page.set_default_timeout(TIMEOUT)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note_message)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        if script:
            page.add_init_script(script)
        page.goto((url or self.server.url) + path)
        return page

    def open_with_clock(self, time: str | None = None, *, script: str = "") -> Page:
        """Open a window whose clock starts at `time`, or now, and can be set."""
        page = self.open("about:blank", url="about:blank", script=script)
        page.clock.install(time=time)
        page.goto(self.server.url)
        return page

    def _note_message(self, message: ConsoleMessage) -> None:
        harmless = ("Failed to load resource", "Service Worker registration blocked by Playwright")
        if message.type in {"error", "warning"} and not message.text.startswith(harmless):
            self.errors.append(message.text)

    def batch(self, operations: list[dict[str, Any]]) -> None:
        answer = self.server.request("POST", f"{TODOS}/batch", {"operations": operations})
        assert answer.status == 200, answer.json

    def given(self, *todos: Todo | str) -> None:
        """Create todos from members or titles. The last todo is the newest."""
        made = [{"title": todo} if isinstance(todo, str) else todo for todo in todos]
        for start in range(0, len(made), BATCH):
            self.batch([{"op": "create", "todo": todo} for todo in made[start : start + BATCH]])

    def change(self, title: str, /, **members: Any) -> None:
        """Change a todo as another client does."""
        todo = next(todo for todo in self.saved() if todo["title"] == title)
        assert self.server.request("PATCH", f"{TODOS}/{todo['id']}", members).status == 200

    def saved(self) -> list[Todo]:
        """Return the todos of the service, oldest first."""
        todos: list[Todo] = self.server.request("GET", TODOS).json
        return todos

    def expect_saved(self, *expected: str | Todo) -> None:
        """Wait until the service has exactly these todos, given by title or by some members."""
        wanted = [{"title": todo} if isinstance(todo, str) else todo for todo in expected]
        deadline = time.monotonic() + TIMEOUT / 1000
        while True:
            nothing: Todo = {}
            pairs = zip_longest(self.saved(), wanted, fillvalue=nothing)
            found = [{name: todo.get(name) for name in some} for todo, some in pairs]
            if found == wanted or time.monotonic() > deadline:
                assert found == wanted
                return
            # Unlike time.sleep, this lets intercepted requests continue.
            self._pages[-1].wait_for_timeout(20)


def expect_shown(page: Page, *titles: str) -> None:
    """Wait until the list shows these titles in this order."""
    expect(page.locator("#list .title")).to_have_text(list(titles))


def new_todo(page: Page) -> Locator:
    """Return the field for the title of a new todo."""
    return page.get_by_placeholder("What needs to be done?")


def add(page: Page, title: str) -> None:
    new_todo(page).fill(title)
    new_todo(page).press("Enter")


def row(page: Page, title: str) -> Locator:
    """Return the todo of this title in the list."""
    return page.get_by_role("listitem").filter(has=page.locator(".title", has_text=title))


def edit(page: Page, title: str) -> Locator:
    """Open the editor of a todo."""
    page.get_by_role("button", name=f"Edit {title}").click()
    return page.locator(".editor")


def retitle(page: Page, title: str, new_title: str) -> None:
    edit(page, title)
    page.keyboard.type(new_title)
    page.keyboard.press("Enter")


def choose(page: Page, item: str) -> None:
    """Choose from the menu."""
    page.get_by_role("button", name="More actions").click()
    page.locator("#menu").get_by_text(item).click()


def unfold(page: Page) -> None:
    """Show the completed todos below the others."""
    page.locator("[data-group=completed] h2 button").click()


def conflict(page: Page) -> Locator:
    return page.get_by_role("dialog", name="This was changed elsewhere")


# A click by Playwright waits until the button stays at its place, and a retry may remove it meanwhile.
CLICK_TRY_NOW = """() => {
  const buttons = [...document.querySelectorAll("#banner button")];
  const button = buttons.find(({ textContent }) => textContent === "Try now");
  button?.click();
  return Boolean(button);
}"""


def try_now(page: Page) -> None:
    """Click "Try now" until the button is gone, after the fault has ended."""
    while page.evaluate(CLICK_TRY_NOW):
        with suppress(Error):
            page.get_by_role("button", name="Try now").wait_for(state="hidden", timeout=1000)


def wall_time(**distance: float) -> str:
    """Return a time relative to the current time, in UTC as in the service."""
    return (datetime.utcnow() + timedelta(**distance)).isoformat(timespec="seconds")  # noqa: DTZ003


def before_next(page: Page, method: str, act: Callable[[Route], None]) -> None:
    """Pass the next request of `method` to `act` instead of sending it."""
    requests = iter([act])

    def intercept(route: Route) -> None:
        if route.request.method == method and (this := next(requests, None)):
            this(route)
        else:
            route.continue_()

    page.route("**/api/v1/todos**", intercept)


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing, because the output belongs to the tests."""


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Serve an app of this process, and yield its URL."""
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
    """Create a token as the operator does."""
    result = app.test_cli_runner().invoke(args=["token", "create", f"reader {options}", *options])
    return result.output.strip()
