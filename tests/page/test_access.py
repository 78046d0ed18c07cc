"""The page at `/` for everyone: by keyboard, by ear, in the dark, on a phone, whatever is typed."""

import unittest
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, ViewportSize, expect

from tests.support.api import empty_app
from tests.support.page import PageTest, new_todo, row, serve, setUpModule, tearDownModule  # noqa: F401
from tests.support.sizes import size

pytestmark = pytest.mark.browser

WIDTHS = size((320,), (320, 480, 768, 1280, 1920))
TOUCH = 44  # CSS pixels, the least for a finger

NASTY = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "'\"><svg onload=alert(1)>",
    "{{ 7 * 7 }} ${7 * 7} {title} {n}",
    "javascript:alert(1)//",
    "' OR 1=1; DROP TABLE todos; --",
    "&lt;b&gt; &amp; &#x41; %3Cb%3E",
    "\\u003cb\\u003e \\x3cb",
    "مرحبا بالعالم",
    "\u202egnirts desrever",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ✍🏿",
    "Z̷̢͝a̶l̴g̷o̵ e\u0301 ﷽",
    "constructor",
    "__proto__",
    "null",
    "00e12",
    "W" * 80,
    "$& $1 $` $'",
)


def with_editor(page: Page) -> None:
    page.get_by_role("button", name="Edit Late").click()


def with_details(page: Page) -> None:
    new_todo(page).fill("🍋" * 81)
    expect(page.get_by_role("alert")).to_be_visible()


def with_nothing_found(page: Page) -> None:
    page.get_by_role("searchbox").fill("absent")
    expect(page.get_by_text("Nothing found")).to_be_visible()


def with_undo(page: Page) -> None:
    page.get_by_role("button", name="Delete Done").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


def with_notice(page: Page) -> None:
    page.route("**/api/**", lambda route: route.abort())
    row(page, "Plain").get_by_role("checkbox").check()
    expect(page.get_by_role("button", name="Try now")).to_be_visible()


STATES: dict[str, Callable[[Page], None]] = {
    "a list": lambda page: expect(row(page, "Late")).to_be_visible(),
    "an editor": with_editor,
    "a form with an error": with_details,
    "nothing found": with_nothing_found,
    "undo": with_undo,
    "a notice": with_notice,
}


