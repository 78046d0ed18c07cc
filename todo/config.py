"""The settings. Each one is read from the environment variable `TODO_<NAME>`."""

import os
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import click
from flask import Flask
from sqlalchemy import URL

PREFIX = "TODO_"
ZONE_LINK = Path("/etc/localtime")


class Setting(NamedTuple):
    """A setting. A value in the environment must have the type of `default`."""

    name: str
    default: str | int | bool
    help: str


SETTINGS = (
    Setting(
        "SQLALCHEMY_DATABASE_URI",
        "sqlite:///db.sqlite",
        "Database URL: a SQLite file (a relative path is below `instance/`), `postgresql://user@host/name` "
        "or `mariadb://user@host/name`.",
    ),
    Setting(
        "TIMEZONE",
        "UTC",
        "Time zone of `deadline_at`, a name of the tz database such as `Australia/Brisbane`.",
    ),
    Setting("BUSY_TIMEOUT", 5000, "Maximum wait for a lock on a SQLite database, in milliseconds. Then 503."),
    Setting(
        "STATEMENT_TIMEOUT",
        10000,
        "Maximum time of a statement on a database server, in milliseconds. Then 503.",
    ),
    Setting(
        "CONNECT_TIMEOUT",
        3000,
        "Maximum time to connect to a database server, in milliseconds. Then 503.",
    ),
    Setting("POOL_SIZE", 15, "Maximum number of database connections per worker."),
    Setting("RESPONSE_CACHE", 32, "Size of the response cache of each worker, in MiB. 0 turns it off."),
    Setting(
        "TRASH_DAYS", 30, "Number of days for which a deleted todo can be restored. 0 turns restoring off."
    ),
    Setting("REQUIRE_IF_MATCH", False, "Require `If-Match` on PUT, PATCH and DELETE."),
    Setting("REQUIRE_TOKEN", False, "Require a token from clients (`flask --app todo token create NAME`)."),
    Setting(
        "TRUSTED_HOSTS",
        "",
        "Host names of the service, in addition to `localhost` and `TODO_HOST`: `a.example,.b.example`. "
        "`*` allows all.",
    ),
    Setting("PROXIES", 0, "Number of trusted reverse proxies, whose `X-Forwarded-*` headers are used."),
    Setting("CORS_ORIGINS", "", "Origins whose pages may use the API: `https://a.example`. `*` allows all."),
    Setting(
        "RATE_LIMIT",
        "",
        "Maximum number of requests per client, such as `100/minute;5000/day`. Then 429.",
    ),
    Setting(
        "RATE_LIMIT_STORAGE",
        "",
        "URL of the Redis server in which all workers count requests together: `redis://host:6379`. "
        "Without it each worker counts separately.",
    ),
    Setting("HOST", "127.0.0.1", "Address on which `serve` listens."),
    Setting("PORT", 6400, "Port on which `serve` listens."),
    Setting(
        "HTTP2",
        False,
        "Also serve HTTP/2 without TLS. Only for a trusted proxy: slow HTTP/2 streams can hold all threads.",
    ),
    Setting(
        "LOG_FORMAT",
        "text",
        "Format of the log of `serve`: `text` or `json` with a line per request, or `off` for errors only.",
    ),
    Setting("WORKERS", 0, "Number of worker processes of `serve`. 0 means one per core."),
    Setting(
        "PIN_WORKERS",
        True,
        "Pinning of each worker to a core, if the numbers of workers and cores are equal.",
    ),
)

# Kubernetes sets these variables in every container for a Service named `todo` or `todo-...`:
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
_KUBERNETES = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://[^/]+:[0-9]+")


class StartupError(click.ClickException):
    """The service cannot start. The message says why and what to do.

    Flask's command line prints the message instead of a traceback.
    """


def data_folder() -> str | None:
    """Return the data folder of an installed service, or None in a checkout, where Flask uses `instance/`."""
    if Path(__file__).parents[1].name not in {"site-packages", "dist-packages"}:
        return None
    from platformdirs import user_data_dir  # imported here, because a checkout does not need the module

    return user_data_dir("todo-service", appauthor=False)


def configure(app: Flask, overrides: Mapping[str, Any]) -> None:
    """Fill `app.config` from the defaults, the environment and `overrides`, which take precedence.

    Raises StartupError for an unknown `TODO_` variable or an invalid value.
    """
    settings = {setting.name: setting for setting in SETTINGS}
    app.config.from_mapping({setting.name: setting.default for setting in SETTINGS})
    ignored = []
    for variable, text in os.environ.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX)
            if _KUBERNETES.fullmatch(name) or (name.endswith("PORT") and _KUBERNETES_PORT.fullmatch(text)):
                ignored.append(variable)
            elif name not in settings:
                known = ", ".join(PREFIX + known for known in settings)
                raise StartupError(f"{variable} is not a setting. Unset it, or use one of {known}.")
            else:
                app.config[name] = _parse(variable, text, settings[name])
    app.config.from_mapping(overrides)
    for name in settings:
        value = app.config[name]
        if (
            isinstance(value, str) and value != value.strip()
        ):  # the message omits the value, because it may be a secret
            raise StartupError(f"{name} has white space at its start or end. Remove it from {PREFIX}{name}.")
    app.config["SQLALCHEMY_DATABASE_URI"] = _expand(app.config["SQLALCHEMY_DATABASE_URI"])
    app.extensions["todo.ignored_variables"] = sorted(ignored)
    app.extensions["todo.zone"] = _zone(app.config["TIMEZONE"])


def without_secrets(url: URL) -> str:
    """Return the URL without the password and the query, which may contain a password too."""
    return url.set(query={}).render_as_string()


def machine_zone() -> str | None:
    """Return the name of the time zone of this machine, or None if it is unknown."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name and ZONE_LINK.is_symlink():
        name = str(ZONE_LINK.resolve()).partition("zoneinfo/")[2]
    return name if name in zone_names() else None


def _parse(variable: str, text: str, setting: Setting) -> str | int | bool:
    if isinstance(setting.default, str):
        return text
    if isinstance(setting.default, bool):
        if text not in {"true", "false"}:
            raise StartupError(f"{variable} is {text!r}. Set it to true or false.")
        return text == "true"
    if not (text.isascii() and text.isdecimal()):
        raise StartupError(f"{variable} is {text!r}. Set it to a whole number, such as {setting.default}.")
    return int(text)


def _expand(uri: Any) -> Any:
    """Expand `~` and variables such as `$HOME` in the path of a SQLite file."""
    found = re.fullmatch(r"(sqlite[^:]*:///)([^?]*)(.*)", uri) if isinstance(uri, str) else None
    if found is None:
        return uri
    path = os.path.expandvars(os.path.expanduser(found[2]))  # noqa: PTH111
    return f"{found[1]}{path}{found[3]}"


def _zone(name: str) -> ZoneInfo:
    if name not in zone_names():
        raise StartupError(
            f"TIMEZONE is {name[:80]!r}. Set {PREFIX}TIMEZONE to a name of the tz database, "
            "such as Europe/Berlin."
        )
    return ZoneInfo(name)


@cache
def zone_names() -> frozenset[str]:
    """Return the names of the tz database, without aliases such as `posix/Europe/Berlin`."""
    return frozenset((resources.files("tzdata") / "zones").read_text().split()) - {"Factory"}
