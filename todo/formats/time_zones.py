"""Time zones in files: names of zones, and VTIMEZONEs (RFC 5545, section 3.6.5).

The library `icalendar` parses a VTIMEZONE, and `dateutil` parses its rules. This module expands the rules,
because `icalendar` stops in 2038. It also writes VTIMEZONEs, because `icalendar` writes one RDATE with many
values, and several calendars read only the first value.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from todo.config import zone_names
from todo.formats.text import fold

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

# Like Google and Apple, write the changes since the first year of Unix time. A rule that applies in the last
# of these years is written without an end.
_YEARS = range(1970, 2100)
_STEP = 7 * 24 * 3600  # seconds; no zone has changed twice within a week since 1970
_BEFORE_ALL = datetime.fromisoformat("1601-01-01")  # as Outlook writes it
_WEEK = 7

# Limits of the definitions in a file.
_MAX_CHARACTERS = 1024 * 1024
_MAX_RULES = 200
# The Gregorian calendar repeats after 400 years, so rules are expanded until then.
_CYCLE = 400
_END = datetime.fromisoformat("2500-01-01")

_OFFSET_NAME = re.compile(r"(?:GMT|UTC) ?([+-]\d\d?)(?::?(\d\d))?", re.ASCII)
_USED = {"BEGIN", "END", "TZID", "DTSTART", "TZOFFSETFROM", "TZOFFSETTO", "RDATE", "RRULE"}
_PARTS_OF_RULE = {"FREQ", "INTERVAL", "WKST", "BYMONTH", "BYDAY", "BYMONTHDAY", "UNTIL", "COUNT"}


def find(name: str) -> tzinfo | None:
    """Return the zone of an IANA or Windows name, or of an offset such as `GMT +1:00`."""
    offset = _OFFSET_NAME.fullmatch(name)
    if offset:
        minutes = int(offset[1]) * 60 + int(offset[2] or 0) * (-1 if offset[1][0] == "-" else 1)
        return timezone(timedelta(minutes=minutes)) if abs(minutes) < 24 * 60 else None
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON  # slow to import

    return _of_database(name) or _of_database(WINDOWS_TO_OLSON.get(name, ""))


@cache
def _of_database(name: str) -> ZoneInfo | None:
    # Names such as `localtime` depend on the machine.
    return ZoneInfo(name) if name in zone_names() else None


class _Onset(NamedTuple):
    """A clock change: `local` is the onset by the clock before the change."""

    local: datetime
    offset_from: timedelta
    offset_to: timedelta
    name: str
    is_daylight: bool

    @property
    def rule(self) -> tuple[object, ...]:
        """The common properties of all changes of one yearly rule."""
        return (*self[1:], self.local.month, self.local.weekday(), self.local.time())


@cache
def definition(zone: str) -> bytes:
    """Return the VTIMEZONE of an IANA zone: an observance for each rule and each single change."""
    lines = ["BEGIN:VTIMEZONE", f"TZID:{zone}"]
    for onsets in _rules(ZoneInfo(zone)):
        first = onsets[0]
        component = "DAYLIGHT" if first.is_daylight else "STANDARD"
        lines += [
            f"BEGIN:{component}",
            f"DTSTART:{first.local:%Y%m%dT%H%M%S}",
            *([_recurrence(onsets)] if len(onsets) > 1 else []),
            f"TZNAME:{first.name}",
            f"TZOFFSETFROM:{_format_offset(first.offset_from)}",
            f"TZOFFSETTO:{_format_offset(first.offset_to)}",
            f"END:{component}",
        ]
    return "".join(map(fold, [*lines, "END:VTIMEZONE"])).encode()


def _rules(zone: ZoneInfo) -> list[list[_Onset]]:
    """Group the changes of the clock into runs of consecutive years with one yearly rule."""
    runs: list[list[_Onset]] = []
    latest: dict[tuple[object, ...], list[_Onset]] = {}
    for onset in _onsets(zone):
        run = latest.get(onset.rule, [])
        days = [each.local.day for each in (*run, onset)]
        if run and run[-1].local.year == onset.local.year - 1 and max(days) - min(days) < _WEEK:
            run.append(onset)
        else:
            latest[onset.rule] = [onset]
            runs.append(latest[onset.rule])
    return runs


def _onsets(zone: ZoneInfo) -> Iterator[_Onset]:
    """Yield the changes of the clock, beginning with an entry for the offset at the first moment."""
    start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (_YEARS[0], _YEARS[-1] + 1))

    def offset_at(second: int) -> timedelta:
        return datetime.fromtimestamp(second, zone).utcoffset() or timedelta()

    yield _onset(zone, start)._replace(local=_BEFORE_ALL)
    for low in range(start, end, _STEP):
        week, before = range(low, low + _STEP + 1), offset_at(low)
        if offset_at(week[-1]) != before:
            changed = bisect_left(week, True, key=lambda second: offset_at(second) != before)
            yield _onset(zone, week[changed])


def _onset(zone: ZoneInfo, second: int) -> _Onset:
    before, after = datetime.fromtimestamp(second - 1, zone), datetime.fromtimestamp(second, zone)
    daylight, previous = after.dst() or timedelta(), before.dst() or timedelta()
    return _Onset(
        before.replace(tzinfo=None) + timedelta(seconds=1),
        before.utcoffset() or timedelta(),
        after.utcoffset() or timedelta(),
        after.tzname() or "",
        # Dublin and Casablanca put the clock back for a "negative" daylight saving time.
        is_daylight=daylight > timedelta() or previous < daylight == timedelta(),
    )


def _recurrence(onsets: list[_Onset]) -> str:
    """Return the RRULE of a run."""
    first, last = onsets[0].local, onsets[-1].local
    weekday = DAYS[first.weekday()]
    positions = {(onset.local.day + _WEEK - 1) // _WEEK for onset in onsets}
    if all((onset.local + timedelta(_WEEK)).month != first.month for onset in onsets):
        day = f"BYDAY=-1{weekday}"
    elif len(positions) == 1:
        day = f"BYDAY={positions.pop()}{weekday}"
    else:
        start = min(onset.local.day for onset in onsets)
        days = ",".join(map(str, range(start, min(start + _WEEK, 32))))
        day = f"BYDAY={weekday};BYMONTHDAY={days}"
    until = ""
    if last.year != _YEARS[-1]:
        # A day later than the last change, because some readers compare UNTIL with the local time.
        until = f";UNTIL={last - onsets[-1].offset_from + timedelta(1):%Y%m%dT%H%M%SZ}"
    return f"RRULE:FREQ=YEARLY;BYMONTH={first.month};{day}{until}"


def _format_offset(offset: timedelta) -> str:
    minutes, seconds = divmod(abs(int(offset.total_seconds())), 60)
    sign = "-" if offset < timedelta() else "+"
    return f"{sign}{minutes // 60:02}{minutes % 60:02}" + (f"{seconds:02}" if seconds else "")


class DefinedZone(tzinfo):
    """A zone that a file defines, by its changes: the local time, the new offset and the old one."""

    def __init__(self, changes: list[tuple[datetime, timedelta, timedelta]]) -> None:
        self._clocks = [clock for clock, *_ in changes]
        self._offsets = [changes[0][2], *(offset for _, offset, _ in changes)]

    def utcoffset(self, time: datetime | None) -> timedelta:
        """Return the offset at a local time, or the earlier offset if the time occurs twice or never."""
        clock = (time or _END).replace(tzinfo=None)
        if clock >= _END:
            clock = clock.replace(year=_END.year - _CYCLE + clock.year % _CYCLE)
        return self._offsets[bisect_right(self._clocks, clock)]

    def dst(self, _: datetime | None) -> None:
        """Return None: unknown."""

    def tzname(self, _: datetime | None) -> str:
        """Return a name for people."""
        return "defined in the file"


class Definitions:
    """The VTIMEZONEs of a file, and the zones of its TZIDs."""

    def __init__(self) -> None:
        self._characters = self._rules = 0
        self._name = ""
        self._lines: list[str] = []
        self._defined: dict[str, str] = {}
        self._found: dict[str, tzinfo | None] = {}

    def add(self, name: str, value: str) -> None:
        """Add a property of a VTIMEZONE, BEGIN and END included. Ignore properties beyond the bounds."""
        self._characters += len(value) + 100
        self._rules += name == "RRULE"
        if name not in _USED or self._characters > _MAX_CHARACTERS or self._rules > _MAX_RULES:
            return
        if (name, value) == ("BEGIN", "VTIMEZONE"):
            self._lines = []
        elif name == "TZID":
            self._name = _unescape(value.strip().strip('"'))
        self._lines.append(f"{name}:{value}\r\n")
        if (name, value) == ("END", "VTIMEZONE"):
            self._defined[self._name] = "".join(self._lines)
            self._found.pop(self._name, None)

    def find(self, name: str) -> tzinfo | None:
        """Return the zone of a TZID, or None if nothing defines it.

        The tz database takes precedence for names with a slash, because it is more complete than a file.
        A name such as `/freeassociation.sourceforge.net/Europe/Berlin` ends with a name of the tz database.
        """
        name = _unescape(name)
        if name not in self._found:
            parts = name.split("/") if name.startswith("/") else []
            ends = ["/".join(parts[-length:]) for length in (3, 2) if len(parts) > length]
            found = next(filter(None, map(_of_database, [name, *ends])), None)
            defined = None if found and "/" in name else self._define(name)
            self._found[name] = defined or found or find(parts[-1] if parts else name)
        return self._found[name]

    def _define(self, name: str) -> tzinfo | None:
        if name not in self._defined:
            return None
        from icalendar import Timezone  # slow to import

        changes: list[tuple[datetime, timedelta, timedelta]] = []
        try:
            zone: Any = Timezone.from_ical(self._defined[name])
            for observance in (*zone.walk("STANDARD"), *zone.walk("DAYLIGHT")):
                offset_from, offset_to = observance.TZOFFSETFROM, observance.TZOFFSETTO
                # A local time that the clock skips has the offset before the change.
                skipped = max(timedelta(), offset_to - offset_from)
                changes += [(onset + skipped, offset_to, offset_from) for onset in _expand(observance)]
            return DefinedZone(sorted(changes))
        except (IndexError, TypeError, ValueError, OverflowError):
            return None


def _unescape(name: str) -> str:
    """Remove the backslashes before commas and other special characters of a name."""
    return re.sub(r"\\(.)", r"\1", name)


def _expand(observance: Any) -> Iterator[datetime]:
    """Yield the onsets of an observance, in local time. Raises ValueError if a rule is not yearly."""
    from dateutil.rrule import rrulestr  # type: ignore[import-untyped]
    from icalendar.tools import to_datetime

    start = observance.DTSTART
    yield start
    yield from (to_datetime(date) for date, _ in observance.rdates)
    for rule in observance.rrules:
        if (rule.get("FREQ"), rule.get("INTERVAL", [1])) != (["YEARLY"], [1]) or rule.keys() - _PARTS_OF_RULE:
            raise ValueError("not a yearly rule")
        (month,) = rule.setdefault("BYMONTH", [start.month])
        if not 1 <= month <= 12 or len(rule.get("BYDAY", [])) > 1:
            raise ValueError("not a rule of one month and one weekday")
        until = to_datetime(rule.get("UNTIL", [_END])[0])
        if until.tzinfo:
            until = (until + observance.TZOFFSETFROM).replace(tzinfo=None)
        if "COUNT" not in rule:  # dateutil allows only one of the two
            rule["UNTIL"] = [min(until, _END)]
        yield from rrulestr(rule.to_ical().decode(), dtstart=start)
