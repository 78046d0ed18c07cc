"""iCalendar (RFC 5545): todos as VTODOs, or their deadlines as VEVENTs.

This module writes and reads lines, one component at a time. The library `icalendar` takes 0.3 ms for
each todo, and holds the whole calendar in memory.

A parameter of a property stores the values that the property cannot store. So these values disappear when
another program changes the property.
"""

import re
from binascii import Error, a2b_base64, a2b_qp
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from todo.clock import DATE_LENGTH, is_end_of_day, is_time, to_iso
from todo.formats import Entry, Format, ParseError, Todos, Uids, own_uid, time_zones
from todo.formats.text import MAX_LINE, basic_format, fold, lines, octets
from todo.schemas import TodoOut

MEDIA_TYPE = "text/calendar"
VTODO, VEVENT = "VTODO", "VEVENT"
_CALENDAR, _ZONE = "VCALENDAR", "VTIMEZONE"

_MAX_DEPTH = 32  # components; RFC 5545 nests three
_MAX_IGNORED = 100  # names of properties for each todo
_MAX_WAITING = 1000  # todos whose time zone may be defined after them
_MAX_SEQUENCE = 2**31 - 1
# Parameters of this service: the id if the UID does not contain it, the fraction of a second, and the lines
# that end with CRLF.
_ID, _MICROSECOND, _CRLF = "X-ID", "X-MICROSECOND", "X-CRLF"


def format_for(zone: ZoneInfo, component: str = VTODO) -> Format:
    """Return the format for a service in `zone`. VEVENTs include only todos with a deadline."""
    return Format(
        MEDIA_TYPE,
        partial(_encode, zone.key, component),
        head=_head(zone.key),
        tail=b"END:VCALENDAR\r\n",
        has_uid=True,
    )


@cache
def _head(zone: str) -> bytes:
    head = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//todo//todo//EN\r\nX-WR-CALNAME:Todos\r\n"
    return head if zone == "UTC" else head + time_zones.definition(zone)


def _encode(zone: str, component: str, todos: Todos, uids: Uids) -> bytes:
    return "".join(fold(line) for todo in todos for line in _lines(zone, component, todo, uids)).encode()


def _lines(zone: str, component: str, todo: TodoOut, uids: Uids) -> Iterator[str]:
    """Yield the lines of a component, or nothing for a VEVENT without a deadline.

    DTSTAMP is the time of the last change, because the calendar has no METHOD (RFC 5545, section 3.8.7.2).
    """
    due, uid = todo.deadline_at, uids.get(todo.id)
    if component == VEVENT and due is None:
        return
    # SEQUENCE must not decrease, and the lifetime needs no column of its own.
    lifetime = datetime.fromisoformat(todo.updated_at) - datetime.fromisoformat(todo.created_at)
    updated = basic_format(todo.updated_at)
    yield f"BEGIN:{component}"
    yield (
        _text("UID", own_uid(todo.id, todo.created_at)) if uid is None else _text(f"UID;{_ID}={todo.id}", uid)
    )
    yield _text("SUMMARY", todo.title)
    if todo.description is not None:
        yield _text("DESCRIPTION", todo.description)
    yield f"DTSTAMP:{updated}Z"
    yield f"CREATED{_fraction(todo.created_at)}:{basic_format(todo.created_at)}Z"
    yield f"LAST-MODIFIED{_fraction(todo.updated_at)}:{updated}Z"
    yield f"SEQUENCE:{min(max(0, int(lifetime.total_seconds())), _MAX_SEQUENCE)}"
    if component == VTODO:
        yield f"STATUS:{'COMPLETED' if todo.completed else 'NEEDS-ACTION'}"
        if todo.completed:
            yield f"COMPLETED:{updated}Z"
        if due is not None:
            yield _wall_time("DUE", zone, due)
    elif due is not None:
        yield _wall_time("DTSTART", zone, due)
        if not is_end_of_day(due):
            yield "DURATION:PT0S"
        yield "TRANSP:TRANSPARENT"
    yield f"END:{component}"


def _text(name: str, text: str) -> str:
    if "\r\n" in text:
        which = [str(i) for i, line in enumerate(text.split("\n")[:-1]) if line.endswith("\r")]
        name = f'{name};{_CRLF}="{" ".join(which)}"'
        text = text.replace("\r\n", "\n")
    for character, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(character, escaped)
    return f"{name}:{text}"


def _wall_time(name: str, zone: str, time: datetime) -> str:
    text = time.isoformat()
    if is_end_of_day(time):
        return f"{name};VALUE=DATE:{basic_format(text[:10])}"
    zoned, utc = ("", "Z") if zone == "UTC" else (f";TZID={zone}", "")
    return f"{name}{zoned}{_fraction(text)}:{basic_format(text)}{utc}"


