"""The start of the server: settings of other programs, secrets, protocols, and files of a killed server."""

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import cli

from tests.support.server import PATIENCE, Server, environment, wait_until
from todo import config, create_app
from todo.config import SETTINGS, StartupError, configure

SECRET = "swordfish"
MEMORY = "sqlite:///:memory:"
KUBERNETES = {  # for Services with the names `todo` and `todo-db`
    "TODO_PORT": "tcp://10.0.0.1:6400",
    "TODO_PORT_6400_TCP": "tcp://10.0.0.1:6400",
    "TODO_PORT_6400_TCP_ADDR": "10.0.0.1",
    "TODO_PORT_6400_TCP_PORT": "6400",
    "TODO_PORT_6400_TCP_PROTO": "tcp",
    "TODO_SERVICE_HOST": "10.0.0.1",
    "TODO_SERVICE_PORT": "6400",
    "TODO_SERVICE_PORT_HTTP": "6400",
    "TODO_DB_PORT": "tcp://10.0.0.2:5432",
    "TODO_DB_SERVICE_HOST": "10.0.0.2",
}
linux_only = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")


def configured(**variables: str) -> Flask:
    app = Flask("configured")
    with patch.dict(os.environ, environment(**variables), clear=True):
        configure(app, {})
    return app


def test_variables_of_kubernetes_are_ignored_with_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with patch.dict(os.environ, environment(**KUBERNETES, TODO_SQLALCHEMY_DATABASE_URI=MEMORY), clear=True):
        assert create_app().config["PORT"] == 6400
    (line,) = [line for line in caplog.messages if "Kubernetes" in line]
    for variable in KUBERNETES:
        assert variable in line


@pytest.mark.parametrize(
    ("name", "value"), [("TODO_PORT", "tcp://"), ("TODO_SERVICE", "x"), ("TODO_HOSTS", "x")]
)
def test_variable_similar_to_kubernetes_variables_is_refused(name: str, value: str) -> None:
    with pytest.raises(StartupError, match=name):
        configured(**{name: value})


@pytest.mark.parametrize("setting", [each.name for each in SETTINGS if isinstance(each.default, str)])
@pytest.mark.parametrize("space", ["\r", "\n", " ", "\t", "\N{NO-BREAK SPACE}"])
def test_white_space_around_a_setting_is_refused(setting: str, space: str) -> None:
    for value in (f"{SECRET}{space}", f"{space}{SECRET}"):
        with pytest.raises(StartupError, match="white space") as caught:
            configured(**{f"TODO_{setting}": value})
        assert SECRET not in str(caught.value)


def test_home_folder_in_database_url_is_expanded() -> None:
    home = Path.home()
    for uri, expected in (
        ("sqlite:///~/todo.sqlite", f"sqlite:///{home}/todo.sqlite"),
        ("sqlite+pysqlite:///~/a/b.sqlite?timeout=1", f"sqlite+pysqlite:///{home}/a/b.sqlite?timeout=1"),
        ("sqlite:///a~/b.sqlite", "sqlite:///a~/b.sqlite"),
        ("sqlite:///$HOME/todo.sqlite", f"sqlite:///{home}/todo.sqlite"),
        ("sqlite:///${HOME}/$ABSENT/b.sqlite", f"sqlite:///{home}/$ABSENT/b.sqlite"),
        ("postgresql://host/~", "postgresql://host/~"),
    ):
        found = configured(TODO_SQLALCHEMY_DATABASE_URI=uri).config["SQLALCHEMY_DATABASE_URI"]
        assert found == expected


@pytest.mark.parametrize(
    "name",
    ["localtime", "posixrules", "posix/Europe/Berlin", "right/UTC", "Factory", "europe/berlin", "CET-1CEST"],
)
def test_zone_that_browsers_do_not_know_is_refused(name: str) -> None:
    with pytest.raises(StartupError, match=r"^TIMEZONE is"):
        configured(TODO_TIMEZONE=name)


@pytest.mark.parametrize(
    ("link", "variable", "expected"),
    [
        ("/usr/share/zoneinfo/Europe/Berlin", "", "Europe/Berlin"),
        ("/etc/zone", "", None),
        ("/usr/share/zoneinfo/Europe/Berlin", ":Asia/Tokyo", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/Europe/Berlin", "CET-1CEST", None),
    ],
)
def test_zone_of_the_machine_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, variable: str, expected: str | None
) -> None:
    (tmp_path / "localtime").symlink_to(link)
    monkeypatch.setattr(config, "ZONE_LINK", tmp_path / "localtime")
    monkeypatch.setenv("TZ", variable)
    assert config.machine_zone() == expected


