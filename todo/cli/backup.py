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
# Bytes 18 and 19 of a SQLite file are 2 in WAL mode (https://www.sqlite.org/fileformat.html). A backup is
# never in WAL mode, so a file in WAL mode is a database that a service may use.
_WAL_MODE = slice(18, 20), b"\2\2"
_VERSION = re.compile(r"(?:\(PostgreSQL\) |Distrib |from )(\d+)(?:\.(\d+))?")
_TLS = ("ssl_ca", "ssl_cert", "ssl_key")  # options of a MariaDB URL
_Bar = Callable[[int], object]  # takes a number of bytes


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
        with db.engine.connect() as connection:
            todos = _count(connection)
            path = sqlite.file_of(db.engine.url)
            if path is not None:
                _copy(path, file, "Backup")
            elif db.engine.dialect.name == "sqlite":
                raise click.ClickException("A database in memory cannot be backed up. Use export instead.")
            else:
                _dump(_tools(connection), connection, file)
            problem = _find_foreign_object(file, connection)
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
            todos = _count(connection)
            if todos and not overwrite:
                raise click.ClickException(
                    f"The database contains {todos} todos. Use --overwrite to replace them."
                )
            is_used = _is_used(connection)
        copy = schema.free_name(path or file.resolve(), "before-restore") if is_used else None
        if path is None:
            _restore_server(file, copy)
        else:
            _restore_file(file, path, copy)
        with db.engine.connect() as connection:
            found, todos = schema.state(connection), _count(connection)
    click.echo(f"Todos: {todos}.", err=True)
    if copy:
        click.echo(f"The previous content is in {copy}.", err=True)
    if found is State.AHEAD:
        click.echo("The backup was made by a later release. Install that release.", err=True)
    elif found is not State.HEAD:
        click.echo("The backup was made by an earlier release. Run flask --app todo db upgrade.", err=True)


def _find_foreign_object(file: Path, connection: Connection) -> str | None:
    """Return why `file` is not a backup of this service, or None if it is a valid backup."""
    if connection.dialect.name == "sqlite":
        return sqlite.find_foreign_object(file, schema.released_ddl())
    return _tools(connection).find_foreign_object(file)


def _restore_file(file: Path, path: Path, copy: Path | None) -> None:
    try:
        problem = sqlite.find_foreign_object(file, schema.released_ddl())
        sqlite.check_integrity(file)
    except sqlite.Error as error:
        raise click.ClickException(f"{file} is damaged ({error}). Use another backup.") from None
    _refuse(file, problem)
    if copy:
        sqlite.copy(path, copy)
    _copy(file, path, "Restore")


def _restore_server(file: Path, copy: Path | None) -> None:
    with db.engine.connect() as connection:
        tools = _tools(connection)
        tools.verify(file)
        _refuse(file, tools.find_foreign_object(file))
        if copy:
            _dump(tools, connection, copy)
    with file.open("rb") as source, _bar("Restore", file.stat().st_size) as advance:
        tools.load(source, advance)


def _refuse(file: Path, problem: str | None) -> None:
    if problem:
        raise click.ClickException(f"{file} cannot be restored. {problem}")


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


def _read_head(file: Path) -> bytes:
    with file.open("rb") as source:
        return source.read(100)


def _dialect_of(head: bytes) -> str | None:
    return next((name for beginning, name in _BEGINNINGS.items() if head.startswith(beginning)), None)


def _check_target(file: Path) -> None:
    """Raise ClickException unless `file` is free, empty or an earlier backup."""
    if sqlite.is_part_of(file, sqlite.file_of(db.engine.url)):
        raise click.ClickException(f"{file} is part of the database itself. Use another file.")
    if not file.exists():
        return
    if not file.is_file():
        raise click.ClickException(f"{file} is not a regular file. Use another file.")
    head = _read_head(file)
    part, wal = _WAL_MODE
    if head and (_dialect_of(head) is None or (head[part] == wal and _dialect_of(head) == "sqlite")):
        raise click.ClickException(
            f"{file} exists and is not a backup. Use another file, or delete this one first."
        )


def _check_source(file: Path, database: Path | None) -> None:
    """Raise ClickException unless `file` looks like a backup of a database of this dialect."""
    name = db.engine.dialect.name
    if name == "sqlite" and database is None:
        raise click.ClickException("A database in memory cannot be restored. Set a database file.")
    if not file.is_file():
        raise click.ClickException(f"{file} is not a regular file. Copy the backup to a file first.")
    if sqlite.is_part_of(file, database):
        raise click.ClickException(f"{file} is the database itself. Use a backup.")
    found = _dialect_of(_read_head(file))
    if found is None:
        raise click.ClickException(f"{file} is not a backup. Use import to read todos from other files.")
    if found != name:
        raise click.ClickException(
            f"{file} is a backup of {found}, but the database is {name}. Restore it to {found}, or use "
            "export and import to move todos between databases."
        )


def _dump(tools: "_Tools", connection: Connection, file: Path) -> None:
    with replacing(file) as output:
        with _bar("Backup", tools.size(connection)) as advance:
            tools.dump(output, advance)
        output.flush()
        tools.verify(Path(output.name))


@contextmanager
def _bar(label: str, size: int) -> Iterator[_Bar]:
    with click.progressbar(length=size, label=label, file=sys.stderr, hidden=no_terminal()) as bar:
        yield bar.update
        bar.update(max(0, size - bar.pos))  # the size of a server's database was an estimate


