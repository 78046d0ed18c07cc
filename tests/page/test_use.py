"""The page in normal use."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.page import (
    TIMEOUT,
    UNREACHABLE,
    Site,
    add,
    choose,
    edit,
    expect_shown,
    new_todo,
    retitle,
    row,
    unfold,
    wall_time,
)
from tests.support.server import wait_until

pytestmark = pytest.mark.browser

VIEWS = ("All", "Active", "Overdue", "Next 7 days", "Completed")


def title_field(page: Page) -> Locator:
    """Return the field for a new title."""
    return page.locator(".editor [name=title]")


def expect_counts(page: Page, *counts: int) -> None:
    expect(page.locator("#views a")).to_have_text(
        [f"{view} {count}" for view, count in zip(VIEWS, counts, strict=True)]
    )


def expect_groups(page: Page, *groups: str) -> None:
    expect(page.locator("#list h2 .label:visible")).to_have_text(list(groups))


# Adding


def test_title_and_enter_add_a_todo(site: Site) -> None:
    page = site.open()
    expect(new_todo(page)).to_be_focused()
    page.keyboard.type("  Buy milk  ")
    page.keyboard.press("Enter")
    expect_shown(page, "Buy milk")
    expect(new_todo(page)).to_have_value("")
    expect(new_todo(page)).to_be_focused()
    page.keyboard.type("Call Ann")
    page.keyboard.press("Enter")
    expect_shown(page, "Call Ann", "Buy milk")
    site.expect_saved("Buy milk", "Call Ann")


def test_blank_title_adds_no_todo(site: Site) -> None:
    page = site.open()
    add(page, "   ")
    page.get_by_role("button", name="Add", exact=True).click()
    expect_shown(page)
    site.expect_saved()


def open_on_a_tuesday(site: Site) -> Page:
    """Open the page on 14 May 2030."""
    return site.open_with_clock("2030-05-14T12:00:00Z")


def test_deadline_without_a_title_asks_for_the_title(site: Site) -> None:
    page = open_on_a_tuesday(site)
    new_todo(page).fill("x")
    page.get_by_role("button", name="Today", exact=True).click()
    add(page, "")
    expect(page.get_by_role("alert")).to_have_text("A todo needs a title.")
    expect(new_todo(page)).to_be_focused()
    add(page, "Pay the rent")
    site.expect_saved({"title": "Pay the rent", "deadline_at": "2030-05-14T23:59:59"})


def test_description_day_and_time_are_typed_by_keyboard(site: Site) -> None:
    page = site.open()
    expect(page.locator("#add [name=date]")).to_be_hidden()
    page.keyboard.type("Pay the rent")
    page.keyboard.press("Tab")
    page.keyboard.type("To the new account")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("in time")
    page.keyboard.press("Tab")
    page.keyboard.type("01312099")
    page.locator("#add [name=time]").focus()
    page.keyboard.type("0630PM")
    page.keyboard.press("Enter")
    expect(row(page, "Pay the rent")).to_contain_text("31 Jan 2099, 18:30")
    site.expect_saved(
        {
            "title": "Pay the rent",
            "description": "To the new account\nin time",
            "deadline_at": "2099-01-31T18:30:00",
        }
    )


@pytest.mark.parametrize(
    ("field", "typed", "message"),
    [
        pytest.param("date", "31", "Complete the date", id="half a date"),
        pytest.param("time", "18", "Complete the time", id="half a time"),
        pytest.param("time", "0630PM", "Choose a day", id="time without a day"),
    ],
)
def test_incomplete_deadline_is_kept_and_explained(site: Site, field: str, typed: str, message: str) -> None:
    page = site.open()
    page.keyboard.type("Pay the rent")
    page.locator(f"#add [name={field}]").focus()
    page.keyboard.type(typed)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text(message)
    site.expect_saved()


def test_length_counts_characters_and_names_the_limit(site: Site) -> None:
    page = site.open()
    add(page, "🍋" * 81)
    expect(page.get_by_role("alert")).to_have_text("1 character too long: at most 80 fit here.")
    site.expect_saved()
    add(page, "🍋" * 80)
    expect(page.get_by_role("alert")).to_be_hidden()
    site.expect_saved("🍋" * 80)


@pytest.mark.parametrize("path", ["/#/completed", "/#/overdue", "/#/week", "/#/?q=oats"])
def test_todo_added_outside_the_view_can_be_shown(site: Site, path: str) -> None:
    site.given({"title": "Eat oats", "deadline_at": wall_time(days=-1)}, {"title": "Done", "completed": True})
    page = site.open(path)
    add(page, "Buy milk")
    expect(page.get_by_text("Added “\u2068Buy milk\u2069”").first).to_be_visible()
    page.get_by_role("button", name="Show", exact=True).click()
    expect(row(page, "Buy milk")).to_be_visible()
    site.expect_saved("Eat oats", "Done", "Buy milk")


def test_unfinished_todo_and_open_edit_survive_a_reload(site: Site) -> None:
    site.given({"title": "Buy milk", "description": "Two litres"})
    page = site.open()
    new_todo(page).fill("Call An")
    page.locator("#add [name=description]").fill("About the trip")
    edit(page, "Buy milk").get_by_label("Description").fill("Three litres")
    page.reload()
    expect(new_todo(page)).to_have_value("Call An")
    expect(page.locator("#add [name=description]")).to_have_value("About the trip")
    expect(page.locator(".editor").get_by_label("Description")).to_have_value("Three litres")
    page.locator(".editor").get_by_role("button", name="Save").click()
    site.expect_saved({"description": "Three litres"})
    page.reload()
    expect(row(page, "Buy milk")).to_be_visible()
    expect(page.locator(".editor")).to_have_count(0)


# Editing


@pytest.fixture
def editing(site: Site) -> Page:
    """Open the editor by a click on the title."""
    site.given(
        {"title": "Buy milk", "description": "Two litres", "deadline_at": "2099-01-31T18:00:00.123456"}
    )
    page = site.open()
    page.get_by_text("Buy milk").click()
    expect(title_field(page)).to_be_focused()
    expect(title_field(page)).to_have_value("Buy milk")
    return page


def test_enter_saves_the_trimmed_title_and_no_other_member(site: Site, editing: Page) -> None:
    editing.keyboard.type("  Buy oats ")
    editing.keyboard.press("Enter")
    expect_shown(editing, "Buy oats")
    expect(editing.get_by_role("button", name="Edit Buy oats")).to_be_focused()
    site.expect_saved({"title": "Buy oats", "deadline_at": "2099-01-31T18:00:00.123456"})


def test_leaving_the_editor_saves(site: Site, editing: Page) -> None:
    editing.keyboard.type("Buy oats")
    editing.get_by_role("heading", name="Todos").click()
    expect_shown(editing, "Buy oats")
    site.expect_saved("Buy oats")


def test_focus_change_between_fields_saves_nothing(site: Site, editing: Page) -> None:
    editing.keyboard.type("Buy oats")
    editing.keyboard.press("Tab")
    editing.keyboard.press("ControlOrMeta+a")
    editing.keyboard.type("Three bags")
    editing.locator(".editor").click(position={"x": 3, "y": 3})
    site.expect_saved("Buy milk")
    editing.keyboard.press("Enter")
    site.expect_saved({"title": "Buy oats", "description": "Three bags"})


def test_escape_and_cancel_change_nothing(site: Site, editing: Page) -> None:
    editing.keyboard.type("Buy oats")
    editing.keyboard.press("Escape")
    expect_shown(editing, "Buy milk")
    edit(editing, "Buy milk")
    editing.keyboard.type("Buy oats")
    editing.get_by_role("button", name="Cancel").click()
    expect_shown(editing, "Buy milk")
    expect(title_field(editing)).to_be_hidden()
    site.expect_saved("Buy milk")


def test_emptied_title_asks_for_a_decision(site: Site, editing: Page) -> None:
    editing.keyboard.type("  ")
    editing.keyboard.press("Enter")
    expect(editing.get_by_role("alert")).to_contain_text("A todo needs a title.")
    site.expect_saved("Buy milk")
    editing.locator(".editor").get_by_role("button", name="Delete").click()
    expect_shown(editing)
    site.expect_saved()


def test_emptied_title_is_restored_when_the_editor_loses_focus(site: Site, editing: Page) -> None:
    editing.keyboard.type(" ")
    editing.locator(".editor").get_by_label("Description").fill("Three litres")
    editing.get_by_role("heading", name="Todos").click()
    site.expect_saved({"title": "Buy milk", "description": "Three litres"})
    expect_shown(editing, "Buy milk")


def test_description_and_deadline_are_cleared(site: Site, editing: Page) -> None:
    editor = editing.locator(".editor")
    editor.get_by_label("Description").fill("")
    editor.locator("[name=date]").fill("")
    editor.locator("[name=time]").fill("")
    editing.get_by_role("button", name="Save").click()
    site.expect_saved({"title": "Buy milk", "description": None, "deadline_at": None})


def test_link_in_a_description_opens_and_does_not_edit(site: Site) -> None:
    site.given({"title": "Trip", "description": "See (https://example.org/a?b=c), mailto:ann@example.org."})
    page = site.open()
    links = row(page, "Trip").locator(".description a")
    expect(links).to_have_count(2)
    assert [link.get_attribute("href") for link in links.all()] == [
        "https://example.org/a?b=c",
        "mailto:ann@example.org",
    ]
    expect(row(page, "Trip").locator(".description")).to_have_text(
        "See (https://example.org/a?b=c), mailto:ann@example.org."
    )
    links.first.evaluate("link => link.addEventListener('click', event => event.preventDefault())")
    links.first.click()
    expect(page.locator(".editor")).to_have_count(0)


# Deadlines


def test_day_without_a_time_is_stored_as_its_end_and_shown_alone(site: Site) -> None:
    site.given({"title": "Midnight", "deadline_at": "2030-05-15T00:00:00"})
    page = open_on_a_tuesday(site)
    page.keyboard.type("Pay the rent")
    page.get_by_role("button", name="Tomorrow", exact=True).click()
    new_todo(page).press("Enter")
    site.expect_saved("Midnight", {"deadline_at": "2030-05-15T23:59:59"})
    expect(row(page, "Pay the rent").locator("time")).to_have_text("tomorrow")
    expect(row(page, "Midnight").locator("time")).to_have_text("tomorrow, 0:00")
    expect(edit(page, "Pay the rent").locator("[name=time]")).to_have_value("")
    page.keyboard.press("Escape")
    expect(edit(page, "Midnight").locator("[name=time]")).to_have_value("00:00")


def test_day_without_a_time_is_not_overdue_on_that_day(site: Site) -> None:
    site.given({"title": "Pay the rent", "deadline_at": "2030-05-14T23:59:59"})
    page = open_on_a_tuesday(site)
    expect(row(page, "Pay the rent").locator(".late")).to_be_hidden()
    expect_groups(page, "Today")


@pytest.mark.parametrize(
    ("typed", "title", "deadline"),
    [
        ("Call Ann tomorrow", "Call Ann", "2030-05-15T23:59:59"),
        ("Call Ann today 17:00", "Call Ann", "2030-05-14T17:00:00"),
        ("Call Ann fri 17:00", "Call Ann", "2030-05-17T17:00:00"),
        ("Call Ann on Friday at 5pm", "Call Ann", "2030-05-17T17:00:00"),
        ("Call Ann tue", "Call Ann", "2030-05-21T23:59:59"),
        ("Call Ann at 17:00 tomorrow", "Call Ann", "2030-05-15T17:00:00"),
        ("Party 31 Jan", "Party", "2031-01-31T23:59:59"),
        ("Party 31 Jan 2032", "Party", "2032-01-31T23:59:59"),
        ("Party May 20th, 12:30 pm", "Party", "2030-05-20T12:30:00"),
        ("Party 2030-12-24 noon", "Party", "2030-12-24T12:00:00"),
        ("Party 29 feb", "Party", "2032-02-29T23:59:59"),
        ("Dentist in 2 weeks", "Dentist", "2030-05-28T23:59:59"),
        ("Dentist next week", "Dentist", "2030-05-20T23:59:59"),
        ("Enjoy the sun", None, None),
        ("Report for every friday", None, None),
        ("Party 31 Feb", None, None),
        ("Meet at 17:00", None, None),
        ("Call Ann tomorrow 25:00", None, None),
        ("tomorrow", None, None),
        ("Buy saturn", None, None),
    ],
)
def test_date_at_the_end_of_a_title_is_read(site: Site, typed: str, title: str | None, deadline: str) -> None:
    page = open_on_a_tuesday(site)
    new_todo(page).fill(typed)
    chip = page.locator("#add .chip")
    expect(chip).to_be_visible(visible=title is not None)
    new_todo(page).press("Enter")
    site.expect_saved({"title": title or typed, "deadline_at": deadline})


@pytest.mark.parametrize("by", ["key", "tap"])
def test_date_in_a_title_can_be_kept_as_text(site: Site, by: str) -> None:
    page = site.open()
    new_todo(page).fill("Watch Tomorrow")
    chip = page.locator("#add .chip")
    expect(chip).to_have_text("Due tomorrow")
    page.keyboard.press("Escape") if by == "key" else chip.click()
    expect(chip).to_be_hidden()
    expect(new_todo(page)).to_be_focused()
    page.keyboard.press("Enter")
    site.expect_saved({"title": "Watch Tomorrow", "deadline_at": None})


def test_second_tap_on_next_week_clears_the_deadline(site: Site) -> None:
    page = open_on_a_tuesday(site)
    page.keyboard.type("Pay the rent")
    preset = page.get_by_role("button", name="Next week")
    preset.click()
    expect(preset).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#add [name=date]")).not_to_have_value("")
    preset.click()
    expect(page.locator("#add [name=date]")).to_have_value("")


def test_different_time_zone_is_named_at_the_field(site: Site) -> None:
    site.given("Buy milk")
    for zone, is_named in (("UTC", False), ("Asia/Tokyo", True)):
        page = site.open(timezone_id=zone)
        hint = edit(page, "Buy milk").locator(".zone")
        expect(hint).to_have_text("Times are in UTC")
        expect(hint).to_be_visible(visible=is_named)


@pytest.mark.parametrize(
    ("locale", "rent", "tax"),
    [
        ("en-GB", "31 Jan 2099, 18:00", "1 Feb 2098"),
        ("en-US", "Jan 31, 2099, 6:00 PM", "Feb 1, 2098"),
        ("de-DE", "31. Jan. 2099, 18:00", "1. Feb. 2098"),
    ],
)
def test_times_are_formatted_for_the_locale(site: Site, locale: str, rent: str, tax: str) -> None:
    site.given(
        {"title": "Rent", "deadline_at": "2099-01-31T18:00"},
        {"title": "Tax", "deadline_at": "2098-02-01T23:59:59"},
    )
    page = site.open(locale=locale)
    time_element = row(page, "Rent").locator("time")
    expect(time_element).to_have_text(rent)
    expect(time_element).to_have_attribute("lang", locale)
    expect(time_element).to_have_attribute("datetime", "2099-01-31T18:00:00")
    expect(row(page, "Tax").locator("time")).to_have_text(tax)


def test_todo_becomes_overdue_without_a_reload(site: Site) -> None:
    site.given({"title": "Soon", "deadline_at": wall_time(seconds=50)})
    page = site.open_with_clock()
    expect(row(page, "Soon").get_by_text("Due", exact=True)).to_be_visible()
    page.clock.run_for(61_000)
    expect(row(page, "Soon").get_by_text("Overdue")).to_be_visible()
    expect(page.get_by_role("link", name="Overdue")).to_have_text("Overdue 1")
    expect_groups(page, "Overdue")


# The list


def test_first_view_is_ordered_and_grouped_by_deadline(site: Site) -> None:
    site.given(
        {"title": "Later", "deadline_at": "2030-06-14T23:59:59"},
        "Without",
        {"title": "Tomorrow", "deadline_at": "2030-05-15T09:00:00"},
        {"title": "Late", "deadline_at": "2030-05-13T09:00:00"},
        {"title": "Friday", "deadline_at": "2030-05-17T23:59:59"},
        {"title": "Done", "completed": True},
        {"title": "Today", "deadline_at": "2030-05-14T23:59:59"},
        "Newest without",
    )
    page = site.open_with_clock("2030-05-14T12:00:00Z")
    open_titles = ["Late", "Today", "Tomorrow", "Friday", "Later", "Newest without", "Without"]
    expect_shown(page, *open_titles)
    expect_groups(page, "Overdue", "Today", "Tomorrow", "This week", "Later", "No deadline", "Completed")
    expect(page.locator("#list time")).to_have_text(
        ["yesterday, 9:00", "today", "tomorrow, 9:00", "Friday", "Fri 14 Jun", "", ""]
    )
    unfold(page)
    expect_shown(page, *open_titles, "Done")
    page.reload()
    expect_shown(page, *open_titles, "Done")
    unfold(page)
    expect_shown(page, *open_titles)


def test_partly_loaded_group_has_no_count(site: Site) -> None:
    site.given(*[{"title": f"Todo {number}", "deadline_at": "2099-01-31"} for number in range(1100)])
    page = site.open()
    heading = page.locator("[data-group=laterOn] h2")
    expect(heading).to_have_text("Later")
    page.locator("#more").scroll_into_view_if_needed()
    expect(heading).to_have_text("Later 1,100")


def test_new_todo_is_sorted_by_deadline(site: Site) -> None:
    site.given(
        {"title": "First", "deadline_at": wall_time(hours=1)}, {"title": "Last", "deadline_at": "2099-01-01"}
    )
    page = site.open()
    expect_shown(page, "First", "Last")
    add(page, "Middle in 9 days")
    expect_shown(page, "First", "Middle", "Last")
    site.expect_saved("First", "Last", "Middle")
    expect_shown(page, "First", "Middle", "Last")


def test_views_show_and_count_their_todos(site: Site) -> None:
    site.given(
        "Someday",
        {"title": "Done", "completed": True, "deadline_at": wall_time(days=-1)},
        {"title": "Late", "deadline_at": wall_time(hours=-1)},
        {"title": "Soon", "deadline_at": wall_time(days=6.9)},
        {"title": "Far", "deadline_at": wall_time(days=7.1)},
    )
    page = site.open()
    for view, address, titles in (
        ("Active", "#/active", ["Late", "Soon", "Far", "Someday"]),
        ("Completed", "#/completed", ["Done"]),
        ("Overdue", "#/overdue", ["Late"]),
        ("Next 7 days", "#/week", ["Late", "Soon"]),
        ("All", "#/", ["Late", "Soon", "Far", "Someday"]),
    ):
        page.locator("#views").get_by_role("link", name=view).click()
        expect_shown(page, *titles)
        expect(page).to_have_url(f"{site.server.url}/{address}")
        expect(page.locator("#views [aria-current=page]")).to_contain_text(view)
        expect_counts(page, 5, 4, 1, 2, 1)
        page.reload()
        expect_shown(page, *titles)
        expect_counts(page, 5, 4, 1, 2, 1)
    page.go_back()
    expect_shown(page, "Late", "Soon")


def test_change_moves_a_todo_from_view_to_view(site: Site) -> None:
    site.given("Buy milk", {"title": "Late", "deadline_at": wall_time(hours=-1)})
    page = site.open("/#/active")
    row(page, "Late").get_by_role("checkbox").click()
    expect_shown(page, "Buy milk")
    expect_counts(page, 2, 1, 0, 0, 1)
    site.expect_saved({"completed": False}, {"completed": True})
    expect_counts(page, 2, 1, 0, 0, 1)
    page.locator("#views").get_by_role("link", name="Completed").click()
    expect_shown(page, "Late")
    row(page, "Late").get_by_role("checkbox").click()
    expect_shown(page)
    expect_counts(page, 2, 2, 1, 1, 0)


def test_number_of_open_todos_is_in_the_title_of_the_tab(site: Site) -> None:
    site.given("Buy milk", "Call Ann", {"title": "Done", "completed": True})
    page = site.open()
    expect(page).to_have_title("(2) Todos")
    row(page, "Call Ann").get_by_role("checkbox").click()
    expect(page).to_have_title("(1) Todos")
    page.locator("#views").get_by_role("link", name="Completed").click()
    expect(page).to_have_title("(1) Completed · Todos")


def test_counts_that_a_change_overtakes_are_requested_again(site: Site) -> None:
    site.given("Buy milk", {"title": "Done", "completed": True})
    page = site.open("about:blank", url="about:blank")
    counts: list[Route] = []
    page.route(re.compile("limit=1&"), lambda route: counts.append(route))
    page.goto(f"{site.server.url}/#/completed")
    expect_shown(page, "Done")
    add(page, "Call Ann")
    # The page removes a confirmed change from its storage.
    while page.evaluate("JSON.stringify(localStorage).includes('Call Ann')") or len(counts) < len(VIEWS):
        page.wait_for_timeout(20)
    page.unroute(re.compile("limit=1&"))  # continues the requests
    expect(page).to_have_title("(2) Completed · Todos")


def test_empty_views_show_a_message(site: Site) -> None:
    page = site.open()
    expect(page.get_by_text("Nothing to do. Type above and press Enter.")).to_be_visible()
    site.given("Buy milk")
    for view, sentence in (
        ("completed", "Nothing completed yet."),
        ("overdue", "Nothing is overdue."),
        ("week", "Nothing is due in the next 7 days."),
        ("?q=oats", "Nothing found for “\u2068oats\u2069”."),
    ):
        page.goto(f"{site.server.url}/#/{view}")
        expect(page.get_by_text(sentence)).to_be_visible()
    page.goto(f"{site.server.url}/#/")
    row(page, "Buy milk").get_by_role("checkbox").click()
    expect(page.get_by_text("All done.")).to_be_visible()


def test_search_filters_while_typing(site: Site) -> None:
    site.given("Buy MILK", {"title": "Breakfast", "description": "milk, oats"}, "100% sure", "Ärger")
    page = site.open()
    search = page.get_by_role("searchbox")
    search.press_sequentially("milk")
    expect_shown(page, "Breakfast", "Buy MILK")
    expect(page).to_have_url(f"{site.server.url}/#/?q=milk")
    for text, titles in (
        ("%", ["100% sure"]),
        ("äRG", ["Ärger"]),
        ("", ["Ärger", "100% sure", "Breakfast", "Buy MILK"]),
    ):
        search.fill(text)
        expect_shown(page, *titles)
    page.goto(f"{site.server.url}/#/?q=milk")
    expect(search).to_have_value("milk")
    expect_shown(page, "Breakfast", "Buy MILK")


def test_search_shows_completed_todos_unfolded(site: Site) -> None:
    site.given({"title": "Buy milk", "completed": True}, "Buy oats")
    expect_shown(site.open("/#/?q=buy"), "Buy oats", "Buy milk")


@pytest.mark.parametrize(
    ("order", "titles"),
    [("Oldest first", "bac"), ("Deadline", "cba"), ("Title", "abc"), ("Newest first", "cab")],
)
def test_sort_orders_the_list(site: Site, order: str, titles: str) -> None:
    site.given({"title": "b", "deadline_at": "2099-01-02"}, "a", {"title": "c", "deadline_at": "2099-01-01"})
    page = site.open("/#/?sort=" + ("title" if order != "Title" else "id"))
    page.get_by_role("button", name="More actions").click()
    page.locator("#menu select").select_option(order)
    expect_shown(page, *titles)
    page.reload()
    expect_shown(page, *titles)
    expect(page.locator("#menu option:checked")).to_have_text(order)


def test_scrolling_loads_the_next_pages(site: Site) -> None:
    site.given(*[f"Todo {number}" for number in range(1250)])
    page = site.open("/#/?sort=id")
    last = page.get_by_text("Todo 1249", exact=True)
    deadline = time.monotonic() + TIMEOUT / 1000
    while not last.is_visible() and time.monotonic() < deadline:
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(50)
    expect(last).to_be_visible()
    expect(row(page, "Todo 1249")).to_have_attribute("aria-setsize", "1250")
    # Most of the todos are not in the document.
    assert page.get_by_role("listitem").count() < 250
    page.mouse.wheel(0, -200_000)
    expect(page.get_by_text("Todo 0", exact=True)).to_be_visible()


# Live


def test_changes_of_other_clients_appear_automatically(site: Site) -> None:
    site.given("Buy milk", "Call Ann", "Sow peas")
    page = site.open_with_clock()
    expect_shown(page, "Sow peas", "Call Ann", "Buy milk")
    edit(page, "Call Ann")
    page.keyboard.type("Call Eve")
    ids = {todo["title"]: todo["id"] for todo in site.saved()}
    site.batch(
        [
            {"op": "create", "todo": {"title": "New"}},
            {"op": "create", "todo": {"title": "Newer"}},
            {"op": "update", "id": ids["Buy milk"], "todo": {"title": "Buy oats"}},
            {
                "op": "update",
                "id": ids["Call Ann"],
                "todo": {"description": "About the trip", "deadline_at": "2099-01-01T00:00:00"},
            },
            {"op": "update", "id": ids["Sow peas"], "todo": {"completed": True}},
        ]
    )
    page.clock.run_for(6000)
    expect_shown(page, "Call Ann", "Newer", "New", "Buy oats")
    # The edit continues at the same place.
    expect(title_field(page)).to_be_focused()
    expect(title_field(page)).to_have_value("Call Eve")
    page.keyboard.press("Enter")
    expect_shown(page, "Call Eve", "Newer", "New", "Buy oats")
    site.expect_saved(
        "Buy oats", {"title": "Call Eve", "description": "About the trip"}, "Sow peas", "New", "Newer"
    )


def test_edited_todo_stays_in_place_on_the_screen(site: Site) -> None:
    site.given(*[f"Todo {number}" for number in range(40)])
    page = site.open_with_clock()
    edit(page, "Todo 20")
    before = page.locator(".editor").bounding_box()
    site.given("New", "Newer")
    page.clock.run_for(6000)
    expect(row(page, "Newer")).to_have_count(1)
    assert page.locator(".editor").bounding_box() == before


def test_unchanged_list_is_polled_with_not_modified(site: Site) -> None:
    site.given("Buy milk")
    page = site.open_with_clock()
    expect_shown(page, "Buy milk")
    with page.expect_response(lambda response: response.status == 304):
        page.clock.run_for(6000)


HIDE = """
Object.defineProperty(document, "hidden", { value: true, configurable: true });
document.dispatchEvent(new Event("visibilitychange"));
"""


def requests_in_a_minute(page: Page) -> list[str]:
    """Return the URLs that the page requests from the API in a minute of its clock."""
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.clock.run_for(60_000)
    return [url for url in urls if "/api/" in url]  # Chromium may request the icon at any time


def test_hidden_page_does_not_poll(site: Site) -> None:
    site.given("Buy milk")
    page = site.open_with_clock()
    expect_shown(page, "Buy milk")
    page.evaluate(HIDE)
    assert requests_in_a_minute(page) == []
    with page.expect_response(lambda response: response.status == 304):
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")


def test_hidden_page_does_not_retry(site: Site) -> None:
    site.given("Buy milk")
    page = site.open_with_clock()
    expect_shown(page, "Buy milk")
    page.route("**/api/**", lambda route: route.abort())
    page.evaluate(HIDE)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_text(UNREACHABLE)).to_be_visible()
    assert requests_in_a_minute(page) == []


# Many at once


def test_complete_all_from_the_menu_can_be_undone(site: Site) -> None:
    site.given("Buy milk", {"title": "Call Ann", "completed": True}, "Sow peas")
    page = site.open()
    choose(page, "Complete all 2")
    expect(page.get_by_text("All done.")).to_be_visible()
    site.expect_saved(*[{"completed": True}] * 3)
    expect(page.get_by_text("2 todos completed")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    site.expect_saved({"completed": False}, {"completed": True}, {"completed": False})
    expect_shown(page, "Sow peas", "Buy milk")


def test_delete_completed_from_the_menu_can_be_undone(site: Site) -> None:
    site.given("Buy milk", {"title": "Call Ann", "completed": True}, {"title": "Sow peas", "completed": True})
    before = site.saved()
    page = site.open()
    choose(page, "Delete all 2 completed")
    site.expect_saved("Buy milk")
    page.get_by_role("button", name="Undo").click()
    site.expect_saved(*[{name: todo[name] for name in ("title", "completed")} for todo in before])


def test_bulk_change_changes_only_the_search_results(site: Site) -> None:
    site.given("Buy milk", "Buy oats", {"title": "Late", "deadline_at": wall_time(days=-1)})
    page = site.open("/#/?q=buy")
    expect_shown(page, "Buy oats", "Buy milk")
    choose(page, "Complete all 2")
    site.expect_saved({"completed": True}, {"completed": True}, {"completed": False})
    choose(page, "Delete all 2 completed")
    site.expect_saved("Late")


def test_bulk_change_of_more_than_a_batch_is_undone(site: Site) -> None:
    site.given(*[f"Todo {number}" for number in range(1100)])
    page = site.open()
    choose(page, "Complete all 1,100")
    expect(page.get_by_text("1,100 todos completed")).to_be_visible()
    choose(page, "Delete all 1,100 completed")
    expect(page.get_by_text("1,100 todos deleted")).to_be_visible(timeout=30_000)
    site.expect_saved()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#views").get_by_role("link", name="Completed")).to_have_text(
        "Completed 1,100", timeout=60_000
    )
    wait_until(lambda: len(site.saved()) == 1100)


def test_menu_has_only_items_with_an_effect(site: Site) -> None:
    site.given("Buy milk")
    page = site.open()
    expect_shown(page, "Buy milk")
    page.get_by_role("button", name="More actions").click()
    expect(page.locator("#complete-all")).to_have_text("Complete 1 todo")
    expect(page.locator("#clear")).to_be_hidden()


# Undo


def test_undone_deletion_keeps_the_position(site: Site) -> None:
    site.given("Call Ann", {"title": "Buy milk", "description": "Two litres"}, "Sow peas")
    page = site.open()
    page.get_by_role("button", name="Delete Buy milk").click()
    expect_shown(page, "Sow peas", "Call Ann")
    site.expect_saved("Call Ann", "Sow peas")
    page.get_by_role("button", name="Undo").click()
    expect_shown(page, "Sow peas", "Buy milk", "Call Ann")
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    page.get_by_role("button", name="Edit Buy milk").wait_for()
    site.expect_saved("Call Ann", "Buy milk", "Sow peas")


def test_undone_deletion_changes_no_member(site: Site) -> None:
    site.given("Call Ann", {"title": "Buy milk", "description": "Two litres", "deadline_at": "2099-01-01"})
    before = site.saved()
    page = site.open()
    page.get_by_role("button", name="Delete Buy milk").click()
    site.expect_saved("Call Ann")
    page.get_by_role("button", name="Undo").click()
    site.expect_saved(*before)


def test_recently_deleted_todo_is_restored_from_its_view(site: Site) -> None:
    site.given("Buy milk", "Water the ferns")
    before = site.saved()
    page = site.open()
    page.get_by_role("button", name="Delete Water the ferns").click()
    site.expect_saved("Buy milk")
    choose(page, "Recently deleted")
    page.get_by_role("button", name="Restore Water the ferns").click()
    expect(row(page, "Water the ferns")).to_have_count(0)
    site.expect_saved(*before)
    page.locator("#views").get_by_role("link", name="All").click()
    expect_shown(page, "Water the ferns", "Buy milk")


def test_undo_reverts_several_changes(site: Site) -> None:
    site.given("Buy milk", "Call Ann", "Sow peas")
    page = site.open()
    row(page, "Buy milk").get_by_role("checkbox").click()
    retitle(page, "Call Ann", "Call Eve")
    page.get_by_role("button", name="Delete Sow peas").click()
    site.expect_saved({"completed": True}, "Call Eve")
    page.get_by_role("button", name="Dismiss").click()
    steps: list[list[dict[str, Any]]] = [
        [{"completed": True}, {"title": "Call Eve"}, {"title": "Sow peas"}],
        [{"completed": True}, {"title": "Call Ann"}, {"title": "Sow peas"}],
        [{"completed": False}, {"title": "Call Ann"}, {"title": "Sow peas"}],
    ]
    for saved in steps:
        page.keyboard.press("ControlOrMeta+z")
        site.expect_saved(*saved)


def test_toast_closes_after_a_delay_and_with_escape(site: Site) -> None:
    site.given("Buy milk", "Call Ann")
    page = site.open_with_clock()
    page.get_by_role("button", name="Delete Buy milk").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    page.get_by_role("button", name="Delete Call Ann").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.mouse.move(0, 0)
    page.clock.run_for(11_000)
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    site.expect_saved()


# Keys


@pytest.mark.parametrize(
    "key",
    [
        pytest.param({"key": "z", "code": "KeyZ"}, id="latin"),
        pytest.param({"key": "Z", "code": "KeyZ"}, id="caps lock"),
        pytest.param({"key": "я", "code": "KeyZ"}, id="cyrillic"),
        pytest.param({"key": "z", "code": "KeyY"}, id="german"),
    ],
)
def test_undo_by_key_works_in_every_layout(site: Site, key: dict[str, str]) -> None:
    site.given("Buy milk")
    page = site.open()
    page.get_by_role("button", name="Delete Buy milk").click()
    expect_shown(page)
    site.expect_saved()
    prevented = page.evaluate(
        "key => !document.body.dispatchEvent("
        "new KeyboardEvent('keydown', { ...key, ctrlKey: true, bubbles: true, cancelable: true }))",
        key,
    )
    assert prevented
    site.expect_saved("Buy milk")


def test_undo_key_does_not_change_typed_text(site: Site) -> None:
    site.given("Buy milk", "Buy oats")
    page = site.open()
    page.get_by_role("searchbox").press_sequentially("buy")
    expect_shown(page, "Buy oats", "Buy milk")
    row(page, "Buy milk").get_by_role("checkbox").focus()
    page.keyboard.press("Space")
    site.expect_saved({"completed": True}, {"completed": False})
    page.keyboard.press("ControlOrMeta+z")
    site.expect_saved({"completed": False}, {"completed": False})
    expect(page.get_by_role("searchbox")).to_have_value("buy")


@pytest.mark.parametrize("field", ["title", "description"])
def test_enter_of_an_input_method_saves_nothing(site: Site, field: str) -> None:
    site.given("Buy milk")
    page = site.open()
    edit(page, "Buy milk")
    page.locator(f".editor [name={field}]").focus()
    session = page.context.new_cdp_session(page)
    # Safari sends this Enter at the end of a conversion: the input method handles the key.
    session.send(
        "Input.dispatchKeyEvent",
        {"type": "keyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229, "text": "\r"},
    )
    page.wait_for_timeout(100)
    expect(page.locator(".editor")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".editor")).to_have_count(0)


def test_shortcuts_move_the_focus(site: Site) -> None:
    site.given("Buy milk", "Call Ann")
    page = site.open()
    expect_shown(page, "Call Ann", "Buy milk")
    page.get_by_role("heading", name="Todos").click()
    page.keyboard.press("ArrowDown")
    expect(row(page, "Call Ann").get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(row(page, "Buy milk").get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(row(page, "Call Ann").get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("n?")
    expect(page.get_by_role("searchbox")).to_have_value("n?")
    page.get_by_role("searchbox").fill("")
    page.get_by_role("heading", name="Todos").click()
    page.keyboard.press("n")
    expect(new_todo(page)).to_be_focused()
    expect(new_todo(page)).to_have_value("")
    page.get_by_role("heading", name="Todos").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
