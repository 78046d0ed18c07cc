"""iCalendar (RFC 5545): todos as VTODOs, or their deadlines as VEVENTs.

The lines are written and read here, a component at a time: the library `icalendar` takes a
millisecond for each todo and holds the whole calendar in memory. What it is used for is what is hard:
time zones, those that are written as well as those that a file defines.

What a member has and the property of its name can't hold, stands in a parameter of that property, so
that it goes when another program changes the property.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from functools import cache, partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import structs

from todo.formats import Entry, Format, ParseError, Todos, Uids, own_uid
from todo.formats.text import MAX_LINE, lines
from todo.schemas import TodoOut

MEDIA_TYPE = "text/calendar"
VTODO, VEVENT = "VTODO", "VEVENT"
_ZONE = "VTIMEZONE"

_MAX_OCTETS = 75  # in a line
_MAX_DEFINITIONS = 10_000  # lines
_MAX_SEQUENCE = 2**31 - 1
# The parameters of our own: an id that is not in the UID, fractions of a second, and which newlines
# have a carriage return before them.
_ID, _MICROSECOND, _CRLF = "X-ID", "X-MICROSECOND", "X-CRLF"


def format_for(zone: ZoneInfo, component: str = VTODO) -> Format:
    """The form for a service in `zone`; of a VEVENT only the todos with a deadline are written."""
    return Format(
        MEDIA_TYPE,
        partial(_encode, zone.key, component),
        head=_head(zone.key),
        tail=b"END:VCALENDAR\r\n",
        has_uid=True,
    )


@cache
def _head(zone: str) -> bytes:
    head = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//todo//todo//EN\r\nX-WR-CALNAME:Todos\r\n"
    if zone == "UTC":
        return head.encode()
    from icalendar import Timezone  # noqa: PLC0415 - few need it, and it takes long to import

    definition: bytes = Timezone.from_tzid(zone).to_ical()
    return head.encode() + definition


def _encode(zone: str, component: str, todos: Todos, uids: Uids) -> bytes:
    write = _vtodo if component == VTODO else _vevent
    return "".join(write(zone, todo, uids) for todo in todos).encode()


def _vtodo(zone: str, todo: TodoOut, uids: Uids) -> str:
    status = (
        f"STATUS:COMPLETED\r\n{_instant('COMPLETED', todo.updated_at)}"
        if todo.completed
        else "STATUS:NEEDS-ACTION\r\n"
    )
    due = "" if todo.deadline_at is None else _wall_time("DUE", zone, todo.deadline_at)
    return f"BEGIN:VTODO\r\n{_shared(todo, uids)}{status}{due}END:VTODO\r\n"


def _vevent(zone: str, todo: TodoOut, uids: Uids) -> str:
    if todo.deadline_at is None:
        return ""
    start = _wall_time("DTSTART", zone, todo.deadline_at)
    return (
        f"BEGIN:VEVENT\r\n{_shared(todo, uids)}{start}DURATION:PT0S\r\nTRANSP:TRANSPARENT\r\nEND:VEVENT\r\n"
    )


def _shared(todo: TodoOut, uids: Uids) -> str:
    """The properties of both components. A calendar has no method, so that DTSTAMP is the last change."""
    todo_id, title, description, _, _, created_at, updated_at = structs.astuple(todo)
    kept_uid = uids.get(todo_id)
    uid = _text("UID", own_uid(todo_id, created_at))
    if kept_uid is not None:
        uid = _text(f"UID;{_ID}={todo_id}", kept_uid)
    # It must not fall, and this needs no column of its own.
    lifetime = datetime.fromisoformat(updated_at) - datetime.fromisoformat(created_at)
    sequence = min(max(0, int(lifetime.total_seconds())), _MAX_SEQUENCE)
    return (
        f"{uid}{_text('SUMMARY', title)}"
        f"{'' if description is None else _text('DESCRIPTION', description)}"
        f"{_instant('DTSTAMP', updated_at)}"
        f"{_instant('CREATED', created_at, exact=True)}{_instant('LAST-MODIFIED', updated_at, exact=True)}"
        f"SEQUENCE:{sequence}\r\n"
    )


def _text(name: str, text: str) -> str:
    if "\r\n" in text:
        which = [str(i) for i, line in enumerate(text.split("\n")[:-1]) if line.endswith("\r")]
        name = f'{name};{_CRLF}="{" ".join(which)}"'
        text = text.replace("\r\n", "\n")
    for character, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(character, escaped)
    return _fold(f"{name}:{text}")


def _fold(line: str) -> str:
    """End a line, and begin a new one with a space where it would be too long in UTF-8."""
    octets = line.encode()
    pieces: list[bytes] = []
    while len(octets) > (limit := _MAX_OCTETS - bool(pieces)):
        while octets[limit] & 0xC0 == 0x80:  # noqa: PLR2004 - within a character
            limit -= 1
        pieces.append(octets[:limit])
        octets = octets[limit:]
    return b"\r\n ".join([*pieces, octets]).decode() + "\r\n"


def _instant(name: str, instant: str, *, exact: bool = False) -> str:
    return f"{name}{_fraction(instant) if exact else ''}:{_basic(instant)}Z\r\n"


def _wall_time(name: str, zone: str, time: datetime) -> str:
    text = time.isoformat()
    if zone == "UTC":
        return _instant(name, text, exact=True)
    return f"{name};TZID={zone}{_fraction(text)}:{_basic(text)}\r\n"


def _fraction(time: str) -> str:
    fraction = time[20:26].removesuffix("000000")
    return f";{_MICROSECOND}={fraction}" if fraction else ""


def _basic(time: str) -> str:
    return time[:19].replace("-", "").replace(":", "")


class _Property(NamedTuple):
    parameters: str
    value: str

    def parameter(self, name: str) -> str:
        """The value of a parameter, without quotes; empty where there is none."""
        found = re.search(rf'(?i);{name}=(?:"([^"]*)"|([^";]*))', self.parameters)
        return found[1] or found[2] or "" if found else ""


_VALUE = r'(?:"[^"]*"|[^";:,]*)'
_LINE = re.compile(rf"([A-Za-z0-9-]+)((?:;[A-Za-z0-9-]+={_VALUE}(?:,{_VALUE})*)*):(.*)", re.DOTALL)
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?", re.ASCII)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED = {"n": "\n", "N": "\n"}
# What says no more than what is taken.
_SILENT = {"DTSTAMP", "SEQUENCE", "COMPLETED", "PERCENT-COMPLETE"}
_STATUSES = {"": False, "NEEDS-ACTION": False, "IN-PROCESS": False, "COMPLETED": True, "CANCELLED": True}


def read(pieces: Iterable[str], zone: ZoneInfo) -> Iterator[Entry]:
    """Read the VTODOs for a service in `zone`."""
    reader = _Reader(zone)
    number = 0
    for number, line in _unfold(pieces):
        entry = reader.take(number, line)
        if entry:
            yield entry
    if reader.within or not number:
        raise ParseError(max(number, 1), "The file ends before END:VCALENDAR. Is it whole?")


class _Reader:
    """What is known at a line: the components around it, and what the todo has so far."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.within: list[str] = []
        self._zones = _Zones(zone)
        self._start = 0
        self._properties: dict[str, _Property] = {}
        self._lost: dict[str, None] = {}

    def take(self, number: int, line: str) -> Entry | None:
        """Take a line, and give the entry that ends with it."""
        found = _LINE.fullmatch(line)
        if found is None or not (self.within or line.rstrip().upper() == "BEGIN:VCALENDAR"):
            raise ParseError(number, "This is no line of a calendar, which begins with BEGIN:VCALENDAR.")
        name, parameters, value = found[1].upper(), found[2], found[3]
        if name == "BEGIN":
            return self._begin(number, value.strip().upper())
        if name == "END":
            return self._end(number, value.strip().upper())
        if self.within[-1] == VTODO:
            if name in _TAKEN:
                self._properties.setdefault(name, _Property(parameters, value))
            elif name not in _SILENT:
                self._lost[name] = None
        elif _ZONE in self.within:
            self._zones.add(line)
        return None

    def _begin(self, number: int, component: str) -> Entry | None:
        alone = self.within == ["VCALENDAR"]
        self.within.append(component)
        if component == VTODO and alone:
            self._start, self._properties, self._lost = number, {}, {}
        elif VTODO in self.within:
            self._lost[component] = None
        elif _ZONE in self.within:
            self._zones.add(f"BEGIN:{component}")
        elif alone:
            return Entry(number, None, (component,))
        return None

    def _end(self, number: int, component: str) -> Entry | None:
        if _ZONE in self.within:
            self._zones.add(f"END:{component}")
        if self.within.pop() != component:
            raise ParseError(number, f"END:{component[:80]} stands where another component is open.")
        if component == VTODO and self.within == ["VCALENDAR"]:
            return _entry(self._start, self._properties, tuple(self._lost), self._zones)
        return None


