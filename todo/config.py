"""The settings: one row each, read from the environment as `TODO_<NAME>`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import click
from flask import Flask

PREFIX = "TODO_"


class Setting(NamedTuple):
    """A setting: the type of `default` is the type that a value in the environment must have."""

    name: str
    default: str | int | bool
    help: str


SETTINGS = (
    Setting(
        "SQLALCHEMY_DATABASE_URI",
        "sqlite:///db.sqlite",
        "The database: a SQLite file (a relative path is below `instance/`), `postgresql://user@host/name` "
        "or `mariadb://user@host/name`.",
    ),
    Setting(
        "TIMEZONE", "UTC", "The zone of `deadline_at`, as the tz database names it: `Australia/Brisbane`."
    ),
    Setting("BUSY_TIMEOUT", 5000, "Milliseconds to wait for a lock on the database before answering 503."),
    Setting(
        "STATEMENT_TIMEOUT",
        10000,
        "Milliseconds that a statement may take on a server, or the answer is 503.",
    ),
    Setting(
        "CONNECT_TIMEOUT", 3000, "Milliseconds that a connection to a server may take, or the answer is 503."
    ),
    Setting(
        "POOL_SIZE",
        15,
        "The most connections of a process to the database; each request takes one for its statements.",
    ),
    Setting("RESPONSE_CACHE", 32, "Size of the response cache of each worker, in MiB; 0 turns it off."),
    Setting("REQUIRE_IF_MATCH", False, "Whether PUT, PATCH and DELETE must send `If-Match`."),
    Setting(
        "REQUIRE_TOKEN", False, "Whether clients must send a token (`flask --app todo token create NAME`)."
    ),
    Setting(
        "TRUSTED_HOSTS",
        "",
        "Names that clients may call the service by, besides this machine's own and `TODO_HOST`: "
        "`a.example,.b.example`; `*` is any.",
    ),
    Setting("PROXIES", 0, "How many proxies stand in front, whose `X-Forwarded-*` are believed."),
    Setting("CORS_ORIGINS", "", "Origins whose pages may use the API: `https://a.example`; `*` is any."),
    Setting(
        "RATE_LIMIT", "", "How much each client may ask, such as `100/minute;5000/day`; more is answered 429."
    ),
    Setting(
        "RATE_LIMIT_STORAGE",
        "",
        "Where all processes count together: `redis://host:6379`. Else each for itself.",
    ),
    Setting("HOST", "127.0.0.1", "The address that `serve` listens on."),
    Setting("PORT", 6400, "The port that `serve` listens on."),
    Setting(
        "LOG_FORMAT",
        "text",
        "The log of `serve`: `text` or `json`, a line for each request, or `off`: only errors.",
    ),
    Setting("WORKERS", 0, "The processes of `serve`; 0 is one for each core."),
)


class StartupError(click.ClickException):
    """What keeps the service from starting, in a sentence that says what to do about it.

    Flask's command line prints the sentence instead of a traceback.
    """


def data_folder() -> str | None:
    """Return the folder of an installed service's data. In a checkout Flask chooses `instance/`."""
    if Path(__file__).parents[1].name not in {"site-packages", "dist-packages"}:
        return None
    from platformdirs import user_data_dir  # a checkout does not need it

    return user_data_dir("todo-service", appauthor=False)


def configure(app: Flask, overrides: Mapping[str, Any]) -> None:
    """Fill `app.config`: the defaults, over them the environment, over it `overrides`.

    Raises StartupError for a `TODO_` variable that is no setting, or a value that is none.
    """
    settings = {setting.name: setting for setting in SETTINGS}
    app.config.from_mapping({setting.name: setting.default for setting in SETTINGS})
    for variable, text in os.environ.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX)
            if name not in settings:
                known = ", ".join(PREFIX + known for known in settings)
                raise StartupError(f"{variable} is not a setting: unset it, or use one of {known}.")
            app.config[name] = _parse(variable, text, settings[name])
    app.config.from_mapping(overrides)
    app.extensions["todo.zone"] = _zone(app.config["TIMEZONE"])


def _parse(variable: str, text: str, setting: Setting) -> str | int | bool:
    if isinstance(setting.default, str):
        return text
    if isinstance(setting.default, bool):
        if text not in {"true", "false"}:
            raise StartupError(f"{variable} is {text!r}: set it to true or false.")
        return text == "true"
    if not (text.isascii() and text.isdecimal()):
        raise StartupError(f"{variable} is {text!r}: set it to a whole number, such as {setting.default}.")
    return int(text)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise StartupError(
            f"TIMEZONE is {name!r}: set it ({PREFIX}TIMEZONE in the environment) to a name "
            "of the tz database, such as Europe/Berlin."
        ) from None
