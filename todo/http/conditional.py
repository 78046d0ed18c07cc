"""Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13).

A tag is a hash of the representation, so every change to the representation changes the tag.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Self

from flask import Response, current_app, request
from werkzeug.datastructures import ETags
from werkzeug.http import parse_etags

from todo.http.problem import PreconditionFailed, PreconditionRequired


def entity_tag(parts: Iterable[bytes]) -> str:
    """Return the strong entity tag, with its quotes, of a representation in parts."""
    tag = hashlib.sha256()  # fast, because processors have instructions for SHA-256
    for part in parts:
        tag.update(part)
    return f'"{tag.hexdigest()[:24]}"'


def with_etag(response: Response, tag: str) -> Response:
    """Set the ETag of `response`. Change the status to 304 if `If-None-Match` of a GET or HEAD has the tag.

    The tag may be weak (`W/`).
    """
    response.headers["ETag"] = tag
    sent = request.headers.get("If-None-Match")
    if (
        sent is not None
        and request.method in {"GET", "HEAD"}
        and (sent == tag or request.if_none_match.contains_weak(tag.removeprefix("W/").strip('"')))
    ):
        response.status_code = 304  # Werkzeug then drops the body
    return response


class Precondition(NamedTuple):
    """A precondition of a write: the accepted or excluded versions of the resource."""

    if_match: ETags | None
    if_none_match: ETags | None

    @classmethod
    def from_request(cls) -> Self | None:
        """Parse `If-Match` and `If-None-Match` of the current request, as `parse` does."""
        return cls.parse(request.headers.get("If-Match"), request.headers.get("If-None-Match"))

    @classmethod
    def parse(cls, if_match: str | None, if_none_match: str | None = None) -> Self | None:
        """Parse lists of ETags. Return None if both are missing.

        Raises PreconditionRequired if the setting REQUIRE_IF_MATCH is on and `if_match` is missing.
        """
        if if_match is None and current_app.config["REQUIRE_IF_MATCH"]:
            raise PreconditionRequired
        if if_match is None and if_none_match is None:
            return None
        return cls(*(None if tags is None else parse_etags(tags) for tags in (if_match, if_none_match)))

    def check(self, tag: str | None) -> None:
        """Raise PreconditionFailed unless the condition holds for the current `tag`.

        `tag` is None if there is no resource. The caller's transaction has locked the resource, so that the
        check and the write are one atomic step.
        """
        if tag is None:
            if self.if_match is not None:
                raise PreconditionFailed(tag, "The resource does not exist. It may have been deleted.")
            return
        current = tag.strip('"')
        if self.if_match is not None and not self.if_match.contains(current):
            weak = self.if_match.is_weak(current)
            raise PreconditionFailed(
                tag,
                "If-Match compares strong tags. Send the `ETag` without the prefix `W/`." if weak else None,
            )
        if self.if_none_match is not None and self.if_none_match.contains_weak(current):
            raise PreconditionFailed(tag, "The resource exists in a version that `If-None-Match` excludes.")
