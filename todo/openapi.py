"""The OpenAPI 3.1 document, built from the routes, the docstrings of the views and the schemas.

`OPERATIONS` adds a row for each view: schemas, headers, statuses and examples.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from http import HTTPStatus
from inspect import getdoc
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from flask import Blueprint, Flask, Response, current_app, request
from msgspec import Struct, structs
from werkzeug.routing import Rule

from todo.formats import icalendar
from todo.http import auth, idempotency, metrics, parameters, problem, request_id
from todo.http.body import JSON, MERGE_PATCH, rules
from todo.http.conditional import entity_tag, with_etag
from todo.http.parameters import NoParameters
from todo.http.problem import ProblemOut
from todo.listing import FORMATS
from todo.schemas import (
    REF_TEMPLATE,
    Batch,
    BatchOut,
    Deleted,
    DeletedOut,
    DeletedQuery,
    Health,
    ListQuery,
    Ready,
    TodoCreate,
    TodoOut,
    TodoUpdate,
    schema_hook,
)
from todo.views.docs import ASSETS, PROBLEM_PAGES
from todo.views.feeds import CalendarQuery
from todo.views.web import FILES, VERSION

Json = dict[str, Any]


class Operation(NamedTuple):
    """The requests and responses of a view. A response always has `headers`, and may have `may_have`.

    `problems` are the statuses of errors that do not follow from the other fields.
    """

    response: Any
    status: int = 200
    media_types: tuple[str, ...] = (JSON,)
    text_media_types: tuple[str, ...] = ()
    query: type[Struct] = NoParameters
    body: type[Struct] | None = None
    body_media_types: tuple[str, ...] = (JSON,)
    request_headers: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    may_have: tuple[str, ...] = ()
    problems: tuple[int, ...] = (500,)
    tag: str = "Todos"
    # Example bodies by title.
    examples: Json = {}  # no row changes it


# What several operations have in common.
_FEED = Operation(
    str,
    request_headers=("If-None-Match",),
    headers=("ETag",),
    may_have=("Link", "X-Total-Count"),
)
_PAGE = Operation(
    str, media_types=("text/html",), request_headers=("If-None-Match",), headers=("ETag",), tag="Pages"
)

OPERATIONS = {
    "api.health": Operation(Health, tag="Service"),
    "api.list_todos": Operation(
        list[TodoOut],
        text_media_types=tuple(media_type for media_type in FORMATS if media_type != JSON),
        query=ListQuery,
        request_headers=("If-None-Match",),
        headers=("Vary",),
        may_have=("ETag", "Link", "X-Total-Count"),
        problems=(406, 500),
    ),
    "feeds.get_calendar": _FEED._replace(media_types=("text/calendar",), query=CalendarQuery),
    "feeds.get_table": _FEED._replace(media_types=("text/csv",), query=ListQuery),
    "api.get_todo": Operation(TodoOut, request_headers=("If-None-Match",), headers=("ETag",)),
    "api.create_todo": Operation(
        TodoOut,
        status=201,
        body=TodoCreate,
        examples={"Create a todo": {"title": "Buy milk", "deadline_at": "2027-01-31T18:00:00"}},
        request_headers=("Idempotency-Key",),
        headers=("ETag", "Location"),
        may_have=("Idempotency-Replayed",),
    ),
    "api.update_todo": Operation(
        TodoOut,
        body=TodoUpdate,
        body_media_types=(JSON, MERGE_PATCH),
        examples={
            "Complete the todo": {"completed": True},
            "Remove the deadline": {"deadline_at": None},
        },
        request_headers=("If-Match", "If-None-Match"),
        headers=("ETag",),
    ),
    "api.delete_todo": Operation(Deleted, request_headers=("If-Match", "If-None-Match")),
    "batch.run_batch": Operation(
        BatchOut,
        body=Batch,
        examples={
            "Create two todos": {
                "operations": [
                    {"op": "create", "todo": {"title": "Buy milk"}},
                    {"op": "create", "todo": {"title": "Bake a cake", "deadline_at": "2027-01-31"}},
                ]
            },
            "Complete the first todo and delete the second": {
                "operations": [
                    {"op": "update", "id": 1, "todo": {"completed": True}},
                    {"op": "delete", "id": 2},
                ]
            },
        },
        request_headers=("Idempotency-Key",),
        may_have=("Idempotency-Replayed",),
        problems=(404, 412, 428, 500),
    ),
    "deleted.list_deleted": Operation(list[DeletedOut], query=DeletedQuery),
    "deleted.restore": Operation(
        TodoOut,
        request_headers=("Idempotency-Key",),
        headers=("ETag",),
        may_have=("Idempotency-Replayed",),
    ),
    "openapi.get_description": Operation(
        dict[str, Any], request_headers=("If-None-Match",), headers=("ETag",), tag="Service"
    ),
    "system.show_readiness": Operation(Ready, problems=(503,), tag="Service"),
    "system.show_metrics": Operation(str, media_types=(metrics.MEDIA_TYPE,), tag="Service"),
    "docs.show_docs": _PAGE,
    "docs.get_asset": _PAGE._replace(media_types=("text/css", "text/javascript")),
    "docs.show_problem": _PAGE._replace(media_types=("text/html",)),
    "web.show_page": _PAGE,
    "web.show_manifest": _PAGE._replace(response=dict[str, Any], media_types=("application/manifest+json",)),
    "web.get_worker": _PAGE._replace(media_types=("text/javascript",)),
    "web.get_file": _PAGE._replace(media_types=("text/css", "text/javascript", "image/png", "image/svg+xml")),
}

_TEXT: Json = {"type": "string"}
PATH_PARAMETERS: dict[str, Json] = {
    "todo_id": {"description": "The `id` of the todo.", "schema": {"type": "integer"}, "example": 1},
    "asset": {"description": "The name of the file.", "schema": {"enum": list(ASSETS)}},
    "file": {"description": "The name of the file.", "schema": {"enum": list(FILES)}},
    "problem": {
        "description": "The last part of a problem's `type`.",
        "schema": {"enum": list(PROBLEM_PAGES)},
    },
    "version": {"description": "The version of all files together.", "schema": {"enum": [VERSION]}},
}
REQUEST_HEADERS: dict[str, Json] = {
    "If-Match": {
        "description": "ETags. If the current ETag is not among them, nothing is changed and the status is "
        "412. `*` matches every existing todo.",
        "schema": _TEXT,
    },
    "If-None-Match": {
        "description": "ETags. If the current ETag is among them, the status is 304 for reads and 412 for "
        "writes.",
        "schema": _TEXT,
    },
    idempotency.HEADER: {
        "description": "A new key for each new request. If the same request is sent again with the same key "
        f"within {idempotency.KEY_RETENTION.total_seconds() / 3600:.0f} hours, nothing is changed and the "
        "first response is returned again.",
        "schema": {"type": "string", "pattern": idempotency.KEY_PATTERN},
    },
    request_id.HEADER: {
        "description": "An ID for this request: 1 to 128 of the characters `A-Z a-z 0-9 . _ : + / = -`. "
        "Default: a new ID.",
        "schema": _TEXT,
    },
}
RESPONSE_HEADERS: dict[str, Json] = {
    "Allow": {"description": "The methods of this route.", "schema": _TEXT},
    "ETag": {
        "description": "The version of the response. `GET /api/v1/todos` has an ETag only with `limit`.",
        "schema": {"type": "string", "pattern": '^(W/)?"[0-9a-f]+"$'},
    },
    "Idempotency-Replayed": {
        "description": "This is the stored response to the first request with this key.",
        "schema": {"const": "true"},
    },
    "Link": {
        "description": "The next page, if there is one (RFC 8288).",
        "schema": {"type": "string", "pattern": '^<[^>]+>; rel="next"$'},
    },
    "Location": {
        "description": "The address of the new todo.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next attempt.",
        "schema": {"type": "integer", "minimum": 0},
    },
    request_id.HEADER: {
        "description": "The ID of this request. The server log contains the same ID.",
        "schema": {"type": "string", "pattern": request_id.PATTERN},
    },
    "Vary": {"description": "The request headers that the response depends on.", "schema": _TEXT},
    "WWW-Authenticate": {"description": "The required authentication (RFC 6750).", "schema": _TEXT},
    "X-Total-Count": {
        "description": "The number of matches on all pages, with `total=true`.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
# The headers of error responses: required headers, then optional headers.
PROBLEM_HEADERS: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {
    401: (("WWW-Authenticate",), ()),
    403: (("WWW-Authenticate",), ()),
    405: (("Allow",), ()),
    406: (("Vary",), ()),
    409: (("Retry-After",), ()),
    412: ((), ("ETag",)),
    429: (("Retry-After",), ()),
    503: (("Retry-After",), ()),
}
TAGS = {
    "Todos": "Read and write todos.",
    "Service": "Health, readiness, metrics and this document.",
    "HTTP": "HEAD responds as GET does, without the body. OPTIONS lists the methods.",
    "Pages": "The page for people, this documentation, and their files.",
}
# Operations with these tags are hidden in /docs, because API clients do not need them.
INTERNAL_TAGS = {"HTTP", "Pages"}
INTRODUCTION = """\
A list of todos as a strict HTTP API. Requests and responses are JSON.

