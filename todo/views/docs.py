"""Documentation for people: Swagger UI, and a page for each problem type."""

import re
from functools import cache
from html import escape
from http import HTTPStatus
from importlib import resources

from flask import Blueprint, Response

from todo.http import auth
from todo.http.conditional import entity_tag, with_etag
from todo.http.problem import TYPES

_OURS = resources.files("todo") / "static"
_SWAGGER_UI = resources.files("flask_swagger_ui") / "dist"
PAGE = "docs.html"
ASSETS = ("docs.css", "docs.js", "swagger-ui-bundle.js", "swagger-ui.css")
_FILES = {
    PAGE: (_OURS / PAGE, "text/html"),
    "docs.css": (_OURS / "docs.css", "text/css"),
    "docs.js": (_OURS / "docs.js", "text/javascript"),
    "swagger-ui-bundle.js": (_SWAGGER_UI / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": (_SWAGGER_UI / "swagger-ui.css", "text/css"),
}
_HEADERS = {
    # The style sheet contains images as data: URLs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
_CODE = re.compile("`(.+?)`")
PROBLEM_PAGES = {problem_type.name: status for status, problem_type in TYPES.items()}

docs = Blueprint("docs", __name__)


@docs.get("/docs")
@auth.public
def show_docs() -> Response:
    """Show the OpenAPI document as a page with a form to try every operation."""
    return _send(PAGE)


@docs.get(f"/docs/<any({', '.join(map(repr, ASSETS))}):asset>")
@auth.public
def get_asset(asset: str) -> Response:
    """Get a file of the documentation page."""
    return _send(asset)


@docs.get(f"/problems/<any({', '.join(map(repr, PROBLEM_PAGES))}):problem>")
@auth.public
def show_problem(problem: str) -> Response:
    """Explain a problem type, the `type` of an error response."""
    status = PROBLEM_PAGES[problem]
    problem_type = TYPES[status]
    detail = _CODE.sub(r"<code>\1</code>", escape(problem_type.detail))
    page = (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        f"<meta name=viewport content='width=device-width'>\n<title>{escape(problem_type.title)}</title>\n"
        f"<h1>{escape(problem_type.title)}</h1>\n<p>Status {status} {HTTPStatus(status).phrase}.\n"
        f"<p>{detail}\n"
        "<p>The members <code>detail</code> and <code>errors</code> of the response name the cause.\n"
        "<p><a href='../docs'>Documentation of the API</a>\n"
    ).encode()
    response = Response(page, headers={"Cache-Control": "no-cache"}, mimetype="text/html")
    return with_etag(response, entity_tag([page]))


def _send(name: str) -> Response:
    content, tag = _read(name)
    response = Response(content, headers=_HEADERS, content_type=f"{_FILES[name][1]}; charset=utf-8")
    return with_etag(response, tag)


@cache
def _read(name: str) -> tuple[bytes, str]:
    content = _FILES[name][0].read_bytes()
    return content, entity_tag([content])
