"""The page at `/` as an answer: its headers, its size, its files, its texts."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import todo
from tests.support.api import KeptAppTest, kept_app

PACKAGE = Path(todo.__file__).parent
MODULES = sorted((PACKAGE / "static" / "page").glob("*.js"))
MAX_SIZE = 60_000  # bytes, of the page with all its files
EVER = "max-age=31536000, immutable"


class Markup(HTMLParser):
    """What is found in a page: its files, and the elements and attributes that its policy forbids."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.files: list[str] = []
        self.forbidden: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.forbidden += [name for name in attributes if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and not {"src", "type"} & set(attributes)):
            self.forbidden.append(tag)
        address = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if address and not address.startswith("data:"):
            self.files.append(address)


class TestWeb(KeptAppTest):
    def html(self) -> str:
        response = self.client.get("/")
        self.assertEqual(200, response.status_code)
        self.assertEqual("text/html; charset=utf-8", response.headers["Content-Type"])
        return response.text

    def files(self) -> dict[str, bytes]:
        """Every file of the page by its address, those that are read later included."""
        folder = Markup(self.html()).files[0].rpartition("/")[0]
        names = [path.name for path in (PACKAGE / "static" / "page").iterdir()]
        return {f"{folder}/{name}": self.client.get(f"{folder}/{name}").data for name in names}

    def test_every_response_has_security_headers(self) -> None:
        for path in ("/", *self.files()):
            with self.subTest(path):
                headers = self.client.get(path).headers
                policy = headers["Content-Security-Policy"]
                self.assertTrue(policy.startswith("default-src 'none'; "))
                self.assertNotRegex(policy, r"unsafe|\*|https?:")
                for directive in (
                    "script-src 'self'",
                    "style-src 'self'",
                    "connect-src 'self'",
                    "base-uri 'none'",
                    "form-action 'none'",
                    "frame-ancestors 'none'",
                    "require-trusted-types-for 'script'",
                ):
                    self.assertIn(directive, policy.split("; "))
                self.assertEqual("nosniff", headers["X-Content-Type-Options"])
                self.assertEqual("no-referrer", headers["Referrer-Policy"])
                self.assertEqual("same-origin", headers["Cross-Origin-Opener-Policy"])
                self.assertEqual("same-origin", headers["Cross-Origin-Resource-Policy"])

    def test_page_has_no_inline_code_and_no_other_host(self) -> None:
        markup = Markup(self.html())
        self.assertEqual([], markup.forbidden)
        self.assertEqual([], [address for address in markup.files if not address.startswith("/static/")])
        for address, content in self.files().items():
            self.assertNotRegex(content.decode(), r"https?://|\beval\b|innerHTML|@import", address)

    def test_page_size_is_bounded(self) -> None:
        files = self.files()
        self.assertEqual(len(list((PACKAGE / "static" / "page").iterdir())), len(files))
        self.assertLess(len(self.html().encode()) + sum(map(len, files.values())), MAX_SIZE)

    def test_files_are_cached_forever_and_the_page_is_revalidated(self) -> None:
        for path, caching in {"/": "no-cache", **dict.fromkeys(self.files(), EVER)}.items():
            with self.subTest(path):
                first = self.client.get(path)
                self.assertEqual(caching, first.headers["Cache-Control"])
                again = self.client.get(path, headers={"If-None-Match": first.headers["ETag"]})
                self.assertEqual((304, b""), (again.status_code, again.data))
                self.assertEqual(caching, again.headers["Cache-Control"])

    def test_files_have_their_media_types(self) -> None:
        types = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
        for path in self.files():
            self.assertEqual(types[Path(path).suffix], self.client.get(path).headers["Content-Type"], path)

    def test_unknown_version_or_file_is_404(self) -> None:
        address = next(iter(self.files()))
        for path in (
            re.sub("static/[0-9a-f]+", "static/000000000000", address),
            f"{address.rpartition('/')[0]}/docs.js",
            f"{address.rpartition('/')[0]}/..%2fdocs.js",
            "/static/page/main.js",
        ):
            self.assertEqual(404, self.client.get(path).status_code, path)

    def test_page_names_the_zone_and_links_to_existing_routes(self) -> None:
        html = kept_app(TIMEZONE="Australia/Brisbane").test_client().get("/").text
        self.assertIn('data-zone="Australia/Brisbane"', html)
        for path in re.findall(r'<a href="(/[^"]*)"', html):
            self.assertEqual(200, self.client.get(path).status_code, path)
        self.assertEqual(3, html.count('<a href="/'))

    def test_page_with_tokens_required_links_to_public_routes_only(self) -> None:
        client = kept_app(REQUIRE_TOKEN=True).test_client()
        links = re.findall(r'<a href="(/[^"]*)"', client.get("/").text)
        self.assertEqual(["/docs"], links)
        for path in ("/", *links, *self.files()):
            self.assertEqual(200, client.get(path).status_code, path)

    def test_page_without_javascript_says_what_it_needs(self) -> None:
        self.assertRegex(self.html(), "<noscript>.*needs JavaScript.*</noscript>")

    def test_every_text_is_defined_once_and_used(self) -> None:
        texts = json.loads((PACKAGE / "templates" / "texts.json").read_text())
        sources = [path.read_text() for path in MODULES]
        sources.append((PACKAGE / "templates" / "page.html").read_text())
        sources.append((PACKAGE / "views" / "web.py").read_text())
        for key in texts["page"] | texts["script"]:
            name = "none_" if key.startswith("none_") else key  # with the name of a view behind it
            self.assertTrue(any(re.search(rf"\b{name}", source) for source in sources), key)
        # Words of the page in quotes, or between tags, would be texts elsewhere.
        for source in sources[:-1]:
            self.assertNotRegex(source, r'textContent = "[^"]|>[A-Z][a-z]+ [a-z]+<')
