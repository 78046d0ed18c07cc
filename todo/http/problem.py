"""Problem details (RFC 9457): the exceptions that views raise, and their responses.

HTTPException (Werkzeug)
└── Problem
    ├── ValidationFailed        400
    ├── Unauthorized            401
    ├── Forbidden               403
    ├── NotFound                404
    ├── NotAcceptable           406
    ├── RequestTimeout          408
    ├── IdempotencyInProgress   409
    ├── PreconditionFailed      412
    ├── ContentTooLarge         413
    ├── UnsupportedMediaType    415
    ├── IdempotencyKeyReused    422
    ├── PreconditionRequired    428
    ├── TooManyRequests         429
    └── Unavailable             503
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from flask import Flask, Response, current_app, request
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as UnknownAddress

from todo.database.errors import DatabaseUnavailable, unavailable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 5  # seconds
REQUEST_ID = "todo.request_id"  # key in the WSGI environment

Headers = Sequence[tuple[str, str]]


class FieldError(Struct, kw_only=True, omit_defaults=True):
    """An error at a `pointer` (RFC 6901) into the body, or in a `parameter` of the query."""

    pointer: str | UnsetType = UNSET
    parameter: str | UnsetType = UNSET
    detail: str


class ProblemOut(Struct):
    """The body of every error response. `error` repeats `detail`."""

    type: str
    title: str
    status: int
    detail: str
    error: str
    errors: Sequence[FieldError]
    request_id: str


class ProblemType(NamedTuple):
    """A problem type: the last segment of its URI, its title and its default `detail`."""

    name: str
    title: str
    detail: str

    def describe(self, status: int, detail: str, errors: Sequence[FieldError], request_id: str) -> ProblemOut:
        """Return the body of a problem of this type."""
        uri = f"/problems/{self.name}" if self.name else "about:blank"
        return ProblemOut(uri, self.title, status, detail, detail, errors, request_id)


TYPES = {
    400: ProblemType("validation", "The request is not valid", "Correct the request as `errors` describes."),
    401: ProblemType(
        "unauthorized",
        "Unauthorized",
        "Send a token as `Authorization: Bearer`. Ask the operator for a token "
        "(`flask --app todo token create NAME`).",
    ),
    403: ProblemType("forbidden", "Forbidden", "This token is read-only. Use a token that may write."),
    404: ProblemType("not-found", "Not found", "This path does not exist. Check the path."),
    405: ProblemType("method-not-allowed", "Method not allowed", "Use one of the methods in `Allow`."),
    406: ProblemType("not-acceptable", "Not acceptable", "None of the media types in `Accept` is available."),
    408: ProblemType(
        "request-timeout",
        "Request timeout",
        "The request body did not arrive in time. Send the request again.",
    ),
    409: ProblemType(
        "idempotency-in-progress",
        "A request with this Idempotency-Key is in progress",
        "Try again after `Retry-After` seconds, with the same Idempotency-Key.",
    ),
    412: ProblemType(
        "precondition-failed",
        "Precondition failed",
        "The resource has changed. Read it again, then send the change with the new `ETag`.",
    ),
    413: ProblemType("content-too-large", "Content too large", "Send a smaller body."),
    415: ProblemType(
        "unsupported-media-type",
        "Unsupported media type",
        "Send JSON, with `Content-Type: application/json`.",
    ),
    422: ProblemType(
        "idempotency-key-reused",
        "Idempotency-Key reused",
        "This Idempotency-Key was used with a different request. Use a new key for each new request.",
    ),
    428: ProblemType(
        "precondition-required",
        "Precondition required",
        "Send `If-Match` with the `ETag` of the version to change.",
    ),
    429: ProblemType(
        "rate-limit", "Too many requests", "Try again after `Retry-After` seconds, and send fewer requests."
    ),
    500: ProblemType(
        "internal-error",
        "Internal error",
        "The service failed. Report the `request_id`; the server log has the details.",
    ),
    503: ProblemType("unavailable", "Unavailable", "Try again after `Retry-After` seconds."),
}


class Problem(HTTPException):
    """An error response. `detail` tells the client what to do."""

    code = 500
    headers: Headers = ()

    def __init__(
        self, detail: str | None = None, errors: Sequence[FieldError] = (), headers: Headers = ()
    ) -> None:
        super().__init__(TYPES[self.code].detail if detail is None else detail)
        self.errors = errors
        if headers:
            self.headers = headers


class ValidationFailed(Problem):
    """The request is invalid. `errors` lists every violation."""

    code = 400

    def __init__(self, *errors: FieldError) -> None:
        details = [error.detail for error in errors]
        more = [f"and {len(details) - 5} more errors"] if len(details) > 5 else []
        super().__init__("; ".join(details[:5] + more), errors)


class Unauthorized(Problem):
    """The token is missing or invalid."""

    code = 401

    def __init__(self, invalid: str | None = None) -> None:
        challenge = "Bearer" if invalid is None else 'Bearer error="invalid_token"'
        super().__init__(invalid, headers=[("WWW-Authenticate", challenge)])


class Forbidden(Problem):
    """The token is read-only."""

    code = 403
    headers = (("WWW-Authenticate", 'Bearer error="insufficient_scope"'),)


class NotFound(Problem):
    """The resource does not exist."""

    code = 404


class NotAcceptable(Problem):
    """The client accepts none of the available media types."""

    code = 406

    def __init__(self, media_types: Sequence[str]) -> None:
        detail = f"None of the media types in `Accept` is available. Use one of {', '.join(media_types)}."
        super().__init__(detail, headers=[("Vary", "Accept")])


class RequestTimeout(Problem):
    """The request body did not arrive in time."""

    code = 408


class IdempotencyInProgress(Problem):
    """Another request with the same Idempotency-Key is still running."""

    code = 409
    headers = (("Retry-After", str(RETRY_AFTER)),)


class PreconditionFailed(Problem):
    """The resource has changed since the client read it. `tag` is its current ETag."""

    code = 412

    def __init__(self, tag: str | None, detail: str | None = None) -> None:
        super().__init__(detail, headers=[] if tag is None else [("ETag", tag)])


class ContentTooLarge(Problem):
    """The request body exceeds the limit."""

    code = 413


class UnsupportedMediaType(Problem):
    """The media type of the body is not supported."""

    code = 415


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key was used with a different request."""

    code = 422