@pytest.mark.server
@pytest.mark.parametrize(("settings", "is_told"), [({}, True), ({"TODO_TIMEZONE": "UTC"}, False)])
def test_start_names_the_default_zone_unless_it_is_set(settings: dict[str, str], is_told: bool) -> None:
    with Server(TODO_WORKERS="1", TZ="Europe/Berlin", **settings) as server:
        line = "Deadlines are in the time zone UTC. Set TODO_TIMEZONE=Europe/Berlin"
        assert (line in server.output) == is_told


@pytest.mark.parametrize(
    "variables",
    [
        {"TODO_SQLALCHEMY_DATABASE_URI": f"nosuch://user:{SECRET}@host/todos"},
        {"TODO_SQLALCHEMY_DATABASE_URI": f"user:{SECRET}@host"},
        {"TODO_SQLALCHEMY_DATABASE_URI": f"postgresql://user:a:{SECRET}@host:{SECRET}/todos"},
        {"TODO_SQLALCHEMY_DATABASE_URI": f"postgresql://user@127.0.0.1:1/todos?password={SECRET}"},
        {"TODO_SQLALCHEMY_DATABASE_URI": f"postgresql://user@127.0.0.1:1/todos?sslpassword={SECRET}"},
        {"TODO_SQLALCHEMY_DATABASE_URI": f"postgresql://user@127.0.0.1:1/todos?unknown={SECRET}"},
        {"TODO_SQLALCHEMY_DATABASE_URI": f"mariadb://user:{SECRET}@127.0.0.1:1/todos"},
        {"TODO_SQLALCHEMY_DATABASE_URI": f"mariadb://user@127.0.0.1:1/todos?password={SECRET}"},
        {"TODO_SQLALCHEMY_DATABASE_URI": f"mariadb://user@127.0.0.1:1/todos?unknown={SECRET}"},
        *(
            {"TODO_RATE_LIMIT": "1/hour", "TODO_RATE_LIMIT_STORAGE": storage}
            for storage in (
                f"nosuch://user:{SECRET}@host",
                f"redis://user:{SECRET}@host:port",
                f"redis://user:a/{SECRET}@host:6379",
                SECRET,
                f"redis+cluster://:{SECRET}@",
            )
        ),
    ],
    ids=str,
)
def test_secret_in_a_setting_is_never_printed(variables: dict[str, str]) -> None:
    base = {"TODO_SQLALCHEMY_DATABASE_URI": MEMORY, "TODO_CONNECT_TIMEOUT": "1000"}
    with patch.dict(os.environ, environment(**base | variables), clear=True):
        result = CliRunner().invoke(cli, ["--app", "todo", "serve", "--port", "0"])
    assert result.exit_code == 1
    assert SECRET not in result.output + repr(result.exception)


@pytest.mark.server
def test_password_in_query_of_database_url_is_not_in_the_start_message() -> None:
    with (
        pytest.raises(AssertionError) as caught,
        Server(TODO_SQLALCHEMY_DATABASE_URI=f"postgresql://user@127.0.0.1:1/todos?password={SECRET}"),
    ):
        pass
    assert SECRET not in str(caught.value)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@pytest.mark.server
@pytest.mark.parametrize(("setting", "is_served"), [("false", False), ("true", True)])
def test_http2_is_served_only_if_enabled(setting: str, is_served: bool) -> None:
    with (
        Server(TODO_WORKERS="1", TODO_HTTP2=setting) as server,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection,
    ):
        connection.sendall(PREFACE)
        settings_frame = 4
        assert (connection.recv(100)[3:4] == bytes((settings_frame,))) == is_served


def metrics_folder(server: Server) -> Path:
    files = []
    for file in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            files.append(file.readlink())
    (lock,) = [file for file in files if "/todo-metrics-" in str(file)]
    return lock.parent


@linux_only
@pytest.mark.server
def test_metrics_of_a_killed_server_are_removed_at_the_next_start() -> None:
    with Server(TODO_WORKERS="1") as other, Server(TODO_WORKERS="1") as server:
        left = metrics_folder(server)
        assert left.exists()
        server.kill()
        server.start()
        assert not left.exists()
        assert metrics_folder(other).exists()
        kept = metrics_folder(server)
        assert server.stop() == 0
        assert not kept.exists()


@linux_only
@pytest.mark.server
def test_repeatedly_dying_worker_waits_while_other_workers_serve() -> None:
    with Server(TODO_WORKERS="2") as server:
        wait_until(lambda: server.listening == 2)
        healthy, *_ = server.workers
        for _ in range(3):
            wait_until(lambda: len(server.workers) == 2)
            (other,) = set(server.workers) - {healthy}
            began = time.monotonic()
            os.kill(other, signal.SIGKILL)
            wait_until(lambda dead=other: dead not in server.workers)  # type: ignore[misc]
        wait_until(lambda: "It starts again in 2 s." in server.output)
        wait_until(lambda: server.listening == 2)
        assert time.monotonic() - began >= 2
        assert healthy in server.workers
        assert server.request("GET", "/api/v1/health").status == 200
        assert server.stop() == 0