@pytest.mark.soak
class TestAxe(PageTest):
    def assertAccessible(self, page: Page) -> None:
        """Let axe find nothing, in light and dark, at each width."""
        for width in WIDTHS:
            page.set_viewport_size(ViewportSize(width=width, height=800))
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                results = Axe().run(page)
                self.assertEqual(0, results.violations_count, results.generate_report())
            self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)

    def given_some(self) -> None:
        self.given(
            {"title": "Late", "description": "By\nall means", "deadline_at": "2020-01-31T18:00"},
            {"title": "Done", "completed": True, "deadline_at": "2099-01-31"},
            "Plain",
            "W" * 80,
        )

    def test_every_state_of_the_page_passes_axe(self) -> None:
        # No policy may keep axe out of the page that it looks at.
        for name, bring_about in STATES.items():
            with self.subTest(name):
                self.setUp()
                self.given_some()
                page = self.open(bypass_csp=True)
                expect(row(page, "Late")).to_be_visible()
                bring_about(page)
                self.assertAccessible(page)

    def test_empty_list_passes_axe(self) -> None:
        page = self.open(bypass_csp=True)
        expect(page.get_by_text("Nothing to do.")).to_be_visible()
        self.assertAccessible(page)

    def test_conflict_passes_axe(self) -> None:
        self.given("Buy milk")
        page = self.open(bypass_csp=True)
        page.get_by_role("button", name="Edit Buy milk").click()
        todo = self.saved()[0]
        self.server.request("PATCH", f"/api/v1/todos/{todo['id']}", {"title": "Buy rice"})
        page.keyboard.type("Buy oats")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        self.assertAccessible(page)

    def test_token_prompt_passes_axe(self) -> None:
        page = self.open(url=self.enterContext(serve(empty_app(REQUIRE_TOKEN=True))), bypass_csp=True)
        page.get_by_role("textbox", name="Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible()
        self.assertAccessible(page)

    def test_touch_targets_are_large_enough(self) -> None:
        self.given_some()
        page = self.open(viewport={"width": 320, "height": 800}, has_touch=True)
        page.get_by_role("button", name="Edit Late").tap()
        for control in page.locator("button, input, select, textarea, a, label.tick").all():
            box = control.bounding_box()
            if box is None or control.get_attribute("type") == "checkbox" or not control.is_visible():
                continue  # a checkbox has its label around it
            if control.get_attribute("class") != "skip":
                name = control.evaluate("element => element.outerHTML")
                self.assertGreaterEqual(min(box["width"], box["height"]), TOUCH, name)


class TestKeyboardAndEar(PageTest):
    def press(self, page: Page, *keys: str) -> None:
        for key in keys:
            page.keyboard.press(key)

    def test_every_action_works_by_keyboard(self) -> None:
        page = self.open()
        spoken = page.get_by_role("status")
        page.keyboard.type("Buy milk")
        self.press(page, "Enter")
        expect(spoken.filter(has_text="Added “\u2068Buy milk\u2069”")).to_have_count(1)
        page.keyboard.type("Call Ann")
        self.press(page, "Enter")
        self.assertShown(page, "Call Ann", "Buy milk")
        # Past Add, five views, the search, the order and Complete all to the first todo.
        self.press(page, *["Tab"] * 10)
        expect(row(page, "Call Ann").get_by_role("checkbox")).to_be_focused()
        self.press(page, "Space")
        expect(spoken.filter(has_text="Completed “\u2068Call Ann\u2069”")).to_have_count(1)
        self.press(page, "Tab", "Enter")
        page.keyboard.type("Call Eve")
        self.press(page, "Enter")
        expect(spoken.filter(has_text="Saved “\u2068Call Eve\u2069”")).to_have_count(1)
        expect(page.get_by_role("button", name="Edit Call Eve")).to_be_focused()
        self.press(page, "Tab", "Enter")
        expect(spoken.filter(has_text="Deleted “\u2068Call Eve\u2069”")).to_have_count(1)
        expect(page.get_by_role("button", name="Delete Buy milk")).to_be_focused()
        self.press(page, "ControlOrMeta+z")
        expect(spoken.filter(has_text="Restored “\u2068Call Eve\u2069”")).to_have_count(1)
        self.assertSaved("Buy milk", {"title": "Call Eve", "completed": True})
        page.get_by_role("button", name="Delete Buy milk").focus()
        self.press(page, "Enter")
        expect(page.get_by_role("button", name="Delete Call Eve")).to_be_focused()
        self.press(page, "Enter")
        expect(new_todo(page)).to_be_focused()
        self.assertSaved()

    def test_skip_link_leads_to_the_list(self) -> None:
        self.given("Buy milk")
        page = self.open()
        self.assertShown(page, "Buy milk")
        self.press(page, "Shift+Tab")
        expect(page.get_by_role("button", name="Skip to the list")).to_be_focused()
        self.press(page, "Enter", "Tab")
        expect(row(page, "Buy milk").get_by_role("checkbox")).to_be_focused()

    def test_rows_have_accessible_names(self) -> None:
        self.given({"title": "Buy milk", "description": "Two litres", "deadline_at": "2020-01-31T18:00"})
        page = self.open()
        expect(page.get_by_role("list", name="Todos")).to_match_aria_snapshot(
            """
            - list "Todos":
              - listitem:
                - 'checkbox "Completed: Buy milk"'
                - paragraph: Buy milk
                - paragraph: Two litres
                - paragraph:
                  - text: Overdue
                  - time: 31 Jan 2020, 18:00
                - button "Edit Buy milk"
                - button "Delete Buy milk"
            """
        )

    def test_search_results_are_announced(self) -> None:
        self.given("Buy milk", "Buy oats", "Call Ann")
        page = self.open()
        page.get_by_role("searchbox").fill("buy")
        expect(page.get_by_role("status").filter(has_text="2 todos found")).to_have_count(1)


class TestLooks(PageTest):
    def test_page_follows_light_and_dark_mode(self) -> None:
        page = self.open()
        colours = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            colours.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        self.assertEqual(["rgb(244, 244, 241)", "rgb(22, 23, 26)"], colours)

    def test_page_works_right_to_left(self) -> None:
        self.given("Buy milk", "مرحبا بالعالم")
        page = self.open()
        self.assertShown(page, "مرحبا بالعالم", "Buy milk")
        directions = page.locator("#list .title").evaluate_all(
            "titles => titles.map(title => getComputedStyle(title).direction)"
        )
        self.assertEqual(["rtl", "ltr"], directions)

    def test_page_fits_a_phone(self) -> None:
        self.given("Buy milk")
        page = self.open(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
        row(page, "Buy milk").get_by_role("checkbox").tap()
        self.assertSaved({"completed": True})
        page.get_by_role("button", name="Edit Buy milk").tap()
        page.get_by_role("textbox", name="Title", exact=True).fill("Buy oats")
        page.get_by_role("button", name="Save").tap()
        self.assertSaved("Buy oats")

    def test_page_without_javascript_explains_itself(self) -> None:
        page = self.open(java_script_enabled=False)
        expect(page.locator("noscript p")).to_contain_text("This page needs JavaScript")
        expect(page.locator("noscript p")).to_be_visible()
        expect(new_todo(page)).to_be_hidden()


class TestSafe(PageTest):
    def test_markup_in_a_todo_is_shown_as_text(self) -> None:
        page = self.open()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        for title in NASTY:
            new_todo(page).fill(title)
            new_todo(page).press("Enter")
        self.assertShown(page, *reversed(NASTY))
        self.assertSaved(*NASTY)
        page.reload()
        self.assertShown(page, *reversed(NASTY))
        for title in NASTY:
            page.get_by_role("searchbox").fill(title)
            expect(page.locator("#list .title").first).to_have_text(title)
        page.get_by_role("searchbox").fill("")
        page.get_by_role("button", name=f"Delete {NASTY[0]}").click()
        expect(page.get_by_text(f"Deleted “\u2068{NASTY[0]}\u2069”")).to_be_visible()
        self.assertEqual([], dialogs)
        # Neither the policy nor another host was called on: see tearDown.


if __name__ == "__main__":
    unittest.main()
