"""`backup` and `restore` check the files before they write anything."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from tests.support import database_server
from tests.support.clients import TODOS
from todo import create_app
from todo.database import sqlite as sqlite_file

Run = Callable[..., Result]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Create a database with one todo."""
    path = tmp_path / "service" / "db.sqlite"
    client = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"}).test_client()
    assert client.post(TODOS, json={"title": "first"}).status_code == 201
    return path


@pytest.fixture
def run(database: Path) -> Run:
    """Run a command on the database, as another process would."""

    def run(*arguments: object) -> Result:
        app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}"})
        return app.test_cli_runner().invoke(args=[str(argument) for argument in arguments])

    return run


def titles(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as shell:
        return [title for (title,) in shell.execute("SELECT title FROM todos ORDER BY id")]


def assert_refused(result: Result, words: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error: ")
    assert words in result.output
    assert result.output.count("\n") == 1


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "backup"
    assert run("backup", path).exit_code == 0
    return path


FOREIGN = {
    "other table": "DROP TABLE todos; CREATE TABLE photos (id)",
    "other columns": "DROP TABLE todos; CREATE TABLE todos (id, title, done)",
    "view named todos": "ALTER TABLE todos RENAME TO hidden; CREATE VIEW todos AS SELECT * FROM hidden",
    "trigger": "CREATE TRIGGER wipe AFTER INSERT ON todos BEGIN DELETE FROM todos WHERE id <> NEW.id; END",
    "trigger with our name": (
        "DROP TRIGGER todos_updated_at;"
        "CREATE TRIGGER todos_updated_at AFTER INSERT ON todos BEGIN DELETE FROM todos; END"
    ),
    "view": "CREATE VIEW titles AS SELECT title FROM todos",
}


@pytest.mark.parametrize("sql", FOREIGN.values(), ids=FOREIGN)
def test_restore_of_a_foreign_database_is_refused(run: Run, database: Path, copy: Path, sql: str) -> None:
    with closing(sqlite3.connect(copy)) as shell:
        shell.executescript(sql)
    before = titles(database)
    assert_refused(run("restore", "--overwrite", copy), "cannot be restored")
    assert titles(database) == before
    assert not list(database.parent.glob("*.before-restore-*"))


def test_restore_of_a_damaged_backup_names_the_backup(run: Run, database: Path, copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[4096:8192] = os.urandom(4096)
    copy.write_bytes(content)
    assert_refused(run("restore", "--overwrite", copy), f"{copy} is damaged")
    assert titles(database) == ["first"]


@pytest.mark.parametrize("name", ["db.sqlite", "hard link", "symbolic link"])
def test_restore_of_the_database_itself_is_refused(run: Run, database: Path, name: str) -> None:
    (database.parent / "hard link").hardlink_to(database)
    (database.parent / "symbolic link").symlink_to(database)
    assert_refused(run("restore", "--overwrite", database.parent / name), "is the database itself")


def test_restore_keeps_a_copy_of_the_replaced_database(run: Run, database: Path, copy: Path) -> None:
    with closing(sqlite3.connect(database)) as shell, shell:
        shell.execute("INSERT INTO todos (title) VALUES ('second')")
    for number in (1, 2):
        result = run("restore", "--overwrite", copy)
        assert result.exit_code == 0, result.output
        assert f"{database}.before-restore-{number}" in result.output
    assert titles(database) == ["first"]
    assert titles(Path(f"{database}.before-restore-1")) == ["first", "second"]
    assert titles(Path(f"{database}.before-restore-2")) == ["first"]


def test_restore_into_an_empty_database_keeps_no_copy(tmp_path: Path, copy: Path) -> None:
    path = tmp_path / "new" / "db.sqlite"
    app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"})
    result = app.test_cli_runner().invoke(args=["restore", str(copy)])
    assert result.exit_code == 0, result.output
    assert not list(path.parent.glob("*.before-restore-*"))


def test_restore_from_a_pipe_is_refused(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert_refused(run("restore", tmp_path / "pipe"), "is not a regular file")


@pytest.mark.parametrize("command", ["backup", "export"])
@pytest.mark.parametrize(
    "name", ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm", "hard link", "symbolic link"]
)
def test_command_over_the_database_file_is_refused(run: Run, database: Path, command: str, name: str) -> None:
    (database.parent / "hard link").hardlink_to(database)
    (database.parent / "symbolic link").symlink_to(database)
    before = titles(database)
    options = ["--format", "json"] if command == "export" else []
    assert_refused(run(command, *options, database.parent / name), "is part of the database itself")
    assert titles(database) == before


def test_backup_to_a_pipe_is_refused(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert_refused(run("backup", pipe), "is not a regular file")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_backup_to_a_device_is_refused(run: Run) -> None:
    assert_refused(run("backup", "/dev/null"), "is not a regular file")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_backup_over_a_file_of_another_kind_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "thesis.txt"
    file.write_text("years of work")
    assert_refused(run("backup", file), "is not a backup")
    assert file.read_text() == "years of work"


def test_backup_over_the_database_of_another_service_is_refused(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{other}"})
    before = other.read_bytes()
    assert_refused(run("backup", other), "is not a backup")
    assert other.read_bytes() == before


def test_backup_replaces_an_earlier_backup(run: Run, database: Path, copy: Path) -> None:
    with closing(sqlite3.connect(database)) as shell, shell:
        shell.execute("INSERT INTO todos (title) VALUES ('second')")
    link = copy.with_name("link")
    link.symlink_to(copy)
    assert run("backup", link).exit_code == 0
    assert link.is_symlink()
    assert titles(copy) == ["first", "second"]


def test_backup_of_a_database_with_a_foreign_trigger_warns(run: Run, database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as shell:
        shell.executescript(FOREIGN["trigger"])
    result = run("backup", tmp_path / "backup")
    assert result.exit_code == 0
    assert "Warning: restore will refuse" in result.output
    assert "DROP TRIGGER wipe" in result.output


def test_new_files_are_private(run: Run, database: Path, copy: Path, tmp_path: Path) -> None:
    export = tmp_path / "todos.json"
    run("export", export)
    run("restore", "--overwrite", copy)
    with closing(sqlite3.connect(database)) as shell:
        shell.execute("SELECT * FROM todos").fetchall()
        files = [export, copy, *database.parent.iterdir()]
        assert {file.name for file in files} >= {
            "db.sqlite-wal",
            "db.sqlite-shm",
            "db.sqlite.before-restore-1",
        }
        assert {file: oct(stat.S_IMODE(file.stat().st_mode)) for file in files} == dict.fromkeys(
            files, "0o600"
        )
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700


def test_file_readable_by_others_gives_a_warning(database: Path) -> None:
    assert not sqlite_file.is_readable_by_others(database)
    database.chmod(0o644)
    assert not sqlite_file.is_readable_by_others(database)  # other users cannot enter the folder
    database.parent.chmod(0o755)
    assert sqlite_file.is_readable_by_others(database)


@pytest.mark.parametrize("command", ["backup", "export"])
def test_replaced_file_keeps_its_permissions(run: Run, tmp_path: Path, command: str) -> None:
    file = tmp_path / "todos.json"
    assert run(command, file).exit_code == 0
    file.chmod(0o640)
    assert run(command, file).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.fixture
def server_url() -> str:
    url = os.environ.get("TEST_DATABASE_URL")
    if not url:
        pytest.skip("needs a database server")
    database_server.find_tools()
    database_server.empty(url)
    return url


@pytest.mark.database
def test_restore_on_a_server_checks_the_backup_and_keeps_a_copy(server_url: str, tmp_path: Path) -> None:
    app = create_app({"SQLALCHEMY_DATABASE_URI": server_url})
    client, run = app.test_client(), app.test_cli_runner().invoke
    client.post(TODOS, json={"title": "first"})
    file = tmp_path / "backup"
    assert run(args=["backup", str(file)]).exit_code == 0
    foreign = tmp_path / "foreign"
    engine = create_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    for create, drop in (
        ("CREATE VIEW titles AS SELECT title FROM todos", "DROP VIEW titles"),
        ("ALTER TABLE todos RENAME TO others", "ALTER TABLE others RENAME TO todos"),
    ):
        with engine.connect() as shell:
            shell.exec_driver_sql(create)
        assert run(args=["backup", str(foreign)]).exit_code == 0
        with engine.connect() as shell:
            shell.exec_driver_sql(drop)
        refused = run(args=["restore", "--overwrite", str(foreign)])
        assert refused.exit_code == 1, refused.output
        assert "cannot be restored" in refused.output
    client.post(TODOS, json={"title": "second"})
    restored = run(args=["restore", "--overwrite", str(file)])
    assert restored.exit_code == 0, restored.output
    assert f"{file}.before-restore-1" in restored.output
    assert [todo["title"] for todo in client.get(TODOS).get_json()] == ["first"]
    again = run(args=["restore", "--overwrite", f"{file}.before-restore-1"])
    assert again.exit_code == 0, again.output
    assert [todo["title"] for todo in client.get(TODOS).get_json()] == ["first", "second"]


@pytest.mark.database
def test_backup_uses_every_host_of_a_postgresql_url(server_url: str, tmp_path: Path) -> None:
    url = make_url(server_url)
    host = url.query.get("host")
    if not isinstance(host, str):
        pytest.skip("needs PostgreSQL on a socket")
    several = url.update_query_dict({"host": (str(tmp_path), host), "target_session_attrs": "read-write"})
    app = create_app({"SQLALCHEMY_DATABASE_URI": several.render_as_string(hide_password=False)})
    assert app.test_client().post(TODOS, json={"title": "first"}).status_code == 201
    result = app.test_cli_runner().invoke(args=["backup", str(tmp_path / "backup")])
    assert result.exit_code == 0, result.output
