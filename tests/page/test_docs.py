from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect

from tests.support.api import SharedAppTest
from tests.support.browser import CHROMIUM, NONE, chromium
from tests.support.server import Server


class TestDocs(SharedAppTest):
    @pytest.mark.parametrize("path", ["/docs", "/docs/docs.css", "/docs/docs.js", "/docs/swagger-ui.css"])
    def test_docs_files_are_revalidated_with_304(self, path: str) -> None:
        first = self.client.get(path)
        again = self.client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
        assert again.headers["Cache-Control"] == "no-cache"

    def test_docs_policy_forbids_inline_scripts(self) -> None:
        policy = self.client.get("/docs").headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self';" in policy


@pytest.mark.skipif(not CHROMIUM, reason=NONE)
@pytest.mark.browser
class TestDocsInABrowser:
    def test_docs_run_operations_without_contacting_another_host(self) -> None:
        with Server() as server, chromium() as browser:
            page = browser.new_page()
            hosts: set[str | None] = set()
            faults: list[str] = []
            page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda message: _note(message, faults))
            page.goto(f"{server.url}/docs")
            expect(page.get_by_role("heading", name="Todo API")).to_be_visible()
            self.create(page)
            assert [todo["title"] for todo in server.request("GET", "/api/v1/todos").json] == ["Buy milk"]
            assert {urlsplit(server.url).netloc} == hosts - {""}
            assert faults == []

    def test_docs_show_only_operations_of_the_api(self) -> None:
        with Server() as server, chromium() as browser:
            page = browser.new_page()
            page.goto(f"{server.url}/docs")
            expect(page.locator("#operations-Todos-list_todos")).to_be_visible()
            methods = set(page.locator(".opblock-summary-method").all_inner_texts())
            assert {"GET", "POST", "PUT", "PATCH", "DELETE"} == methods
            assert "/docs/{asset}" not in page.locator("#docs").inner_text()

    def test_docs_fit_a_phone_in_light(self) -> None:
        self.check_phone("light", "rgba(0, 0, 0, 0)")

    def test_docs_fit_a_phone_in_dark(self) -> None:
        self.check_phone("dark", "rgb(28, 32, 34)")

    def check_phone(self, colors: Literal["light", "dark"], background: str) -> None:
        with Server() as server, chromium() as browser:
            page = browser.new_page(viewport={"width": 360, "height": 800}, color_scheme=colors)
            page.goto(f"{server.url}/docs")
            operation = page.locator("#operations-Todos-list_todos")
            operation.get_by_role("button").first.click()
            field = operation.get_by_placeholder("window")
            expect(field).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            box = field.bounding_box()
            assert (box["width"] if box else 0) > 200
            assert background == page.evaluate("getComputedStyle(document.body).backgroundColor")

    def create(self, page: Page) -> None:
        """Send the example of a new todo."""
        operation = page.locator("#operations-Todos-create_todo")
        operation.get_by_role("button").first.click()
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table tbody .response-col_status")).to_contain_text("201")


def _note(message: ConsoleMessage, faults: list[str]) -> None:
    if message.type in {"error", "warning"}:
        faults.append(message.text)
