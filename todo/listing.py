"""The list as a response: one page, or all todos as a stream, in one of several formats."""

from array import array
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from itertools import chain, islice

from flask import Response, request, stream_with_context
from msgspec import UNSET
from sqlalchemy import Connection, bindparam, select

from todo import database
from todo.clock import service_zone
from todo.database import unreadable
from todo.formats import Format, csv, icalendar, json
from todo.http import cursor, keep_alive, negotiation, response_cache
from todo.http.conditional import entity_tag, with_etag
from todo.models.imported_uid import stored_uids
from todo.query import TODOS, Listing
from todo.schemas import COLUMNS, ListQuery, TodoOut

STREAM_CHUNK = 1000  # todos
_BY_IDS = select(*COLUMNS).where(TODOS.c.id.in_(bindparam("ids", expanding=True)))
# By media type, the default first.
FORMATS: dict[str, Format | None] = {
    json.LIST.media_type: json.LIST,
    csv.FORMAT.media_type: csv.FORMAT,
    icalendar.MEDIA_TYPE: None,  # depends on the time zone
    json.LINES.media_type: json.LINES,
}


def negotiate() -> Format:
    """Return the format that the client prefers. Raises NotAcceptable if it accepts none."""
    if "Accept" not in request.headers:
        return json.LIST
    return FORMATS[negotiation.choose(list(FORMATS))] or icalendar.format_for(service_zone())


def respond(query: ListQuery, form: Format, *, tag_streams: bool = False) -> Response:
    """Return the todos that match `query`: a page with an ETag if the query has a limit, otherwise all.

    More than STREAM_CHUNK todos are streamed. With `tag_streams`, a stream has an ETag too.
    """
    listing = Listing(query)
    if listing.depends_on_now:
        response_cache.skip()
    with database.read() as connection:
        headers = {"X-Total-Count": str(listing.count(connection))} if query.total else {}
        if query.limit is UNSET:
            ids = listing.read_ids(connection)
            if len(ids) > STREAM_CHUNK:
                keep_alive.check_streams()
            todos = read_by_id(connection, ids[:STREAM_CHUNK])
        else:
            todos = read_page(connection, listing, query.limit + 1)
            if len(todos) > query.limit:
                todos.pop()
                headers["Link"] = cursor.next_link(listing.cursor(todos[-1]))
        body = form.head + encode(connection, todos, form)
    if query.limit is UNSET and len(ids) > STREAM_CHUNK:
        response = Response(headers=headers, mimetype=form.media_type)
        if tag_streams:
            # Weak, because another request can change a todo before the stream ends.
            with_etag(response, f"W/{entity_tag(_stream(body, ids, form))}")
        if response.status_code == HTTPStatus.OK:
            response.response = stream_with_context(_stream(body, ids, form))
        return response
    body += form.tail
    response = Response(body, headers=headers, mimetype=form.media_type)
    if query.limit is UNSET and not tag_streams:
        return response
    return with_etag(response, entity_tag([body, *map(str.encode, headers.values())]))


def read_page(connection: Connection, listing: Listing, size: int) -> list[TodoOut]:
    """Read the first `size` todos after the cursor, without unreadable ones."""
    try:
        return list(map(TodoOut.from_row, listing.read_page(connection, size)))
    except unreadable.ERRORS as error:
        unreadable.check(error)
    ids = listing.read_ids(connection)
    chunks = (ids[place : place + STREAM_CHUNK] for place in range(0, len(ids), STREAM_CHUNK))
    return list(islice(chain.from_iterable(read_by_id(connection, chunk) for chunk in chunks), size))


def read_by_id(connection: Connection, ids: Sequence[int]) -> list[TodoOut]:
    """Read the todos with these ids, in the order of the ids. Skip deleted todos."""
    return unreadable.read_readable(connection, _BY_IDS, ids, TodoOut.from_row)


def _stream(start: bytes, ids: "array[int]", form: Format) -> Iterator[bytes]:
    """Yield `start`, then the todos with the ids after the first STREAM_CHUNK.

    Memory use is constant, and no transaction waits for the client. The status is sent before the first
    todo, and some servers end a failed response as if it were complete. So a failed stream ends with a
    marker that makes the response invalid.
    """
    yield start
    try:
        for place in range(STREAM_CHUNK, len(ids), STREAM_CHUNK):
            with database.read() as connection:
                todos = read_by_id(connection, ids[place : place + STREAM_CHUNK])
                chunk = encode(connection, todos, form)
            if todos:
                yield form.separator + chunk
    except Exception:
        yield form.truncation_marker
        raise
    yield form.tail


def encode(connection: Connection, todos: Sequence[TodoOut], form: Format) -> bytes:
    """Encode a chunk of todos, with the stored UIDs if the format has them."""
    return form.encode(todos, stored_uids(connection, [todo.id for todo in todos]) if form.has_uid else {})
