"""Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13).

A tag is a hash of what is answered: it changes with it, whoever made the change.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Self

from flask import Response, current_app, request
from werkzeug.datastructures import ETags
from werkzeug.http import parse_etags

from todo.http.problem import PreconditionFailed, PreconditionRequired


def entity_tag(*parts: bytes) -> str:
    """Make the strong entity tag, in its quotes, of a representation."""
    return tag_of_stream(parts)


def tag_of_stream(parts: Iterable[bytes]) -> str:
    """Make the same of a representation that need not be in memory as a whole."""
    tag = hashlib.sha256()  # for which processors have instructions
    for part in parts:
        tag.update(part)
    return f'"{tag.hexdigest()[:24]}"'


def tagged(response: Response, tag: str) -> Response:
    """Give `response` its tag; make it 304 where `If-None-Match` of a GET or HEAD has it already.

    The tag may be a weak one (`W/`).
    """
    response.headers["ETag"] = tag
    sent = request.headers.get("If-None-Match")
    if (
        sent is not None
        and request.method in {"GET", "HEAD"}
        and (sent == tag or request.if_none_match.contains_weak(tag.removeprefix("W/").strip('"')))
    ):
        response.status_code = 304  # which is sent without a body and its headers
    return response


class Precondition(NamedTuple):
    """What must hold of a resource for a write to be carried out."""

    if_match: ETags | None
    if_none_match: ETags | None = None

    @classmethod
    def of_request(cls) -> Self | None:
        """Read `If-Match` and `If-None-Match` of the current request; None where it has neither.

        Raises PreconditionRequired where the setting REQUIRE_IF_MATCH wants an `If-Match`.
        """
        headers = request.headers
        if_match = request.if_match if "If-Match" in headers else None
        if_none_match = request.if_none_match if "If-None-Match" in headers else None
        if if_match is None and current_app.config["REQUIRE_IF_MATCH"]:
            raise PreconditionRequired
        return None if if_match is None and if_none_match is None else cls(if_match, if_none_match)

    @classmethod
    def of_member(cls, if_match: str | None) -> Self | None:
        """Do the same with an `if_match` that stands in a body."""
        if if_match is None:
            if current_app.config["REQUIRE_IF_MATCH"]:
                raise PreconditionRequired
            return None
        return cls(parse_etags(if_match))

    def check(self, tag: str | None) -> None:
        """Compare with the current `tag`, None where there is no resource; raises PreconditionFailed.

        The caller's transaction keeps others from changing the resource between this and the write.
        """
        if tag is None:
            if self.if_match is not None:
                raise PreconditionFailed(tag, "There is none any more: it was deleted, or never was.")
            return
        current = tag.strip('"')
        if self.if_match is not None and not self.if_match.contains(current):
            weak = self.if_match.is_weak(current)
            raise PreconditionFailed(tag, "Send the `ETag` without `W/` before it." if weak else None)
        if self.if_none_match is not None and self.if_none_match.contains_weak(current):
            raise PreconditionFailed(tag, "It is there, in a version that `If-None-Match` excludes.")