def _fraction(time: str) -> str:
    fraction = time[20:26].removesuffix("000000")
    return f";{_MICROSECOND}={fraction}" if fraction else ""


class _Property(NamedTuple):
    """A property. Folding can divide a character, so `octets` is Latin-1 and `text()` decodes the bytes."""

    parameters: dict[str, str]
    octets: str

    @property
    def value(self) -> str:
        return self.octets.strip().upper()

    def text(self) -> str:
        """Decode the value. Raises ValueError if the encoding is unknown or wrong."""
        octets = self.octets.encode("latin-1")
        # vCalendar 1.0 has encodings, and writes them with and without the name of the parameter.
        encoding = self.parameters.get("ENCODING", "8BIT").upper()
        if "QUOTED-PRINTABLE" in {encoding, *self.parameters}:
            octets = a2b_qp(octets)
        elif encoding in {"BASE64", "B"}:
            try:
                octets = a2b_base64(octets)
            except Error:
                raise ValueError("is not Base64") from None
        elif encoding not in {"7BIT", "8BIT"}:
            raise ValueError(f"has the unknown encoding {encoding[:80]}")
        charset = self.parameters.get("CHARSET", "UTF-8")
        if not _CHARSET.fullmatch(charset):
            raise ValueError(f"has the unknown character set {charset[:80]}")
        try:
            return octets.decode(charset)
        except ValueError:
            raise ValueError(f"is not {charset}") from None