class PreconditionRequired(Problem):
    """The setting REQUIRE_IF_MATCH requires `If-Match`."""

    code = 428


class TooManyRequests(Problem):
    """The client has exceeded its rate limit. It may send requests again after `seconds`."""

    code = 429

    def __init__(self, seconds: int) -> None:
        super().__init__(headers=[("Retry-After", str(seconds))])


class Unavailable(Problem):
    """The service cannot handle the request now, for example because its database is unavailable."""

    code = 503
    headers = (("Retry-After", str(RETRY_AFTER)),)


def register(app: Flask) -> None:
    """Return every error of `app` as a problem."""
    app.register_error_handler(HTTPException, to_response)
    app.register_error_handler(DBAPIError, _handle_database_error)
    app.register_error_handler(PoolTimeoutError, _handle_database_error)
    app.register_error_handler(DatabaseUnavailable, _handle_unavailable)


def to_response(error: HTTPException) -> Response:
    """Return `error` as a problem response."""
    status = error.code or 500
    problem_type = TYPES.get(status) or ProblemType("", error.name, error.description or error.name)
    detail = problem_type.detail
    errors: Sequence[FieldError] = ()
    if isinstance(error, Problem):
        detail, errors = error.description or detail, error.errors
    elif isinstance(error, BadRequest):
        detail = "The request is malformed. Check its URL and its Host header."
    elif isinstance(error, MethodNotAllowed):
        method = request.environ["REQUEST_METHOD"][:20]
        detail = f"{method} is not allowed here. Use {', '.join(sorted(error.valid_methods or ()))}."
    elif isinstance(error, UnknownAddress):
        detail = _with_suggestion(detail)
    body = problem_type.describe(status, detail, errors, request.environ.get(REQUEST_ID, "-"))
    response = Response(msgspec.json.encode(body), status, content_type=MEDIA_TYPE)
    headers = error.headers if isinstance(error, Problem) else error.get_headers(request.environ)
    response.headers.extend((name, value) for name, value in headers if name != "Content-Type")
    return response


def _with_suggestion(detail: str) -> str:
    """Suggest a similar path that exists: without extra slashes, in lower case, or below /api/v1."""
    adapter = current_app.create_url_adapter(request)
    path = re.sub("/{2,}", "/", request.environ["PATH_INFO"]).rstrip("/")[:200]
    for candidate in (path, path.lower(), f"/api/v1{path}"):
        if adapter and candidate and adapter.allowed_methods(candidate):
            return f"{detail} Did you mean {request.root_path}{candidate}?"
    return detail


def _handle_database_error(error: DBAPIError | PoolTimeoutError) -> Response:
    unavailability = unavailable(error)
    if unavailability is None:
        raise error
    return _handle_unavailable(unavailability)


def _handle_unavailable(error: DatabaseUnavailable) -> Response:
    return to_response(Unavailable(error.reason))
