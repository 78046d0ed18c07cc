"""Time zones in files: names of zones, and VTIMEZONEs (RFC 5545, section 3.6.5).

The library `icalendar` writes one RDATE with many values, but several readers use only the first value. Its
reader expands recurrence rules without a bound. So this module writes and reads VTIMEZONEs itself.
"""

import re
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from todo.formats.text import fold

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

# Like Google and Apple, write the changes since the first year of Unix time. A rule that applies in the last
# of these years is written without an end.
_YEARS = range(1970, 2100)
_STEP = 7 * 24 * 3600  # seconds; no zone has changed twice within a week since 1970
_BEFORE_ALL = datetime.fromisoformat("1601-01-01")  # as Outlook writes it
_FIRST, _END_OF_TIME = datetime.fromisoformat("0001-01-01"), datetime.fromisoformat("9999-12-31")
_WEEK = 7
_LAST = -1

# Bounds of what a file can define.
_MAX_CHARACTERS = 1024 * 1024
_MAX_RULES = 200
# The Gregorian calendar repeats after 400 years.
_CYCLE, _END = 400, 2500

_OFFSET_NAME = re.compile(r"(?:GMT|UTC) ?([+-]\d\d?)(?::?(\d\d))?", re.ASCII)
_LOCAL = re.compile(r"\d{8}(?:T\d{6})?", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)(\d\d)?", re.ASCII)
_BY_DAY = re.compile(rf"([+-]?[1-5])?({'|'.join(DAYS)})")


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
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


class _Onset(NamedTuple):
    """A change of the clock: `local` is the onset by the clock before the change."""

    local: datetime
    offset_from: timedelta
    offset_to: timedelta
    name: str
    is_daylight: bool

    @property
    def rule(self) -> tuple[object, ...]:
        """The common properties of all changes of one yearly rule."""
        return (*self[1:], self.local.month, self.local.weekday(), self.local.time())

    @property
    def ordinals(self) -> set[int]:
        """Positions of the weekday in its month: 1 for the first, -1 for the last."""
        is_last = (self.local + timedelta(_WEEK)).month != self.local.month
        return {(self.local.day + _WEEK - 1) // _WEEK, *([_LAST] if is_last else [])}


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
            *_recurrence(onsets),
            f"TZNAME:{first.name}",
            f"TZOFFSETFROM:{_format_offset(first.offset_from)}",
            f"TZOFFSETTO:{_format_offset(first.offset_to)}",
            f"END:{component}",
        ]
    return "".join(map(fold, [*lines, "END:VTIMEZONE"])).encode()


def _onsets(zone: ZoneInfo) -> Iterator[_Onset]:
    """Yield the changes of the clock, beginning with an entry for the offset at the first moment."""
    start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (_YEARS[0], _YEARS[-1] + 1))

    def at(second: int) -> datetime:
        return datetime.fromtimestamp(second, zone)

    def onset(second: int, before: datetime) -> _Onset:
        after, offset_from = at(second), before.utcoffset() or timedelta()
        local = datetime.fromtimestamp(second, UTC).replace(tzinfo=None) + offset_from
        daylight, previous = after.dst() or timedelta(), before.dst() or timedelta()
        # Dublin and Casablanca put the clock back for a "negative" daylight saving time.
        is_daylight = daylight > timedelta() or previous < daylight == timedelta()
        offset_to = after.utcoffset() or timedelta()
        return _Onset(local, offset_from, offset_to, after.tzname() or "", is_daylight)

    first = onset(start, at(start))
    yield first._replace(local=_BEFORE_ALL)
    for low in range(start, end, _STEP):
        before, high = at(low), min(low + _STEP, end)
        while before.utcoffset() != at(high).utcoffset():
            early, late = low, high
            while late - early > 1:
                middle = (early + late) // 2
                if at(middle).utcoffset() == before.utcoffset():
                    early = middle
                else:
                    late = middle
            yield onset(late, before)
            low, before = late, at(late)


