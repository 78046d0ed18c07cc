"""Accessibility of the page: keyboard, screen readers, dark mode, phones, print, and unusual text."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, ViewportSize, expect

from tests.support.api import empty_app
from tests.support.page import (
    Site,
    add,
    choose,
    conflict,
    edit,
    expect_shown,
    new_todo,
    row,
    serve,
    unfold,
    wall_time,
)
from tests.support.sizes import size

WIDTHS = size((320, 1280), (320, 480, 768, 1280, 1920))
TOUCH = 44  # CSS pixels, the minimum for a finger
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

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

pytestmark = pytest.mark.browser


def given_some(site: Site) -> None:
    site.given(
        {"title": "Late", "description": "By\nhttps://example.org", "deadline_at": "2020-01-31T18:00"},
        {"title": "Done", "completed": True, "deadline_at": "2099-01-31"},
        {"title": "Soon", "deadline_at": wall_time(days=1)},
        "Plain",
        "W" * 80,
    )


def show_error(page: Page) -> None:
    new_todo(page).fill("🍋" * 81)
    expect(page.get_by_role("alert")).to_be_visible()


def find_nothing(page: Page) -> None:
    page.goto(page.url.split("#")[0] + "#/?q=absent")
    expect(page.get_by_text("Nothing found")).to_be_visible()


def offer_undo(page: Page) -> None:
    page.get_by_role("button", name="Delete Plain").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


def lose_connection(page: Page) -> None:
    page.route("**/api/**", lambda route: route.abort())
    row(page, "Plain").get_by_role("checkbox").click()
    expect(page.get_by_role("button", name="Try now")).to_be_visible()


def open_menu(page: Page) -> None:
    page.get_by_role("button", name="More actions").click()
    expect(page.locator("#menu")).to_be_visible()


def show_chip(page: Page) -> None:
    new_todo(page).fill("Call Ann tomorrow 9:00")
    expect(page.locator("#add .chip")).to_be_visible()


def ask_about_an_empty_title(page: Page) -> None:
    edit(page, "Late").locator("[name=title]").fill("")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()


def show_deleted(page: Page) -> None:
    offer_undo(page)
    choose(page, "Recently deleted")
    expect(page.get_by_role("heading", name="Recently deleted")).to_be_visible()


def choose_a_day(page: Page) -> None:
    new_todo(page).fill("Call Ann")
    tomorrow = page.get_by_role("button", name="Tomorrow", exact=True)
    tomorrow.click()
    expect(tomorrow).to_have_attribute("aria-pressed", "true")


def list_keys(page: Page) -> None:
    page.get_by_role("heading", name="Todos").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


STATES: dict[str, Callable[[Page], object]] = {
    "a list": lambda page: expect(row(page, "Late")).to_be_visible(),
    "completed todos": unfold,
    "a view": lambda page: page.locator("#views").get_by_role("link", name="Overdue").click(),
    "an editor": lambda page: edit(page, "Late"),
    "an empty title": ask_about_an_empty_title,
    "a form with an error": show_error,
    "a chip": show_chip,
    "a day": choose_a_day,
    "recently deleted": show_deleted,
    "nothing found": find_nothing,
    "undo": offer_undo,
    "a notice": lose_connection,
    "the menu": open_menu,
    "the calendar": lambda page: choose(page, "Subscribe to the calendar"),
    "the keys": list_keys,
}


def check(page: Page) -> None:
    """Check that axe finds no violation in light, dark and forced colours, at each width."""
    for width in WIDTHS:
        page.set_viewport_size(ViewportSize(width=width, height=800))
        for media in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}):
            page.emulate_media(**{"forced_colors": "none"} | media)  # type: ignore[arg-type]
            results = Axe().run(page)
            assert results.violations_count == 0, results.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_violation(site: Site, state: str) -> None:
    given_some(site)
    # A Content-Security-Policy would prevent the injection of axe.
    page = site.open(bypass_csp=True)
    expect(row(page, "Late")).to_be_visible()
    STATES[state](page)
    check(page)


def test_axe_finds_no_violation_in_an_empty_list(site: Site) -> None:
    page = site.open(bypass_csp=True)
    expect(page.get_by_text("Nothing to do.")).to_be_visible()
    check(page)


def test_axe_finds_no_violation_in_a_conflict(site: Site) -> None:
    site.given("Buy milk")
    page = site.open(bypass_csp=True)
    edit(page, "Buy milk")
    site.change("Buy milk", title="Buy rice")
    page.keyboard.type("Buy oats")
    page.keyboard.press("Enter")
    expect(conflict(page)).to_be_visible()
    check(page)


def test_axe_finds_no_violation_in_the_token_dialog(site: Site) -> None:
    with serve(empty_app(REQUIRE_TOKEN=True)) as url:
        page = site.open(url=url, bypass_csp=True)
        expect(page.locator("#banner").get_by_role("button", name="Sign in")).to_be_visible()
        check(page)
        page.locator("#banner").get_by_role("button", name="Sign in").click()
        page.get_by_label("Token").fill("naïve")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible()
        check(page)


def test_axe_finds_no_violation_in_the_404_page(site: Site) -> None:
    page = site.open("/unknown", bypass_csp=True)
    expect(page.get_by_role("heading", name="Page not found")).to_be_visible()
    check(page)
    page.get_by_role("link", name="Go to your todos").click()
    expect(new_todo(page)).to_be_visible()


def test_touch_targets_are_large_enough(site: Site) -> None:
    given_some(site)
    page = site.open(**PHONE)
    new_todo(page).fill("Call Ann tomorrow")
    row(page, "Late").get_by_role("button", name="More for Late").tap()
    page.locator("#row-menu").get_by_text("Edit").tap()
    expect(page.locator(".editor")).to_be_visible()
    for control in page.locator(
        "button, input, select, textarea, #app a:not(.description a), label.tick"
    ).all():
        box = control.bounding_box()
        if box is None or control.get_attribute("type") == "checkbox" or not control.is_visible():
            continue  # the label contains the checkbox
        if control.get_attribute("class") != "skip":
            name = control.evaluate("element => element.outerHTML")
            assert min(box["width"], box["height"]) >= TOUCH, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_controls_is_at_least_three_to_one(site: Site, scheme: str) -> None:
    """WCAG 2.2, success criterion 1.4.11: borders of fields, and the selected view."""
    site.given("Buy milk")
    page = site.open(color_scheme=scheme)
    expect_shown(page, "Buy milk")
    colours = page.evaluate(
        """() => {
          const style = (selector) => getComputedStyle(document.querySelector(selector));
          const ground = style(":root").backgroundColor;
          return [[style("#search input").borderTopColor, ground],
                  [style("#menu select").borderTopColor, style("#menu").backgroundColor],
                  [style("#views [aria-current]").backgroundColor, ground]];
        }"""
    )
    for pair in colours:
        lighter, darker = sorted(map(luminance, pair), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3, pair


def luminance(colour: str) -> float:
    """Return the relative luminance of rgb(r, g, b)."""
    channels = [int(part) / 255 for part in colour.strip("rgb()").split(",")]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_selected_view_differs_in_forced_colours(site: Site) -> None:
    site.given("Buy milk")
    page = site.open(forced_colors="active")
    expect_shown(page, "Buy milk")
    grounds = page.locator("#views a").evaluate_all(
        "links => links.map(link => getComputedStyle(link).backgroundColor)"
    )
    assert grounds[0] not in grounds[1:]


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_keyboard_operations_are_announced(site: Site) -> None:
    page = site.open()
    spoken = page.locator("#spoken")
    page.keyboard.type("Buy milk")
    press(page, "Enter")
    expect(spoken).to_have_text("Added “\u2068Buy milk\u2069”")
    page.keyboard.type("Call Ann")
    press(page, "Enter")
    expect_shown(page, "Call Ann", "Buy milk")
    expect(page.locator("#views")).to_be_visible()
    # Tab past Add and five views to the first todo.
    press(page, *["Tab"] * 7)
    expect(row(page, "Call Ann").get_by_role("checkbox")).to_be_focused()
    press(page, "Tab", "Enter")
    page.keyboard.type("Call Eve")
    press(page, "Enter")
    expect(spoken).to_have_text("Saved “\u2068Call Eve\u2069”")
    expect(page.get_by_role("button", name="Edit Call Eve")).to_be_focused()
    press(page, "Tab", "Enter")
    expect(page.get_by_role("status").filter(has_text="Deleted “\u2068Call Eve\u2069”")).to_have_count(1)
    expect(page.get_by_role("button", name="Delete Buy milk")).to_be_focused()
    press(page, "ControlOrMeta+z")
    expect(spoken).to_have_text("Restored “\u2068Call Eve\u2069”")
    site.expect_saved("Buy milk", "Call Eve")
    row(page, "Call Eve").get_by_role("checkbox").focus()
    press(page, "Space")
    expect(page.get_by_role("status").filter(has_text="Completed “\u2068Call Eve\u2069”")).not_to_have_count(
        0
    )
    expect(row(page, "Buy milk").get_by_role("checkbox")).to_be_focused()
    site.expect_saved("Buy milk", {"title": "Call Eve", "completed": True})


def test_focus_goes_to_the_new_todo_after_the_last_deletion(site: Site) -> None:
    site.given("Buy milk")
    page = site.open()
    page.get_by_role("button", name="Delete Buy milk").focus()
    press(page, "Enter")
    expect(new_todo(page)).to_be_focused()
    site.expect_saved()


def test_skip_link_leads_to_the_list(site: Site) -> None:
    site.given("Buy milk")
    page = site.open()
    expect_shown(page, "Buy milk")
    page.locator(".skip").focus()
    press(page, "Enter", "Tab")
    expect(row(page, "Buy milk").get_by_role("checkbox")).to_be_focused()


def test_rows_have_accessible_names_and_roles(site: Site) -> None:
    site.given({"title": "Buy milk", "description": "Two litres", "deadline_at": "2020-01-31T18:00"})
    page = site.open()
    expect(page.get_by_role("list", name="Overdue")).to_match_aria_snapshot(
        """
        - list "Overdue":
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


