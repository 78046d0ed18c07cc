"""The page at `/` when something goes wrong: nothing that was typed is lost, and nothing is done twice."""

import sqlite3
import unittest
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from playwright.sync_api import Error, Locator, Page, Route, expect

from tests.support.api import empty_app
from tests.support.page import TODOS, PageTest, make_token, new_todo, row, serve, setUpModule, tearDownModule  # noqa: F401

pytestmark = pytest.mark.browser

UNREACHABLE = "The service can’t be reached."


def add(page: Page, title: str) -> None:
    new_todo(page).fill(title)
    new_todo(page).press("Enter")


def edit(page: Page, title: str, new_title: str) -> None:
    page.get_by_role("button", name=f"Edit {title}").click()
    page.keyboard.type(new_title)
    page.keyboard.press("Enter")


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name="This was changed elsewhere")


def try_now(page: Page) -> None:
    """Ask for another try, unless the page came first."""
    with suppress(Error):
        page.get_by_role("button", name="Try now").click(timeout=1000)


def before_next(page: Page, method: str, act: Callable[[Route], None]) -> None:
    """Hand the next request of `method` to `act` instead of sending it."""
    requests = iter([act])

    def intercept(route: Route) -> None:
        if route.request.method == method and (this := next(requests, None)):
            this(route)
        else:
            route.continue_()

    page.route("**/api/v1/todos**", intercept)


