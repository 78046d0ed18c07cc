"""The OpenAPI 3.1 document: built once, from the routes, the views' docstrings and the schemas.

What these do not say of an operation stands in `OPERATIONS`, a row for each view.
"""

import re
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from inspect import getdoc
from typing import Any, NamedTuple

import msgspec
from flask import Blueprint, Flask, Response, current_app
from msgspec import Struct
from werkzeug.routing import Rule

from todo.http import auth, idempotency, metrics, parameters, problem, request_id
from todo.http.body import JSON, MERGE_PATCH, json_schema, properties
from todo.http.conditional import entity_tag, with_etag
from todo.http.parameters import NoParameters
from todo.http.problem import ProblemOut
from todo.listing import FORMATS
from todo.schemas import (
    REF_TEMPLATE,
    Batch,
    BatchOut,
    Deleted,
    Health,
    ListQuery,
    Ready,
    TodoCreate,
    TodoOut,
    TodoUpdate,
)
from todo.views.docs import ASSETS, PROBLEM_PAGES
from todo.views.feeds import CalendarQuery
from todo.views.web import FILES, VERSION

Json = dict[str, Any]


class Operation(NamedTuple):
    """What a view takes and answers; `gives` is of headers that are always there."""

    answer: Any
    status: int = 200
    media_types: tuple[str, ...] = (JSON,)
    text_media_types: tuple[str, ...] = ()
    query: type[Struct] = NoParameters
    body: type[Struct] | None = None
    body_media_types: tuple[str, ...] = (JSON,)
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    may_give: tuple[str, ...] = ()
    problems: tuple[int, ...] = (400, 500)
    tag: str = "Todos"


OPERATIONS = {
    "api.health": Operation(Health, tag="Service"),
    "api.list_todos": Operation(
        list[TodoOut],
        text_media_types=tuple(kind for kind in FORMATS if kind != JSON),
        query=ListQuery,
        takes=("If-None-Match",),
        gives=("Vary",),
        may_give=("ETag", "Link", "X-Total-Count"),
        problems=(400, 406, 500, 503),
    ),
    "feeds.get_calendar": Operation(
        str,
        media_types=("text/calendar",),
        query=CalendarQuery,
        takes=("If-None-Match",),
        gives=("ETag",),
        may_give=("Link", "X-Total-Count"),
        problems=(400, 500, 503),
    ),
    "feeds.get_table": Operation(
        str,
        media_types=("text/csv",),
        query=ListQuery,
        takes=("If-None-Match",),
        gives=("ETag",),
        may_give=("Link", "X-Total-Count"),
        problems=(400, 500, 503),
    ),
    "api.get_todo": Operation(
        TodoOut, takes=("If-None-Match",), gives=("ETag",), problems=(400, 404, 500, 503)
    ),
    "api.create_todo": Operation(
        TodoOut,
        status=201,
        body=TodoCreate,
        takes=("Idempotency-Key",),
        gives=("ETag", "Location"),
        may_give=("Idempotency-Replayed",),
        problems=(400, 409, 413, 415, 422, 500, 503),
    ),
    "api.update_todo": Operation(
        TodoOut,
        body=TodoUpdate,
        body_media_types=(JSON, MERGE_PATCH),
        takes=("If-Match", "If-None-Match"),
        gives=("ETag",),
        problems=(400, 404, 412, 413, 415, 428, 500, 503),
    ),
    "api.delete_todo": Operation(
        Deleted, takes=("If-Match", "If-None-Match"), problems=(400, 404, 412, 428, 500, 503)
    ),
    "batch.run_batch": Operation(
        BatchOut,
        body=Batch,
        takes=("Idempotency-Key",),
        may_give=("Idempotency-Replayed",),
        problems=(400, 404, 409, 412, 413, 415, 422, 428, 500, 503),
    ),
    "openapi.get_description": Operation(
        dict[str, Any], takes=("If-None-Match",), gives=("ETag",), tag="Service"
    ),
    "system.show_readiness": Operation(Ready, problems=(400, 503), tag="Service"),
    "system.show_metrics": Operation(str, media_types=(metrics.MEDIA_TYPE,), tag="Service"),
    "docs.show_docs": Operation(
        str, media_types=("text/html",), takes=("If-None-Match",), gives=("ETag",), tag="Service"
    ),
    "docs.get_asset": Operation(
        str,
        media_types=("text/css", "text/javascript"),
        takes=("If-None-Match",),
        gives=("ETag",),
        problems=(400, 404, 500),
        tag="Service",
    ),
    "docs.show_problem": Operation(
        str,
        media_types=("text/html",),
        takes=("If-None-Match",),
        gives=("ETag",),
        problems=(400, 404, 500),
        tag="Service",
    ),
    "web.show_page": Operation(
        str, media_types=("text/html",), takes=("If-None-Match",), gives=("ETag",), tag="Service"
    ),
    "web.get_file": Operation(
        str,
        media_types=("text/css", "text/javascript"),
        takes=("If-None-Match",),
        gives=("ETag",),
        problems=(400, 404, 500),
        tag="Service",
    ),
}

