"""The page during faults: no typed text is lost, and no change is made twice."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.page import (
    UNREACHABLE,
    Site,
    add,
    before_next,
    choose,
    conflict,
    edit,
    expect_shown,
    new_todo,
    retitle,
    row,
    try_now,
)
from tests.support.server import Server

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run the service with a short wait for locks."""
    with Server(TODO_BUSY_TIMEOUT="100") as running:
        yield running


@contextmanager
def losing_response(page: Page, method: str) -> Iterator[None]:
    """Let the service execute the next request of `method`, drop the response, and wait until it is lost."""

    def lose(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    before_next(page, method, lose)
    with page.expect_event("requestfailed", lambda request: request.method == method):
        yield


def stop_polling(page: Page) -> None:
    """Stop updates of the list, so that changes of other clients cause conflicts on any machine."""
    page.route(re.compile(r"/todos\?"), lambda route: route.fulfill(status=304))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # ends a read in progress


@contextmanager
def offline(page: Page) -> Iterator[None]:
    """Disconnect the browser from the network."""
    page.context.set_offline(True)
    try:
        yield
    finally:
        page.context.set_offline(False)


@contextmanager
def locked(site: Site) -> Iterator[None]:
    """Lock the database by another program, so that the service rejects every write with 503."""
    with closing(sqlite3.connect(site.server.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# Two windows


@pytest.fixture
def windows(site: Site) -> tuple[Page, Page]:
    """Open two windows that show the same todo."""
    site.given({"title": "Buy milk", "description": "Two litres"})
    pages = site.open(), site.open()
    for page in pages:
        expect_shown(page, "Buy milk")
    stop_polling(pages[0])
    return pages


@pytest.fixture
def conflicting(site: Site, windows: tuple[Page, Page]) -> Page:
    """Change the title of the todo differently in each window."""
    mine, other = windows
    edit(mine, "Buy milk")
    mine.keyboard.type("Buy oats")
    retitle(other, "Buy milk", "Buy rice")
    site.expect_saved("Buy rice")
    mine.keyboard.press("Enter")
    expect(conflict(mine)).to_be_visible()
    return mine


@pytest.mark.parametrize(
    ("theirs", "act", "saved"),
    [
        pytest.param(
            {"description": "Three litres"},
            lambda page: row(page, "Buy milk").get_by_role("checkbox").click(),
            {"title": "Buy milk", "description": "Three litres", "completed": True},
            id="they describe and I tick",
        ),
        pytest.param(
            {"completed": True, "deadline_at": "2099-01-01T00:00:00"},
            lambda page: retitle(page, "Buy milk", "Buy oats"),
            {"title": "Buy oats", "completed": True, "deadline_at": "2099-01-01T00:00:00"},
            id="they tick and I retitle",
        ),
        pytest.param(
            {"title": "Buy oats", "description": None},
            lambda page: retitle(page, "Buy milk", "Buy oats"),
            {"title": "Buy oats", "description": None},
            id="both give it the same title",
        ),
    ],
)
def test_changes_of_different_members_are_merged(
    site: Site, theirs: dict[str, object], act: Callable[[Page], None], saved: dict[str, object]
) -> None:
    site.given({"title": "Buy milk", "description": "Two litres"})
    page = site.open()
    expect_shown(page, "Buy milk")
    stop_polling(page)
    site.change("Buy milk", **theirs)
    act(page)
    site.expect_saved(saved)
    expect(conflict(page)).to_have_count(0)


def test_edit_that_began_before_the_other_change_is_merged(site: Site, windows: tuple[Page, Page]) -> None:
    mine, other = windows
    edit(mine, "Buy milk")
    mine.keyboard.type("Buy oats")
    edit(other, "Buy milk").get_by_label("Description").fill("Three litres")
    other.keyboard.press("Enter")
    site.expect_saved({"description": "Three litres"})
    mine.keyboard.press("Enter")
    site.expect_saved({"title": "Buy oats", "description": "Three litres"})
    expect(conflict(mine)).to_have_count(0)


def test_conflict_shows_the_members_that_differ(site: Site, conflicting: Page) -> None:
    yours, theirs = conflict(conflicting).locator("section").all()
    expect(yours.locator("dd:visible")).to_have_text(["Buy oats"])
    expect(theirs.locator("dd:visible")).to_have_text(["Buy rice"])
    site.expect_saved("Buy rice")


def test_keep_yours_keeps_members_that_only_the_other_client_changed(site: Site, conflicting: Page) -> None:
    site.change("Buy rice", description="Three litres")
    conflicting.get_by_role("button", name="Keep yours").click()
    expect_shown(conflicting, "Buy oats")
    site.expect_saved({"title": "Buy oats", "description": "Three litres"})


def test_take_theirs_drops_the_change(site: Site, conflicting: Page) -> None:
    conflicting.get_by_role("button", name="Take theirs").click()
    expect_shown(conflicting, "Buy rice")
    site.expect_saved("Buy rice")
    retitle(conflicting, "Buy rice", "Buy nuts")
    site.expect_saved("Buy nuts")


def test_conflict_decision_can_wait(site: Site, conflicting: Page) -> None:
    conflicting.keyboard.press("Escape")
    expect(conflict(conflicting)).to_have_count(0)
    expect_shown(conflicting, "Buy oats")
    expect(conflicting.get_by_text("Not saved yet")).to_be_visible()
    conflicting.get_by_role("button", name="Decide", exact=True).click()
    conflicting.get_by_role("button", name="Keep yours").click()
    site.expect_saved("Buy oats")
    expect(conflicting.get_by_text("A change waits for your decision.")).to_be_hidden()


@pytest.mark.parametrize(("choice", "saved"), [("Keep yours", ["Buy oats"]), ("Take theirs", [])])
def test_change_of_a_deleted_todo_asks_for_a_decision(
    site: Site, windows: tuple[Page, Page], choice: str, saved: list[str]
) -> None:
    mine, other = windows
    other.get_by_role("button", name="Delete Buy milk").click()
    site.expect_saved()
    retitle(mine, "Buy milk", "Buy oats")
    expect(conflict(mine)).to_contain_text("Deleted")
    mine.get_by_role("button", name=choice).click()
    expect_shown(mine, *saved)
    site.expect_saved(*saved)


def test_deletion_of_a_changed_todo_asks_for_a_decision(site: Site, windows: tuple[Page, Page]) -> None:
    mine, other = windows
    retitle(other, "Buy milk", "Buy rice")
    site.expect_saved("Buy rice")
    mine.get_by_role("button", name="Delete Buy milk").click()
    expect(conflict(mine)).to_contain_text("Buy rice")
    mine.get_by_role("button", name="Take theirs").click()
    expect_shown(mine, "Buy rice")
    site.expect_saved("Buy rice")


def test_deletion_of_completed_todos_keeps_a_reopened_todo(site: Site) -> None:
    site.given({"title": "Buy milk", "completed": True}, {"title": "Call Ann", "completed": True})
    page = site.open()

    def reopen(route: Route) -> None:
        """Reopen a todo between the read of the completed todos and their deletion."""
        site.change("Buy milk", completed=False)
        route.continue_()

    before_next(page, "POST", reopen)
    choose(page, "Delete all 2 completed")
    expect_shown(page, "Buy milk")
    site.expect_saved({"title": "Buy milk", "completed": False})


# No connection


def test_changes_survive_a_killed_server(site: Site) -> None:
    site.given("Buy milk", "Call Ann", "Sow peas")
    page = site.open()
    expect_shown(page, "Sow peas", "Call Ann", "Buy milk")
    site.server.kill()
    try:
        add(page, "Mow the lawn")
        retitle(page, "Buy milk", "Buy oats")
        row(page, "Call Ann").get_by_role("checkbox").click()
        page.get_by_role("button", name="Delete Sow peas").click()
        retitle(page, "Mow the lawn", "Mow the meadow")
        expect(page.get_by_text(UNREACHABLE)).to_contain_text("5 changes are kept here")
        expect_shown(page, "Mow the meadow", "Buy oats")
        expect(row(page, "Buy oats").get_by_text("Not saved yet")).to_be_visible()
    finally:
        site.server.start()
    try_now(page)
    site.expect_saved("Buy oats", {"title": "Call Ann", "completed": True}, "Mow the meadow")
    expect(page.get_by_text(UNREACHABLE)).to_be_hidden()
    expect(page.get_by_role("status").filter(has_text="everything is saved")).to_have_count(1)
    expect(page.get_by_text("Not saved yet").filter(visible=True)).to_have_count(0)


def test_unreachable_service_is_retried_automatically(site: Site) -> None:
    page = site.open()
    with offline(page):
        add(page, "Buy milk")
        expect(page.get_by_text(UNREACHABLE)).to_be_visible()
    site.expect_saved("Buy milk")


@pytest.mark.parametrize(
    ("method", "act", "saved"),
    [
        ("POST", lambda page: add(page, "Sow peas"), ["Buy milk", "Sow peas"]),
        ("PATCH", lambda page: retitle(page, "Buy milk", "Buy oats"), ["Buy oats"]),
        ("DELETE", lambda page: page.get_by_role("button", name="Delete Buy milk").click(), []),
    ],
    ids=["add", "edit", "delete"],
)
def test_lost_response_creates_no_duplicate(
    site: Site, method: str, act: Callable[[Page], None], saved: list[str]
) -> None:
    site.given("Buy milk")
    page = site.open()
    expect_shown(page, "Buy milk")
    with losing_response(page, method):
        act(page)
    try_now(page)
    expect(page.get_by_role("status").filter(has_text="everything is saved")).to_have_count(1)
    expect(page.get_by_text(UNREACHABLE)).to_be_hidden()
    expect_shown(page, *reversed(saved))
    site.expect_saved(*saved)
    expect(conflict(page)).to_have_count(0)


def test_lost_response_to_a_bulk_change_creates_no_duplicate(site: Site) -> None:
    site.given("Buy milk", {"title": "Call Ann", "completed": True})
    page = site.open()
    with losing_response(page, "POST"):
        choose(page, "Delete 1 completed todo")
    try_now(page)
    expect(page.get_by_text("1 todo deleted")).to_be_visible()
    with page.expect_response(lambda response: response.request.method == "POST"):  # the repetition
        with losing_response(page, "POST"):
            page.get_by_role("button", name="Undo").click()
        try_now(page)
    site.expect_saved("Buy milk", {"title": "Call Ann", "completed": True})


def test_view_selected_offline_shows_its_todos(site: Site) -> None:
    site.given(
        "Buy milk", {"title": "Call Ann", "completed": True}, {"title": "Late", "deadline_at": "2020-01-01"}
    )
    page = site.open()
    expect_shown(page, "Late", "Buy milk")
    with offline(page):
        add(page, "Sow peas")
        expect(page.get_by_text("1 change is kept here")).to_be_visible()
        for view, titles in (
            ("Active", ["Late", "Sow peas", "Buy milk"]),
            ("Completed", ["Call Ann"]),
            ("Overdue", ["Late"]),
            ("All", ["Late", "Sow peas", "Buy milk"]),
        ):
            page.locator("#views").get_by_role("link", name=view).click()
            expect_shown(page, *titles)
            expect(page.get_by_text("1 change is kept here")).to_be_visible()
        page.get_by_role("searchbox").fill("BUY")
        expect_shown(page, "Buy milk")
        expect(page.get_by_text("1 change is kept here")).to_be_visible()
    site.expect_saved("Buy milk", "Call Ann", "Late", "Sow peas")


NOTE_READS = """
const send = window.fetch;
window.reads = [];
window.unfinished = 0;
window.fetch = async (url, request) => {
  if (!String(url).includes("limit=1000")) return send(url, request);
  reads.push(Date.now());
  unfinished += 1;
  try {
    return await send(url, request);
  } finally {
    unfinished -= 1;
  }
};
"""


def test_failed_reads_are_repeated_with_growing_pauses(site: Site) -> None:
    site.given("Buy milk")
    page = site.open_with_clock(script=NOTE_READS)
    expect_shown(page, "Buy milk")
    page.route("**/api/**", lambda route: route.abort())
    page.clock.run_for(5000)
    expect(page.get_by_text(UNREACHABLE)).to_be_visible()
    page.evaluate("reads.splice(0, reads.length - 1)")
    times: list[int] = []
    while len(times) < 5:
        page.clock.run_for(1000)
        times = page.evaluate("reads")
    pauses = [later - earlier for earlier, later in pairwise(times)]
    least = (3000, 6000, 12_000, 24_000)
    assert [max(pair) for pair in zip(pauses, least, strict=True)] == pauses
    # Otherwise the last read could succeed now, and remove the button.
    while page.evaluate("unfinished"):
        page.wait_for_timeout(20)
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try now").click()
    expect(page.get_by_text(UNREACHABLE)).to_be_hidden()
    expect(page.get_by_role("status").filter(has_text="everything is saved")).to_have_count(1)


def test_html_page_of_a_proxy_is_an_error(site: Site) -> None:
    site.given("Buy milk")
    page = site.open()
    expect_shown(page, "Buy milk")
    page.route(
        "**/api/**", lambda route: route.fulfill(status=404, content_type="text/html", body="<p>Sorry")
    )
    retitle(page, "Buy milk", "Buy oats")
    expect(page.get_by_text(UNREACHABLE)).to_be_visible()
    page.unroute("**/api/**")
    try_now(page)
    site.expect_saved("Buy oats")


# A service that cannot write


def test_locked_database_is_shown_and_retried(site: Site) -> None:
    site.given("Buy milk")
    page = site.open()
    with locked(site):
        retitle(page, "Buy milk", "Buy oats")
        expect(page.locator("#banner")).to_contain_text("1 change is kept here")
        expect(page.locator("#banner")).not_to_contain_text(UNREACHABLE)
        expect_shown(page, "Buy oats")
    try_now(page)
    site.expect_saved("Buy oats")


def test_changes_survive_a_reload(site: Site) -> None:
    site.given("Buy milk", "Call Ann")
    page = site.open()
    with locked(site):
        add(page, "Sow peas")
        retitle(page, "Buy milk", "Buy oats")
        page.get_by_role("button", name="Delete Call Ann").click()
        expect(page.get_by_text("3 changes are kept here")).to_be_visible()
        page.reload()
        expect_shown(page, "Sow peas", "Buy oats")
        expect(page.get_by_text("3 changes are kept here")).to_be_visible()
    try_now(page)
    site.expect_saved("Buy oats", "Sow peas")
    expect_shown(page, "Sow peas", "Buy oats")


def test_changes_survive_a_closed_window(site: Site) -> None:
    page = site.open()
    with locked(site):
        add(page, "Sow peas")
        expect(page.get_by_text("1 change is kept here")).to_be_visible()
        page.close(run_before_unload=True)
        page = site.open()
        expect_shown(page, "Sow peas")
    try_now(page)
    site.expect_saved("Sow peas")


def test_window_does_not_send_changes_of_another_window(site: Site) -> None:
    first = site.open()
    with locked(site):
        add(first, "Sow peas")
        expect(first.get_by_text("1 change is kept here")).to_be_visible()
        second = site.open()
        expect(second.get_by_text("Nothing to do.")).to_be_visible()
    try_now(first)
    site.expect_saved("Sow peas")


def test_deletion_is_undone_before_it_is_saved(site: Site) -> None:
    site.given("Buy milk", "Call Ann")
    page = site.open()
    with locked(site):
        row(page, "Buy milk").get_by_role("checkbox").click()
        page.get_by_role("button", name="Delete Call Ann").click()
        expect(page.get_by_text("2 changes are kept here")).to_be_visible()
        page.get_by_role("button", name="Undo").click()
        expect_shown(page, "Call Ann")
        expect(page.get_by_text("1 change is kept here")).to_be_visible()
    try_now(page)
    site.expect_saved({"completed": True}, {"title": "Call Ann", "completed": False})


# A service that rejects requests


def test_refused_todo_returns_to_the_form_with_the_reason(site: Site) -> None:
    page = site.open()
    add(page, "Ring the \u0007 bell")
    expect(new_todo(page)).to_have_value("Ring the \u0007 bell")
    expect(page.get_by_role("alert")).to_contain_text("title must be a string of 1 to 80 characters")
    expect_shown(page)
    add(page, "Ring the bell")
    site.expect_saved("Ring the bell")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_text_typed_while_a_todo_is_refused_is_kept(site: Site) -> None:
    page = site.open()

    def type_on(route: Route) -> None:
        new_todo(page).fill("Call Ann")
        route.continue_()

    before_next(page, "POST", type_on)
    add(page, "Ring the \u0007 bell")
    title = page.locator(".editor [name=title]")
    expect(title).to_have_value("Ring the \u0007 bell")
    expect(title).to_be_focused()
    expect(new_todo(page)).to_have_value("Call Ann")
    title.fill("Ring the bell")
    title.press("Enter")
    expect_shown(page, "Ring the bell")
    site.expect_saved("Ring the bell")


def test_refused_edit_reopens_with_the_reason(site: Site) -> None:
    site.given({"title": "Buy milk", "description": "Two litres"})
    page = site.open()
    description = edit(page, "Buy milk").get_by_label("Description")
    description.fill("Three \u0007")
    page.keyboard.press("Enter")
    expect(description).to_have_value("Three \u0007")
    expect(description).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("description must be")
    page.keyboard.press("Escape")
    expect(row(page, "Buy milk")).to_contain_text("Two litres")
    site.expect_saved({"description": "Two litres"})


# A browser without a feature

BLOCKED_STORAGE = """
for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });
}
"""
FULL_STORAGE = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"
UNKNOWN_ZONE = """
const Real = Intl.DateTimeFormat;
Intl.DateTimeFormat = function (locales, options) {
  if (options?.timeZone && options.timeZone !== "UTC") throw new RangeError("Invalid time zone");
  return new Real(locales, options);
};
"""
MALFORMED_LANGUAGES = (
    "Object.defineProperty(navigator, 'languages', { value: ['en-US@posix', '', 'de-DE', 'x_y'] });"
)
DAMAGED_STORAGE = """
const names = location.protocol === "http:" ? ["todo.outbox.1", "todo.token", "todo.folded"] : [];
for (const name of names) {
  localStorage.setItem(name, "{");
  sessionStorage.setItem(name, "[1");
}
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(BLOCKED_STORAGE, id="blocked storage"),
        pytest.param(FULL_STORAGE, id="full storage"),
        pytest.param(DAMAGED_STORAGE, id="damaged storage"),
        pytest.param(MALFORMED_LANGUAGES, id="malformed languages"),
        pytest.param(
            "Object.defineProperty(navigator, 'languages', { value: undefined });", id="no languages"
        ),
        pytest.param(
            "Object.defineProperty(navigator, 'serviceWorker', { value: undefined });", id="no worker"
        ),
        pytest.param("delete window.trustedTypes;", id="no trusted types"),
    ],
)
def test_page_works_without_a_browser_feature(site: Site, script: str) -> None:
    site.given({"title": "Late", "deadline_at": "2020-01-01T10:00:00"})
    page = site.open(script=script, color_scheme="light")
    expect(row(page, "Late").get_by_text("Overdue")).to_be_visible()
    add(page, "Buy milk tomorrow")
    site.expect_saved("Late", "Buy milk")
    page.get_by_role("button", name="Delete Late").click()
    site.expect_saved("Buy milk")


def test_page_works_in_a_browser_that_does_not_know_the_zone(browser: Browser) -> None:
    """The fallback is the current offset of the service."""
    with Server(TODO_TIMEZONE="Asia/Kolkata") as server:
        site = Site(server, browser)
        now = datetime.now(ZoneInfo("Asia/Kolkata"))
        for title, hours in (("Late", -1), ("Soon", 1)):
            deadline = (now + timedelta(hours=hours)).isoformat(timespec="seconds")[:19]
            site.given({"title": title, "deadline_at": deadline})
        page = site.open(script=UNKNOWN_ZONE)
        expect(page.locator(".row.overdue .title")).to_have_text("Late")
        expect_shown(page, "Late", "Soon")
        assert site.errors == []
        site.close()


def expect_failure(page: Page) -> None:
    """Wait until the page says that it could not start, without the seconds that a script may take."""
    page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    expect(page.get_by_text("The page could not start.")).to_be_visible()


def test_failure_to_load_the_script_is_shown(site: Site) -> None:
    page = site.open("about:blank", url="about:blank")
    page.route("**/page.js", lambda route: route.abort())
    page.goto(site.server.url)
    expect_failure(page)


def test_error_in_a_script_is_shown(site: Site) -> None:
    page = site.open(script="Intl.PluralRules = undefined;", color_scheme="light")
    expect_failure(page)
    site.errors.clear()


# Long words


@pytest.mark.parametrize("width", [320, 1280])
def test_long_words_stay_within_the_card(site: Site, width: int) -> None:
    word = "https://example.org/" + "x" * 95
    site.given({"title": "W" * 80, "description": word})
    page = site.open(viewport={"width": width, "height": 800})
    new_todo(page).fill("Buy milk")
    page.locator("#add [name=description]").fill(word)
    for _ in range(2):
        card = page.locator("#todos").bounding_box()
        assert card
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for control in page.locator(
            "#add :is(input, textarea, button):visible, .editor :is(input, textarea)"
        ).all():
            box = control.bounding_box()
            assert box is not None
            assert box["x"] >= card["x"]
            assert box["x"] + box["width"] <= card["x"] + card["width"]
        if page.locator(".editor").count() == 0:
            edit(page, "WWW")