## Authentication

If the service requires tokens, send one with each request: `Authorization: Bearer <token>`. The operator
creates tokens with `flask --app todo token create NAME`. A read-only token cannot write.

## Times

`created_at` and `updated_at` are UTC. `deadline_at` is local time in the time zone **{zone}**, without an
offset. A deadline with an offset is converted to that zone. A date alone means midnight at its start.

## Pages

`GET /api/v1/todos` returns all todos. With `limit` it returns a page, and the `Link` header contains the URL
of the next page. Use this URL unchanged. No todo is skipped or repeated while other clients write.

## Safe writes

- **No lost updates**: read a todo, and send its `ETag` in `If-Match` with the change. If another client has
  changed the todo, the status is 412 and nothing is changed.
- **No duplicates**: send a new `Idempotency-Key` with each new POST. If you get no response, send the same
  request with the same key again.
- **All or nothing**: `POST /api/v1/todos/batch` runs up to 1,000 operations in one transaction.

## Errors

Every error response is a problem (RFC 9457, `application/problem+json`). `detail` says what to do. `errors`
names every invalid member (`pointer`) or parameter (`parameter`). `request_id` identifies the request in the
server log. `type` is one of:

| Type | Status | What to do |
| --- | --- | --- |
"""
# The operations that accept the id of a new todo (OpenAPI's links).
LINKS = {
    "get_todo": {},
    "put_todo": {"header.If-Match": "$response.header.ETag"},
    "patch_todo": {"header.If-Match": "$response.header.ETag"},
    "delete_todo": {"header.If-Match": "$response.header.ETag"},
}

openapi = Blueprint("openapi", __name__, url_prefix="/api/v1")
openapi.before_request(parameters.refuse)


@openapi.get("/openapi.json")
@auth.public
def get_description() -> Response:
    """Return the OpenAPI document."""
    server = msgspec.json.encode(request.root_url.rstrip("/"))
    document = current_app.extensions["todo.openapi"]().replace(_SERVER, server)
    return with_etag(Response(document, content_type=JSON), entity_tag([document]))


def register(app: Flask) -> None:
    """Serve the document of the routes of `app`. The first request builds the document."""
    app.register_blueprint(openapi)
    app.extensions["todo.openapi"] = cache(
        lambda: msgspec.json.encode(describe(app)).replace(_END_IN_PYTHON, b"$")
    )


# Placeholder for the URL of the service, which depends on the request. Postman needs an absolute URL.
_SERVER = b'"{server}"'
# Only in Python does `$` match before a final newline, and RE2 has no look-ahead.
_END_IN_PYTHON = rb"$(?!\\n)"


def describe(app: Flask) -> Json:
    """Build the document of the routes of `app`."""
    paths: dict[str, Json] = {}
    for rule in app.url_map.iter_rules():
        item = paths.setdefault(re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule), {})
        for method in sorted(rule.methods or ()):
            # If a path has several views, the first of them responds to OPTIONS.
            item.setdefault(method.lower(), _describe_operation(app, rule, method))
    table = (
        f"| `/problems/{problem_type.name}` | {status} | {problem_type.detail} |\n"
        for status, problem_type in problem.TYPES.items()
    )
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Todo API",
            "version": "1",
            "description": INTRODUCTION.format(zone=app.config["TIMEZONE"]) + "".join(table),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "{server}"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _COMPONENTS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                problem_type.name: _problem(status) for status, problem_type in problem.TYPES.items()
            },
        },
    }


def _describe_operation(app: Flask, rule: Rule, method: str) -> Json:
    row = OPERATIONS[rule.endpoint]
    tag = row.tag
    view = app.view_functions[rule.endpoint]
    summary, _, description = (getdoc(view) or "").partition("\n\n")
    if method == "HEAD":
        summary, description, tag = "Respond as GET does, without the body.", "", "HTTP"
    elif method == "OPTIONS":
        summary, description, tag = "List the methods of this route.", "", "HTTP"
        row = Operation(None, query=row.query, headers=("Allow",), tag=tag)
    # Browsers send preflight requests without the token.
    is_public = hasattr(view, "is_public") or method == "OPTIONS"
    needs_token = app.config["REQUIRE_TOKEN"] and not is_public
    problems = _statuses(app, row) | ({404} if rule.arguments else set())
    if needs_token:
        problems |= {401} if method in auth.SAFE_METHODS else {401, 403}
    if app.config["RATE_LIMIT"] and not is_public:
        problems |= {429}
    operation: Json = {
        "operationId": _operation_id(app, rule, method),
        "tags": [tag],
        "summary": summary,
        "description": description,
        "parameters": _parameters(app, rule, row),
        "responses": _responses(row, method, sorted(problems)),
        "security": [{"token": []}] if needs_token else [],
    }
    if row.body:
        examples = {title: {"summary": title, "value": value} for title, value in row.examples.items()}
        content = {
            media_type: {"schema": _SCHEMAS[row.body], "examples": examples}
            for media_type in row.body_media_types
        }
        operation["requestBody"] = {"required": True, "content": content}
    if tag in INTERNAL_TAGS:
        operation["x-internal"] = True
    return operation


def _statuses(app: Flask, row: Operation) -> set[int]:
    """Return the statuses of the problems that an operation can have."""
    statuses = {400, *row.problems}
    if row.tag == "Todos":  # reads the database
        statuses |= {503}
    if row.body:
        statuses |= {408, 413, 415}
    if idempotency.HEADER in row.request_headers:
        statuses |= {409, 422}
    if "If-Match" in row.request_headers:
        statuses |= {412, 428}
    return statuses if app.config["REQUIRE_IF_MATCH"] else statuses - {428}


def _operation_id(app: Flask, rule: Rule, method: str) -> str:
    """Return the name of an operation in generated clients: the view, if the view has only one operation."""
    view: str = rule.endpoint.rpartition(".")[2]
    methods = {method for rule in app.url_map.iter_rules(rule.endpoint) for method in rule.methods or ()}
    if methods - {"HEAD", "OPTIONS"} == {method}:
        return view
    _, _, noun = view.rpartition("_")
    return f"{method.lower()}_{noun}"


def _parameters(app: Flask, rule: Rule, row: Operation) -> list[Json]:
    in_path = [
        {"name": name, "in": "path", "required": True} | PATH_PARAMETERS[name]
        for name in sorted(rule.arguments)
    ]
    in_query = [
        {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
        for name, schema in _properties(row.query).items()
    ]
    required = {"If-Match"} if app.config["REQUIRE_IF_MATCH"] else set()
    in_header = [
        {"name": name, "in": "header", "required": name in required} | REQUEST_HEADERS[name]
        for name in (*row.request_headers, request_id.HEADER)
    ]
    return in_path + in_query + in_header


def _properties(struct_type: type[Struct]) -> dict[str, Json]:
    """Return the JSON Schema of each member of `struct_type`, with its description."""
    _, components = msgspec.json.schema_components([struct_type], schema_hook=schema_hook)
    properties: dict[str, Json] = components[struct_type.__name__]["properties"]
    return properties


def _responses(row: Operation, method: str, problems: Iterable[int]) -> Json:
    success: Json = {
        "description": HTTPStatus(row.status).phrase,
        "headers": _headers(row.headers, row.may_have),
    }
    if row.response and method != "HEAD":
        success["content"] = {
            media_type: {"schema": _SCHEMAS[row.response]} | _example(row, media_type)
            for media_type in row.media_types
        } | {media_type: {"schema": _TEXT} | _example(row, media_type) for media_type in row.text_media_types}
    if "Location" in row.headers:
        success["links"] = {
            operation_id: {
                "operationId": operation_id,
                "parameters": {"path.todo_id": "$response.body#/id"} | more,
            }
            for operation_id, more in LINKS.items()
        }
    responses = {str(row.status): success}
    if "If-None-Match" in row.request_headers and method in {"GET", "HEAD"}:
        responses["304"] = {
            "description": "Not modified: `If-None-Match` contains the current `ETag`.",
            "headers": _headers(row.headers, row.may_have),
        }
    for status in problems:
        if method == "HEAD":
            responses[str(status)] = {
                name: value for name, value in _problem(status).items() if name != "content"
            }
        else:
            responses[str(status)] = {"$ref": f"#/components/responses/{problem.TYPES[status].name}"}
    return responses


TODO = TodoOut(
    1,
    "Buy milk",
    "Two litres",
    False,
    datetime(2027, 1, 31, 18),  # noqa: DTZ001 - a wall time
    "2026-11-28T09:30:00.000000Z",
    "2026-11-28T09:30:00.000000Z",
)


def _example(row: Operation, media_type: str) -> Json:
    """Return the example of a response, if there is one."""
    if row.response in EXAMPLES and media_type == JSON:
        return {"example": msgspec.to_builtins(EXAMPLES[row.response])}
    if row.query is not NoParameters and media_type in FORMATS:
        form = FORMATS[media_type] or icalendar.format_for(ZoneInfo("UTC"))
        return {"example": (form.head + form.encode([TODO], {}) + form.tail).decode()}
    return {}


EXAMPLES: dict[Any, Any] = {
    TodoOut: TODO,
    list[TodoOut]: [TODO],
    Deleted: TODO,
    list[DeletedOut]: [DeletedOut(**structs.asdict(TODO), deleted_at="2026-11-28T09:45:00.000000Z")],
    BatchOut: {"results": [TODO, {}]},
    Health: Health("ok"),
    Ready: Ready("ready"),
}


def _problem(status: int) -> Json:
    problem_type = problem.TYPES[status]
    schema = _SCHEMAS[ProblemOut] | {
        "properties": {"type": {"const": f"/problems/{problem_type.name}"}, "status": {"const": status}}
    }
    detail, errors = problem_type.detail, []
    if status == problem.ValidationFailed.code:
        detail = f"title must be {rules(TodoCreate)['title']}"
        errors = [problem.FieldError(pointer="#/title", detail=detail)]
    example = problem_type.describe(status, detail, errors, "0f8fad5bd9cb469fa165")
    return {
        "description": f"{problem_type.title}. {problem_type.detail}",
        "headers": _headers(*PROBLEM_HEADERS.get(status, ((), ()))),
        "content": {problem.MEDIA_TYPE: {"schema": schema, "example": msgspec.to_builtins(example)}},
    }


def _headers(headers: tuple[str, ...], may_have: tuple[str, ...]) -> Json:
    required = {*headers, request_id.HEADER}
    return {
        name: {"required": name in required} | RESPONSE_HEADERS[name]
        for name in sorted(required | {*may_have})
    }


def _schemas() -> tuple[dict[Any, Json], dict[str, Json]]:
    """Return the schemas of all bodies, by their type, and the components that they refer to."""
    types = dict.fromkeys(
        body_type for row in OPERATIONS.values() for body_type in (row.response, row.body) if body_type
    )
    types[ProblemOut] = None
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=schema_hook, ref_template=REF_TEMPLATE
    )
    return dict(zip(types, schemas, strict=True)), components


_SCHEMAS, _COMPONENTS = _schemas()
