"""The page behind nginx with compression, which changes the entity tags."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect

from tests.support.nginx import nginx
from tests.support.page import Site, before_next, expect_shown, retitle, row, try_now
from tests.support.server import Server

pytestmark = pytest.mark.browser

COMPRESSION = "gzip on; gzip_proxied any; gzip_min_length 0; gzip_types application/json;"


@pytest.fixture(scope="module")
def compressing(server: Server) -> Iterator[str]:
    """Run nginx in front of the service, with compression."""
    with nginx(server.port, directives=COMPRESSION) as port:
        yield f"http://127.0.0.1:{port}"


def test_todo_behind_compressing_nginx_is_saved_with_three_requests(site: Site, compressing: str) -> None:
    site.given({"title": "Buy milk", "description": "Two litres " * 5})
    page = site.open(url=compressing)
    expect_shown(page, "Buy milk")
    writes: list[str] = []
    page.on(
        "request",
        lambda request: writes.append(request.method) if re.search(r"todos/\d+$", request.url) else None,
    )
    tags: list[str] = []
    page.on("response", lambda response: tags.append(response.headers.get("etag", "")))
    row(page, "Buy milk").get_by_role("checkbox").click()
    site.expect_saved({"title": "Buy milk", "completed": True})
    expect(page.get_by_role("status").filter(has_text="Completed")).not_to_have_count(0)
    assert writes == ["GET", "PATCH"]
    assert any(tag.startswith("W/") for tag in tags)


@pytest.mark.parametrize("suffix", ["-gzip", "-br", "--gzip", ";gzip", "-zstd"])
def test_tag_with_the_suffix_of_an_encoding_is_sent_without_it(site: Site, suffix: str) -> None:
    site.given("Buy milk")
    page = site.open()
    expect_shown(page, "Buy milk")

    def mark(route: Route) -> None:
        response = route.fetch()
        route.fulfill(
            response=response,
            headers=response.headers | {"etag": f'{response.headers["etag"][:-1]}{suffix}"'},
        )

    before_next(page, "GET", mark)
    retitle(page, "Buy milk", "Buy oats")
    site.expect_saved("Buy oats")


def test_repeatedly_refused_write_is_retried_with_pauses(site: Site) -> None:
    """A proxy with its own tags must not cause an endless loop of requests."""
    site.given("Buy milk")
    page = site.open_with_clock("2030-05-14T12:00:00Z")
    expect_shown(page, "Buy milk")
    page.clock.pause_at("2030-05-14T13:00:00Z")
    requests: list[str] = []

    def distort(route: Route) -> None:
        requests.append(route.request.method)
        response = route.fetch()
        headers = response.headers | ({"etag": '"other"'} if "etag" in response.headers else {})
        route.fulfill(response=response, headers=headers)

    page.route(re.compile(r"/todos/\d+$"), distort)
    row(page, "Buy milk").get_by_role("checkbox").click()
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    assert requests == ["GET", "PATCH", "GET"]
    page.clock.run_for(900)
    assert requests == ["GET", "PATCH", "GET"]
    page.unroute(re.compile(r"/todos/\d+$"))
    try_now(page)
    site.expect_saved({"completed": True})
