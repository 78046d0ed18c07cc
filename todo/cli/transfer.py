"""The commands `export` and `import`: write todos to a file, and read todos from a file."""

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import click
import msgspec
from flask.cli import with_appcontext
from msgspec import UNSET, structs
from sqlalchemy import Connection, create_engine, delete, insert, select
from sqlalchemy.exc import DBAPIError

from todo import database
from todo.clock import format_instant, service_zone, utc_now
from todo.database import sqlite
from todo.formats import (
    Entry,
    Format,
    ParseError,
    csv,
    icalendar,
    json,
    own_uid,
    parse_own_uid,
    taskwarrior,
    text,
    todotxt,
)
from todo.http.body import field_errors
from todo.http.problem import FieldError, Problem
from todo.listing import STREAM_CHUNK, encode, read_by_id
from todo.models import db
from todo.models.imported_uid import IMPORTS
from todo.query import TODOS, Listing
from todo.schemas import ListQuery, TodoEntry, decode_hook

T = TypeVar("T")

FORMATS: dict[str, Callable[[], Format]] = {
    "json": lambda: json.FILE,
    "csv": lambda: csv.FORMAT,
    "ics": lambda: icalendar.format_for(service_zone()),
    "todotxt": lambda: todotxt.FORMAT,
    "taskwarrior": lambda: taskwarrior.format_for(service_zone()),
}
# The second argument is the value of --day-first.
READERS: dict[str, Callable[[Iterable[bytes], bool | None], Iterator[Entry]]] = {
    "json": lambda pieces, _: json.read(text.decode(pieces), is_task=False),
    "csv": lambda pieces, day_first: csv.read(text.decode(pieces), day_first=day_first),
    "taskwarrior": lambda pieces, _: json.read(text.decode(pieces), is_task=True),
    "ics": lambda pieces, _: icalendar.read(pieces, service_zone()),
    "todotxt": lambda pieces, _: todotxt.read(text.decode(pieces)),
}
_SUFFIXES = {
    **dict.fromkeys((".json", ".ndjson", ".jsonl"), "json"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".ics", ".ical", ".vcs"), "ics"),
    ".txt": "todotxt",
}
_PIECE = 64 * 1024  # bytes
_CACHE = 32 * 1024  # KiB
# Bounds of the report on a file.
_MAX_NAMES = 100
_MAX_PROBLEMS = 1000
_MAX_PROBLEMS_OF_TODO = 20
# JavaScript rounds integers above 2^53 - 1, and the service still has to assign ids after an import.
_MAX_ID = 2**53 - 1 - 10**6


def _format(path: str, chosen: str | None) -> str:
    """Return the format of a file: the chosen one, or that of the file extension."""
    found = chosen or _SUFFIXES.get(Path(path).suffix.lower())
    if found is None:
        names = "|".join(READERS)
        raise click.UsageError(f"The format of {_printable(path)} is unknown. Add --format {names}.")
    return found


def _printable(text: str) -> str:
    """Escape the characters that a terminal could execute."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Convert errors of the file and the database to messages without a traceback."""
    try:
        yield
    except Problem as problem:
        raise click.ClickException(problem.description or "") from None
    except (DBAPIError, sqlite.Error) as error:
        reason = getattr(error, "orig", error)
        raise click.ClickException(f"The database cannot be used: {reason}.") from None
    except OSError as error:
        name = _printable(str(error.filename or "The file"))
        raise click.ClickException(f"{name}: {error.strerror or error}.") from None


@click.command("export")
@click.option(
    "--format", "chosen", type=click.Choice(list(FORMATS)), help="Default: the file extension decides."
)
@click.argument("file", default="-")
@with_appcontext
def export_todos(chosen: str | None, file: str) -> None:
    """Write a consistent copy of all todos to FILE or standard output."""
    form = FORMATS["json" if file == "-" and not chosen else _format(file, chosen)]()
    with plain_errors():
        if file == "-":
            count = _export(form, sys.stdout.buffer)
        else:
            with replacing(Path(file)) as output:
                count = _export(form, output)
    click.echo(f"Todos: {count}. {form.limitations}".rstrip(), err=True)


