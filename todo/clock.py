"""The only clock of the service, and its two kinds of time.

An *instant* (`created_at`, `updated_at`) is UTC. A *wall time* (`deadline_at`) is local time in the
zone of the setting `TIMEZONE`. The database stores both as naive datetimes.
"""

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, ClassVar, Self
from zoneinfo import ZoneInfo

from flask import current_app


def _day(separator: str) -> str:
    """Return a pattern of all days in the years 1 to 9999, without look-ahead, which RE2 does not support."""
    year = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
    fourth = "(?:0[48]|[2468][048]|[13579][26])"
    return (
        f"(?:{year}{separator}(?:"
        f"(?:0[13578]|1[02]){separator}(?:0[1-9]|[12][0-9]|3[01])"
        f"|(?:0[469]|11){separator}(?:0[1-9]|[12][0-9]|30)"
        f"|02{separator}(?:0[1-9]|1[0-9]|2[0-8]))"
        f"|(?:[0-9]{{2}}{fourth}|{fourth}00){separator}02{separator}29)"
    )


# The OpenAPI document shows this pattern, so the pattern matches exactly the accepted forms: RFC 3339,
# ISO 8601 as in `datetime.fromisoformat`, and a space before the offset or UTC as in Ruby and Git. Digits
# beyond microseconds are cut off.
_HOUR, _MINUTE, _FRACTION = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]", "(?:[.,][0-9]{1,9})?"
_DAY = f"(?:{_day('-')}|{_day('')})"
_TIME = (
    f"{_HOUR}(?::{_MINUTE}(?::{_MINUTE}{_FRACTION})?|{_MINUTE}(?:{_MINUTE}{_FRACTION})?)?"
    f"(?: ?(?:[Zz]|[+-]{_HOUR}(?::{_MINUTE}(?::{_MINUTE})?|{_MINUTE}(?:{_MINUTE})?)?)| UTC)?"
)
_TIME_PATTERN = f"^{_DAY}(?:[Tt ]{_TIME})?$"
_MATCH = re.compile(_TIME_PATTERN).fullmatch
DATE_LENGTH, _HOUR_END = len("2027-01-31"), len("20270131 18")
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - local time
_END_OF_DAY = timedelta(hours=23, minutes=59, seconds=59)


def utc_now() -> datetime:
    """Return the current instant: naive, UTC, to the microsecond."""
    return datetime.now(UTC).replace(tzinfo=None)


def timestamp() -> str:
    """Return the current instant as text: ISO 8601 with three fraction digits and `Z`."""
    second, rest = divmod(time.time_ns(), 10**9)
    return f"{_text_of(second)}.{rest // 10**6:03}Z"


@lru_cache(maxsize=1)  # formatting costs a twentieth of a small request
def _text_of(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def wall_now() -> datetime:
    """Return the current wall time in the service's zone: naive, to the microsecond."""
    return datetime.now(service_zone()).replace(tzinfo=None)


def days_from_now(days: int) -> datetime:
    """Return the local time in `days` days, at most the end of the year 9999."""
    now = wall_now()
    return now + timedelta(days=days) if days <= (LAST - now).days else LAST


def format_instant(instant: datetime) -> str:
    """Format an instant as `2023-02-27T12:00:00.000000Z`. Raises TypeError for other types."""
    return datetime.isoformat(instant, timespec="microseconds") + "Z"


def format_wall_time(wall_time: datetime) -> str:
    """Format as ISO 8601 without an offset, with six fraction digits unless all are zero."""
    return wall_time.isoformat()


def is_time(text: str) -> bool:
    """Return True if `text` is an accepted form of a time."""
    return _MATCH(text) is not None


def to_iso(text: str) -> str:
    """Convert an accepted form of a time to ISO 8601. Raises ValueError for any other text."""
    if not is_time(text):
        raise ValueError("not a time")
    # The space between date and time stays. Only a space before the offset is removed.
    head, tail = text[:_HOUR_END], text[_HOUR_END:]
    return (head + tail.replace(" UTC", "Z").replace(" ", "")).upper()


class _SentTime(datetime):
    """A time in a request or a file. A date alone means midnight at its start."""

    date_alone: ClassVar[timedelta] = timedelta()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Parse `value`, and convert a time with an offset (or `Z`) to the zone of the class.

        Raises ValueError if `value` is not an accepted form, or is outside of the years 1 to 9999.
        """
        if not isinstance(value, str):
            raise ValueError("not a time")
        time = cls.fromisoformat(to_iso(value))
        if time.tzinfo is None:
            return time + cls.date_alone if len(value) <= DATE_LENGTH else time
        try:
            return time.astimezone(cls._zone()).replace(tzinfo=None)
        except OverflowError:
            raise ValueError("not in the years 1 to 9999 in its zone") from None

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the strings that `parse` accepts."""
        return {"type": "string", "pattern": _TIME_PATTERN}

    @classmethod
    def _zone(cls) -> tzinfo:
        raise NotImplementedError


class WallTime(_SentTime):
    """A wall time in the service's zone."""

    @classmethod
    def _zone(cls) -> tzinfo:
        return service_zone()


class ImportedWallTime(WallTime):
    """A wall time in a file. A date alone means the end of that day."""

    date_alone = _END_OF_DAY


class Instant(_SentTime):
    """An instant, in UTC unless it has an offset."""

    @classmethod
    def _zone(cls) -> tzinfo:
        return UTC


def is_end_of_day(wall_time: datetime) -> bool:
    """Return True if `wall_time` stands for a day without a time."""
    return wall_time.time().isoformat() == "23:59:59"


def service_zone() -> ZoneInfo:
    """Return the zone of the setting TIMEZONE."""
    zone: ZoneInfo = current_app.extensions["todo.zone"]
    return zone
