"""The page at `/`, its files, its manifest and its service worker. The page uses only the public API.

The addresses of the files contain a hash of their content. So browsers cache the files forever, and all
files of a page have the same version.
"""

import hashlib
import json
import re
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable

from flask import Blueprint, Response, current_app, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.routing import Rule

from todo.clock import service_zone
from todo.http import auth, problem
from todo.http.conditional import entity_tag, with_etag

HTML = "text/html"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".png": "image/png", ".svg": "image/svg+xml"}
# Comments and indentation are a fifth of the text, and browsers ignore them.
_UNREAD = re.compile(rb"^[ \t]*(?://[^\n]*|/\*.*?\*/)?\n|^\t+|(?<=[;,]) //[^\n]*$", re.MULTILINE | re.DOTALL)
# The modules, each after the modules that it imports. The service joins them, because each request delays the
# start by about 10 ms. So their global names differ, and imports and exports are left out.
MODULES = ("store", "words", "api", "dates", "form", "dialogs", "list", "outbox", "main")
_IMPORT_EXPORT = re.compile(rb"^import .*\n|^export ", re.MULTILINE)


def _read(file: Traversable) -> bytes:
    content = file.read_bytes()
    return content if file.name.endswith(".png") else _UNREAD.sub(b"", content)


_FILES = {
    file.name: _read(file)
    for file in sorted((resources.files("todo") / "static" / "page").iterdir(), key=lambda file: file.name)
}
# The service worker needs an address at the root, because it controls only pages below its own.
_WORKER = _FILES.pop("service-worker.js")
_FILES["page.js"] = _IMPORT_EXPORT.sub(b"", b"".join(_FILES.pop(f"{name}.js") for name in MODULES))
FILES = tuple(_FILES)
VERSION = hashlib.blake2b(repr(_FILES).encode(), digest_size=6).hexdigest()
_TEXTS = json.loads((resources.files("todo") / "templates" / "texts.json").read_text(encoding="utf-8"))
# The texts of the scripts, as JSON that is safe in HTML.
_SCRIPT_TEXTS = json.dumps(_TEXTS["script"], ensure_ascii=False, separators=(",", ":")).replace(
    "<", r"\u003c"
)

_FEED = "/api/v1/todos.ics"
_DELETED = "/api/v1/todos/deleted"
_LINKS = {"export": "/api/v1/todos.csv", "docs": "/docs"}

_HEADERS = {
    # A service worker can only be registered through a Trusted Types policy, which is named `worker`.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types worker",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}

web = Blueprint("web", __name__)


@web.get("/")
@auth.public
def show_page() -> Response:
    """Show the page for people."""
    return _send(_render_page(), HTML, "no-cache")


@web.get("/manifest.webmanifest")
@auth.public
def show_manifest() -> Response:
    """Describe the page as an app that can be installed."""
    page = url_for("web.show_page")
    icon = {"src": _file_url("icon-192.png"), "sizes": "192x192", "type": "image/png"}
    manifest = {
        "id": page,
        "name": _TEXTS["page"]["title"],
        "short_name": _TEXTS["page"]["title"],
        "description": _TEXTS["page"]["about"],
        "start_url": page,
        "scope": page,
        "display": "standalone",
        "background_color": "#f4f4f1",
        "theme_color": "#33507a",
        "icons": [
            {"src": _file_url("icon.svg"), "sizes": "any", "type": "image/svg+xml"},
            icon | {"purpose": "any"},
            icon | {"purpose": "maskable"},
        ],
    }
    return _send(json.dumps(manifest).encode(), "application/manifest+json", "no-cache")


@web.get("/service-worker.js")
@auth.public
def get_worker() -> Response:
    """Get the script that caches the files of the page for offline use."""
    version = entity_tag([_render_page()])
    files = [_file_url(name) for name in FILES]
    constants = f"const VERSION = {version};\nconst FILES = {json.dumps(files)};\n"
    return _send(constants.encode() + _WORKER, "text/javascript", "no-cache")


@web.get(f"/static/<any('{VERSION}'):version>/<any({', '.join(map(repr, FILES))}):file>")
@auth.public
def get_file(version: str, file: str) -> Response:  # only the current version exists
    """Get a file of the page for people."""
    media_type = _TYPES[file[file.rindex(".") :]]
    return _send(_FILES[file], media_type, "max-age=31536000, immutable")


@web.app_errorhandler(NotFound)
def show_not_found(error: NotFound) -> Response:
    """Return a page to browsers for an unknown path. Other clients get a problem (RFC 9457)."""
    accepted = request.accept_mimetypes
    if accepted.best_match([problem.MEDIA_TYPE, "application/json", HTML]) != HTML:
        return problem.to_response(error)
    html = render_template("not-found.html", texts=_TEXTS["page"], version=VERSION)
    response = _send(html.encode(), HTML, "no-store")
    response.status_code = 404
    response.vary.add("Accept")
    return response


def _render_page() -> bytes:
    opened = {rule.rule for rule in current_app.url_map.iter_rules() if _opens(rule)}
    rules = {rule.rule for rule in current_app.url_map.iter_rules()}
    offset = datetime.now(service_zone()).utcoffset()
    html = render_template(
        "page.html",
        version=VERSION,
        zone=current_app.config["TIMEZONE"],
        # For browsers that do not know the zone.
        offset=int(offset.total_seconds()) if offset else 0,
        texts=_TEXTS["page"],
        script_texts=_SCRIPT_TEXTS,
        links={name: path for name, path in _LINKS.items() if path in opened},
        feed=_FEED if _FEED in rules else None,
        has_deleted=_DELETED in rules,
        needs_token=current_app.config["REQUIRE_TOKEN"],
    )
    return _UNREAD.sub(b"", html.encode())


def _file_url(name: str) -> str:
    return url_for("web.get_file", version=VERSION, file=name)


def _opens(rule: Rule) -> bool:
    """Return True if a link can lead to the route, although links carry no token."""
    view = current_app.view_functions[rule.endpoint]
    return hasattr(view, "is_public") or not current_app.config["REQUIRE_TOKEN"]


def _send(content: bytes, media_type: str, caching: str) -> Response:
    headers = _HEADERS | {"Cache-Control": caching}
    charset = "" if media_type == "image/png" else "; charset=utf-8"
    response = Response(content, headers=headers, content_type=media_type + charset)
    return with_etag(response, entity_tag([content]))
