"""The page at `/` as a person uses it, while nothing goes wrong."""

import time
import unittest
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.page import PATIENCE, PageTest, new_todo, row, setUpModule, tearDownModule  # noqa: F401

pytestmark = pytest.mark.browser

VIEWS = ("All", "Active", "Completed", "Overdue", "Next 7 days")


def wall_time(**distance: float) -> str:
    """A time so far from now, on a clock of the service (which is set to UTC)."""
    return (datetime.utcnow() + timedelta(**distance)).isoformat(timespec="seconds")  # noqa: DTZ003


def left(page: Page, sentence: str) -> None:
    expect(page.locator("#left")).to_have_text(sentence)


def title_field(page: Page) -> Locator:
    """The field that a title is edited in."""
    return page.get_by_role("textbox", name="Title", exact=True)


class TestAdding(PageTest):
    def test_enter_in_the_title_adds_a_todo(self) -> None:
        page = self.open()
        expect(new_todo(page)).to_be_focused()
        page.keyboard.type("  Buy milk  ")
        page.keyboard.press("Enter")
        self.assertShown(page, "Buy milk")
        expect(new_todo(page)).to_have_value("")
        expect(new_todo(page)).to_be_focused()
        page.keyboard.type("Call Ann")
        page.keyboard.press("Enter")
        self.assertShown(page, "Call Ann", "Buy milk")
        self.assertSaved("Buy milk", "Call Ann")

    def test_blank_title_adds_nothing(self) -> None:
        page = self.open()
        page.keyboard.type("   ")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Add").click()
        self.assertShown(page)
        self.assertSaved()

    def test_description_and_deadline_can_be_added_by_keyboard(self) -> None:
        page = self.open()
        expect(page.get_by_label("Deadline")).to_be_hidden()
        page.keyboard.type("Pay the rent")
        page.keyboard.press("Tab")
        page.keyboard.type("To the new account")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("in time")
        page.keyboard.press("Tab")
        page.keyboard.type("013120990630PM")
        page.keyboard.press("Enter")
        expect(row(page, "Pay the rent")).to_contain_text("Due 31 Jan 2099, 18:30")
        self.assertSaved(
            {
                "title": "Pay the rent",
                "description": "To the new account\nin time",
                "deadline_at": "2099-01-31T18:30:00",
            }
        )

    def test_incomplete_deadline_is_kept_and_explained(self) -> None:
        page = self.open()
        page.keyboard.type("Pay the rent")
        page.get_by_label("Deadline").focus()
        page.keyboard.type("01312099")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Give both the day and the time")).to_be_visible()
        expect(page.get_by_label("Deadline")).to_be_focused()
        self.assertSaved()

    def test_length_limit_counts_characters(self) -> None:
        page = self.open()
        new_todo(page).fill("🍋" * 81)
        expect(page.get_by_text("1 character too long")).to_be_visible()
        page.keyboard.press("Enter")
        self.assertSaved()
        new_todo(page).fill("🍋" * 80)
        expect(page.get_by_text("too long")).to_be_hidden()
        page.keyboard.press("Enter")
        self.assertSaved("🍋" * 80)


class TestEditing(PageTest):
    def edit(self, title: str = "Buy milk") -> Page:
        self.given({"title": title, "description": "Two litres", "deadline_at": "2099-01-31T18:00:00.123456"})
        page = self.open()
        page.get_by_text(title).dblclick()
        expect(title_field(page)).to_be_focused()
        expect(title_field(page)).to_have_value(title)
        return page

    def test_enter_saves_the_trimmed_title(self) -> None:
        page = self.edit()
        page.keyboard.type("  Buy oats ")
        page.keyboard.press("Enter")
        self.assertShown(page, "Buy oats")
        expect(page.get_by_role("button", name="Edit Buy oats")).to_be_focused()
        # What was not edited stays to the last digit, though no field can show it.
        self.assertSaved({"title": "Buy oats", "deadline_at": "2099-01-31T18:00:00.123456"})

    def test_leaving_the_editor_saves(self) -> None:
        page = self.edit()
        page.keyboard.type("Buy oats")
        page.get_by_role("heading", name="Todos").click()
        self.assertShown(page, "Buy oats")
        self.assertSaved("Buy oats")

    def test_moving_between_fields_does_not_save(self) -> None:
        page = self.edit()
        page.keyboard.type("Buy oats")
        page.keyboard.press("Tab")
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("Three bags")
        self.assertSaved("Buy milk")
        page.keyboard.press("Enter")
        self.assertSaved({"title": "Buy oats", "description": "Three bags"})

    def test_escape_and_cancel_discard_the_edit(self) -> None:
        page = self.edit()
        page.keyboard.type("Buy oats")
        page.keyboard.press("Escape")
        self.assertShown(page, "Buy milk")
        page.get_by_role("button", name="Edit Buy milk").click()
        page.keyboard.type("Buy oats")
        page.get_by_role("button", name="Cancel").click()
        self.assertShown(page, "Buy milk")
        expect(title_field(page)).to_be_hidden()
        self.assertSaved("Buy milk")

    def test_empty_title_deletes_the_todo(self) -> None:
        page = self.edit()
        page.keyboard.type("  ")
        page.keyboard.press("Enter")
        self.assertShown(page)
        self.assertSaved()
        page.get_by_role("button", name="Undo").click()
        self.assertSaved({"title": "Buy milk", "description": "Two litres"})

    def test_description_and_deadline_can_be_cleared(self) -> None:
        page = self.edit()
        editor = page.get_by_role("listitem")
        editor.get_by_label("Description").fill("")
        editor.get_by_label("Deadline").fill("")
        page.get_by_role("button", name="Save").click()
        self.assertSaved({"title": "Buy milk", "description": None, "deadline_at": None})


