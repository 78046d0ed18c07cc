"""The only clock of the service, and the two kinds of time it knows.

An *instant* (`created_at`, `updated_at`) is UTC. A *wall time* (`deadline_at`) is what a clock on
the wall shows in the zone of the setting `TIMEZONE`. Both are kept as naive datetimes.
"""

import re
import time
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any, Self
from zoneinfo import ZoneInfo

from flask import current_app

# Every day that exists and no other (no 30 February, no year 0), so that the OpenAPI document
# can say exactly what is accepted.
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAY = (
    "(?!0000)(?:"
    "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6}0*)?)?"
_OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
# `$` alone would let a final newline through in Python.
SENT_TIME_PATTERN = rf"^{_DAY}(?:T{_TIME}{_OFFSET}?)?$(?!\n)"
_SENT_TIME = re.compile(SENT_TIME_PATTERN)


def utc_now() -> datetime:
    """Now as an instant: naive, UTC, to the microsecond."""
    return datetime.now(UTC).replace(tzinfo=None)


def timestamp() -> str:
    """Now as an instant in text: ISO 8601 with three fraction digits and `Z`."""
    second, rest = divmod(time.time_ns(), 10**9)
    return f"{_text_of(second)}.{rest // 10**6:03}Z"


@lru_cache(maxsize=1)  # to make it takes a twentieth of a small request
def _text_of(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def wall_now() -> datetime:
    """Now as a wall time in the service's zone: naive, to the microsecond."""
    return datetime.now(service_zone()).replace(tzinfo=None)


def format_instant(instant: datetime) -> str:
    """ISO 8601 with six fraction digits and `Z`: `2023-02-27T12:00:00.000000Z`."""
    return instant.isoformat(timespec="microseconds") + "Z"


def format_wall_time(wall_time: datetime) -> str:
    """ISO 8601 without an offset; six fraction digits, none where they are all zero."""
    return wall_time.isoformat()


class _SentTime(datetime):
    """A time as it stands in a request: ISO 8601, a bare date meaning midnight."""

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read `value`, converting a time with an offset (or `Z`) to the zone of the class.

        Raises ValueError for anything that is not such a time in the years 1 to 9999.
        """
        if not isinstance(value, str) or not _SENT_TIME.match(value):
            raise ValueError("not a time")
        time = cls.fromisoformat(value)
        if time.tzinfo is None:
            return time
        try:
            return time.astimezone(cls._zone()).replace(tzinfo=None)
        except OverflowError:
            raise ValueError("not in the years 1 to 9999 in its zone") from None

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the strings that `from_json` takes."""
        return {"type": "string", "pattern": SENT_TIME_PATTERN}

    @classmethod
    def _zone(cls) -> tzinfo:
        raise NotImplementedError


class WallTime(_SentTime):
    """A wall time of a request, in the service's zone."""

    @classmethod
    def _zone(cls) -> tzinfo:
        return service_zone()


class Instant(_SentTime):
    """An instant of a request, in UTC."""

    @classmethod
    def _zone(cls) -> tzinfo:
        return UTC


def service_zone() -> ZoneInfo:
    """The zone of the setting TIMEZONE."""
    zone: ZoneInfo = current_app.extensions["todo.zone"]
    return zone
