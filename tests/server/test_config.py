"""Settings: the defaults, over them the environment, over it the overrides; and refusals in a sentence."""

import os
import unittest
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner
from flask import Flask
from flask.cli import cli

from todo import create_app
from todo.config import SETTINGS, StartupError, configure


def configured(environment: dict[str, str], **overrides: Any) -> Flask:
    """An app with the settings that it has in `environment`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TODO_")}
    app = Flask("configured")
    with patch.dict(os.environ, clean | environment, clear=True):
        configure(app, overrides)
    return app


class TestPrecedence(unittest.TestCase):
    def test_override_wins_over_environment_over_default(self) -> None:
        for scenario, environment, overrides, name, expected in (
            ("a default", {}, {}, "TIMEZONE", "UTC"),
            ("the default database", {}, {}, "SQLALCHEMY_DATABASE_URI", "sqlite:///db.sqlite"),
            ("the default port", {}, {}, "PORT", 6400),
            ("only this machine by default", {}, {}, "HOST", "127.0.0.1"),
            ("the environment", {"TODO_TIMEZONE": "Asia/Tokyo"}, {}, "TIMEZONE", "Asia/Tokyo"),
            ("a number in it", {"TODO_PORT": "8080"}, {}, "PORT", 8080),
            ("zero in it", {"TODO_WORKERS": "0"}, {}, "WORKERS", 0),
            ("a switch in it", {"TODO_REQUIRE_IF_MATCH": "true"}, {}, "REQUIRE_IF_MATCH", True),
            ("a switch off in it", {"TODO_REQUIRE_IF_MATCH": "false"}, {}, "REQUIRE_IF_MATCH", False),
            ("an override", {}, {"PORT": 1234}, "PORT", 1234),
            ("an override over the environment", {"TODO_PORT": "8080"}, {"PORT": 1234}, "PORT", 1234),
            ("another override", {"TODO_PORT": "8080"}, {"HOST": "::1"}, "PORT", 8080),
            ("an override of Flask's", {}, {"TESTING": True}, "TESTING", True),
            ("other people's variables", {"TODOS": "x", "MYTODO_PORT": "1", "PORT": "1"}, {}, "PORT", 6400),
            ("lower case is not ours", {"todo_port": "1"}, {}, "PORT", 6400),
        ):
            with self.subTest(scenario):
                self.assertEqual(expected, configured(environment, **overrides).config[name])

    def test_every_setting_has_a_default_and_a_help_text(self) -> None:
        app = configured({})
        for setting in SETTINGS:
            with self.subTest(setting.name):
                self.assertEqual(setting.default, app.config[setting.name])
                self.assertRegex(setting.name, r"^[A-Z]+(_[A-Z]+)*2?$")
                self.assertRegex(setting.help, r"(?s)^[A-Z].*\.$")

    def test_create_app_uses_the_settings(self) -> None:
        memory = "sqlite:///:memory:"
        with patch.dict(os.environ, {"TODO_SQLALCHEMY_DATABASE_URI": memory, "TODO_TIMEZONE": "Asia/Tokyo"}):
            self.assertEqual(memory, create_app().config["SQLALCHEMY_DATABASE_URI"])
            client = create_app({"TIMEZONE": "Australia/Brisbane"}).test_client()
        response = client.post("/api/v1/todos", json={"title": "x", "deadline_at": "2023-02-27T00:00:00Z"})
        self.assertEqual("2023-02-27T10:00:00", response.get_json()["deadline_at"])


class TestRefusal(unittest.TestCase):
    def test_unknown_or_invalid_setting_is_rejected(self) -> None:
        for variable, value, words in (
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
        ):
            with self.subTest(variable, value=value[:20]):
                with self.assertRaises(StartupError) as caught:
                    configured({variable: value})
                sentence = caught.exception.message
                self.assertIn(words, sentence)
                self.assertTrue(sentence.endswith("."))
                self.assertNotIn("\n", sentence)

    def test_invalid_override_is_rejected(self) -> None:
        with self.assertRaisesRegex(StartupError, "^TIMEZONE is 'Mars'. .*such as "):
            configured({}, TIMEZONE="Mars")

    def test_command_line_prints_the_error_without_traceback(self) -> None:
        result = CliRunner().invoke(cli, ["--app", "todo", "routes"], env={"TODO_COLOUR": "red"})
        self.assertEqual((1, ""), (result.exit_code, result.stdout))
        self.assertRegex(result.stderr, r"\AError: TODO_COLOUR is not a setting[^\n]*\n\Z")
