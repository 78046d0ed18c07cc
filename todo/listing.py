"""The list as it is answered: in one of several forms, as a page or streamed."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from http import HTTPStatus

from flask import Response, stream_with_context
from msgspec import UNSET
from sqlalchemy import Connection, Table, select

from todo.clock import service_zone
from todo.database import Transaction
from todo.formats import Format, Uids, csv, icalendar, json
from todo.http import negotiation, pagination
from todo.http.conditional import entity_tag, tag_of_stream, tagged
from todo.models.imported_uid import Imported
from todo.query import Listing, ListQuery
from todo.schemas import TodoOut

STREAM_CHUNK = 1000  # todos
IMPORTS: Table = Imported.__table__

# By media type, the usual one first.
FORMATS: dict[str, Callable[[], Format]] = {
    json.LIST.media_type: lambda: json.LIST,
    csv.FORMAT.media_type: lambda: csv.FORMAT,
    icalendar.MEDIA_TYPE: lambda: icalendar.format_for(service_zone()),
    json.LINES.media_type: lambda: json.LINES,
}


def negotiate() -> Format:
    """Take the form that the client likes best; raises NotAcceptable where it takes none."""
    return FORMATS[negotiation.choose(list(FORMATS))]()


def answer(query: ListQuery, form: Format, *, tag_all: bool = False) -> Response:
    """Answer the todos that `query` matches: a page with an ETag where it has a limit, else all, streamed.

    With `tag_all` they have an ETag without a limit too.
    """
    listing = Listing(query)
    size = STREAM_CHUNK if query.limit is UNSET else query.limit
    # Only what takes several statements needs a transaction that is more than one of them.
    several = query.total or query.sort is not UNSET or form.has_uid
    with Transaction(snapshot=several) as connection:
        todos = listing.read(connection, size + 1)
        uids = kept_uids(connection, todos) if form.has_uid else {}
        headers = {"X-Total-Count": str(listing.count(connection))} if query.total else {}
    more = len(todos) > size
    if more:
        listing.skip_past(todos[size - 1])
    body = form.head + form.encode(todos[:size], uids)
    if more and query.limit is UNSET:
        response = Response(headers=headers, content_type=form.content_type)
        if tag_all:
            # Weak, for others can write between this and the answer.
            tagged(response, f"W/{tag_of_stream(_stream(body, copy(listing), form))}")
        if response.status_code == HTTPStatus.OK:
            response.response = stream_with_context(_stream(body, listing, form))
        return response
    body += form.tail
    if more:
        headers["Link"] = pagination.next_link(listing.cursor())
    response = Response(body, headers=headers, content_type=form.content_type)
    if query.limit is UNSET and not tag_all:
        return response
    return tagged(response, entity_tag(body, *map(str.encode, headers.values())))


def encode_next(connection: Connection, listing: Listing, form: Format) -> tuple[bytes, bool]:
    """Encode the next run of todos; the second value is whether there may be more behind it."""
    todos = listing.read(connection, STREAM_CHUNK)
    if todos:
        listing.skip_past(todos[-1])
    uids = kept_uids(connection, todos) if form.has_uid else {}
    return form.encode(todos, uids), len(todos) == STREAM_CHUNK


def kept_uids(connection: Connection, todos: Sequence[TodoOut]) -> Uids:
    """Read the UIDs that are kept of these todos."""
    ids = [todo.id for todo in todos]
    kept = connection.execute(select(IMPORTS.c.todo_id, IMPORTS.c.uid).where(IMPORTS.c.todo_id.in_(ids)))
    return {row.todo_id: row.uid for row in kept}


def _stream(start: bytes, listing: Listing, form: Format) -> Iterator[bytes]:
    """The list a run at a time, so that memory stays flat and no transaction waits for the client.

    The status is sent by then, and some servers end an answer that fails midway as if it were whole.
    So what stands in the place of the rest must not be taken for its end.
    """
    yield start
    more = True
    try:
        while more:
            with Transaction(snapshot=True) as connection:
                chunk, more = encode_next(connection, listing, form)
            if chunk:
                yield form.separator + chunk
    except Exception:
        yield form.truncation_marker
        raise
    yield form.tail
