"""The service below the prefix /todo/ of nginx, which removes the prefix and sends X-Forwarded-Prefix."""

import re
import textwrap
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest
from playwright.sync_api import expect

from tests.support.nginx import nginx
from tests.support.page import TODOS, Site, add, expect_shown
from tests.support.server import ROOT, Answer, Server, request

OPERATIONS = (ROOT / "docs/operations.md").read_text()

# The location in the documentation.
LOCATION = textwrap.dedent(re.search(r"(?ms)^    location /todo/ \{.*?^    \}", OPERATIONS).group())  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run the service with one trusted proxy."""
    with Server(TODO_PROXIES="1") as running:
        yield running


@pytest.fixture(scope="module")
def port(server: Server) -> Iterator[int]:
    """Run nginx in front of the service, at /todo/ and at /."""
    location = LOCATION.replace("127.0.0.1:6400", f"127.0.0.1:{server.port}")
    with nginx(server.port, directives=location) as listening:
        yield listening


def call(port: int, method: str, path: str, body: object = None) -> Answer:
    return request(port, method, path, body)


@pytest.mark.server
@pytest.mark.parametrize("root", ["", "/todo"])
def test_links_of_the_api_begin_with_the_prefix(port: int, root: str) -> None:
    created = call(port, "POST", f"{root}{TODOS}", {"title": "Buy milk", "deadline_at": "2027-01-31"})
    path = f"{root}{TODOS}/{created.json['id']}"
    assert (created.status, created.headers["Location"]) == (201, path)
    assert call(port, "GET", path).json == created.json
    call(port, "POST", f"{root}{TODOS}", {"title": "Buy bread"})
    for _ in range(2):  # the second response is from the cache
        page = call(port, "GET", f"{root}{TODOS}?limit=1")
        link = page.headers["Link"].partition(">")[0].removeprefix("<")
        assert link.startswith(f"http://127.0.0.1:{port}{path.rpartition('/')[0]}?")
        document = call(port, "GET", f"{root}/api/v1/openapi.json").json
        assert document["servers"] == [{"url": f"http://127.0.0.1:{port}{root}"}]
    assert call(port, "GET", link.removeprefix(f"http://127.0.0.1:{port}")).json[0]["title"] == "Buy bread"
    missing = call(port, "GET", f"{root}{TODOS}/")
    assert missing.json["detail"].endswith(f"Did you mean {root}{TODOS}?")


@pytest.mark.server
@pytest.mark.parametrize("root", ["", "/todo"])
def test_reference_web_client_creates_and_completes_a_todo(port: int, root: str) -> None:
    """The browser client of the course that the reference design comes from sends exactly these bodies."""
    body = {
        "title": "Prepare the exam",
        "description": "",
        "completed": False,
        "deadline_at": "2026-12-24 00:00:00.000",
    }
    created = call(port, "POST", f"{root}{TODOS}", body)
    assert (created.status, created.json["deadline_at"]) == (201, "2026-12-24T00:00:00")
    completed = call(port, "PUT", f"{root}{TODOS}/{created.json['id']}", {"completed": True})
    assert (completed.status, completed.json["completed"]) == (200, True)
    assert completed.json["title"] == "Prepare the exam"


@pytest.mark.browser
def test_page_and_documentation_work_below_the_prefix(site: Site, port: int) -> None:
    address = f"http://127.0.0.1:{port}"
    failed: list[str] = []
    page = site.open("/todo/", url=address)
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.on("request", lambda sent: None if "/todo/" in sent.url else failed.append(sent.url))
    add(page, "Buy milk")
    site.expect_saved("Buy milk")
    page.reload()
    expect_shown(page, "Buy milk")
    page.get_by_role("button", name="More actions").click()
    addresses = [link.get_attribute("href") or "" for link in page.locator("#menu a").all()]
    addresses += [element.get_attribute("data-path") or "" for element in page.locator("[data-path]").all()]
    for path in addresses:
        assert path.startswith(("/todo/", "#/")), path
        assert page.request.get(urljoin(page.url, path)).status == 200
    manifest = page.request.get(f"{address}/todo/manifest.webmanifest").json()
    assert (manifest["start_url"], manifest["scope"]) == ("/todo/", "/todo/")
    assert page.request.get(address + manifest["icons"][0]["src"]).status == 200
    assert page.request.get(f"{address}/todo/service-worker.js").status == 200
    page.goto(f"{address}/todo/docs")
    operation = page.locator("#operations-Todos-list_todos")
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".request-url")).to_contain_text(f"{address}/todo{TODOS}")
    expect(operation.locator(".live-responses-table")).to_contain_text("Buy milk")
    assert failed == []
