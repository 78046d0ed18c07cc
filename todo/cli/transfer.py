"""The commands `export` and `import`: todos to a file and from one."""

import hashlib
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import click
import msgspec
from flask.cli import with_appcontext
from msgspec import UNSET, structs
from sqlalchemy import Connection, delete, insert, select
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
from todo.http.body import faults, from_json
from todo.http.problem import Fault, Problem
from todo.listing import IMPORTS, STREAM_CHUNK, encode_chunk
from todo.models import db
from todo.query import TODOS, Listing
from todo.schemas import ListQuery, TodoEntry

FORMATS: dict[str, Callable[[], Format]] = {
    "json": lambda: json.FILE,
    "csv": lambda: csv.FORMAT,
    "ics": lambda: icalendar.format_for(service_zone()),
    "todotxt": lambda: todotxt.FORMAT,
    "taskwarrior": lambda: taskwarrior.format_for(service_zone()),
}
READERS: dict[str, Callable[[Iterable[bytes], bool | None], Iterator[Entry]]] = {
    "json": lambda pieces, _: json.read(text.decode(pieces)),
    "csv": lambda pieces, day_first: csv.read(text.decode(pieces), day_first=day_first),
    "taskwarrior": lambda pieces, _: json.read(text.decode(pieces)),
    "ics": lambda pieces, _: icalendar.read(pieces, service_zone()),
    "todotxt": lambda pieces, _: todotxt.read(text.decode(pieces)),
}
_SUFFIXES = {
    ".json": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".ics": "ics",
    ".txt": "todotxt",
}
_PIECE = 64 * 1024  # bytes
_CACHE = 32 * 1024  # KiB
_MAX_LOST = 100  # kinds
_MAX_ID = 2**53 - 1  # above it, readers of JSON round


def _format(path: str, chosen: str | None) -> str:
    """The format of a file, by its suffix where none is chosen."""
    found = chosen or _SUFFIXES.get(Path(path).suffix.lower())
    if found is None:
        raise click.UsageError(f"What is the format of {path}? Say --format {'|'.join(READERS)}.")
    return found


@contextmanager
def plain_errors() -> Iterator[None]:
    """One sentence for people where the file or the database can't be used."""
    try:
        yield
    except Problem as problem:
        raise click.ClickException(problem.description or "") from None
    except (DBAPIError, sqlite3.Error) as error:
        raise click.ClickException(f"The database can't be used: {getattr(error, 'orig', error)}.") from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'The file'}: {error.strerror or error}.") from None


@click.command("export")
@click.option("--format", "chosen", type=click.Choice(list(FORMATS)), help="Else the suffix of FILE tells.")
@click.argument("file", default="-")
@with_appcontext
def export_todos(chosen: str | None, file: str) -> None:
    """Write all todos, as they are at one moment, to FILE or the standard output."""
    form = FORMATS["json" if file == "-" and not chosen else _format(file, chosen)]()
    with plain_errors():
        if file == "-":
            count = _export(form, sys.stdout.buffer)
        else:
            with replacing(Path(file)) as output:
                count = _export(form, output)
    click.echo(f"Todos: {count}. {form.limitations}".rstrip(), err=True)


def _export(form: Format, output: BinaryIO) -> int:
    with database.read() as connection:
        ids = Listing(ListQuery()).read_ids(connection)
        count = len(ids)
        with click.progressbar(length=count, label="Export", file=sys.stderr, hidden=no_terminal()) as bar:
            output.write(form.head)
            for place in range(0, count, STREAM_CHUNK):
                chunk = encode_chunk(connection, ids[place : place + STREAM_CHUNK], form)
                output.write((form.separator if place else b"") + chunk)
                bar.update(min(STREAM_CHUNK, count - place))
            output.write(form.tail)
            output.flush()
    return count


