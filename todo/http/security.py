"""Checks of every request before its view runs: host name, proxy headers, method and path. Also CORS."""

import re
from collections.abc import Container, Iterable
from contextlib import suppress
from functools import partial
from ipaddress import IPv6Address
from typing import NoReturn

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import BadHost, MethodNotAllowed, NotFound
from werkzeug.middleware.proxy_fix import ProxyFix

from todo.config import PREFIX, StartupError
from todo.http import auth, request_id
from todo.http.problem import FieldError, ValidationFailed

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
ANY = "*"
HEADERS = (
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
# Browsers must neither execute nor frame non-HTML responses.
POLICY = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
DATA_HEADERS = (*HEADERS, POLICY)
# Response headers that pages of CORS_ORIGINS may read, besides the CORS-safelisted ones.
EXPOSED = (
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "Retry-After",
    request_id.HEADER,
    "X-Total-Count",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
PREFLIGHT_MAX_AGE = 600  # seconds
PRIVATE = "private, no-cache"
HEALTH = "api.health"

# The service parses these headers. The server limits only the total size of all headers.
MAX_HEADER = 8 * 1024
MAX_PORT = 65535
MAX_HOST = 255 + len(f":{MAX_PORT}")
PARSED_HEADERS = (
    "Accept",
    "Access-Control-Request-Headers",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Host",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Origin",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
)
_PARSED = {
    "CONTENT_TYPE" if header == "Content-Type" else f"HTTP_{header.upper().replace('-', '_')}": header
    for header in PARSED_HEADERS
}

_LABELS = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?"
_NAME = re.compile(rf"\.?{_LABELS}|\[[0-9a-f:.]+\]")
_HOST = re.compile(rf"({_LABELS}|\[[0-9a-f:.]+\])(?::([0-9]{{1,5}}))?")
# WebView on Android sends `file://`.
_ORIGIN = re.compile(rf"file://|[a-z][a-z0-9+.-]*://(?:{_LABELS}|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?")
_URL_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_EXTENSION = "todo.trusted_hosts"


def register(app: Flask) -> None:
    """Reject requests to `app` for other host names (RFC 9110, section 7.2), and set up proxies and CORS.

    Raises StartupError for an invalid host name or origin in a setting.
    """
    trusted = app.extensions[_EXTENSION] = set(LOOPBACK)
    trust(app, app.config["HOST"])
    for name in _items(app.config["TRUSTED_HOSTS"] or ""):
        if name != ANY and not _NAME.fullmatch(_normalize(name)):
            raise StartupError(
                f"TRUSTED_HOSTS has {name!r}. Set {PREFIX}TRUSTED_HOSTS to host names without a port, "
                "such as app.example.org,.example.net."
            )
        trust(app, name)
    # Flask's own check does not support IPv6 addresses and is case-sensitive.
    app.config["TRUSTED_HOSTS"] = None
    app.before_request(partial(_check_request, trusted))
    if proxies := app.config["PROXIES"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies, x_prefix=proxies
        )
    if app.config["REQUIRE_TOKEN"]:
        app.after_request(_forbid_shared_caching)
    if app.config["CORS_ORIGINS"]:
        _allow_origins(app, _items(app.config["CORS_ORIGINS"]))


def trust(app: Flask, host: str) -> None:
    """Accept the host name or address `host`. A leading dot includes all subdomains."""
    app.extensions[_EXTENSION].add(_normalize(host))


def _items(text: str) -> list[str]:
    return [item for item in map(str.strip, text.lower().split(",")) if item]


def _normalize(host: str) -> str:
    """Normalize a host name or address: lower case, no final dot, brackets around IPv6."""
    name = host.lower()
    if not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("idna").decode()
    if ":" in name:
        with suppress(ValueError):
            return f"[{IPv6Address(name.strip('[]'))}]"
    return name.removesuffix(".")


def _check_request(trusted: Container[str]) -> Response | None:
    environ = request.environ
    for name, header in _PARSED.items():
        if name in environ and len(environ[name]) > MAX_HEADER:
            _reject(f"The {header} header must have at most {MAX_HEADER} bytes")
    if request.path == "/api/v1/health":  # load balancers send an address or no Host header
        if request.method in {"GET", "HEAD"} and isinstance(request.routing_exception, BadHost):
            return current_app.make_response(current_app.view_functions[HEALTH]())  # type: ignore[arg-type]
    elif (host := environ.get("HTTP_HOST", "")) not in trusted:
        _check_host(host, trusted)
    if request.scheme not in {"http", "https"}:
        _reject("X-Forwarded-Proto must be http or https")
    if request.root_path and not _URL_PREFIX.fullmatch(request.root_path):
        _reject("X-Forwarded-Prefix must be a path such as /app")
    # Werkzeug ignores the case of methods and repeated slashes at the start. HTTP does not.
    if environ["PATH_INFO"].startswith("//"):
        raise NotFound
    if environ["REQUEST_METHOD"] != request.method and request.url_rule:
        adapter = current_app.create_url_adapter(request)
        raise MethodNotAllowed(valid_methods=adapter.allowed_methods() if adapter else ())
    return None


def _check_host(host: str, trusted: Container[str]) -> None:
    found = _HOST.fullmatch(host.lower())
    if not found or len(host) > MAX_HOST or int(found[2] or 0) > MAX_PORT:
        _reject(f"The Host header is invalid: {host[:80]}" if host else "The Host header is missing or empty")
    name = _normalize(found[1])
    if name in trusted or ANY in trusted:
        return
    labels = name.split(".")
    if not any("." + ".".join(labels[number:]) in trusted for number in range(len(labels))):
        _reject(f"Host {name[:80]} is not allowed. Add it to {PREFIX}TRUSTED_HOSTS")


def _reject(detail: str) -> NoReturn:
    raise ValidationFailed(FieldError(detail=detail))


def _forbid_shared_caching(response: Response) -> Response:
    """Forbid shared caches to store responses that depend on a token (RFC 9111, section 3.5)."""
    if not auth.is_public():
        response.headers.setdefault("Cache-Control", PRIVATE)
    return response


def _allow_origins(app: Flask, origins: Iterable[str]) -> None:
    from flask_cors import CORS  # imported here, because most services do not allow other origins

    for origin in origins:
        if origin != ANY and not _ORIGIN.fullmatch(origin):
            raise StartupError(
                f"CORS_ORIGINS has {origin!r}. Set {PREFIX}CORS_ORIGINS to origins such as "
                "https://app.example.org,http://localhost:3000."
            )
    CORS(
        app,
        resources=r"/api/.*",
        # Escaped patterns, because flask-cors would parse the brackets of an IPv6 address as a pattern.
        origins=[
            origin if origin == ANY else re.compile(rf"{re.escape(origin)}\Z", re.IGNORECASE)
            for origin in origins
        ],
        methods=METHODS,
        # Tracing libraries add many headers. The service ignores headers that it does not know.
        allow_headers=ANY,
        expose_headers=EXPOSED,
        send_wildcard=True,
        max_age=PREFLIGHT_MAX_AGE,
    )