def _export(form: Format, output: BinaryIO) -> int:
    """Write all readable todos, and return their number. The log names the others."""
    count = 0
    with database.read() as connection:
        ids = Listing(ListQuery()).read_ids(connection)
        output.write(form.head)
        with _progress(range(0, len(ids), STREAM_CHUNK), "Export") as places:
            for place in places:
                todos = read_by_id(connection, ids[place : place + STREAM_CHUNK])
                if todos:
                    output.write((form.separator if count else b"") + encode(connection, todos, form))
                count += len(todos)
        output.write(form.tail)
        output.flush()
    return count


def _progress(
    items: Iterable[T], label: str, length: int | None = None
) -> AbstractContextManager[Iterable[T]]:
    hidden = no_terminal() or length == 0
    return click.progressbar(items, length, label, file=sys.stderr, hidden=hidden)


def no_terminal() -> bool:
    """Return True if the standard error is not a terminal, so that no progress bar is shown."""
    return not sys.stderr.isatty()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the file is complete and on disk. Write to a pipe directly."""
    if sqlite.is_part_of(path, sqlite.file_of(db.engine.url)):
        raise click.ClickException(f"{path} is part of the database itself. Use another file.")
    if path.exists() and not path.is_file():
        with path.open("wb") as output:
            yield output
        return
    with sqlite.replacing(path.resolve()) as part, part.open("wb") as output:
        yield output


@click.command("import")
@click.option(
    "--format", "chosen", type=click.Choice(list(READERS)), help="Default: the file extension decides."
)
@click.option("--dry-run", is_flag=True, help="Report the result without changing anything.")
@click.option("--skip-invalid", is_flag=True, help="Import the valid todos even if others are invalid.")
@click.option(
    "--day-first/--month-first",
    default=None,
    help="Order of day and month in dates such as 1/2/2027. Default: such dates are invalid.",
)
@click.argument("file")
@with_appcontext
def import_todos(
    chosen: str | None, file: str, *, dry_run: bool, skip_invalid: bool, day_first: bool | None
) -> None:
    """Import the todos in FILE (- for standard input), all or none. Duplicates are skipped.

    Formats: JSON and NDJSON (also from Taskwarrior), CSV (also from Todoist, Outlook, Asana and Trello),
    iCalendar, todo.txt.
    """
    name = _format(file, chosen)
    with plain_errors(), closing(_Staged()) as staged, _opened(file) as pieces:
        # Without an explicit format, the members decide whether JSON has todos or Taskwarrior's tasks.
        is_json = chosen is None and name == "json"
        entries = json.read(text.decode(pieces)) if is_json else READERS[name](pieces, day_first)
        rejected = _stage(file, entries, staged)
        if rejected and not skip_invalid:
            raise click.ClickException(
                f"Nothing was imported, because {rejected} {'todo is' if rejected == 1 else 'todos are'} "
                "invalid. Use --skip-invalid to import the others."
            )
        created = _import(staged, dry_run=dry_run)
    imported, skipped, refused = (
        ("Would import", "skip", "reject") if dry_run else ("Imported", "skipped", "rejected")
    )
    duplicates = staged.count - created
    click.echo(f"{imported} {created}, {skipped} {duplicates} duplicates, {refused} {rejected}.")


def _stage(file: str, entries: Iterator[Entry], staged: "_Staged") -> int:
    """Validate and stage todos, report the rest, and return the number of invalid todos."""
    rejected = shown = 0
    ignored: dict[str, list[int]] = {}  # the first line and the count
    try:
        for entry in entries:
            for name in entry.ignored:
                known = name if name in ignored or len(ignored) < _MAX_NAMES else "More"
                ignored.setdefault(known, [entry.line, 0])[1] += 1
            if entry.values is None:
                continue
            problems = [entry.error] if entry.error else staged.add(entry.line, entry.values)
            for problem in problems[: _MAX_PROBLEMS - shown]:
                _report(file, entry.line, problem)
                shown += 1
            rejected += bool(problems)
    except ParseError as error:
        message = f"{file}:{error.line}: {error.detail} Nothing was imported."
        raise click.ClickException(_printable(message)) from None
    if shown == _MAX_PROBLEMS:
        click.echo(f"Only the first {_MAX_PROBLEMS} problems are shown.", err=True)
    for name, (line, count) in ignored.items():
        _report(file, line, f"{name[:80]} is ignored ({count} times in the file).")
    return rejected


def _report(file: str, line: int, problem: str) -> None:
    over_the_bar = "" if no_terminal() else "\r\x1b[K"
    click.echo(over_the_bar + _printable(f"{file}:{line}: {problem}"), err=True)


@contextmanager
def _opened(file: str) -> Iterator[Iterable[bytes]]:
    with click.open_file(file, "rb") as source:
        size = 0 if file == "-" else Path(file).stat().st_size
        pieces = iter(partial(source.read, _PIECE), b"")
        with _progress(pieces, "Read", -(-size // _PIECE)) as bar:
            yield bar


class _Row(NamedTuple):
    uid: str
    todo_id: int | None
    todo: TodoEntry


class _Staged:
    """The valid todos of a file, in a temporary database on disk.

    The file is read once, in bounded memory, before the import locks the service's database.
    """

    def __init__(self) -> None:
        self.count = 0
        self._engine = create_engine("sqlite:///file:?uri=true")  # an empty name: SQLite deletes the file
        self._connection = self._engine.connect()
        self._execute = self._connection.exec_driver_sql
        self._execute(
            "CREATE TABLE todos (uid TEXT NOT NULL UNIQUE, todo_id INTEGER UNIQUE, content BLOB NOT NULL,"
            " line INTEGER NOT NULL)"
        )
        self._execute("CREATE TABLE contents (digest BLOB PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID")

    def close(self) -> None:
        """Delete the temporary database."""
        self._connection.close()
        self._engine.dispose()

    def add(self, line: int, values: dict[str, Any]) -> list[str]:
        """Validate and stage a todo. Return the problems of an invalid one."""
        own = parse_own_uid(str(values.get("uid")))
        if own and "id" not in values:
            values |= dict(zip(("id", "created_at"), own, strict=True))
        try:
            todo = msgspec.convert(values, TodoEntry, dec_hook=decode_hook)
            todo_id = None if todo.id is UNSET else todo.id
            if todo_id is not None and not 1 <= todo_id <= _MAX_ID:
                return [f"id must be a whole number from 1 to {_MAX_ID} (it is {todo_id})."]
            uid = self._uid(todo)
            uid.encode()  # raises UnicodeEncodeError, as the last line does for other members
            todo.uid = todo.id = UNSET
            content = msgspec.json.encode(todo, enc_hook=datetime.isoformat)
        except msgspec.ValidationError:
            found = islice(field_errors(TodoEntry, values, "#"), _MAX_PROBLEMS_OF_TODO)
            return [_describe(error, values) for error in found]
        except UnicodeEncodeError:
            return ["The text must not contain lone surrogates (\\ud800 to \\udfff alone)."]
        insert = "INSERT OR IGNORE INTO todos VALUES (?, ?, ?, ?)"
        if not self._execute(insert, (uid, todo_id, content, line)).rowcount:
            other = self._execute("SELECT line, content FROM todos WHERE uid = ?", (uid,)).fetchone()
            if other is None:  # another todo has the id, but not the UID
                self._execute(insert, (uid, None, content, line))
            elif other.content != content:
                same = f"The todo has the same UID as the todo at line {other.line} ({uid[:80]})"
                return [f"{same}, but different content."]
        self.count += 1
        return []

    def chunks(self, size: int) -> Iterator[list[_Row]]:
        """Yield the todos in the order of the file, todos with an id first."""
        decode = msgspec.json.Decoder(TodoEntry, dec_hook=decode_hook).decode
        for which in ("NOT NULL", "NULL"):
            rows = self._execute(
                f"SELECT uid, todo_id, content FROM todos WHERE todo_id IS {which} ORDER BY rowid"
            )
            while found := rows.fetchmany(size):
                yield [_Row(uid, todo_id, decode(content)) for uid, todo_id, content in found]

    def _uid(self, todo: TodoEntry) -> str:
        """Return the UID in the file, or derive a UID from the id or from the content.

        Todos with equal content are numbered. So their UIDs differ, and are the same in each import.
        """
        if todo.uid is not UNSET:
            return todo.uid
        if todo.id is not UNSET and todo.created_at is not UNSET:
            return own_uid(todo.id, format_instant(todo.created_at))
        members = todo.title, todo.description, todo.deadline_at
        content = msgspec.json.encode(members, enc_hook=datetime.isoformat)
        digest = hashlib.blake2b(content, digest_size=16).digest()
        (times,) = self._execute(
            "INSERT INTO contents VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times",
            (digest,),
        ).one()
        return f"{digest.hex()}-{times}@todo"


def _describe(error: FieldError, values: dict[str, Any]) -> str:
    value = values.get(str(error.pointer).removeprefix("#/"))
    shown = f" (it is {value!r:.60})" if isinstance(value, str | int | float) else ""
    return f"{error.detail}{shown}."


def _import(staged: _Staged, *, dry_run: bool) -> int:
    """Create the todos that are not stored yet, in one transaction, and return their number.

    In an empty database, the todos keep their ids and times. Otherwise they get new ids, and `updated_at` is
    the current time, because clients that filter by `updated_since` must find the todos.
    """

    def work(connection: Connection) -> int:
        created = 0
        if connection.dialect.name == "sqlite":
            # Every index is written in random order. Pages beyond the cache would be written repeatedly.
            connection.exec_driver_sql(f"PRAGMA cache_size = {-_CACHE}")
        as_they_were = connection.execute(select(TODOS.c.id).limit(1)).first() is None
        now = utc_now()
        for rows in staged.chunks(STREAM_CHUNK):
            known = _known(connection, [row.uid for row in rows])
            new = [row for row in rows if row.uid not in known]
            created += len(new)
            if new and not dry_run:
                _create(connection, new, now, as_they_were=as_they_were)
        return created

    if not dry_run:
        return database.write(work)
    with database.read() as connection:
        return work(connection)


def _known(connection: Connection, uids: list[str]) -> set[str]:
    """Return the UIDs of stored todos."""
    stored = TODOS.join(IMPORTS, IMPORTS.c.todo_id == TODOS.c.id)
    imported = set(
        connection.scalars(select(IMPORTS.c.uid).select_from(stored).where(IMPORTS.c.uid.in_(uids)))
    )
    ids = [parsed[0] for parsed in map(parse_own_uid, uids) if parsed and abs(parsed[0]) < 2**63]
    return imported | {own_uid(todo.id, todo.created_at) for todo in read_by_id(connection, ids)}


def _create(connection: Connection, rows: list[_Row], now: datetime, *, as_they_were: bool) -> None:
    values = []
    for row in rows:
        todo = structs.asdict(row.todo)
        del todo["id"], todo["uid"]
        todo["created_at"] = todo["created_at"] or now
        todo["updated_at"] = (todo["updated_at"] or todo["created_at"]) if as_they_were else now
        values.append(todo | ({"id": row.todo_id} if as_they_were and row.todo_id else {}))
    statement = insert(TODOS).returning(TODOS.c.id, sort_by_parameter_order=True)
    kept = [
        {"uid": row.uid, "todo_id": todo_id}
        for row, todo_id, todo in zip(rows, connection.scalars(statement, values), values, strict=True)
        if row.uid != own_uid(todo_id, format_instant(todo["created_at"]))
    ]
    if kept:
        # Another program can delete a todo and leave the row of its UID.
        connection.execute(delete(IMPORTS).where(IMPORTS.c.uid.in_([row["uid"] for row in kept])))
        connection.execute(insert(IMPORTS), kept)
