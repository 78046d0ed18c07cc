"""Settings: overrides win over the environment, and the environment over the defaults.

Invalid settings are refused with one sentence.
"""

import os
import re
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import cli

from tests.support.cases import label
from todo import create_app
from todo.config import SETTINGS, StartupError, configure


def configured(environment: dict[str, str], **overrides: Any) -> Flask:
    """Create an app with the settings of `environment`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TODO_")}
    app = Flask("configured")
    with patch.dict(os.environ, clean | environment, clear=True):
        configure(app, overrides)
    return app


class TestPrecedence:
    @pytest.mark.parametrize(
        ("environment", "overrides", "name", "expected"),
        [
            pytest.param({}, {}, "TIMEZONE", "UTC", id="a default"),
            pytest.param({}, {}, "SQLALCHEMY_DATABASE_URI", "sqlite:///db.sqlite", id="the default database"),
            pytest.param({}, {}, "PORT", 6400, id="the default port"),
            pytest.param({}, {}, "HOST", "127.0.0.1", id="only this machine by default"),
            pytest.param({"TODO_TIMEZONE": "Asia/Tokyo"}, {}, "TIMEZONE", "Asia/Tokyo", id="the environment"),
            pytest.param({"TODO_PORT": "8080"}, {}, "PORT", 8080, id="a number in it"),
            pytest.param({"TODO_WORKERS": "0"}, {}, "WORKERS", 0, id="zero in it"),
            pytest.param(
                {"TODO_REQUIRE_IF_MATCH": "true"}, {}, "REQUIRE_IF_MATCH", True, id="a switch in it"
            ),
            pytest.param(
                {"TODO_REQUIRE_IF_MATCH": "false"}, {}, "REQUIRE_IF_MATCH", False, id="a switch off in it"
            ),
            pytest.param({}, {"PORT": 1234}, "PORT", 1234, id="an override"),
            pytest.param(
                {"TODO_PORT": "8080"}, {"PORT": 1234}, "PORT", 1234, id="an override over the environment"
            ),
            pytest.param({"TODO_PORT": "8080"}, {"HOST": "::1"}, "PORT", 8080, id="another override"),
            pytest.param({}, {"TESTING": True}, "TESTING", True, id="an override of Flask's"),
            pytest.param(
                {"TODOS": "x", "MYTODO_PORT": "1", "PORT": "1"},
                {},
                "PORT",
                6400,
                id="other people's variables",
            ),
            pytest.param({"todo_port": "1"}, {}, "PORT", 6400, id="lower case is not ours"),
        ],
    )
    def test_override_wins_over_environment_over_default(
        self, environment: Any, overrides: Any, name: str, expected: Any
    ) -> None:
        assert expected == configured(environment, **overrides).config[name]

    @pytest.mark.parametrize("setting", SETTINGS, ids=label)
    def test_every_setting_has_a_default_and_a_help_text(self, setting: Any) -> None:
        app = configured({})
        assert setting.default == app.config[setting.name]
        assert re.search(r"^[A-Z]+(_[A-Z]+)*2?$", setting.name)
        assert re.search(r"(?s)^[A-Z].*\.$", setting.help)

    def test_create_app_uses_the_settings(self) -> None:
        memory = "sqlite:///:memory:"
        with patch.dict(os.environ, {"TODO_SQLALCHEMY_DATABASE_URI": memory, "TODO_TIMEZONE": "Asia/Tokyo"}):
            assert memory == create_app().config["SQLALCHEMY_DATABASE_URI"]
            client = create_app({"TIMEZONE": "Australia/Brisbane"}).test_client()
        response = client.post("/api/v1/todos", json={"title": "x", "deadline_at": "2023-02-27T00:00:00Z"})
        assert response.get_json()["deadline_at"] == "2023-02-27T10:00:00"


class TestRefusal:
    @pytest.mark.parametrize(
        ("variable", "value", "words"),
        [
            ("TODO_COLOUR", "red", "TODO_COLOUR is not a setting"),
            ("TODO_COLOUR", "red", "TODO_TIMEZONE"),
            ("TODO_", "x", "TODO_ is not a setting"),
            ("TODO_port", "80", "TODO_port is not a setting"),
            ("TODO_TESTING", "1", "TODO_TESTING is not a setting"),
            *(
                ("TODO_PORT", value, f"TODO_PORT is {value!r}")
                for value in ("", "http", "-1", "1.5", "1e3", "80 ", "+80", "\u0661", "0x50")
            ),
            ("TODO_BUSY_TIMEOUT", "5s", "TODO_BUSY_TIMEOUT is '5s'"),
            *(
                ("TODO_REQUIRE_IF_MATCH", value, "Set it to true or false")
                for value in ("", "1", "yes", "True", "true ")
            ),
            *(
                ("TODO_TIMEZONE", value, "TIMEZONE is")
                for value in ("", "Mars/Olympus", "Europe", "../UTC", "/etc/passwd", "UTC+1", "x" * 5000)
            ),
        ],
        ids=label,
    )
    def test_unknown_or_invalid_setting_is_rejected(self, variable: Any, value: Any, words: Any) -> None:
        with pytest.raises(StartupError) as caught:
            configured({variable: value})
        sentence = caught.value.message
        assert words in sentence
        assert sentence.endswith(".")
        assert "\n" not in sentence

    def test_invalid_override_is_rejected(self) -> None:
        with pytest.raises(StartupError, match=r"^TIMEZONE is 'Mars'\. .*such as "):
            configured({}, TIMEZONE="Mars")

    def test_command_line_prints_the_error_without_traceback(self) -> None:
        result = CliRunner().invoke(cli, ["--app", "todo", "routes"], env={"TODO_COLOUR": "red"})
        assert (result.exit_code, result.stdout) == (1, "")
        assert re.search(r"\AError: TODO_COLOUR is not a setting[^\n]*\n\Z", result.stderr)