_TEXT: Json = {"type": "string"}
PATH_PARAMETERS: dict[str, Json] = {
    "todo_id": {"description": "The `id` of a todo.", "schema": {"type": "integer"}},
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
        "description": "The todo must still have one of these `ETag`s, or with `*` be there: else 412.",
        "schema": _TEXT,
    },
    "If-None-Match": {
        "description": "`ETag`s: where it is one of these still, a GET or HEAD is answered 304, a write 412.",
        "schema": _TEXT,
    },
    idempotency.HEADER: {
        "description": "A new key for each new request. Sent again with the same key within "
        f"{idempotency.KEY_RETENTION.total_seconds() / 3600:.0f} hours, a request is not carried out again, "
        "and answered as it was before.",
        "schema": {"type": "string", "pattern": idempotency.KEY_PATTERN},
    },
    request_id.HEADER: {
        "description": "An id for this request, kept where it is 1 to 128 of `A-Z a-z 0-9 . _ : + / = -`.",
        "schema": _TEXT,
    },
}
RESPONSE_HEADERS: dict[str, Json] = {
    "Allow": {"description": "The methods that are possible here.", "schema": _TEXT},
    "ETag": {
        "description": "The version of what is answered; of a list, only with `limit`.",
        "schema": {"type": "string", "pattern": '^(W/)?"[0-9a-f]+"$'},
    },
    "Idempotency-Replayed": {
        "description": "The request was carried out before, and this is the answer to it.",
        "schema": {"const": "true"},
    },
    "Link": {
        "description": "The next page (RFC 8288), where there is one.",
        "schema": {"type": "string", "pattern": '^<[^>]+>; rel="next"$'},
    },
    "Location": {
        "description": "The address of the new todo.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
    request_id.HEADER: {
        "description": "The id of this request, in the log of the service too.",
        "schema": {"type": "string", "pattern": request_id.PATTERN},
    },
    "Vary": {"description": "The request's headers that the answer depends on.", "schema": _TEXT},
    "WWW-Authenticate": {"description": "What lets one in (RFC 6750).", "schema": _TEXT},
    "X-Total-Count": {
        "description": "How many match, whatever the page; with `total=true`.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
# The headers of a problem, besides that of all answers: those that are always there, and others.
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
    "Todos": "Reading and writing todos.",
    "Service": "Whether it answers, how much it does, this description, and the page for people.",
    "HTTP": "HEAD answers as GET does, without the body; OPTIONS lists the methods.",
}
INTRODUCTION = """\
Every error is a problem (RFC 9457): `errors` names each fault of the request, and `type` is one of:

| `type` | status | what to do |
| --- | --- | --- |
"""
# With the id of a new todo one can go on here (OpenAPI's links).
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
    """Get this description."""
    document = current_app.extensions["todo.openapi"]()
    return with_etag(Response(document, content_type=JSON), entity_tag(document))


def register(app: Flask) -> None:
    """Serve the document of the routes of `app`, which is built when it is first asked for."""
    app.register_blueprint(openapi)
    app.extensions["todo.openapi"] = cache(lambda: msgspec.json.encode(describe(app)))


def describe(app: Flask) -> Json:
    """Build the document of the routes of `app`."""
    paths: dict[str, Json] = {}
    for rule in app.url_map.iter_rules():
        item = paths.setdefault(re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule), {})
        for method in sorted(rule.methods or ()):
            # Where a path has several views, the first of them answers OPTIONS.
            item.setdefault(method.lower(), _describe_operation(app, rule, method))
    table = (
        f"| `/problems/{kind.name}` | {status} | {kind.detail} |\n" for status, kind in problem.TYPES.items()
    )
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Todo API",
            "version": "1",
            "description": INTRODUCTION + "".join(table),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _COMPONENTS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {kind.name: _problem(status) for status, kind in problem.TYPES.items()},
        },
    }


