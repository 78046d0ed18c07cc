"""What guards every answer: the names that the service goes by, its proxies, and headers for browsers."""

import re
from collections.abc import Container, Iterable
from functools import partial

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

from todo.config import PREFIX, StartupError
from todo.http import idempotency, request_id
from todo.http.problem import Fault, ValidationFailed

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
ANY = "*"
HEADERS = (
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
# What is no page is data, which no browser is to run or frame.
POLICY = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
_OF_DATA = (*HEADERS, POLICY)
# What pages of CORS_ORIGINS may send and read, besides what any page may.
SENT = ("Authorization", "Content-Type", idempotency.HEADER, "If-Match", "If-None-Match", request_id.HEADER)
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
PREFLIGHT_KEPT = 600  # seconds

_PORT = re.compile(":[0-9]*$")
_NAME = re.compile(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
_EXTENSION = "todo.trusted_hosts"


def register(app: Flask) -> None:
    """Have `app` answer only to its own names (RFC 9110, section 7.2), and guard its answers.

    Raises StartupError where a setting names no host or no origin.
    """
    trusted = app.extensions[_EXTENSION] = set(LOOPBACK)
    trust(app, app.config["HOST"])
    for name in _listed(app.config["TRUSTED_HOSTS"] or ""):
        if name != ANY and not _NAME.fullmatch(name):
            raise StartupError(
                f"TRUSTED_HOSTS has {name!r}: set it ({PREFIX}TRUSTED_HOSTS in the environment) to names "
                "without a port, such as app.example.org,.example.net."
            )
        trust(app, name)
    # Flask would read it in its own way, which knows no IPv6 address and minds the case.
    app.config["TRUSTED_HOSTS"] = None
    app.before_request(partial(_check_host, trusted))
    if proxies := app.config["PROXIES"]:
        proxied = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)
        app.wsgi_app = proxied  # type: ignore[method-assign]
    if app.config["CORS_ORIGINS"]:
        _allow_origins(app, _listed(app.config["CORS_ORIGINS"]))


def trust(app: Flask, host: str) -> None:
    """Have `app` answer to `host` too, a name or an address, or with a dot before it all names below."""
    app.extensions[_EXTENSION].add(f"[{host}]" if ":" in host and "[" not in host else host.lower())


def headers(given: Container[str]) -> Iterable[tuple[str, str]]:
    """Return what an answer that has the headers `given` is to have besides them."""
    return HEADERS if POLICY[0] in given else _OF_DATA


def _listed(text: str) -> list[str]:
    return [item for item in map(str.strip, text.lower().split(",")) if item]


def _check_host(trusted: Container[str]) -> None:
    host = request.host
    if host in trusted:
        return
    name = _PORT.sub("", host).lower()
    if name in trusted or ANY in trusted:
        return
    labels = name.split(".")
    if not any("." + ".".join(labels[number:]) in trusted for number in range(len(labels))):
        raise ValidationFailed(
            Fault(
                detail=f"The Host header must name this service, and {name[:80] or 'nothing'} is no name "
                "of it: use its own, or add this one to the setting TRUSTED_HOSTS"
            )
        )


def _allow_origins(app: Flask, origins: Iterable[str]) -> None:
    from flask_cors import CORS  # noqa: PLC0415 - few need it

    for origin in origins:
        if origin != ANY and not _ORIGIN.fullmatch(origin):
            raise StartupError(
                f"CORS_ORIGINS has {origin!r}: set it ({PREFIX}CORS_ORIGINS in the environment) to origins "
                "such as https://app.example.org,http://localhost:3000."
            )
    CORS(
        app,
        resources=r"/api/.*",
        origins=list(origins),
        methods=METHODS,
        allow_headers=SENT,
        expose_headers=EXPOSED,
        send_wildcard=True,
        max_age=PREFLIGHT_KEPT,
    )