def no_terminal() -> bool:
    """Tell whether nobody watches, so that progress is not shown."""
    return not sys.stderr.isatty()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` once it is complete and on disk. A pipe is written directly."""
    if sqlite.is_part_of(path, sqlite.file_of(db.engine.url)):
        raise click.ClickException(f"{path} is part of the database itself. Use another file.")
    if path.exists() and not path.is_file():
        with path.open("wb") as output:
            yield output
        return
    with sqlite.replacing(path.resolve()) as part, part.open("wb") as output:
        yield output


@click.command("import")
@click.option("--format", "chosen", type=click.Choice(list(READERS)), help="Else the suffix of FILE tells.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--skip-invalid", is_flag=True, help="Take what can be taken, instead of all or nothing.")
@click.option(
    "--day-first/--month-first", default=None, help="How to read 1/2/2027 in CSV; else it is refused."
)
@click.argument("file")
@with_appcontext
def import_todos(
    chosen: str | None, file: str, *, dry_run: bool, skip_invalid: bool, day_first: bool | None
) -> None:
    """Take in the todos of FILE (- for the standard input): all or none, and none twice.

    JSON and lines of it, also Taskwarrior's; CSV, also Todoist's and Outlook's; iCalendar; todo.txt.
    """
    read = READERS[_format(file, chosen)]
    with plain_errors(), closing(_Staged()) as staged:
        refused = _stage(file, staged, lambda pieces: read(pieces, day_first))
        if refused and not skip_invalid:
            raise click.ClickException(
                f"Nothing was taken, for {refused} can't be. --skip-invalid takes the rest."
            )
        created = _take(staged, dry_run=dry_run)
    done = "would be taken" if dry_run else "taken"
    click.echo(f"{created} {done}, {staged.count - created} were here before, {refused} can't be taken.")


def _stage(file: str, staged: "_Staged", read: Callable[[Iterable[bytes]], Iterator[Entry]]) -> int:
    """Check all of `file`, report what can't be taken or kept, and stage the rest; how many can't be."""
    refused = 0
    lost: Counter[str] = Counter()
    first: dict[str, int] = {}
    try:
        with _opened(file) as pieces:
            for entry in read(pieces):
                for name in entry.ignored:
                    if name in lost or len(lost) < _MAX_LOST:
                        lost[name] += 1
                        first.setdefault(name, entry.line)
                if entry.values is None:
                    continue
                problems = [entry.error] if entry.error else staged.add(entry.values)
                for problem in problems:
                    _report(file, entry.line, problem)
                refused += bool(problems)
    except ParseError as error:
        raise click.ClickException(f"{file}:{error.line}: {error.detail} Nothing was taken.") from None
    for name, count in lost.items():
        _report(file, first[name], f"{name[:80]} is not kept; {count} in the file.")
    return refused


def _report(file: str, line: int, problem: str) -> None:
    over_the_bar = "" if no_terminal() else "\r\x1b[K"
    click.echo(f"{over_the_bar}{file}:{line}: {problem}", err=True)


@contextmanager
def _opened(file: str) -> Iterator[Iterator[bytes]]:
    with click.open_file(file, "rb") as source:
        size = 0 if file == "-" else Path(file).stat().st_size
        hidden = no_terminal() or not size
        with click.progressbar(length=size, label="Read", file=sys.stderr, hidden=hidden) as bar:

            def pieces() -> Iterator[bytes]:
                while piece := source.read(_PIECE):
                    bar.update(len(piece))
                    yield piece

            yield pieces()


class _Members(msgspec.Struct, array_like=True):
    """What a staged todo is made with."""

    title: str
    description: str | None
    completed: bool
    deadline_at: datetime | None
    created_at: datetime | None
    updated_at: datetime | None


class _Row(NamedTuple):
    uid: str
    todo_id: int | None
    members: _Members


class _Staged:
    """The todos of a file that can be taken, in a temporary database on the disk.

    So the file is read once, in bounded memory, before the service's own database is locked.
    """

    def __init__(self) -> None:
        self.count = 0
        self._database = sqlite3.connect("")
        self._database.executescript(
            "CREATE TABLE todos (uid TEXT NOT NULL UNIQUE, todo_id INTEGER UNIQUE, members BLOB NOT NULL);"
            "CREATE TABLE contents (digest BLOB PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID;"
        )

    def close(self) -> None:
        """Delete it."""
        self._database.close()

    def add(self, values: dict[str, Any]) -> list[str]:
        """Check and keep a todo; what is wrong with it otherwise."""
        own = parse_own_uid(str(values.get("uid")))
        if own and "id" not in values:
            values |= dict(zip(("id", "created_at"), own, strict=True))
        try:
            todo = msgspec.convert(values, TodoEntry, dec_hook=from_json)
            members = msgspec.json.encode(
                (
                    todo.title,
                    todo.description,
                    todo.completed,
                    _iso(todo.deadline_at),
                    _iso(todo.created_at),
                    _iso(todo.updated_at),
                )
            )
        except msgspec.ValidationError:
            return [_describe(fault, values) for fault in faults(TodoEntry, values, "#")]
        except UnicodeEncodeError:
            return ["It has half of a surrogate pair (\\ud800 to \\udfff alone)."]
        todo_id = None if todo.id is UNSET or not 0 < todo.id <= _MAX_ID else todo.id
        insert = "INSERT OR IGNORE INTO todos VALUES (?, ?, ?)"
        row = (self._uid(todo), todo_id, members)
        self.count += 1
        if not self._database.execute(insert, row).rowcount and todo_id:  # the id, maybe, not the UID
            self._database.execute(insert, (row[0], None, members))
        return []

    def chunks(self, size: int) -> Iterator[list[_Row]]:
        """Read the todos in the order of the file, those with an id first."""
        decode = msgspec.json.Decoder(_Members).decode
        for which in ("NOT NULL", "NULL"):
            rows = self._database.execute(
                f"SELECT uid, todo_id, members FROM todos WHERE todo_id IS {which} ORDER BY rowid"  # noqa: S608
            )
            while found := rows.fetchmany(size):
                yield [_Row(uid, todo_id, decode(members)) for uid, todo_id, members in found]

    def _uid(self, todo: TodoEntry) -> str:
        """The UID that the file gives, else that of the todo's id, else one made of its content.

        The first, the second and so on of equal content have different UIDs, the same in each import.
        """
        if todo.uid is not UNSET:
            return todo.uid
        if todo.id is not UNSET and todo.created_at is not UNSET:
            return own_uid(todo.id, format_instant(todo.created_at))
        content = msgspec.json.encode((todo.title, todo.description, _iso(todo.deadline_at)))
        digest = hashlib.blake2b(content, digest_size=16).digest()
        (times,) = self._database.execute(
            "INSERT INTO contents VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times",
            (digest,),
        ).fetchone()
        return f"{digest.hex()}-{times}@todo"


def _iso(time: object) -> str | None:
    return time.isoformat() if isinstance(time, datetime) else None


def _describe(fault: Fault, values: dict[str, Any]) -> str:
    value = values.get(str(fault.pointer).removeprefix("#/"))
    shown = f" (it is {value!r:.60})" if isinstance(value, str | int | float) else ""
    return f"{fault.detail}{shown}."


def _take(staged: _Staged, *, dry_run: bool) -> int:
    """Make the todos that are not here yet, in one transaction; how many these are.

    A service without todos gets them as they were, with their ids and times. In others they are new:
    `updated_at` is now, so that who asks for what is `updated_since` hears of them.
    """

    def work(connection: Connection) -> int:
        created = 0
        if connection.dialect.name == "sqlite":
            # Indexes are written all over: pages that don't fit are written again and again.
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
    """Which of these UIDs are those of todos that are here."""
    there = TODOS.join(IMPORTS, IMPORTS.c.todo_id == TODOS.c.id)
    kept = set(connection.scalars(select(IMPORTS.c.uid).select_from(there).where(IMPORTS.c.uid.in_(uids))))
    ids = [own[0] for own in map(parse_own_uid, uids) if own and abs(own[0]) < 2**63]
    made = connection.execute(select(TODOS.c.id, TODOS.c.created_at).where(TODOS.c.id.in_(ids)))
    return kept | {own_uid(row.id, format_instant(row.created_at)) for row in made}


def _create(connection: Connection, rows: list[_Row], now: datetime, *, as_they_were: bool) -> None:
    values = [structs.asdict(row.members) for row in rows]
    for todo in values:
        todo["created_at"] = todo["created_at"] or now
        todo["updated_at"] = (todo["updated_at"] or todo["created_at"]) if as_they_were else now
    if as_they_were and rows[0].todo_id:
        ids = [row.todo_id for row in rows]
        connection.execute(insert(TODOS), [todo | {"id": key} for todo, key in zip(values, ids, strict=True)])
    else:
        statement = insert(TODOS).returning(TODOS.c.id, sort_by_parameter_order=True)
        ids = list(connection.scalars(statement, values))
    kept = [
        {"uid": row.uid, "todo_id": key}
        for row, key, todo in zip(rows, ids, values, strict=True)
        if key is None or row.uid != own_uid(key, format_instant(todo["created_at"]))
    ]
    if kept:
        # A row of a todo that another program deleted may still be there.
        connection.execute(delete(IMPORTS).where(IMPORTS.c.uid.in_([row["uid"] for row in kept])))
        connection.execute(insert(IMPORTS), kept)