def lose_answer(page: Page, method: str) -> None:
    """Have the next request of `method` carried out, and its answer lost on the way."""

    def lose(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    before_next(page, method, lose)


class TestConflict(PageTest):
    def two_windows(self) -> tuple[Page, Page]:
        self.given({"title": "Buy milk", "description": "Two litres"})
        pages = self.open(), self.open()
        for page in pages:
            self.assertShown(page, "Buy milk")
        return pages

    def conflict(self) -> Page:
        mine, other = self.two_windows()
        mine.get_by_role("button", name="Edit Buy milk").click()
        mine.keyboard.type("Buy oats")
        edit(other, "Buy milk", "Buy rice")
        self.assertSaved("Buy rice")
        mine.keyboard.press("Enter")
        expect(dialog(mine)).to_be_visible()
        return mine

    def test_conflict_shows_both_versions(self) -> None:
        page = self.conflict()
        yours, theirs = dialog(page).locator("section").all()
        for version, text in (
            (yours, "Yours Title (differs) Buy oats Description Two litres"),
            (theirs, "Theirs Title (differs) Buy rice Description Two litres"),
        ):
            expect(version).to_contain_text(text, use_inner_text=True)
        self.assertSaved("Buy rice")

    def test_conflict_can_keep_the_own_version(self) -> None:
        page = self.conflict()
        page.get_by_role("button", name="Keep yours").click()
        self.assertShown(page, "Buy oats")
        self.assertSaved({"title": "Buy oats", "description": "Two litres"})

    def test_conflict_shows_the_whole_own_version(self) -> None:
        mine, other = self.two_windows()
        mine.get_by_role("button", name="Edit Buy milk").click()
        other.get_by_role("button", name="Edit Buy milk").click()
        other.get_by_role("list", name="Todos").get_by_label("Description").fill("Three litres")
        other.keyboard.press("Enter")
        self.assertSaved({"description": "Three litres"})
        mine.keyboard.type("Buy oats")
        mine.keyboard.press("Enter")
        expect(dialog(mine).locator("section").first).to_contain_text("Two litres")
        mine.get_by_role("button", name="Keep yours").click()
        self.assertSaved({"title": "Buy oats", "description": "Two litres"})

    def test_conflict_can_take_the_other_version(self) -> None:
        page = self.conflict()
        page.get_by_role("button", name="Take theirs").click()
        self.assertShown(page, "Buy rice")
        self.assertSaved("Buy rice")
        edit(page, "Buy rice", "Buy nuts")
        self.assertSaved("Buy nuts")

    def test_conflict_can_be_decided_later(self) -> None:
        page = self.conflict()
        page.keyboard.press("Escape")
        expect(dialog(page)).to_be_hidden()
        self.assertShown(page, "Buy oats")
        expect(page.get_by_text("Not saved yet")).to_be_visible()
        page.get_by_role("button", name="Decide").click()
        page.get_by_role("button", name="Keep yours").click()
        self.assertSaved("Buy oats")
        expect(page.get_by_text("A change waits for your decision.")).to_be_hidden()

    def test_conflict_with_a_deletion_says_so(self) -> None:
        for choice, saved in (("Keep yours", ["Buy oats"]), ("Take theirs", [])):
            with self.subTest(choice):
                self.setUp()
                mine, other = self.two_windows()
                other.get_by_role("button", name="Delete Buy milk").click()
                self.assertSaved()
                edit(mine, "Buy milk", "Buy oats")
                expect(dialog(mine)).to_contain_text("Deleted")
                mine.get_by_role("button", name=choice).click()
                self.assertShown(mine, *saved)
                self.assertSaved(*saved)

    def test_todo_changed_elsewhere_is_not_deleted_unseen(self) -> None:
        mine, other = self.two_windows()
        edit(other, "Buy milk", "Buy rice")
        self.assertSaved("Buy rice")
        mine.get_by_role("button", name="Delete Buy milk").click()
        expect(dialog(mine)).to_contain_text("Buy rice")
        mine.get_by_role("button", name="Take theirs").click()
        self.assertShown(mine, "Buy rice")
        self.assertSaved("Buy rice")

    def test_equal_changes_do_not_conflict(self) -> None:
        mine, other = self.two_windows()
        row(other, "Buy milk").get_by_role("checkbox").check()
        self.assertSaved({"completed": True})
        row(mine, "Buy milk").get_by_role("checkbox").check()
        edit(mine, "Buy milk", "Buy oats")
        self.assertSaved({"title": "Buy oats", "completed": True})
        expect(dialog(mine)).to_be_hidden()

    def test_clear_completed_spares_a_reactivated_todo(self) -> None:
        self.given({"title": "Buy milk", "completed": True}, {"title": "Call Ann", "completed": True})
        page = self.open()

        def reopen(route: Route) -> None:
            """Between the read of what is completed and its removal another window opens one again."""
            first = self.saved()[0]
            self.server.request("PATCH", f"{TODOS}/{first['id']}", {"completed": False})
            route.continue_()

        before_next(page, "POST", reopen)
        page.get_by_role("button", name="Clear completed").click()
        expect(page.get_by_text("1 item left")).to_be_visible()
        self.assertShown(page, "Buy milk")
        self.assertSaved({"title": "Buy milk", "completed": False})


class TestLostConnection(PageTest):
    def test_changes_survive_a_killed_server(self) -> None:
        self.given("Buy milk", "Call Ann", "Sow peas")
        page = self.open()
        self.assertShown(page, "Sow peas", "Call Ann", "Buy milk")
        self.server.kill()
        try:
            add(page, "Mow the lawn")
            edit(page, "Buy milk", "Buy oats")
            row(page, "Call Ann").get_by_role("checkbox").check()
            page.get_by_role("button", name="Delete Sow peas").click()
            edit(page, "Mow the lawn", "Mow the meadow")
            expect(page.get_by_text(UNREACHABLE)).to_contain_text("5 changes are kept here")
            self.assertShown(page, "Mow the meadow", "Call Ann", "Buy oats")
            expect(row(page, "Buy oats").get_by_text("Not saved yet")).to_be_visible()
        finally:
            self.server.start()
        try_now(page)
        self.assertSaved("Buy oats", {"title": "Call Ann", "completed": True}, "Mow the meadow")
        expect(page.get_by_text(UNREACHABLE)).to_be_hidden()
        expect(page.get_by_role("status").filter(has_text="everything is saved")).to_have_count(1)
        expect(page.get_by_text("Not saved yet").filter(visible=True)).to_have_count(0)

    def test_failed_change_is_retried_automatically(self) -> None:
        page = self.open()
        self.server.kill()
        try:
            add(page, "Buy milk")
            expect(page.get_by_text(UNREACHABLE)).to_be_visible()
        finally:
            self.server.start()
        self.assertSaved("Buy milk")

    def test_lost_response_duplicates_nothing(self) -> None:
        acts: dict[str, tuple[Callable[[Page], None], list[str]]] = {
            "POST": (lambda page: add(page, "Sow peas"), ["Buy milk", "Sow peas"]),
            "PATCH": (lambda page: edit(page, "Buy milk", "Buy oats"), ["Buy oats"]),
            "DELETE": (lambda page: page.get_by_role("button", name="Delete Buy milk").click(), []),
        }
        for method, (act, saved) in acts.items():
            with self.subTest(method):
                self.setUp()
                self.given("Buy milk")
                page = self.open()
                self.assertShown(page, "Buy milk")
                lose_answer(page, method)
                act(page)
                try_now(page)
                expect(page.get_by_text(UNREACHABLE)).to_be_hidden()
                self.assertShown(page, *reversed(saved))
                self.assertSaved(*saved)
                expect(dialog(page)).to_be_hidden()

    def test_lost_response_to_a_bulk_update_duplicates_nothing(self) -> None:
        self.given("Buy milk", {"title": "Call Ann", "completed": True})
        page = self.open()
        lose_answer(page, "POST")
        page.get_by_role("button", name="Clear completed").click()
        try_now(page)
        expect(page.get_by_text("1 todo deleted")).to_be_visible()
        lose_answer(page, "POST")
        page.get_by_role("button", name="Undo").click()
        try_now(page)
        self.assertSaved("Buy milk", {"title": "Call Ann", "completed": True})
        self.assertShown(page, "Call Ann", "Buy milk")

    def test_failed_read_is_retried(self) -> None:
        self.given("Buy milk")
        page = self.open()
        self.assertShown(page, "Buy milk")
        self.server.kill()
        try:
            page.get_by_role("searchbox").fill("milk")
            expect(page.get_by_text(UNREACHABLE)).to_be_visible()
        finally:
            self.server.start()
        try_now(page)
        self.assertShown(page, "Buy milk")
        expect(page.get_by_text(UNREACHABLE)).to_be_hidden()


class TestUnavailable(PageTest):
    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another program holds the database locked, so that the service answers 503 to every write."""
        with closing(sqlite3.connect(self.server.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    def test_unavailable_service_is_announced_and_retried(self) -> None:
        self.given("Buy milk")
        page = self.open()
        with self.locked():
            edit(page, "Buy milk", "Buy oats")
            expect(page.get_by_text("The database is locked")).to_contain_text("1 change is kept here")
            self.assertShown(page, "Buy oats")
        try_now(page)
        self.assertSaved("Buy oats")

    def test_pending_changes_survive_a_reload(self) -> None:
        self.given("Buy milk", "Call Ann")
        page = self.open()
        page.on("dialog", lambda dialog: dialog.accept())
        with self.locked():
            add(page, "Sow peas")
            edit(page, "Buy milk", "Buy oats")
            page.get_by_role("button", name="Delete Call Ann").click()
            expect(page.get_by_text("3 changes are kept here")).to_be_visible()
            page.reload()
            self.assertShown(page, "Sow peas", "Buy oats")
            expect(page.get_by_text("3 changes are kept here")).to_be_visible()
        try_now(page)
        self.assertSaved("Buy oats", "Sow peas")
        self.assertShown(page, "Sow peas", "Buy oats")

    def test_pending_change_can_be_undone(self) -> None:
        self.given("Buy milk", "Call Ann")
        page = self.open()
        with self.locked():
            page.get_by_role("button", name="Delete Call Ann").click()
            expect(page.get_by_text("1 change is kept here")).to_be_visible()
            page.get_by_role("button", name="Undo").click()
            self.assertShown(page, "Call Ann", "Buy milk")
        try_now(page)
        self.assertSaved("Buy milk", "Call Ann")
        self.assertShown(page, "Call Ann", "Buy milk")


class TestRefused(PageTest):
    def test_rejected_todo_returns_to_the_form_with_the_reason(self) -> None:
        page = self.open()
        add(page, "Ring the \u0007 bell")
        expect(new_todo(page)).to_have_value("Ring the \u0007 bell")
        expect(page.get_by_role("alert")).to_contain_text("title must be a string of 1 to 80 characters")
        self.assertShown(page)
        add(page, "Ring the bell")
        self.assertSaved("Ring the bell")
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_text_typed_meanwhile_stays(self) -> None:
        page = self.open()

        def type_on(route: Route) -> None:
            new_todo(page).fill("Call Ann")
            route.continue_()

        before_next(page, "POST", type_on)
        add(page, "Ring the \u0007 bell")
        title = page.get_by_role("textbox", name="Title", exact=True)
        expect(title).to_have_value("Ring the \u0007 bell")
        expect(title).to_be_focused()
        expect(new_todo(page)).to_have_value("Call Ann")
        title.fill("Ring the bell")
        title.press("Enter")
        self.assertShown(page, "Ring the bell")
        self.assertSaved("Ring the bell")

    def test_rejected_edit_returns_to_the_editor_with_the_reason(self) -> None:
        self.given({"title": "Buy milk", "description": "Two litres"})
        page = self.open()
        page.get_by_role("button", name="Edit Buy milk").click()
        page.get_by_role("list", name="Todos").get_by_role("listitem").get_by_label("Description").fill(
            "Three \u0007"
        )
        page.keyboard.press("Enter")
        description = (
            page.get_by_role("list", name="Todos").get_by_role("listitem").get_by_label("Description")
        )
        expect(description).to_have_value("Three \u0007")
        expect(description).to_be_focused()
        expect(page.get_by_role("alert")).to_contain_text("description must be")
        page.keyboard.press("Escape")
        expect(page.get_by_role("list", name="Todos").get_by_role("listitem")).to_contain_text("Two litres")
        self.assertSaved({"description": "Two litres"})


class TestToken(PageTest):
    def setUp(self) -> None:
        super().setUp()
        self.app = empty_app(REQUIRE_TOKEN=True)
        self.url = self.enterContext(serve(self.app))

    def enter(self, page: Page, token: str) -> None:
        page.get_by_role("textbox", name="Token").fill(token)
        page.keyboard.press("Enter")

    def test_read_only_token_shows_a_message_on_writes(self) -> None:
        page = self.open(url=self.url)
        self.enter(page, make_token(self.app, "--read-only"))
        add(page, "Buy milk")
        expect(page.get_by_role("alert")).to_contain_text("Not saved: ")
        expect(new_todo(page)).to_have_value("Buy milk")

    def test_token_is_prompted_for_kept_for_the_session_and_forgotten(self) -> None:
        page = self.open(url=self.url)
        asked = page.get_by_role("dialog", name="A token is needed")
        expect(asked.get_by_label("Token")).to_be_focused()
        page.keyboard.press("Escape")
        self.enter(page, "wrong")
        expect(page.get_by_role("alert")).to_contain_text("This token is not accepted.")
        self.enter(page, make_token(self.app))
        expect(asked).to_be_hidden()
        add(page, "Buy milk")
        self.assertShown(page, "Buy milk")
        expect(page.get_by_text("1 item left")).to_be_visible()
        page.reload()
        self.assertShown(page, "Buy milk")
        self.assertEqual(0, page.evaluate("localStorage.length"))
        self.assertEqual("", page.evaluate("document.cookie"))
        # Another window has another session.
        expect(self.open(url=self.url).get_by_role("dialog", name="A token is needed")).to_be_visible()
        page.get_by_role("button", name="Forget the token").click()
        expect(asked).to_be_visible()
        self.assertShown(page)
        self.assertEqual(0, page.evaluate("sessionStorage.length"))
        page.reload()
        expect(asked).to_be_visible()


if __name__ == "__main__":
    unittest.main()