def _rules(zone: ZoneInfo) -> list[list[_Onset]]:
    """Group the changes of the clock into runs of consecutive years with one yearly rule."""
    runs: list[list[_Onset]] = []
    latest: dict[tuple[object, ...], list[_Onset]] = {}
    for onset in _onsets(zone):
        run = latest.get(onset.rule)
        if run and run[-1].local.year == onset.local.year - 1 and _is_one_rule([*run, onset]):
            run.append(onset)
        else:
            latest[onset.rule] = [onset]
            runs.append(latest[onset.rule])
    return runs


def _is_one_rule(onsets: list[_Onset]) -> bool:
    days = [onset.local.day for onset in onsets]
    return max(days) - min(days) < _WEEK


def _recurrence(onsets: list[_Onset]) -> list[str]:
    """Return the RRULE of a run, or nothing for a single change."""
    first, last = onsets[0], onsets[-1]
    if len(onsets) == 1:
        return []
    weekday = DAYS[first.local.weekday()]
    ordinals = set.intersection(*(onset.ordinals for onset in onsets))
    if ordinals:
        day = f"BYDAY={min(ordinals)}{weekday}"  # prefer "the last weekday" to "the fourth weekday"
    else:
        start = min(onset.local.day for onset in onsets)
        days = ",".join(map(str, range(start, min(start + _WEEK, 32))))
        day = f"BYDAY={weekday};BYMONTHDAY={days}"
    until = ""
    if last.local.year != _YEARS[-1]:
        # A day later than the last change, because some readers compare UNTIL with the local time.
        until = f";UNTIL={last.local - last.offset_from + timedelta(1):%Y%m%dT%H%M%SZ}"
    return [f"RRULE:FREQ=YEARLY;BYMONTH={first.local.month};{day}{until}"]


def _format_offset(offset: timedelta) -> str:
    minutes, seconds = divmod(abs(int(offset.total_seconds())), 60)
    sign = "-" if offset < timedelta() else "+"
    return f"{sign}{minutes // 60:02}{minutes % 60:02}" + (f"{seconds:02}" if seconds else "")


class DefinedZone(tzinfo):
    """A zone that a file defines: its changes in order, each with the local time and the new offset."""

    def __init__(self, changes: list[tuple[datetime, timedelta]]) -> None:
        self._clocks = [clock for clock, _ in changes]
        self._offsets = [offset for _, offset in changes]

    def utcoffset(self, time: datetime | None) -> timedelta:
        """Return the offset at a local time, or the earlier offset if the time occurs twice or never."""
        clock = (time or _FIRST).replace(tzinfo=None)
        if clock.year >= _END:
            clock = clock.replace(year=_END - _CYCLE + clock.year % _CYCLE)
        return self._offsets[max(0, bisect_right(self._clocks, clock) - 1)]

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
        self._observance: dict[str, list[str]] = {}
        self._observances: list[dict[str, list[str]]] = []
        self._defined: dict[str, list[dict[str, list[str]]]] = {}
        self._found: dict[str, tzinfo | None] = {}

    def add(self, name: str, value: str) -> None:
        """Add a property of a VTIMEZONE, BEGIN and END included. Ignore properties beyond the bounds."""
        self._characters += len(value) + 100
        if self._characters > _MAX_CHARACTERS:
            return
        if name == "BEGIN":
            self._observance = {}
        elif name != "END":
            self._observance.setdefault(name, []).append(value)
            self._rules += name == "RRULE"
            if name == "TZID":
                self._name, self._observances = value.strip(), []
        elif value != "VTIMEZONE":
            self._observances.append(self._observance)
        elif self._rules <= _MAX_RULES:
            self._defined[self._name] = self._observances

    def find(self, name: str) -> tzinfo | None:
        """Return the zone of a TZID, or None if nothing defines it.

        The tz database takes precedence, because it is more complete than a file. A name such as
        `/freeassociation.sourceforge.net/Europe/Berlin` ends with a name of the tz database.
        """
        if name not in self._found:
            parts = name.split("/") if name.startswith("/") else []
            ends = ["/".join(parts[-length:]) for length in (3, 2) if len(parts) > length]
            found = next(filter(None, map(_of_database, [name, *ends])), None)
            self._found[name] = found or self._define(name) or find(parts[-1] if parts else name)
        return self._found[name]

    def _define(self, name: str) -> tzinfo | None:
        changes: list[tuple[datetime, timedelta]] = []
        first: tuple[datetime, timedelta] | None = None
        try:
            for observance in self._defined.get(name, []):
                offset_from = _parse_offset(observance["TZOFFSETFROM"][0])
                offset_to = _parse_offset(observance["TZOFFSETTO"][0])
                # A local time that the clock skips has the offset before the change.
                skipped = max(timedelta(), offset_to - offset_from)
                onsets = list(_expand(observance, offset_from))
                changes += [(onset + skipped, offset_to) for onset in onsets]
                first = min(filter(None, (first, (min(onsets), offset_from))))
        except (KeyError, ValueError, OverflowError):
            return None
        return DefinedZone([(_FIRST, first[1]), *sorted(changes)]) if first else None


