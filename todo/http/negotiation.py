"""Content negotiation (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from flask import request
from werkzeug.datastructures import MIMEAccept

from todo.http.problem import NotAcceptable


def choose(media_types: Sequence[str]) -> str:
    """Choose what `Accept` likes best, the first of equals.

    Parameters in it are passed over: `application/json; charset=utf-8` is JSON. Raises NotAcceptable.
    """
    accepted = MIMEAccept([(kind.partition(";")[0].strip(), q) for kind, q in request.accept_mimetypes])
    if not accepted:
        return media_types[0]
    best = max(media_types, key=accepted.quality)
    if not accepted.quality(best):
        raise NotAcceptable(media_types)
    return best
