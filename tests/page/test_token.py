"""The page of a service that requires tokens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import delete

from tests.support.page import Site, add, edit, expect_shown, make_token, new_todo, row, serve
from todo import create_app
from todo.models import db
from todo.models.token import Token

pytestmark = pytest.mark.browser


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """Return a service that requires a token.

    Its database is a file, because the threads of a server cannot share the one connection of a database in
    memory.
    """
    url = f"sqlite:///{tmp_path / 'db.sqlite'}"
    return create_app({"SQLALCHEMY_DATABASE_URI": url, "TESTING": True, "REQUIRE_TOKEN": True})


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    """Serve the app."""
    with serve(app) as address:
        yield address


def question(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Sign in")


def sign_in(page: Page, token: str, *, remember: bool = False) -> None:
    if not question(page).is_visible():
        page.locator("#banner").get_by_role("button", name="Sign in").click()
    question(page).get_by_label("Token").fill(token)
    question(page).get_by_label("Remember on this device").set_checked(remember)
    page.keyboard.press("Enter")


def expect_sent(page: Page) -> None:
    """Wait until the service has confirmed every change."""
    expect(page.locator("#list .pending")).to_have_count(0)


def test_page_asks_for_a_token_and_reports_an_invalid_token(site: Site, app: Flask, url: str) -> None:
    page = site.open(url=url)
    expect(page.get_by_text("Sign in to see and save your todos.")).to_be_visible()
    sign_in(page, "wrong")
    expect(page.get_by_text("Your token is no longer accepted.")).to_be_visible()
    page.locator("#banner").get_by_role("button", name="Sign in").click()
    expect(question(page).get_by_role("alert")).to_contain_text("This token is not accepted.")
    sign_in(page, "naïve")
    expect(question(page).get_by_role("alert")).to_contain_text("This token is not accepted.")
    sign_in(page, make_token(app))
    expect(page.locator("#banner")).to_be_hidden()
    add(page, "Buy milk")
    expect_shown(page, "Buy milk")


def test_cancelled_sign_in_loses_no_change(site: Site, app: Flask, url: str) -> None:
    page = site.open(url=url)
    add(page, "Buy milk")
    expect(page.locator("#banner")).to_contain_text("1 change is kept here")
    page.locator("#banner").get_by_role("button", name="Sign in").click()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(question(page)).to_have_count(0)
    add(page, "Call Ann")
    expect(page.locator("#banner")).to_contain_text("2 changes are kept here")
    expect_shown(page, "Call Ann", "Buy milk")
    page.reload()
    expect_shown(page, "Call Ann", "Buy milk")
    sign_in(page, make_token(app))
    expect(page.locator("#banner")).to_be_hidden()
    expect_sent(page)
    page.reload()
    expect_shown(page, "Call Ann", "Buy milk")


def test_revoked_token_keeps_the_list_and_typed_text(site: Site, app: Flask, url: str) -> None:
    page = site.open(url=url)
    sign_in(page, make_token(app))
    add(page, "Buy milk")
    expect_shown(page, "Buy milk")
    new_todo(page).fill("Call Ann")
    with app.app_context():
        db.session.execute(delete(Token))
        db.session.commit()
    row(page, "Buy milk").get_by_role("checkbox").focus()
    edit(page, "Buy milk")
    page.keyboard.type("Buy oats")
    page.keyboard.press("Enter")
    expect(page.locator("#banner")).to_contain_text("Your token is no longer accepted.")
    expect_shown(page, "Buy oats")
    expect(new_todo(page)).to_have_value("Call Ann")
    expect(question(page)).to_have_count(0)
    sign_in(page, make_token(app, "--expires", "3"))
    expect(page.locator("#banner")).to_be_hidden()
    page.reload()
    expect_shown(page, "Buy oats")


def test_token_is_forgotten_when_the_window_closes(site: Site, app: Flask, url: str) -> None:
    page = site.open(url=url)
    sign_in(page, make_token(app))
    expect(page.get_by_text("Nothing to do.")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Nothing to do.")).to_be_visible()
    assert page.evaluate("JSON.stringify(localStorage)").count("token") == 0
    assert page.evaluate("document.cookie") == ""
    expect(site.open(url=url).get_by_text("Sign in to see")).to_be_visible()


def test_remembered_token_is_forgotten_on_request(site: Site, app: Flask, url: str) -> None:
    page = site.open(url=url)
    sign_in(page, make_token(app), remember=True)
    add(page, "Buy milk")
    expect_shown(page, "Buy milk")
    other = site.open(url=url)
    expect_shown(other, "Buy milk")
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Sign in to see")).to_be_visible()
    expect_shown(page)
    assert page.evaluate("Object.keys(localStorage).filter(name => name.includes('token')).length") == 0
    page.reload()
    expect(page.get_by_text("Sign in to see")).to_be_visible()


def test_token_link_signs_in_and_is_removed_from_the_url(site: Site, app: Flask, url: str) -> None:
    link = make_token(app, "--page")
    assert link.startswith("http://127.0.0.1:6400/#token=")
    page = site.open(link.removeprefix("http://127.0.0.1:6400"), url=url)
    expect(page.get_by_text("Nothing to do.")).to_be_visible()
    expect(page).to_have_url(f"{url}/#/")
    expect(site.open(url=url).get_by_text("Nothing to do.")).to_be_visible()


def test_read_only_token_shows_no_controls_that_write(site: Site, app: Flask, url: str) -> None:
    writer = site.open(url=url)
    sign_in(writer, make_token(app))
    add(writer, "Buy milk")
    expect_shown(writer, "Buy milk")
    expect_sent(writer)
    page = site.open(url=url)
    sign_in(page, make_token(app, "--read-only"))
    expect_shown(page, "Buy milk")
    expect(page.get_by_text("Your token can read todos, but not change them.")).to_be_visible()
    for _ in range(2):
        expect(new_todo(page)).to_be_hidden()
        expect(row(page, "Buy milk").get_by_role("checkbox")).to_be_disabled()
        expect(row(page, "Buy milk").get_by_role("button")).to_have_count(0)
        page.get_by_text("Buy milk").click()
        expect(page.locator(".editor")).to_have_count(0)
        page.get_by_role("button", name="More actions").click()
        expect(page.locator("#complete-all")).to_be_hidden()
        page.keyboard.press("Escape")
        page.reload()
        expect_shown(page, "Buy milk")


def test_calendar_is_explained_and_no_token_is_created(site: Site, app: Flask, url: str) -> None:
    page = site.open(url=url)
    sign_in(page, make_token(app))
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("button", name="Subscribe to the calendar").click()
    dialog = page.get_by_role("dialog", name="Subscribe to the calendar")
    expect(dialog).to_contain_text("token create --feed")
    expect(dialog.get_by_label("Address")).to_have_value(f"{url}/api/v1/todos.ics")
    with app.app_context():
        assert db.session.query(Token).count() == 1