class TestWorking(PageTest):
    def test_toggle_updates_the_count(self) -> None:
        self.given("Buy milk", "Call Ann")
        page = self.open()
        left(page, "2 items left")
        row(page, "Buy milk").get_by_role("checkbox").check()
        left(page, "1 item left")
        expect(page.locator(".row.completed .title")).to_have_text("Buy milk")
        self.assertSaved({"title": "Buy milk", "completed": True}, {"title": "Call Ann", "completed": False})
        row(page, "Buy milk").get_by_role("checkbox").uncheck()
        left(page, "2 items left")
        self.assertSaved({"completed": False}, {"completed": False})
        row(page, "Buy milk").get_by_role("checkbox").check()
        row(page, "Call Ann").get_by_role("checkbox").check()
        left(page, "0 items left")

    def test_deleted_todo_can_be_undone(self) -> None:
        self.given("Call Ann", {"title": "Buy milk", "description": "Two litres"}, "Sow peas")
        page = self.open()
        page.get_by_role("button", name="Delete Buy milk").click()
        self.assertShown(page, "Sow peas", "Call Ann")
        self.assertSaved("Call Ann", "Sow peas")
        page.get_by_role("button", name="Undo").click()
        self.assertShown(page, "Sow peas", "Buy milk", "Call Ann")
        self.assertSaved("Call Ann", "Sow peas", {"title": "Buy milk", "description": "Two litres"})
        expect(page.get_by_role("button", name="Undo")).to_be_hidden()

    def test_complete_all_can_be_reverted(self) -> None:
        self.given("Buy milk", {"title": "Call Ann", "completed": True}, "Sow peas")
        page = self.open()
        everything = page.get_by_label("Complete all")
        expect(everything).not_to_be_checked()
        everything.check()
        left(page, "0 items left")
        self.assertSaved(*[{"completed": True}] * 3)
        expect(page.get_by_text("2 todos completed")).to_be_visible()
        page.get_by_role("button", name="Undo").click()
        self.assertSaved({"completed": False}, {"completed": True}, {"completed": False})
        expect(everything).not_to_be_checked()
        row(page, "Buy milk").get_by_role("checkbox").check()
        row(page, "Sow peas").get_by_role("checkbox").check()
        expect(everything).to_be_checked()
        everything.uncheck()
        left(page, "3 items left")
        self.assertSaved(*[{"completed": False}] * 3)

    def test_clear_completed_deletes_completed_todos(self) -> None:
        self.given(
            "Buy milk", {"title": "Call Ann", "completed": True}, {"title": "Sow peas", "completed": True}
        )
        page = self.open()
        clear = page.get_by_role("button", name="Clear completed")
        clear.click()
        self.assertShown(page, "Buy milk")
        self.assertSaved("Buy milk")
        expect(clear).to_be_hidden()
        expect(page.get_by_label("Complete all")).not_to_be_checked()
        page.get_by_role("button", name="Undo").click()
        self.assertSaved("Buy milk", {"title": "Call Ann", "completed": True}, {"completed": True})
        expect(clear).to_be_visible()

    def test_complete_all_affects_the_visible_todos_only(self) -> None:
        self.given("Buy milk", "Buy oats", {"title": "Late", "deadline_at": wall_time(days=-1)})
        page = self.open("/#/?q=buy")
        self.assertShown(page, "Buy oats", "Buy milk")
        page.get_by_label("Complete all").check()
        self.assertSaved({"completed": True}, {"completed": True}, {"completed": False})
        page.get_by_role("button", name="Clear completed").click()
        self.assertSaved("Late")

    def test_complete_all_works_beyond_one_batch(self) -> None:
        self.given(*[f"Todo {number}" for number in range(1100)])
        page = self.open()
        page.get_by_label("Complete all").check()
        expect(page.get_by_text("1,100 todos completed")).to_be_visible()
        left(page, "0 items left")
        page.get_by_role("button", name="Clear completed").click()
        expect(page.get_by_text("1,100 todos deleted")).to_be_visible()
        self.assertSaved()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("link", name="Completed")).to_have_text("Completed 1,100")
        self.assertSaved(*[f"Todo {number}" for number in range(1100)])


