"""The commands `backup` and `restore`, which use the tools of each database."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, ClassVar, Protocol

import click
from flask.cli import with_appcontext
from sqlalchemy import Connection, inspect

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
# Bytes 18 and 19 of a SQLite file are 2 in WAL mode (https://www.sqlite.org/fileformat.html). A backup is
# never in WAL mode, so a file in WAL mode is a database that a service may use.
_WAL_MODE = re.compile(rb"SQLite.{12}\x02\x02", re.DOTALL)
_NO_TODOS = "The file has no table todos."


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_appcontext
def backup(file: Path) -> None:
    """Write a snapshot of the database to FILE. The service can stay running.

    FILE has the format of the database's own tool: a database file for SQLite, pg_dump for PostgreSQL,
    mariadb-dump for MariaDB. A complete and verified backup replaces an earlier backup in FILE.
    """
    file = file.resolve()
    with plain_errors():
        _check_target(file)
        tools = _tools()
        with db.engine.connect() as connection:
            todos = _count(connection)
        tools.dump(file)
        problem = tools.find_foreign_object(file)
    click.echo(f"Todos: {todos} or more, {file.stat().st_size} bytes.", err=True)
    if problem:
        click.echo(f"Warning: restore will refuse {file}. {problem}", err=True)


@click.command()
@click.option("--overwrite", is_flag=True, help="Replace the todos in the database.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_appcontext
def restore(file: Path, *, overwrite: bool) -> None:
    """Restore the database from FILE, a file that `backup` wrote. On an error nothing is changed.

    Stop the service first: its writes during the restore would be lost. If the database has any content, the
    command stores a copy first.
    """
    with plain_errors():
        path = sqlite.file_of(db.engine.url)
        _check_source(file, path)
        with db.engine.connect() as connection:
            todos, is_used = _count(connection), _is_used(connection)
        if todos and not overwrite:
            raise click.ClickException(
                f"The database contains {todos} todos. Use --overwrite to replace them."
            )
        tools = _tools()
        tools.verify(file)
        problem = tools.find_foreign_object(file)
        if problem:
            raise click.ClickException(f"{file} cannot be restored. {problem}")
        copy = schema.free_name(path or file.resolve(), "before-restore") if is_used else None
        if copy:
            tools.dump(copy)
        tools.load(file)
        with db.engine.connect() as connection:
            found, todos = schema.state(connection), _count(connection)
    click.echo(f"Todos: {todos}.", err=True)
    if copy:
        click.echo(f"The previous content is in {copy}.", err=True)
    if found is State.AHEAD:
        click.echo("The backup was made by a later release. Install that release.", err=True)
    elif found is not State.HEAD:
        click.echo("The backup was made by an earlier release. Run flask --app todo db upgrade.", err=True)


def _count(connection: Connection) -> int:
    if not inspect(connection).has_table("todos"):
        return 0
    return int(connection.exec_driver_sql("SELECT count(*) FROM todos").scalar_one())


def _is_used(connection: Connection) -> bool:
    """Return True if any table has a row."""
    names = set(inspect(connection).get_table_names()) - {schema.VERSIONS.name}
    preparer = connection.dialect.identifier_preparer
    return any(
        connection.exec_driver_sql(f"SELECT 1 FROM {preparer.quote(name)} LIMIT 1").first() for name in names
    )


def _read_head(file: Path) -> tuple[bytes, str | None]:
    """Return the first bytes of a file, and the dialect whose backup the file is."""
    with file.open("rb") as source:
        head = source.read(100)
    return head, next((name for beginning, name in _BEGINNINGS.items() if head.startswith(beginning)), None)


def _check_target(file: Path) -> None:
    """Raise ClickException unless `file` is free, empty or an earlier backup."""
    if sqlite.is_part_of(file, sqlite.file_of(db.engine.url)):
        raise click.ClickException(f"{file} is part of the database itself. Use another file.")
    if not file.exists():
        return
    if not file.is_file():
        raise click.ClickException(f"{file} is not a regular file. Use another file.")
    head, dialect = _read_head(file)
    if head and (dialect is None or _WAL_MODE.match(head)):
        raise click.ClickException(
            f"{file} exists and is not a backup. Use another file, or delete this one first."
        )


def _check_source(file: Path, database: Path | None) -> None:
    """Raise ClickException unless `file` looks like a backup of a database of this dialect."""
    name = db.engine.dialect.name
    if not file.is_file():
        raise click.ClickException(f"{file} is not a regular file. Copy the backup to a file first.")
    if sqlite.is_part_of(file, database):
        raise click.ClickException(f"{file} is the database itself. Use a backup.")
    _, found = _read_head(file)
    if found is None:
        raise click.ClickException(f"{file} is not a backup. Use import to read todos from other files.")
    if found != name:
        raise click.ClickException(
            f"{file} is a backup of {found}, but the database is {name}. Restore it to {found}, or use "
            "export and import to move todos between databases."
        )


class _Tools(Protocol):
    """The backup tools of a database. All methods raise ClickException if a tool fails."""

    def dump(self, file: Path) -> None:
        """Write a verified backup, which replaces `file`."""

    def verify(self, file: Path) -> None:
        """Raise ClickException if the backup is damaged or incomplete."""

    def find_foreign_object(self, file: Path) -> str | None:
        """Return why `file` is not a backup of this service, or None if it is a valid backup."""

    def load(self, file: Path) -> None:
        """Replace the content of the database with the backup, completely or not at all."""


def _tools() -> _Tools:
    """Return the tools. Raises ClickException if a program is missing or too old for the server."""
    path = sqlite.file_of(db.engine.url)
    if path is not None:
        return _Sqlite(path)
    if db.engine.dialect.name == "sqlite":
        raise click.ClickException("A database in memory has no backup. Use export and import instead.")
    return _Postgresql() if db.engine.dialect.name == "postgresql" else _Mariadb()


class _Sqlite:
    def __init__(self, path: Path) -> None:
        self._path = path

    def dump(self, file: Path) -> None:
        with _progress("Backup") as progress:
            sqlite.copy(self._path, file, progress)

    def verify(self, file: Path) -> None:
        try:
            sqlite.check_integrity(file)
        except sqlite.Error as error:
            raise click.ClickException(f"{file} is damaged ({error}). Use another backup.") from None

    def find_foreign_object(self, file: Path) -> str | None:
        return sqlite.find_foreign_object(file, schema.released_ddl())

    def load(self, file: Path) -> None:
        with _progress("Restore") as progress:
            sqlite.replace(self._path, file, progress)


@contextmanager
def _progress(label: str) -> Iterator[sqlite.Progress]:
    """Show the progress of a copy of a SQLite file, in pages."""
    with _bar(label, 1) as bar:

        def progress(_: int, remaining: int, total: int) -> None:
            bar.length = max(1, total)
            bar.update(total - remaining - bar.pos)

        yield progress


@contextmanager
def _bar(label: str, length: int) -> Iterator[Any]:
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=no_terminal()) as bar:
        yield bar
        bar.update(max(0, (bar.length or 0) - bar.pos))  # the size of a server's database was an estimate


class _Server:
    """The client programs of a database server."""

    size: ClassVar[str]  # a query of the estimated size in bytes
    environment: dict[str, str]
    dump_command: list[str]

    def dump(self, file: Path) -> None:
        with db.engine.connect() as connection:
            size = int(connection.exec_driver_sql(self.size).scalar_one())
        with replacing(file) as output:
            with _bar("Backup", size) as bar:
                self.run(self.dump_command, output=output, advance=bar.update)
            self.verify(Path(output.name))

    def verify(self, file: Path) -> None:
        raise NotImplementedError

    def restore(self, file: Path, *command: str) -> None:
        """Run a command that reads the backup."""
        with file.open("rb") as source, _bar("Restore", file.stat().st_size) as bar:
            self.run(command, source=source, advance=bar.update)

    def run(
        self,
        command: Sequence[str],
        *,
        source: BinaryIO | None = None,
        output: BinaryIO | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Run a program that reads `source` or writes `output`. Raises ClickException if it fails.

        A pipe makes pg_restore read every byte. In a file, pg_restore would skip data and miss gaps.
        """
        with TemporaryFile() as errors:
            with (
                suppress(BrokenPipeError),  # the program ended, and its error output says why
                subprocess.Popen(
                    command,
                    env=os.environ | self.environment,
                    stdin=subprocess.PIPE if source else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if output else subprocess.DEVNULL,
                    stderr=errors,
                ) as process,
            ):
                pipes: Any = (source, process.stdin) if source else (process.stdout, output)
                while piece := pipes[0].read(_PIECE):
                    pipes[1].write(piece)
                    advance(len(piece))
            if process.returncode:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines() or ["no message"]
                raise click.ClickException(f"{Path(command[0]).name} failed: {'; '.join(lines[:3])}.")