def _copy(source: Path, target: Path, label: str) -> None:
    """Copy a SQLite database over another one, with a progress bar."""
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
    """The backup programs of a database server, and the size of the database."""

    size: Callable[[Connection], int]
    dump: Callable[[BinaryIO, _Bar], None]
    verify: Callable[[Path], None]
    find_foreign_object: Callable[[Path], str | None]
    load: Callable[[BinaryIO, _Bar], None]


def _tools(connection: Connection) -> _Tools:
    """Find the programs. Raises ClickException if one is missing or too old for the server."""
    if connection.dialect.name == "postgresql":
        major, *_ = connection.dialect.server_version_info or (0,)
        return _postgresql(connection.engine.url, (int(major),))
    return _mariadb(connection.engine.url, dialects.DIALECTS["mariadb"].oldest)


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

    def find_foreign_object(file: Path) -> str | None:
        texts = []
        for arguments in (["--list"], ["--schema-only", "--file", "-"]):
            with TemporaryFile() as output:
                _run([restore, *arguments, str(file.absolute())], environment, output=output)
                output.seek(0)
                texts.append(output.read().decode())
        return _find_in_postgresql(*texts)

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
        find_foreign_object,
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
    # MariaDB commits each DDL statement. The backup is loaded into a second database, whose tables then
    # replace the old ones in one statement.
    loaded, replaced = f"{database}_restored", f"{database}_replaced"

    def verify(file: Path) -> None:
        with file.open("rb") as source:
            source.seek(max(0, file.stat().st_size - 200))
            if b"\n-- Dump completed" not in source.read():
                raise click.ClickException(
                    f"{file} is incomplete: its last line is missing. Use another backup."
                )

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
        _find_in_mariadb,
        load,
    )


# The entries of a PostgreSQL backup that hold data or its structure. All others execute code, or have
# effects outside of the tables.
_PASSIVE_ENTRIES = re.compile(
    r"(?:TABLE|TABLE DATA|SEQUENCE|SEQUENCE SET|SEQUENCE OWNED BY|DEFAULT|CONSTRAINT|CHECK CONSTRAINT"
    r"|FK CONSTRAINT|INDEX|COMMENT|SCHEMA) "
)
_OWN_ENTRIES = re.compile(r"(?:FUNCTION \S+ todos_\w+\(\)|TRIGGER \S+ todos todos_\w+) ")


_FUNCTION_BODY = re.compile(r"AS (\$\w*\$)(.*?)\1", re.DOTALL)
_NO_TODOS = "The file has no table todos."


def _find_in_postgresql(entries: str, ddl: str) -> str | None:
    found = [line.split(" ", 3)[3] + " " for line in entries.splitlines() if line and line[0] != ";"]
    if not any(re.match(r"TABLE \S+ todos ", entry) for entry in found):
        return _NO_TODOS
    for entry in found:
        if not _PASSIVE_ENTRIES.match(entry) and not _OWN_ENTRIES.match(entry):
            return f"The entry {entry.strip()} is not part of this service."
    for _, body in _FUNCTION_BODY.findall(ddl):
        if " ".join(body.split()) not in schema.released_ddl():
            return f"The file contains a foreign function: {' '.join(body.split())[:60]}"
    return None


# Each statement of mariadb-dump begins on a new line, and line ends in values are escaped.
_FOREIGN_STATEMENT = re.compile(rb"(?:/\*M?!\d* ?)*(?:CREATE (?!TABLE)|USE |GRANT |CALL )")


def _find_in_mariadb(file: Path) -> str | None:
    has_todos = False
    with file.open("rb") as lines:
        for line in lines:
            has_todos |= line.startswith(b"CREATE TABLE `todos`")
            if _FOREIGN_STATEMENT.match(line):
                return f"The file contains a foreign statement: {line.decode(errors='replace').strip()[:60]}"
    return None if has_todos else _NO_TODOS


def _swap(connection: Connection, database: str, loaded: str, replaced: str) -> None:
    new = set(inspect(connection).get_table_names(loaded))
    old = set(inspect(connection).get_table_names(database)) & (
        new | set(db.metadata.tables) | {schema.VERSIONS.name}
    )
    moves = [f"`{database}`.`{table}` TO `{replaced}`.`{table}`" for table in sorted(old)]
    moves += [f"`{loaded}`.`{table}` TO `{database}`.`{table}`" for table in sorted(new)]
    connection.exec_driver_sql(f"RENAME TABLE {', '.join(moves)}")


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
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        version = _VERSION.search(shown.stdout)
        if version:
            found.append((tuple(int(part or 0) for part in version.groups()), path))
        reason = f"{path} is {shown.stdout.strip() or 'not executable'}"
    usable = [program for program in found if program[0] >= oldest]
    if not usable:
        raise click.ClickException(
            f"{name} of version {'.'.join(map(str, oldest))} or newer is required, but {reason}. Install the "
            "client programs of the database server and add their folder to the PATH."
        )
    return min(usable)[1]


def _run(
    command: Sequence[str],
    environment: dict[str, str],
    source: IO[bytes] | None = None,
    output: IO[bytes] | None = None,
    advance: _Bar = lambda _: None,
) -> None:
    """Run a program between files. Raises ClickException with its error output if it fails."""
    with (
        TemporaryFile() as errors,
        subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL if source is None else subprocess.PIPE,
            stdout=subprocess.DEVNULL if output is None else subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        pipes: Any = (source, process.stdin) if source else (process.stdout, output)
        with suppress(BrokenPipeError):  # the program ended, and its error output says why
            if source or output:
                while piece := pipes[0].read(_PIECE):
                    pipes[1].write(piece)
                    advance(len(piece))
            if process.stdin:
                process.stdin.close()
        if process.wait():
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise click.ClickException(f"{Path(command[0]).name} failed: {'; '.join(lines[:3])}.")
