"""The page as an installed app that starts offline."""

import pytest
from playwright.sync_api import Page, expect

from tests.support.page import Site, add, expect_shown

pytestmark = pytest.mark.browser


def open_installed(site: Site) -> Page:
    """Open the page, and wait until its service worker controls it."""
    page = site.open(service_workers="allow")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.reload()
    assert page.evaluate("navigator.serviceWorker.controller !== null")
    return page


def test_page_fulfils_the_conditions_of_installation(site: Site) -> None:
    page = open_installed(site)
    session = page.context.new_cdp_session(page)
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # Playwright's browser profiles are private windows, which cannot install apps.
    assert [error["errorId"] for error in errors] == ["in-incognito"]
    manifest = session.send("Page.getAppManifest")
    assert manifest["errors"] == []
    assert manifest["url"] == f"{site.server.url}/manifest.webmanifest"
    assert page.locator("meta[name=theme-color]").count() == 2


def test_installed_page_starts_offline_and_saves_later(site: Site) -> None:
    site.given("Buy milk")
    page = open_installed(site)
    expect_shown(page, "Buy milk")
    page.context.set_offline(True)
    page.goto(f"{site.server.url}/")
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    add(page, "Call Ann")
    expect_shown(page, "Call Ann")
    page.close(run_before_unload=True)
    page = site._others[-1].new_page()
    page.goto(f"{site.server.url}/")
    expect_shown(page, "Call Ann")
    page.context.set_offline(False)
    expect_shown(page, "Call Ann", "Buy milk")
    expect(page.locator("#banner")).to_be_hidden()
    titles = [todo["title"] for todo in site.saved()]
    assert titles == ["Buy milk", "Call Ann"]


def test_service_worker_caches_no_response_of_the_api(site: Site) -> None:
    site.given("Buy milk")
    page = open_installed(site)
    expect_shown(page, "Buy milk")
    kept = page.evaluate(
        """async () => {
          const urls = [];
          for (const name of await caches.keys())
            for (const { url } of await (await caches.open(name)).keys()) urls.push(new URL(url).pathname);
          return urls;
        }"""
    )
    assert "/" in kept
    assert [path for path in kept if path.startswith("/api/")] == []


def test_service_worker_serves_only_the_page(site: Site) -> None:
    page = open_installed(site)
    page.context.set_offline(True)
    status = page.evaluate("fetch('/docs').then(({ status }) => status, () => 'failed')")
    assert status == "failed"