class TestFinding(PageTest):
    def shown_counts(self, page: Page, *counts: int) -> None:
        expect(page.locator("#views a")).to_have_text(
            [f"{view} {count}" for view, count in zip(VIEWS, counts, strict=True)]
        )

    def given_one_of_each(self) -> None:
        self.given(
            "Someday",
            {"title": "Done", "completed": True, "deadline_at": wall_time(days=-1)},
            {"title": "Late", "deadline_at": wall_time(hours=-1)},
            {"title": "Soon", "deadline_at": wall_time(days=6.9)},
            {"title": "Far", "deadline_at": wall_time(days=7.1)},
        )

    def test_views_show_their_todos(self) -> None:
        self.given_one_of_each()
        page = self.open()
        for view, address, titles in (
            ("Active", "#/active", ["Far", "Soon", "Late", "Someday"]),
            ("Completed", "#/completed", ["Done"]),
            ("Overdue", "#/overdue", ["Late"]),
            ("Next 7 days", "#/week", ["Soon", "Late"]),
            ("All", "#/", ["Far", "Soon", "Late", "Done", "Someday"]),
        ):
            with self.subTest(view):
                page.get_by_role("link", name=view, exact=False).first.click()
                self.assertShown(page, *titles)
                expect(page).to_have_url(f"{self.server.url}/{address}")
                expect(page.locator("#views [aria-current=page]")).to_contain_text(view)
                self.shown_counts(page, 5, 4, 1, 1, 2)
                page.reload()
                self.assertShown(page, *titles)
                self.shown_counts(page, 5, 4, 1, 1, 2)
        page.go_back()
        self.assertShown(page, "Soon", "Late")

    def test_changed_todo_moves_between_views(self) -> None:
        self.given_one_of_each()
        page = self.open("/#/active")
        row(page, "Late").get_by_role("checkbox").click()
        self.assertShown(page, "Far", "Soon", "Someday")
        self.shown_counts(page, 5, 3, 2, 0, 1)
        new_todo(page).fill("New")
        new_todo(page).press("Enter")
        self.assertShown(page, "New", "Far", "Soon", "Someday")
        self.shown_counts(page, 6, 4, 2, 0, 1)
        page.goto(f"{self.server.url}/#/completed")
        self.assertShown(page, "Late", "Done")
        new_todo(page).fill("Newer")
        new_todo(page).press("Enter")
        self.shown_counts(page, 7, 5, 2, 0, 1)
        self.assertShown(page, "Late", "Done")

    def test_empty_view_says_so(self) -> None:
        page = self.open()
        expect(page.get_by_text("Nothing to do. Type above and press Enter.")).to_be_visible()
        expect(page.get_by_role("searchbox")).to_be_hidden()
        self.given("Buy milk")
        for view, sentence in (
            ("completed", "Nothing completed yet."),
            ("overdue", "Nothing is overdue."),
            ("week", "Nothing is due in the next 7 days."),
            ("?q=oats", "Nothing found for “\u2068oats\u2069”."),
        ):
            page.goto(f"{self.server.url}/#/{view}")
            expect(page.get_by_text(sentence)).to_be_visible()
        page.goto(f"{self.server.url}/#/active")
        row(page, "Buy milk").get_by_role("checkbox").click()
        expect(page.get_by_text("All done.")).to_be_visible()

    def test_search_runs_while_typing(self) -> None:
        self.given("Buy MILK", {"title": "Breakfast", "description": "milk, oats"}, "100% sure", "Ärger")
        page = self.open()
        search = page.get_by_role("searchbox")
        search.press_sequentially("milk")
        self.assertShown(page, "Breakfast", "Buy MILK")
        expect(page).to_have_url(f"{self.server.url}/#/?q=milk")
        for text, titles in (("%", ["100% sure"]), ("äRG", ["Ärger"]), ("", ["Ärger", "100% sure"])):
            search.fill(text)
            expect(page.locator("#list .title").first).to_have_text(titles[0])
        page.goto(f"{self.server.url}/#/?q=milk")
        expect(search).to_have_value("milk")
        self.assertShown(page, "Breakfast", "Buy MILK")

    def test_sort_order_can_be_chosen(self) -> None:
        self.given(
            {"title": "b", "deadline_at": "2099-01-02"}, "a", {"title": "c", "deadline_at": "2099-01-01"}
        )
        page = self.open()
        for order, titles in (
            ("Oldest first", "bac"),
            ("Deadline", "cba"),
            ("Title", "abc"),
            ("Newest first", "cab"),
        ):
            page.get_by_label("Sort by").select_option(order)
            self.assertShown(page, *titles)
            page.reload()
            self.assertShown(page, *titles)
            expect(page.get_by_label("Sort by").locator("option:checked")).to_have_text(order)

    def test_next_page_loads_on_scroll(self) -> None:
        self.given(*[f"Todo {number}" for number in range(1250)])
        page = self.open("/#/?sort=id")
        expect(row(page, "Todo 0")).to_have_attribute("aria-setsize", "1250")
        last = page.get_by_text("Todo 1249", exact=True)
        deadline = time.monotonic() + PATIENCE
        while not last.is_visible() and time.monotonic() < deadline:
            page.mouse.wheel(0, 20_000)
            page.wait_for_timeout(50)
        expect(last).to_be_visible()
        # Far from all of them are in the document.
        self.assertLess(page.get_by_role("listitem").count(), 200)
        page.mouse.wheel(0, -200_000)
        expect(page.get_by_text("Todo 0", exact=True)).to_be_visible()

    def test_changes_of_another_window_show_on_return(self) -> None:
        self.given("Buy milk")
        page = self.open()
        self.assertShown(page, "Buy milk")
        self.given("Call Ann")
        # A browser without a screen never hides a window.
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        self.assertShown(page, "Call Ann", "Buy milk")
        with page.expect_response(lambda response: response.status == 304):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


