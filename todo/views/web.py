"""The page at `/`, a client of the API like any other, and the files that it is made of.

Their addresses name their content. So a browser keeps them for ever, and a module that imports
`./api.js` gets the one that it was written with.
"""

import hashlib
import json
from importlib import resources

from flask import Blueprint, Response, current_app, render_template
from werkzeug.routing import Rule

from todo.http import auth
from todo.http.conditional import entity_tag, with_etag

_TYPES = {".css": "text/css", ".js": "text/javascript"}
_FILES = {
    file.name: (file.read_bytes(), _TYPES[file.name[file.name.rindex(".") :]])
    for file in sorted((resources.files("todo") / "static" / "page").iterdir(), key=lambda file: file.name)
}
FILES = tuple(_FILES)
VERSION = hashlib.blake2b(repr(_FILES).encode(), digest_size=6).hexdigest()
_TEXTS = json.loads((resources.files("todo") / "templates" / "texts.json").read_text(encoding="utf-8"))
# Those that the scripts say, as JSON that can stand in HTML.
_SCRIPT_TEXTS = json.dumps(_TEXTS["script"], ensure_ascii=False, separators=(",", ":")).replace(
    "<", r"\u003c"
)

# The page links to those that are there.
_LINKS = {"docs": "/docs", "calendar": "/api/v1/todos.ics", "export": "/api/v1/todos.csv"}

_HEADERS = {
    # The only picture is the icon, which is part of the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}

web = Blueprint("web", __name__)


@web.get("/")
@auth.public
def show_page() -> Response:
    """Show the page for people."""
    there = {rule.rule for rule in current_app.url_map.iter_rules() if _opens(rule)}
    html = render_template(
        "page.html",
        version=VERSION,
        zone=current_app.config["TIMEZONE"],
        texts=_TEXTS["page"],
        script_texts=_SCRIPT_TEXTS,
        links={name: path for name, path in _LINKS.items() if path in there},
    ).encode()
    return _send(html, "text/html", "no-cache")


@web.get(f"/static/<any('{VERSION}'):version>/<any({', '.join(map(repr, FILES))}):file>")
@auth.public
def get_file(version: str, file: str) -> Response:  # there is one version
    """Get a file of the page for people."""
    return _send(*_FILES[file], "max-age=31536000, immutable")


def _opens(rule: Rule) -> bool:
    """Tell whether a link can lead there, which takes no token along."""
    view = current_app.view_functions[rule.endpoint]
    return hasattr(view, "is_public") or not current_app.config["REQUIRE_TOKEN"]


def _send(content: bytes, media_type: str, caching: str) -> Response:
    headers = _HEADERS | {"Cache-Control": caching}
    response = Response(content, headers=headers, content_type=f"{media_type}; charset=utf-8")
    return with_etag(response, entity_tag(content))