def test_search_results_and_dates_are_announced(site: Site) -> None:
    site.given("Buy milk", "Buy oats", "Call Ann")
    page = site.open()
    page.get_by_role("searchbox").fill("buy")
    expect(page.locator("#spoken")).to_have_text("2 todos found")
    new_todo(page).fill("Call Ann tomorrow")
    expect(page.locator("#spoken")).to_have_text("Due tomorrow")


def test_colours_follow_light_and_dark(site: Site) -> None:
    page = site.open()
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert colours == ["rgb(244, 244, 241)", "rgb(22, 23, 26)"]


def test_right_to_left_titles_keep_their_direction(site: Site) -> None:
    site.given("Buy milk", "مرحبا بالعالم")
    page = site.open()
    expect_shown(page, "مرحبا بالعالم", "Buy milk")
    directions = page.locator("#list .title").evaluate_all(
        "titles => titles.map(title => getComputedStyle(title).direction)"
    )
    assert directions == ["rtl", "ltr"]


def test_phone_has_one_menu_for_each_todo(site: Site) -> None:
    site.given("Buy milk", "Call Ann")
    page = site.open(**PHONE)
    expect(row(page, "Buy milk").get_by_role("button")).to_have_count(1)
    row(page, "Buy milk").get_by_role("button", name="More for Buy milk").tap()
    page.locator("#row-menu").get_by_text("Edit").tap()
    page.locator(".editor [name=title]").fill("Buy oats")
    page.get_by_role("button", name="Save").tap()
    site.expect_saved("Buy oats", "Call Ann")
    row(page, "Call Ann").get_by_role("button", name="More for Call Ann").tap()
    page.locator("#row-menu").get_by_text("Delete").tap()
    site.expect_saved("Buy oats")
    row(page, "Buy oats").get_by_role("checkbox").tap()
    site.expect_saved({"completed": True})


