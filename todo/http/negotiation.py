"""Content negotiation (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence

from flask import request

from todo.http.problem import NotAcceptable

_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def choose(media_types: Sequence[str]) -> str:
    """Choose the media type that `Accept` prefers, or the first of equals. Raises NotAcceptable.

    Parameters are ignored: `application/json; charset=utf-8` is JSON. An invalid quality is ignored too,
    and `*` means `*/*`, because older Java clients send `*; q=.2`.
    """
    qualities: dict[str, float] = {}
    for element in request.headers.get("Accept", "").lower().split(","):
        media_range, _, parameters = element.partition(";")
        name = media_range.strip()
        if name:
            name = "*/*" if name == "*" else name
            quality = _quality(parameters)
            qualities[name] = max(quality, qualities.get(name, 0.0))
    if not qualities:
        return media_types[0]

    def quality_of(media_type: str) -> float:
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")  # the most specific range decides
        return next((qualities[each] for each in ranges if each in qualities), 0.0)

    best = max(media_types, key=quality_of)
    if not quality_of(best):
        raise NotAcceptable(media_types)
    return best


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q" and _QUALITY.fullmatch(value.strip()):
            return float(value)
    return 1.0
