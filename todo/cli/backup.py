"""The commands `backup` and `restore`: the database whole, by its own means."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO, NamedTuple

import click
from flask.cli import with_appcontext
from sqlalchemy import URL, Connection, inspect

from todo.cli.transfer import no_terminal, plain_errors, replacing
from todo.database import dialects, schema, sqlite
from todo.database.schema import State
from todo.models import db

_PIECE = 1024 * 1024  # bytes
_BEGINNINGS = {
    b"SQLite format 3\0": "sqlite",
    b"PGDMP": "postgresql",
    b"-- MariaDB dump": "mariadb",
    b"/*M!999999\\- enable the sandbox": "mariadb",
}
_VERSION = re.compile(r"(?:\(PostgreSQL\) |Distrib |from )(\d+)(?:\.(\d+))?")
_TLS = ("ssl_ca", "ssl_cert", "ssl_key")  # options of a MariaDB URL
_Bar = Callable[[int], object]  # of bytes


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_appcontext
def backup(file: Path) -> None:
    """Write the database, as it is at one moment, to FILE. The service may run meanwhile.

    FILE is what the database's own tool makes: a copy for SQLite, of pg_dump for PostgreSQL, of
    mariadb-dump for MariaDB. It is checked before it takes its name.
    """
    with plain_errors(), db.engine.connect() as connection:
        todos = _count(connection)
        path = sqlite.file_of(db.engine.url)
        if path is not None:
            _copy(path, file, "Backup")
        elif db.engine.dialect.name == "sqlite":
            raise click.ClickException("A database in memory can't be backed up: export it instead.")
        else:
            tools = _tools(connection)
            with replacing(file) as output:
                with _bar("Backup", tools.size(connection)) as advance:
                    tools.dump(output, advance)
                output.flush()
                tools.verify(Path(output.name))
    click.echo(f"Todos: {todos} or more, {file.stat().st_size} bytes.", err=True)


@click.command()
@click.option("--overwrite", is_flag=True, help="Replace the todos that the database holds.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_appcontext
def restore(file: Path, *, overwrite: bool) -> None:
    """Make the database what it was as `backup` wrote FILE: all of it, or nothing is changed.

    Stop the service first: what it writes meanwhile would be lost.
    """
    with plain_errors():
        name = db.engine.dialect.name
        _check_kind(file, name)
        with db.engine.connect() as connection:
            todos = _count(connection)
            if todos and not overwrite:
                raise click.ClickException(
                    f"The database holds todos ({todos}): --overwrite replaces them, once you have a backup."
                )
            tools = None if name == "sqlite" else _tools(connection)
        path = sqlite.file_of(db.engine.url)
        if tools is not None:
            tools.verify(file)
            with file.open("rb") as source, _bar("Restore", file.stat().st_size) as advance:
                tools.load(source, advance)
        elif path is None:
            raise click.ClickException("A database in memory can't be restored: name a file or a server.")
        else:
            _copy(file, path, "Restore")
        with db.engine.connect() as connection:
            found, todos = schema.state(connection), _count(connection)
    click.echo(f"Todos: {todos}.", err=True)
    if found is not State.HEAD:
        click.echo("The backup is of another release: run flask --app todo db upgrade.", err=True)


def _count(connection: Connection) -> int:
    if not inspect(connection).has_table("todos"):
        return 0
    return int(connection.exec_driver_sql("SELECT count(*) FROM todos").scalar_one())


def _check_kind(file: Path, name: str) -> None:
    with file.open("rb") as source:
        head = source.read(max(map(len, _BEGINNINGS)))
    kind = next((kind for beginning, kind in _BEGINNINGS.items() if head.startswith(beginning)), None)
    if kind is None:
        raise click.ClickException(f"{file} is no backup. To take in a file of todos, use import.")
    if kind != name:
        raise click.ClickException(
            f"{file} is a backup of {kind}, and the database is {name}: restore it to its own kind, and use "
            "export and import to go from one to the other."
        )


@contextmanager
def _bar(label: str, size: int) -> Iterator[_Bar]:
    with click.progressbar(length=size, label=label, file=sys.stderr, hidden=no_terminal()) as bar:
        yield bar.update
        bar.update(max(0, size - bar.pos))  # of a server's database it was a guess


def _copy(source: Path, target: Path, label: str) -> None:
    """Copy a SQLite database to the place of another one."""
    with _bar(label, source.stat().st_size) as advance:
        done = 0

        def progress(_: int, remaining: int, total: int) -> None:
            nonlocal done
            now = (total - remaining) * source.stat().st_size // max(1, total)
            advance(now - done)
            done = now

        if label == "Backup":
            sqlite.copy(source, target, progress)
        else:
            sqlite.replace(target, source, progress)


class _Tools(NamedTuple):
    """The programs of a database server, how they reach the database, and how large that is."""

    size: Callable[[Connection], int]
    dump: Callable[[BinaryIO, _Bar], None]
    verify: Callable[[Path], None]
    load: Callable[[BinaryIO, _Bar], None]


def _tools(connection: Connection) -> _Tools:
    """Find the programs. Raises ClickException where one is missing, or too old for the server."""
    if connection.dialect.name == "postgresql":
        major, *_ = connection.dialect.server_version_info or (0,)
        return _postgresql(connection.engine.url, (int(major),))
    return _mariadb(connection.engine.url, dialects.SERVERS["mariadb"].oldest)


def _postgresql(url: URL, oldest: tuple[int, ...]) -> _Tools:
    names = {"username": "PGUSER", "password": "PGPASSWORD", "host": "PGHOST", "port": "PGPORT"}
    environment = {
        **{variable: str(value) for name, variable in names.items() if (value := getattr(url, name))},
        **{f"PG{name.replace('_', '').upper()}": str(value) for name, value in url.query.items()},
        "PGDATABASE": url.database or "",
    }
    dump, restore = _find("pg_dump", oldest), _find("pg_restore", oldest)
    plain = ("--no-owner", "--no-privileges")

    def verify(file: Path) -> None:
        with file.open("rb") as source:
            _run([restore, "--file", os.devnull], environment, source=source)

    def load(source: BinaryIO, advance: _Bar) -> None:
        how = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error")
        _run([restore, *how, *plain, "--dbname", url.database or ""], environment, source, advance=advance)

    return _Tools(
        lambda connection: int(
            connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
        ),
        lambda output, advance: _run(
            [dump, "--format=custom", *plain], environment, output=output, advance=advance
        ),
        verify,
        load,
    )


def _mariadb(url: URL, oldest: tuple[int, ...]) -> _Tools:
    environment = {"MYSQL_PWD": url.password or ""}
    socket = url.query.get("unix_socket")
    where = ["--no-defaults", "--default-character-set=utf8mb4", f"--user={url.username or ''}"]
    where += [f"--socket={socket}"] if socket else ["--protocol=tcp", f"--host={url.host or 'localhost'}"]
    where += [f"--port={url.port}"] if url.port else []
    where += [f"--{name.replace('_', '-')}={url.query[name]}" for name in _TLS if name in url.query]
    dump, client = _find("mariadb-dump", oldest), _find("mariadb", oldest)
    database = url.database or ""
    # Its changes of tables are no transaction: the backup is loaded beside them, and takes their place
    # in one statement.
    loaded, replaced = f"{database}_restored", f"{database}_replaced"

    def verify(file: Path) -> None:
        with file.open("rb") as source:
            source.seek(max(0, file.stat().st_size - 200))
            if b"\n-- Dump completed" not in source.read():
                raise click.ClickException(f"{file} is not whole: its last line is missing.")

    def load(source: BinaryIO, advance: _Bar) -> None:
        with db.engine.connect() as connection:
            for name in (loaded, replaced):
                connection.exec_driver_sql(f"CREATE DATABASE `{name}`")
            try:
                _run([client, *where, loaded], environment, source, advance=advance)
                _swap(connection, database, loaded, replaced)
            finally:
                for name in (loaded, replaced):
                    connection.exec_driver_sql(f"DROP DATABASE `{name}`")

    return _Tools(
        lambda connection: int(
            connection.exec_driver_sql(
                "SELECT coalesce(sum(data_length), 0) FROM information_schema.tables "
                "WHERE table_schema = database()"
            ).scalar_one()
        ),
        lambda output, advance: _run(
            [dump, *where, "--single-transaction", "--quick", "--hex-blob", database],
            environment,
            output=output,
            advance=advance,
        ),
        verify,
        load,
    )


def _swap(connection: Connection, database: str, loaded: str, replaced: str) -> None:
    new = set(inspect(connection).get_table_names(loaded))
    old = set(inspect(connection).get_table_names(database)) & (
        new | set(db.metadata.tables) | {schema.VERSIONS}
    )
    moves = [f"`{database}`.`{table}` TO `{replaced}`.`{table}`" for table in sorted(old)]
    moves += [f"`{loaded}`.`{table}` TO `{database}`.`{table}`" for table in sorted(new)]
    connection.exec_driver_sql(f"RENAME TABLE {', '.join(moves)}")


def _find(name: str, oldest: tuple[int, ...]) -> str:
    """Find the program on the PATH whose version is this one, or the next above. Raises ClickException.

    What a newer program writes or says, an older server may not understand.
    """
    found: list[tuple[tuple[int, ...], str]] = []
    there = "there is none on the PATH"
    for folder in os.get_exec_path():
        path = shutil.which(name, path=folder)
        if path is None:
            continue
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        version = _VERSION.search(told.stdout)
        if version:
            found.append((tuple(int(part or 0) for part in version.groups()), path))
        there = f"{path} is {told.stdout.strip() or 'none that runs'}"
    usable = [program for program in found if program[0] >= oldest]
    if not usable:
        raise click.ClickException(
            f"{name} of version {'.'.join(map(str, oldest))} or newer is needed, and {there}: install the "
            "client programs of the database server, and put their folder on the PATH."
        )
    return min(usable)[1]


def _run(
    command: Sequence[str],
    environment: dict[str, str],
    source: IO[bytes] | None = None,
    output: IO[bytes] | None = None,
    advance: _Bar = lambda _: None,
) -> None:
    """Run a program between files. Raises ClickException with what it complains of where it fails."""
    with (
        TemporaryFile() as complaints,
        subprocess.Popen(  # noqa: S603
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL if source is None else subprocess.PIPE,
            stdout=subprocess.DEVNULL if output is None else subprocess.PIPE,
            stderr=complaints,
        ) as process,
    ):
        pipes: Any = (source, process.stdin) if source else (process.stdout, output)
        with suppress(BrokenPipeError):  # it has ended, and says why
            if source or output:
                while piece := pipes[0].read(_PIECE):
                    pipes[1].write(piece)
                    advance(len(piece))
            if process.stdin:
                process.stdin.close()
        if process.wait():
            complaints.seek(0)
            lines = complaints.read().decode(errors="replace").strip().splitlines() or ["it failed"]
            raise click.ClickException(f"{Path(command[0]).name} could not do it: {'; '.join(lines[:3])}.")