_VALUE = r'"[^"]*"|[^";:,]*'
_PARAMETER = re.compile(rf";([^=;:,\"]+)(?:=((?:{_VALUE})(?:,(?:{_VALUE}))*))?")
_QUOTED_PRINTABLE = re.compile("[^:]*;(?:ENCODING=)?QUOTED-PRINTABLE[;:]", re.IGNORECASE)
_CHARSET = re.compile(
    r"utf-8|us-ascii|iso-8859-\d\d?|windows-125\d|koi8-[ru]|shift_jis|euc-(?:jp|kr)|gb2312|gb18030|big5",
    re.ASCII | re.IGNORECASE,
)
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?", re.ASCII)
_DURATION = re.compile(
    r"\+?P(?:(\d{1,6})W|(?=[\dT])(?:(\d{1,6})D)?(?:T(?=\d)(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?)?)",
    re.ASCII,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED = {"n": "\n", "N": "\n"}
# Of RFC 5545, and of vCalendar 1.0.
_STATUSES: dict[str, bool | str] = {
    **dict.fromkeys(("", "NEEDS-ACTION", "NEEDS ACTION"), False),
    **dict.fromkeys(("IN-PROCESS", "ACCEPTED", "CONFIRMED", "DELEGATED", "SENT", "TENTATIVE"), False),
    **dict.fromkeys(("COMPLETED", "CANCELLED"), True),
}
_LOSSY_STATUSES = _STATUSES.keys() - {"", "NEEDS-ACTION", "NEEDS ACTION", "COMPLETED"}


def read(pieces: Iterable[bytes], zone: ZoneInfo) -> Iterator[Entry]:
    """Read the VTODOs for a service in `zone`."""
    reader = _Reader(zone)
    number = 0
    for number, line in _unfold(octets(pieces)):
        yield from reader.read_line(number, line)
    if reader.open or not number:
        raise ParseError(max(number, 1), "The file ends before END:VCALENDAR. The file may be incomplete.")


class _Reader:
    """The state at a line: the open components, and the todo so far."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.open: list[str] = []
        self._zone = zone
        self._zones = time_zones.Definitions()
        self._is_first = True
        self._todo: _Todo | None = None
        self._waiting: list[_Todo] = []  # for the definition of a time zone

    def read_line(self, number: int, line: str) -> Iterator[Entry]:
        """Read a line, and yield the entry that ends with the line."""
        head, colon, tail = line.partition(":")
        name = head.partition(";")[0].strip().upper() if colon else ""
        value = tail.strip().upper() if name in {"BEGIN", "END"} else tail
        if self._is_first and (name, value) != ("BEGIN", _CALENDAR):
            raise ParseError(number, "The file is not a calendar. The first line must be BEGIN:VCALENDAR.")
        self._is_first = False
        if name == "BEGIN":
            yield from self._begin(number, value)
        elif name == "END":
            yield from self._end(value)
        elif self._todo and self.open[-1] == VTODO:
            self._todo.add(number, name, line)
        elif _ZONE in self.open and name:
            self._zones.add(name, _utf_8(value))
        elif self.open in ([], [_CALENDAR]) and name in {"", "TZ"}:  # TZ is an offset, in vCalendar 1.0
            yield Entry(number, None, (name or "unreadable line",))

    def _begin(self, number: int, component: str) -> Iterator[Entry]:
        if component == VTODO:  # VTODOs are not nested, so the END line of the open VTODO is missing
            yield from self._close(1)
        if len(self.open) >= _MAX_DEPTH:
            raise ParseError(number, f"More than {_MAX_DEPTH} components are nested here.")
        self.open.append(component)
        if component == VTODO:
            self._todo = _Todo(number, self._zone, self._zones)
        elif self._todo:
            self._todo.ignore(component)
        elif _ZONE in self.open:
            self._zones.add("BEGIN", component)
        elif self.open[1:] == [component]:
            yield Entry(number, None, (_utf_8(component)[:80],))

    def _end(self, component: str) -> Iterator[Entry]:
        if _ZONE in self.open:
            self._zones.add("END", component)
        if component in self.open:
            if self._todo and component == VTODO:
                if self._todo.has_unknown_zone() and len(self._waiting) < _MAX_WAITING:
                    self._waiting.append(self._todo)
                else:
                    yield self._todo.entry()
                self._todo = None
            elif component == _CALENDAR:
                yield from (todo.entry() for todo in self._waiting)
                self._waiting.clear()
            yield from self._close(len(self.open) - 1 - self.open[::-1].index(component))
        elif self._todo:
            self._todo.fail(f"END:{component[:80]} ends a component that is not open.")

    def _close(self, depth: int) -> Iterator[Entry]:
        """Close components, also those whose END lines are missing."""
        if self._todo and VTODO in self.open[depth:]:
            yield Entry(self._todo.line, {}, error="The todo has no END:VTODO.")
            self._todo = None
        del self.open[depth:]


class _Todo:
    """The properties of a VTODO that begins at a line, for a service in `zone`."""

    def __init__(self, line: int, zone: ZoneInfo, zones: time_zones.Definitions) -> None:
        self.line = line
        self._zone = zone
        self._zones = zones
        self._properties: dict[str, _Property] = {}
        self._ignored: dict[str, None] = {}
        self._error = ""

    def ignore(self, name: str) -> None:
        """Report a property or component that a todo does not have."""
        if len(self._ignored) < _MAX_IGNORED:
            self._ignored[_utf_8(name)[:80]] = None

    def fail(self, error: str) -> None:
        """Mark the todo as invalid. Only the first error is reported."""
        self._error = self._error or error

    def add(self, number: int, name: str, line: str) -> None:
        """Add a property. The first of several with one name counts."""
        if name not in _READ:
            if not name:
                self.fail(f"Line {number} is not a property of a calendar.")
            elif name not in _SILENT:
                self.ignore(name)
            return
        parameters: dict[str, str] = {}
        position = re.search("[:;]", line).start()  # type: ignore[union-attr] # a separator follows every name
        while found := _PARAMETER.match(line, position):
            parameters.setdefault(found[1].upper(), _utf_8(found[2] or "").strip('"'))
            position = found.end()
        if line[position : position + 1] != ":":
            self.fail(f"The parameters of {name} are invalid.")
        elif self._properties.setdefault(name, new := _Property(parameters, line[position + 1 :])) != new:
            self.ignore(f"second {name}")

    def has_unknown_zone(self) -> bool:
        """Return True if the file has not defined a time zone of the todo so far."""
        names = [found.parameters.get("TZID") for found in self._properties.values()]
        return any(name and self._zones.find(name) is None for name in names)

    def entry(self) -> Entry:
        """Return the entry of the complete todo."""
        values: dict[str, Any] = {}
        try:
            self._read_values(values)
        except ValueError as invalid:
            self.fail(str(invalid))
        return Entry(self.line, values, tuple(self._ignored), self._error)

    def _read_values(self, values: dict[str, Any]) -> None:
        properties = self._properties
        for name, member in _MEMBERS.items():
            if name in properties:
                values[member] = self._read_text(name) if member in _TEXTS else self._read_time(name)
        if "DURATION" in properties:
            if "DTSTART" in properties and "DUE" not in properties:
                values["deadline_at"] = self._read_time("DTSTART", *self._read_duration())
            else:
                self.ignore("DURATION")
        if "DTSTART" in properties:
            self.ignore("DTSTART")
        if "UID" in properties and (todo_id := properties["UID"].parameters.get(_ID, "")).isdecimal():
            values["id"] = int(todo_id[:19])
        if "RECURRENCE-ID" in properties and "uid" in values:  # one of many with the same UID
            values["uid"] += f"/{properties['RECURRENCE-ID'].octets}"
            self.ignore("RECURRENCE-ID")
        values["completed"] = self._read_completed()

    def _read_completed(self) -> bool | str:
        status, completed, percent = (
            self._properties[name].value if name in self._properties else ""
            for name in ("STATUS", "COMPLETED", "PERCENT-COMPLETE")
        )
        if not status and (completed or percent == "100"):
            status = "COMPLETED"
        if status in _LOSSY_STATUSES:
            self.ignore(f"STATUS:{status}")
        is_completed = _STATUSES.get(status, status)
        if completed and is_completed is not True:
            self.ignore("COMPLETED")
        if percent not in {"", "0"} and is_completed is not True:
            self.ignore("PERCENT-COMPLETE")
        return is_completed

    def _read_text(self, name: str) -> str:
        found = self._properties[name]
        try:
            text = found.text()
        except ValueError as error:
            raise ValueError(f"{name} {error}.") from None
        text = _ESCAPED.sub(lambda escape: _UNESCAPED.get(escape[1], escape[1]), text)
        lines = text.split("\n")
        for i in found.parameters.get(_CRLF, "").split():
            if i.isdecimal() and int(i[:9]) < len(lines) - 1:
                lines[int(i)] += "\r"
        return "\n".join(lines)

    def _read_duration(self) -> tuple[timedelta, timedelta]:
        """Return the days, which follow local time, and the exact rest."""
        found = _DURATION.fullmatch(self._properties["DURATION"].value)
        if found is None:
            raise ValueError("DURATION is invalid. Use a form such as P1D or PT1H30M.")
        weeks, days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
        return timedelta(weeks=weeks, days=days), timedelta(hours=hours, minutes=minutes, seconds=seconds)

    def _read_time(self, name: str, days: timedelta = timedelta(), rest: timedelta = timedelta()) -> str:
        """Return a time plus a duration as ISO 8601, in UTC if the zone is not the zone of the service.

        An invalid value is returned unchanged, and the schema rejects it.
        """
        found = self._properties[name]
        if time := _TIME.fullmatch(found.value):
            year, month, day, hour, minute, second, utc = time.groups()
            fraction = found.parameters.get(_MICROSECOND, "")
            fraction = f".{fraction:0>6}" if fraction else ""
            text = f"{year}-{month}-{day}" + (f"T{hour}:{minute}:{second}{fraction}{utc}" if hour else "")
        elif is_time(found.value):  # another form of ISO 8601
            text = to_iso(found.value)
            hour, utc = len(text) > DATE_LENGTH, datetime.fromisoformat(text).tzinfo
        else:
            return _utf_8(found.octets)
        tzid = found.parameters.get("TZID", "") if hour and not utc else ""
        zone = self._zones.find(tzid) if tzid else None
        if tzid and zone is None:
            raise ValueError(
                f"The time zone {tzid[:80]} of {name} is unknown, and the file does not define it."
            )
        is_own = zone is None or (getattr(zone, "key", None) == self._zone.key and name not in _INSTANTS)
        if is_own and not days and not rest:
            return text
        try:
            local = datetime.fromisoformat(text) + days
            if not hour and not rest:
                return local.date().isoformat()
            if is_own and not rest:
                return local.isoformat()
            aware = local if local.tzinfo else local.replace(tzinfo=zone or self._zone)
            return (aware.astimezone(UTC) + rest).isoformat()
        except (ValueError, OverflowError):
            raise ValueError(f"{name} is not a time in the years 1 to 9999.") from None


_MEMBERS = {
    "UID": "uid",
    "SUMMARY": "title",
    "DESCRIPTION": "description",
    "DUE": "deadline_at",
    "DCREATED": "created_at",  # vCalendar 1.0
    "CREATED": "created_at",
    "LAST-MODIFIED": "updated_at",
}
_TEXTS = {"uid", "title", "description"}
_INSTANTS = {"DCREATED", "CREATED", "LAST-MODIFIED"}
_READ = {*_MEMBERS, "STATUS", "RECURRENCE-ID", "COMPLETED", "PERCENT-COMPLETE", "DTSTART", "DURATION"}
# These properties add nothing to the properties in _READ.
_SILENT = {"DTSTAMP", "SEQUENCE"}


def _utf_8(octets: str) -> str:
    return octets.encode("latin-1").decode(errors="replace")


def _unfold(pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield each non-empty line with its number, joined with its continuation lines.

    In quoted-printable, a line that ends with `=` continues too.
    """
    parts: list[str] = []
    start = size = 0
    is_soft = False
    for number, raw in enumerate(lines(pieces), 1):
        line = raw.removesuffix("\n").removesuffix("\r")
        if parts and (is_soft or line[:1] in {" ", "\t"}):
            parts.append(line if is_soft else line[1:])
            size += len(line)
            if size > MAX_LINE:
                raise ParseError(
                    start, f"The line and its continuations have more than {MAX_LINE} characters."
                )
        elif line:
            if parts:
                yield start, "".join(parts)
            parts, start, size = [line], number, len(line)
        is_soft = bool(parts) and parts[-1].endswith("=") and _QUOTED_PRINTABLE.match(parts[0]) is not None
        if is_soft:
            parts[-1] = parts[-1][:-1]
    if parts:
        yield start, "".join(parts)