class _Postgresql(_Server):
    size = "SELECT pg_database_size(current_database())"
    _PLAIN = ("--no-owner", "--no-privileges")
    # Variables of libpq that do not have the name of their keyword.
    _VARIABLES: ClassVar = {"dbname": "DATABASE", "connect_timeout": "CONNECT_TIMEOUT"}
    # The entries of a backup that hold data or its structure. All others execute code, or have effects
    # outside of the tables.
    _PASSIVE_ENTRIES = re.compile(
        r"(?:TABLE|TABLE DATA|SEQUENCE|SEQUENCE SET|SEQUENCE OWNED BY|DEFAULT|CONSTRAINT|CHECK CONSTRAINT"
        r"|FK CONSTRAINT|INDEX|COMMENT|SCHEMA) "
    )
    _OWN_ENTRIES = re.compile(r"(?:FUNCTION \S+ todos_\w+\(\)|TRIGGER \S+ todos todos_\w+) ")
    _FUNCTION_BODY = re.compile(r"AS (\$\w*\$)(.*?)\1", re.DOTALL)

    def __init__(self) -> None:
        with db.engine.connect() as connection:
            dialect = connection.dialect
        major, *_ = dialect.server_version_info or (0,)
        _, keywords = dialect.create_connect_args(db.engine.url)
        self.environment = {
            f"PG{self._VARIABLES.get(name, name.replace('_', '').upper())}": str(value)
            for name, value in keywords.items()
            if isinstance(value, str | int)
        }
        self.dump_command = [_find("pg_dump", (int(major),)), "--format=custom", *self._PLAIN]
        self._restore = _find("pg_restore", (int(major),))

    def verify(self, file: Path) -> None:
        with file.open("rb") as source:
            self.run([self._restore, "--file", os.devnull], source=source)

    def find_foreign_object(self, file: Path) -> str | None:
        lines = self._read(file, "--list").splitlines()
        entries = [line.split(" ", 3)[3] + " " for line in lines if line and line[0] != ";"]
        if not any(re.match(r"TABLE \S+ todos ", entry) for entry in entries):
            return _NO_TODOS
        for entry in entries:
            if not self._PASSIVE_ENTRIES.match(entry) and not self._OWN_ENTRIES.match(entry):
                return f"The entry {entry.strip()} is not part of this service."
        for _, body in self._FUNCTION_BODY.findall(self._read(file, "--schema-only", "--file", "-")):
            if " ".join(body.split()) not in schema.released_ddl():
                return f"The file contains a foreign function: {' '.join(body.split())[:60]}"
        return None

    def _read(self, file: Path, *options: str) -> str:
        with TemporaryFile() as output:
            self.run([self._restore, *options, str(file)], output=output)
            output.seek(0)
            return output.read().decode()

    def load(self, file: Path) -> None:
        options = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error", *self._PLAIN)
        self.restore(file, self._restore, *options, "--dbname", db.engine.url.database or "")