def test_deadline_begins_on_the_line_of_its_label_on_a_phone(site: Site) -> None:
    site.given({"title": "Buy milk", "deadline_at": "2099-12-31T18:00"})
    page = site.open(**PHONE | {"viewport": {"width": 320, "height": 740}}, locale="en-US")
    expect(row(page, "Buy milk").locator("time")).to_have_text("Dec 31, 2099, 6:00 PM")
    lines = page.locator("#list :is(.due, time)").evaluate_all(
        "parts => parts.map(part => part.getClientRects()[0].top)"
    )
    assert lines[0] == lines[1]


def test_first_todo_is_in_the_upper_third_of_a_phone(site: Site) -> None:
    given_some(site)
    page = site.open(**PHONE)
    box = row(page, "Late").locator(".title").bounding_box()
    assert box is not None
    assert box["y"] < 740 / 3
    expect(page.get_by_role("searchbox")).to_be_hidden()
    page.get_by_role("button", name="Search").tap()
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.get_by_role("searchbox").fill("plain")
    expect_shown(page, "Plain")
    page.get_by_role("button", name="Search").tap()
    expect(page.get_by_role("searchbox")).to_be_hidden()
    expect(row(page, "Late")).to_be_visible()


def test_print_shows_the_todos_and_no_controls(site: Site) -> None:
    site.given(*[f"Todo {number}" for number in range(100)])
    page = site.open()
    expect(row(page, "Todo 79")).to_be_visible()  # below the rows of the first rendering
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#list .title:visible")).to_have_count(100)
    for hidden in ("#add", "#views", "#search", "#menu-button", ".row .icon"):
        expect(page.locator(hidden).first).to_be_hidden()


def test_without_javascript_the_page_links_to_the_api(site: Site) -> None:
    page = site.open(java_script_enabled=False)
    expect(page.locator("noscript p")).to_contain_text("This page needs JavaScript")
    expect(new_todo(page)).to_be_hidden()
    page.locator("noscript a").click()
    expect(page.locator("body")).to_contain_text("[]")


def test_strings_with_markup_are_shown_as_text(site: Site) -> None:
    page = site.open()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    for title in NASTY:
        add(page, title)
    expect_shown(page, *reversed(NASTY))
    site.expect_saved(*NASTY)
    page.reload()
    expect_shown(page, *reversed(NASTY))
    for title in NASTY:
        page.get_by_role("searchbox").fill(title)
        expect(page.locator("#list .title").first).to_have_text(title)
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name=f"Delete {NASTY[0]}").click()
    expect(page.get_by_text(f"Deleted “\u2068{NASTY[0]}\u2069”")).to_be_visible()
    assert dialogs == []