def _unfold(pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield each line that is not blank with its number, and with those that continue it."""
    parts: list[str] = []
    start = size = 0
    for number, raw in enumerate(lines(pieces), 1):
        line = raw.removesuffix("\n").removesuffix("\r")
        if line[:1] in {" ", "\t"} and parts:
            parts.append(line[1:])
            size += len(line)
            if size > MAX_LINE:
                raise ParseError(start, f"The line goes on for more than {MAX_LINE} characters.")
        elif line:
            if parts:
                yield start, "".join(parts)
            parts, start, size = [line], number, len(line)
    if parts:
        yield start, "".join(parts)


def _entry(line: int, properties: dict[str, _Property], lost: tuple[str, ...], zones: "_Zones") -> Entry:
    values: dict[str, Any] = {
        member: read_property(properties[name])
        for name, (member, read_property) in _MEMBERS.items()
        if name in properties
    }
    todo_id = properties["UID"].parameter(_ID) if "UID" in properties else ""
    if todo_id.isdecimal():
        values["id"] = int(todo_id[:19])
    status = properties.get("STATUS", _Property("", "")).value.strip().upper()
    values["completed"] = _STATUSES.get(status, status)
    if status in {"IN-PROCESS", "CANCELLED"}:
        lost = (f"STATUS:{status}", *lost)
    if "RECURRENCE-ID" in properties and "uid" in values:  # one of many with the same UID
        values["uid"] += f"/{properties['RECURRENCE-ID'].value}"
        lost = ("RECURRENCE-ID", *lost)
    zone = properties["DUE"].parameter("TZID") if "DUE" in properties else ""
    if not zone or zones.is_service(zone):
        return Entry(line, values, lost)
    there = zones.find(zone)
    if there is None:
        return Entry(
            line, values, lost, f"The zone of DUE, {zone[:80]}, is not known nor defined in the file."
        )
    values["deadline_at"] = _to_utc(values["deadline_at"], there)
    return Entry(line, values, lost)


def _read_text(found: _Property) -> str:
    text = found.value
    if "\\" in text:
        text = _ESCAPED.sub(lambda escape: _UNESCAPED.get(escape[1], escape[1]), text)
    which = found.parameter(_CRLF)
    if which:
        pieces = text.split("\n")
        for i in which.split():
            if i.isdecimal() and int(i) < len(pieces) - 1:
                pieces[int(i)] += "\r"
        text = "\n".join(pieces)
    return text


def _read_time(found: _Property) -> str:
    """Put a time as ISO 8601, or leave what is none for the check to refuse."""
    time = _TIME.fullmatch(found.value.strip())
    if time is None:
        return found.value
    year, month, day, hour, minute, second, utc = time.groups()
    if hour is None:
        return f"{year}-{month}-{day}"
    fraction = found.parameter(_MICROSECOND)
    fraction = f".{fraction:0>6}" if fraction else ""
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}{fraction}{utc}"


_MEMBERS: dict[str, tuple[str, Callable[[_Property], str]]] = {
    "UID": ("uid", _read_text),
    "SUMMARY": ("title", _read_text),
    "DESCRIPTION": ("description", _read_text),
    "DUE": ("deadline_at", _read_time),
    "CREATED": ("created_at", _read_time),
    "LAST-MODIFIED": ("updated_at", _read_time),
}
_TAKEN = {*_MEMBERS, "STATUS", "RECURRENCE-ID"}


def _to_utc(time: str, zone: tzinfo) -> str:
    """Convert a time in `zone`; a date, what has an offset or is no time stays as it is."""
    try:
        wall_time = datetime.fromisoformat(time)
        if "T" in time and wall_time.tzinfo is None:
            return wall_time.replace(tzinfo=zone).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        pass
    return time


class _Zones:
    """The zones of a file: those of the tz database, else as the file defines them, else as Windows does."""

    def __init__(self, service: ZoneInfo) -> None:
        self._service = service.key
        self._definitions: list[str] = []
        self._defined: dict[str, tzinfo] = {}
        self._found: dict[str, tzinfo | None] = {}

    def is_service(self, name: str) -> bool:
        """Whether it is the zone of the service: its wall times are taken as they are."""
        return name == self._service

    def add(self, line: str) -> None:
        """Remember a line of a definition, in bounded memory."""
        if len(self._definitions) < _MAX_DEFINITIONS:
            self._definitions.append(line)

    def find(self, name: str) -> tzinfo | None:
        """Find the zone that the file calls `name`."""
        if name not in self._found:
            from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON  # noqa: PLC0415 - see above

            if self._definitions:
                self._defined |= _parse_definitions(self._definitions)
                self._definitions.clear()
            self._found[name] = (
                _of_database(name) or self._defined.get(name) or _of_database(WINDOWS_TO_OLSON.get(name, ""))
            )
        return self._found[name]


def _of_database(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _parse_definitions(definitions: list[str]) -> dict[str, tzinfo]:
    from icalendar import Calendar, Timezone  # noqa: PLC0415 - see above

    text = "\r\n".join(["BEGIN:VCALENDAR", *definitions, "END:VCALENDAR"])
    try:
        found = Calendar.from_ical(text).walk("VTIMEZONE")
        zones = (zone for zone in found if isinstance(zone, Timezone))
        return {zone.tz_name: zone.to_tz(lookup_tzid=False) for zone in zones}
    except Exception:  # noqa: BLE001 - whatever is wrong with them, they define nothing
        return {}