class TestTimes(PageTest):
    def test_overdue_todo_says_so_in_words(self) -> None:
        self.given({"title": "Late", "deadline_at": wall_time(minutes=-1)})
        page = self.open()
        late = row(page, "Late")
        expect(late.get_by_text("Overdue")).to_be_visible()
        expect(late.locator(".late svg")).to_be_visible()
        late.get_by_role("checkbox").check()
        expect(late.get_by_text("Overdue")).to_be_hidden()

    def test_todo_becomes_overdue_while_the_page_is_open(self) -> None:
        self.given({"title": "Soon", "deadline_at": wall_time(seconds=50)})
        page = self.open("about:blank", url="about:blank")
        page.clock.install()
        page.goto(self.server.url)
        expect(row(page, "Soon").get_by_text("Due", exact=True)).to_be_visible()
        page.clock.run_for(61_000)
        expect(row(page, "Soon").get_by_text("Overdue")).to_be_visible()
        expect(page.get_by_role("link", name="Overdue")).to_have_text("Overdue 1")

    def test_times_use_the_format_of_the_reader(self) -> None:
        self.given(
            {"title": "Rent", "deadline_at": "2099-01-31T18:00"},
            {"title": "Tax", "deadline_at": "2098-02-01"},
        )
        for locale, rent, tax in (
            ("en-GB", "31 Jan 2099, 18:00", "1 Feb 2098"),
            ("en-US", "Jan 31, 2099, 6:00 PM", "Feb 1, 2098"),
            ("de-DE", "31. Jan. 2099, 18:00", "1. Feb. 2098"),
        ):
            with self.subTest(locale):
                page = self.open(locale=locale)
                time = row(page, "Rent").locator("time")
                expect(time).to_have_text(rent)
                expect(time).to_have_attribute("lang", locale)
                expect(time).to_have_attribute("datetime", "2099-01-31T18:00:00")
                expect(row(page, "Tax").locator("time")).to_have_text(tax)

    def test_zone_is_named_if_the_zone_of_the_reader_differs(self) -> None:
        expect(self.open().locator("#zone")).to_be_empty()
        expect(self.open(timezone_id="Asia/Tokyo").locator("#zone")).to_have_text(
            "Deadlines are times in UTC."
        )


if __name__ == "__main__":
    unittest.main()