def _parse_offset(text: str) -> timedelta:
    found = _OFFSET.fullmatch(text.strip())
    if found is None:
        raise ValueError("not an offset")
    sign, hours, minutes, seconds = found.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0))
    timezone(offset)  # raises ValueError from 24 hours on
    return -offset if sign == "-" else offset


def _parse_local(text: str) -> datetime:
    if not _LOCAL.fullmatch(text.strip()):
        raise ValueError("not a local time")
    return datetime.fromisoformat(text.strip())


def _expand(observance: dict[str, list[str]], offset_from: timedelta) -> Iterator[datetime]:
    """Yield the onsets of an observance, in local time."""
    start = _parse_local(observance["DTSTART"][0])
    yield start
    for value in observance.get("RDATE", []):
        yield from map(_parse_local, value.split(","))
    for text in observance.get("RRULE", []):
        rule = dict(part.partition("=")[::2] for part in text.strip().upper().split(";"))
        yield from _expand_rule(rule, start, offset_from)


def _expand_rule(rule: dict[str, str], start: datetime, offset_from: timedelta) -> Iterator[datetime]:
    """Yield the later onsets of a yearly rule. Raises ValueError for any other rule."""
    by_day = _BY_DAY.fullmatch(rule.get("BYDAY", DAYS[0]))
    known = {"FREQ", "INTERVAL", "WKST", "BYMONTH", "BYDAY", "BYMONTHDAY", "UNTIL", "COUNT"}
    if rule.get("FREQ") != "YEARLY" or rule.get("INTERVAL", "1") != "1" or rule.keys() - known or not by_day:
        raise ValueError("not a yearly rule")
    month = int(rule.get("BYMONTH", start.month))
    days = list(range(1, 32))
    if "BYMONTHDAY" in rule:
        days = [int(day) for day in rule["BYMONTHDAY"].split(",")]
    elif "BYDAY" not in rule:
        days = [start.day]
    until = _END_OF_TIME
    if "UNTIL" in rule:
        text = rule["UNTIL"]
        until = _parse_local(text.removesuffix("Z")) + (offset_from if text.endswith("Z") else timedelta())
    count = int(rule.get("COUNT", _END))
    for year in range(start.year, min(start.year + count, until.year + 1, _END)):
        length = monthrange(year, month)[1]
        in_month = {day if day > 0 else length + 1 + day for day in days}
        for day in sorted(in_month.intersection(range(1, length + 1))):
            onset = start.replace(year=year, month=month, day=day)
            if start < onset <= until and ("BYDAY" not in rule or _is_day(onset, length, *by_day.groups())):
                yield onset


def _is_day(time: datetime, length: int, ordinal: str | None, weekday: str) -> bool:
    """Return True if `time` is on `weekday`, at the position `ordinal` in its month."""
    if DAYS[time.weekday()] != weekday:
        return False
    number = int(ordinal or 0)
    from_end = -((length - time.day) // _WEEK + 1)
    return number in {0, from_end, (time.day + _WEEK - 1) // _WEEK}