def _describe_operation(app: Flask, rule: Rule, method: str) -> Json:
    row = OPERATIONS[rule.endpoint]
    view = app.view_functions[rule.endpoint]
    needs_token = app.config["REQUIRE_TOKEN"] and not hasattr(view, "is_public") and method != "OPTIONS"
    if needs_token:
        refusals = (401,) if method in auth.SAFE_METHODS else (401, 403)
        row = row._replace(problems=tuple(sorted({*row.problems, *refusals})))
    if row.body:
        row = row._replace(problems=tuple(sorted({*row.problems, problem.RequestTimeout.code})))
    if app.config["RATE_LIMIT"] and not hasattr(view, "is_public") and method != "OPTIONS":
        row = row._replace(problems=tuple(sorted({*row.problems, problem.TooManyRequests.code})))
    summary, _, description = (getdoc(view) or "").partition("\n\n")
    if method == "HEAD":
        summary, description = f"{summary.rstrip('.')}: only the headers.", ""
        row = row._replace(tag="HTTP")
    elif method == "OPTIONS":
        summary, description = "List the methods that are possible here.", ""
        row = Operation(
            None,
            query=row.query,
            gives=("Allow",),
            problems=(400, 404, 500) if rule.arguments else (400, 500),
            tag="HTTP",
        )
    operation = {
        "operationId": _operation_id(app, rule, method),
        "tags": [row.tag],
        "summary": summary,
        "description": description,
        "parameters": _parameters(app, rule, row),
        "responses": _responses(app, row, method),
        "security": [{"token": []}] if needs_token else [],
    }
    if row.body:
        operation["requestBody"] = {"required": True, "content": _content(row.body, row.body_media_types)}
    return operation


def _operation_id(app: Flask, rule: Rule, method: str) -> str:
    """Name an operation for clients made from the document: as its view, where it is the only one there."""
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
        {"name": name, "in": "query", "description": schema["description"], "schema": schema}
        for name, schema in properties(row.query).items()
    ]
    required = {"If-Match"} if app.config["REQUIRE_IF_MATCH"] else set()
    in_header = [
        {"name": name, "in": "header", "required": name in required} | REQUEST_HEADERS[name]
        for name in (*row.takes, request_id.HEADER)
    ]
    return in_path + in_query + in_header


def _responses(app: Flask, row: Operation, method: str) -> Json:
    answer = {
        "description": HTTPStatus(row.status).phrase,
        "headers": _headers(row.gives, row.may_give),
    }
    if row.answer and method != "HEAD":
        answer["content"] = _content(row.answer, row.media_types) | {
            media_type: {"schema": _TEXT} for media_type in row.text_media_types
        }
    if "Location" in row.gives:
        answer["links"] = {
            operation_id: {
                "operationId": operation_id,
                "parameters": {"path.todo_id": "$response.body#/id"} | more,
            }
            for operation_id, more in LINKS.items()
        }
    responses = {str(row.status): answer}
    if "If-None-Match" in row.takes and method in {"GET", "HEAD"}:
        responses["304"] = {
            "description": "The `ETag` is one of `If-None-Match`.",
            "headers": _headers(row.gives, row.may_give),
        }
    for status in row.problems:
        if status == problem.PreconditionRequired.code and not app.config["REQUIRE_IF_MATCH"]:
            continue
        if method == "HEAD":
            responses[str(status)] = {
                name: value for name, value in _problem(status).items() if name != "content"
            }
        else:
            responses[str(status)] = {"$ref": f"#/components/responses/{problem.TYPES[status].name}"}
    return responses


def _problem(status: int) -> Json:
    kind = problem.TYPES[status]
    schema = _SCHEMAS[ProblemOut] | {
        "properties": {"type": {"const": f"/problems/{kind.name}"}, "status": {"const": status}}
    }
    return {
        "description": f"{kind.title}. {kind.detail}",
        "headers": _headers(*PROBLEM_HEADERS.get(status, ((), ()))),
        "content": {problem.MEDIA_TYPE: {"schema": schema}},
    }


def _headers(gives: tuple[str, ...], may_give: tuple[str, ...]) -> Json:
    required = {*gives, request_id.HEADER}
    return {
        name: {"required": name in required} | RESPONSE_HEADERS[name]
        for name in sorted(required | {*may_give})
    }


def _content(kind: Any, media_types: Iterable[str]) -> Json:
    return {media_type: {"schema": _SCHEMAS[kind]} for media_type in media_types}


def _schemas() -> tuple[dict[Any, Json], dict[str, Json]]:
    """Make the schemas of all bodies, by their type, and the components that they refer to."""
    kinds = dict.fromkeys(kind for row in OPERATIONS.values() for kind in (row.answer, row.body) if kind)
    kinds[ProblemOut] = None
    schemas, components = msgspec.json.schema_components(
        kinds, schema_hook=json_schema, ref_template=REF_TEMPLATE
    )
    return dict(zip(kinds, schemas, strict=True)), components


_SCHEMAS, _COMPONENTS = _schemas()
