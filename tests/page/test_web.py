"""The page as a response: headers, size, files and texts."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import todo
from tests.support.api import shared_app
from todo.views.web import MODULES

PACKAGE = Path(todo.__file__).parent
FOLDER = PACKAGE / "static" / "page"
FILES = {"icon-192.png", "icon.svg", "page.css", "page.js"}
MAX_SIZE = 90_000  # bytes of the page with all its files, without compression
FOREVER = "max-age=31536000, immutable"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml; charset=utf-8",
}
AT_THE_ROOT = {
    "/": "text/html; charset=utf-8",
    "/service-worker.js": TYPES[".js"],
    "/manifest.webmanifest": "application/manifest+json; charset=utf-8",
}


class Markup(HTMLParser):
    """The files of a page, and the elements and attributes that its policy forbids."""

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
        if address:
            self.files.append(address)


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """Return a client of a service without tokens."""
    return shared_app().test_client()


@pytest.fixture(scope="module")
def html(client: FlaskClient) -> str:
    """Return the page."""
    return client.get("/").text


@pytest.fixture(scope="module")
def files(client: FlaskClient, html: str) -> dict[str, str]:
    """Return the media types of all files of the page by their addresses."""
    folder = next(address for address in Markup(html).files if address.endswith("page.css"))[
        : -len("/page.css")
    ]
    return AT_THE_ROOT | {f"{folder}/{name}": TYPES[Path(name).suffix] for name in FILES}


def test_every_response_has_security_headers(client: FlaskClient, files: dict[str, str]) -> None:
    for path in files:
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert not re.search(r"unsafe|\*|https?:|data:", policy)
        assert policy.split("; ") == [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self'",
            "manifest-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types worker",
        ], path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_page_has_nothing_inline_and_names_no_other_host(
    client: FlaskClient, html: str, files: dict[str, str]
) -> None:
    markup = Markup(html)
    assert markup.forbidden == []
    assert [address for address in markup.files if address not in files] == []
    for address in files:
        content = client.get(address).data
        if not address.endswith((".png", ".svg")):
            names = re.sub(rb"https\?://\[\^|http://www.w3.org/2000/svg|https://www.w3.org/TR/", b"", content)
            assert not re.search(rb"https?://[a-z]|\beval\b|innerHTML|@import", names), address


def test_page_with_all_its_files_is_small(client: FlaskClient, files: dict[str, str]) -> None:
    sizes = {address: len(client.get(address).data) for address in files}
    assert sum(sizes.values()) < MAX_SIZE, sizes


def test_files_are_cached_forever_and_the_page_is_revalidated(
    client: FlaskClient, files: dict[str, str]
) -> None:
    for path in files:
        caching = "no-cache" if path in AT_THE_ROOT else FOREVER
        first = client.get(path)
        assert first.headers["Cache-Control"] == caching
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data, again.headers["Cache-Control"]) == (304, b"", caching)


def test_every_file_has_its_media_type(client: FlaskClient, files: dict[str, str]) -> None:
    assert {path: client.get(path).headers["Content-Type"] for path in files} == files


def test_file_of_another_version_or_name_is_not_found(client: FlaskClient, files: dict[str, str]) -> None:
    address = next(path for path in files if path.endswith("page.js"))
    folder = address.rpartition("/")[0]
    for path in (
        re.sub("static/[0-9a-f]+", "static/000000000000", address),
        f"{folder}/docs.js",
        f"{folder}/service-worker.js",
        f"{folder}/..%2fdocs.js",
        "/static/page/page.js",
        f"{folder}/main.js",
    ):
        assert client.get(path).status_code == 404, path


def test_page_names_the_zone_and_links_to_existing_routes() -> None:
    client = shared_app(TIMEZONE="Asia/Kolkata").test_client()
    html = client.get("/").text
    assert 'data-zone="Asia/Kolkata" data-offset="19800"' in html
    links = re.findall(r'<a href="(/[^"]*)"', html)
    assert links == ["/api/v1/todos", "/api/v1/todos.csv", "/docs"]
    for path in links:
        assert client.get(path).status_code == 200, path


def test_page_with_required_tokens_links_only_to_public_routes(files: dict[str, str]) -> None:
    client = shared_app(REQUIRE_TOKEN=True).test_client()
    links = re.findall(r'<a href="(/[^"]*)"', client.get("/").text)
    assert links == ["/api/v1/todos", "/docs"]
    for path in files:
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize("path", ["/?fbclid=x", "/manifest.webmanifest?x=1", "/service-worker.js?x=1"])
def test_page_ignores_unknown_parameters(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 200


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"


@pytest.mark.parametrize(
    ("path", "accept", "media_type"),
    [
        ("/unknown", BROWSER, "text/html"),
        ("/api/v1/unknown", BROWSER, "text/html"),
        ("/unknown", "*/*", "application/problem+json"),
        ("/unknown", "", "application/problem+json"),
        ("/unknown", "application/json", "application/problem+json"),
        ("/unknown", "application/problem+json, text/html", "application/problem+json"),
        ("/api/v1/todos/1234567", BROWSER, "application/problem+json"),
    ],
)
def test_unknown_path_is_404_in_an_accepted_media_type(
    client: FlaskClient, path: str, accept: str, media_type: str
) -> None:
    response = client.get(path, headers={"Accept": accept} if accept else {})
    assert (response.status_code, response.mimetype) == (404, media_type)
    if media_type == "text/html":
        assert "Page not found" in response.text
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Accept" in response.headers["Vary"]


def test_modules_import_what_they_use_from_earlier_modules() -> None:
    """The service joins the modules, so browsers do not check the imports."""
    exports: dict[str, str] = {}
    for module in MODULES:
        source = (FOLDER / f"{module}.js").read_text()
        imports = {
            name: other
            for names, other in re.findall(r'^import \{ (.*) \} from "\./(\w+)\.js";$', source, re.MULTILINE)
            for name in names.split(", ")
        }
        code = re.sub(r"(?s:/\*.*?\*/)|//.*|^import .*", "", source, flags=re.MULTILINE)
        used = [name for name in exports if re.search(rf"(?<![\w.#'\"]){name}\b(?!['\":])", code)]
        assert imports == {name: exports[name] for name in used}, module
        found = re.findall(r"^export (?:async )?(?:class|const|function) (\w+)", source, re.MULTILINE)
        exports |= dict.fromkeys(found, module)
    assert len(exports) > 30


def test_page_shows_texts_and_no_python_values(html: str) -> None:
    assert not re.search(r"built-in|&lt;|Undefined", html)


def test_every_text_is_in_one_place_and_used() -> None:
    texts = json.loads((PACKAGE / "templates" / "texts.json").read_text())
    sources = [path.read_text() for path in FOLDER.glob("*.js")]
    sources += [path.read_text() for path in sorted((PACKAGE / "templates").glob("*.html"))]
    sources.append((PACKAGE / "views" / "web.py").read_text())
    for key in texts["page"] | texts["script"]:
        name = next((stem for stem in ("none_", "Found") if stem in key), key)  # the rest is computed
        assert any(re.search(rf"\b{name}|{name}\b", source) for source in sources), key
    # Quoted words of the page, or words between tags, would be texts outside of texts.json.
    for source in sources[:-1]:
        assert not re.search(r'textContent = "[^"]|>[A-Z][a-z]+ [a-z]+<', source)


def test_every_text_that_the_page_names_exists() -> None:
    texts = json.loads((PACKAGE / "templates" / "texts.json").read_text())
    templates = "".join(path.read_text() for path in (PACKAGE / "templates").glob("*.html"))
    scripts = "".join(path.read_text() for path in FOLDER.glob("*.js"))
    named = {"page": set(re.findall(r"\btexts\.(\w+)", templates))}
    named["script"] = set(re.findall(r'\btext\("(\w+)"', scripts))
    assert len(named["page"]) > 40
    assert len(named["script"]) > 18
    assert {part: keys - texts[part].keys() for part, keys in named.items()} == {
        "page": set(),
        "script": set(),
    }