class _Mariadb(_Server):
    size = (
        "SELECT coalesce(sum(data_length), 0) FROM information_schema.tables WHERE table_schema = database()"
    )
    _TLS = ("ssl_ca", "ssl_cert", "ssl_key")  # options of the URL
    # Each statement of mariadb-dump begins on a new line, and line ends in values are escaped.
    _FOREIGN_STATEMENT = re.compile(rb"(?:/\*M?!\d* ?)*(?:CREATE (?!TABLE)|USE |GRANT |CALL )")

    def __init__(self) -> None:
        url, oldest = db.engine.url, dialects.DIALECTS["mariadb"].oldest
        self.environment = {"MYSQL_PWD": url.password or ""}
        socket = url.query.get("unix_socket")
        server = ["--no-defaults", "--default-character-set=utf8mb4", f"--user={url.username or ''}"]
        server += (
            [f"--socket={socket}"] if socket else ["--protocol=tcp", f"--host={url.host or 'localhost'}"]
        )
        server += [f"--port={url.port}"] if url.port else []
        server += [f"--{name.replace('_', '-')}={url.query[name]}" for name in self._TLS if name in url.query]
        self._database = url.database or ""
        snapshot = ("--single-transaction", "--quick", "--hex-blob", self._database)
        self.dump_command = [_find("mariadb-dump", oldest), *server, *snapshot]
        self._client = [_find("mariadb", oldest), *server]

    def verify(self, file: Path) -> None:
        with file.open("rb") as source:
            source.seek(max(0, file.stat().st_size - 200))
            if b"\n-- Dump completed" not in source.read():
                raise click.ClickException(
                    f"{file} is incomplete: its last line is missing. Use another backup."
                )

    def find_foreign_object(self, file: Path) -> str | None:
        has_todos = False
        with file.open("rb") as lines:
            for line in lines:
                has_todos |= line.startswith(b"CREATE TABLE `todos`")
                if self._FOREIGN_STATEMENT.match(line):
                    shown = line.decode(errors="replace").strip()[:60]
                    return f"The file contains a foreign statement: {shown}"
        return None if has_todos else _NO_TODOS

    def load(self, file: Path) -> None:
        # MariaDB commits each DDL statement. The backup is loaded into a second database, whose tables then
        # replace the old ones in one statement.
        loaded, replaced = f"{self._database}_restored", f"{self._database}_replaced"
        with db.engine.connect() as connection:
            for name in (loaded, replaced):
                connection.exec_driver_sql(f"CREATE DATABASE `{name}`")
            try:
                self.restore(file, *self._client, loaded)
                new = set(inspect(connection).get_table_names(loaded))
                old = set(inspect(connection).get_table_names(self._database)) & (
                    new | set(db.metadata.tables) | {schema.VERSIONS.name}
                )
                moves = [f"`{self._database}`.`{table}` TO `{replaced}`.`{table}`" for table in sorted(old)]
                moves += [f"`{loaded}`.`{table}` TO `{self._database}`.`{table}`" for table in sorted(new)]
                connection.exec_driver_sql(f"RENAME TABLE {', '.join(moves)}")
            finally:
                for name in (loaded, replaced):
                    connection.exec_driver_sql(f"DROP DATABASE `{name}`")


def _find(name: str, oldest: tuple[int, ...]) -> str:
    """Return the oldest program on the PATH that is new enough, because servers reject newer dumps.

    Raises ClickException if no program is new enough.
    """
    found: list[tuple[tuple[int, ...], str]] = []
    reason = "it is not on the PATH"
    for folder in os.get_exec_path():
        path = shutil.which(name, path=folder)
        if path is None:
            continue
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"(?:\(PostgreSQL\) |Distrib |from )(\d+)(?:\.(\d+))?", shown)
        if version:
            found.append((tuple(int(part or 0) for part in version.groups()), path))
        reason = f"{path} is {shown.strip() or 'not executable'}"
    usable = [program for program in found if program[0] >= oldest]
    if not usable:
        raise click.ClickException(
            f"{name} of version {'.'.join(map(str, oldest))} or newer is required, but {reason}. Install the "
            "client programs of the database server and add their folder to the PATH."
        )
    return min(usable)[1]
