"""The OpenAPI description as a page to read and try out: Swagger UI, each file of it served from here."""

from functools import cache
from importlib import resources

from flask import Blueprint, Response

from todo.http import auth, parameters
from todo.http.conditional import entity_tag, tagged

_OURS = resources.files("todo") / "static"
_SWAGGER_UI = resources.files("flask_swagger_ui") / "dist"
PAGE = "docs.html"
ASSETS = ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
_FILES = {
    PAGE: (_OURS / PAGE, "text/html"),
    "docs.js": (_OURS / "docs.js", "text/javascript"),
    "swagger-ui-bundle.js": (_SWAGGER_UI / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": (_SWAGGER_UI / "swagger-ui.css", "text/css"),
}
_HEADERS = {
    # The style sheet has its pictures as data: URLs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}

docs = Blueprint("docs", __name__)
docs.before_request(parameters.refuse)


@docs.get("/docs")
@auth.public
def show_docs() -> Response:
    """Show this description as a page on which every operation can be tried."""
    return _send(PAGE)


@docs.get(f"/docs/<any({', '.join(map(repr, ASSETS))}):asset>")
@auth.public
def get_asset(asset: str) -> Response:
    """Get a file of the page."""
    return _send(asset)


def _send(name: str) -> Response:
    content, tag = _read(name)
    response = Response(content, headers=_HEADERS, content_type=f"{_FILES[name][1]}; charset=utf-8")
    return tagged(response, tag)


@cache
def _read(name: str) -> tuple[bytes, str]:
    content = _FILES[name][0].read_bytes()
    return content, entity_tag(content)
