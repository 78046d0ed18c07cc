"""VTODO notations, by program or standard."""

import time
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from todo.formats import Entry
from todo.formats.icalendar import read

BERLIN = ZoneInfo("Europe/Berlin")


def read_lines(*lines: str | bytes, zone: ZoneInfo = BERLIN) -> list[Entry]:
    octets = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return list(read([b"\r\n".join([b"BEGIN:VCALENDAR", *octets, b"END:VCALENDAR", b""])], zone))


def read_todo(*lines: str | bytes) -> Entry:
    (entry,) = read_lines("BEGIN:VTODO", *lines, "END:VTODO")
    return entry


COMPLETION: dict[str, tuple[Sequence[str], bool, tuple[str, ...]]] = {
    "RFC 5545, no property": ([], False, ()),
    "RFC 5545, COMPLETED alone (Evolution)": (["COMPLETED:20270131T180000Z"], True, ()),
    "RFC 5545, PERCENT-COMPLETE:100 alone (KOrganizer)": (["PERCENT-COMPLETE:100"], True, ()),
    "RFC 5545, half done": (["PERCENT-COMPLETE:50"], False, ("PERCENT-COMPLETE",)),
    "not begun": (["PERCENT-COMPLETE:0"], False, ()),
    "an empty COMPLETED": (["COMPLETED:"], False, ()),
    "STATUS decides (Thunderbird, reopened)": (
        ["STATUS:NEEDS-ACTION", "PERCENT-COMPLETE:100", "COMPLETED:20270131T180000Z"],
        False,
        ("COMPLETED", "PERCENT-COMPLETE"),
    ),
    "STATUS:COMPLETED": (["STATUS:COMPLETED", "PERCENT-COMPLETE:100"], True, ()),
    "vCalendar 1.0": (["STATUS:NEEDS ACTION"], False, ()),
    "vCalendar 1.0, accepted": (["STATUS:ACCEPTED"], False, ("STATUS:ACCEPTED",)),
}


@pytest.mark.parametrize(("lines", "completed", "ignored"), COMPLETION.values(), ids=COMPLETION)
def test_completion_is_read(lines: Sequence[str], completed: bool, ignored: tuple[str, ...]) -> None:
    assert read_todo(*lines) == Entry(2, {"completed": completed}, ignored)


DEADLINES = {
    "RFC 5545, UTC": (["DUE:20270131T180000Z"], "2027-01-31T18:00:00Z"),
    "RFC 5545, floating": (["DUE:20270131T180000"], "2027-01-31T18:00:00"),
    "RFC 5545, a date": (["DUE;VALUE=DATE:20270131"], "2027-01-31"),
    "RFC 5545, DTSTART and DURATION": (
        ["DTSTART:20270131T180000", "DURATION:P1DT2H30M"],
        "2027-02-01T19:30:00+00:00",
    ),
    "nominal days over a change of the clock": (
        ["DTSTART;TZID=Europe/Berlin:20270327T180000", "DURATION:P1D"],
        "2027-03-28T18:00:00",
    ),
    "exact hours over a change of the clock": (
        ["DTSTART;TZID=Europe/Berlin:20270327T180000", "DURATION:PT24H"],
        "2027-03-28T17:00:00+00:00",
    ),
    "DURATION in weeks, UTC": (["DTSTART:20270131T180000Z", "DURATION:P1W"], "2027-02-07T18:00:00+00:00"),
    "DURATION of a date": (["DTSTART;VALUE=DATE:20270131", "DURATION:P2D"], "2027-02-02"),
    "Evolution's TZID": (
        ["DUE;TZID=/freeassociation.sourceforge.net/Europe/Berlin:20270701T120000"],
        "2027-07-01T12:00:00",
    ),
    "an IANA name after a slash": (
        ["DUE;TZID=/Europe/Berlin:20270701T120000"],
        "2027-07-01T12:00:00",
    ),
    "old Evolution's TZID": (
        ["DUE;TZID=/softwarestudio.org/Olson_20011030_5/America/New_York:20270131T180000"],
        "2027-01-31T23:00:00+00:00",
    ),
    "Mozilla's old TZID, of three parts": (
        ["DUE;TZID=/mozilla.org/20050126_1/America/Argentina/Buenos_Aires:20270131T180000"],
        "2027-01-31T21:00:00+00:00",
    ),
    "a TZID that ends in a name of one part": (
        ["DUE;TZID=/citadel.org/20190101_1/UTC:20270131T180000"],
        "2027-01-31T18:00:00+00:00",
    ),
    "a Windows name (Outlook)": (
        ["DUE;TZID=Eastern Standard Time:20270701T180000"],
        "2027-07-01T22:00:00+00:00",
    ),
    "the extended format in another zone": (
        ["DUE;TZID=America/New_York:2027-01-31T18:00:00.5"],
        "2027-01-31T23:00:00.500000+00:00",
    ),
    "no seconds, in another zone": (
        ["DUE;TZID=America/New_York:20270131T1800"],
        "2027-01-31T23:00:00+00:00",
    ),
    "the extended format with DURATION": (
        ["DTSTART:2027-01-31T18:00:00Z", "DURATION:PT2H"],
        "2027-01-31T20:00:00+00:00",
    ),
    "a quoted TZID": (['DUE;TZID="Asia/Kolkata":20270131T180000'], "2027-01-31T12:30:00+00:00"),
    "a TZID within another parameter": (
        ['DUE;X-A=";TZID=Asia/Kolkata";TZID=Europe/Berlin:20270131T180000'],
        "2027-01-31T18:00:00",
    ),
}


@pytest.mark.parametrize(("lines", "deadline"), DEADLINES.values(), ids=DEADLINES)
def test_deadline_is_read(lines: Sequence[str], deadline: str) -> None:
    entry = read_todo(*lines)
    assert (entry.error, (entry.values or {})["deadline_at"]) == ("", deadline)
    assert entry.ignored == (("DTSTART",) if lines[0].startswith("DTSTART") else ())


def test_creation_time_with_a_zone_is_converted_to_utc() -> None:
    entry = read_todo("CREATED;TZID=Europe/Berlin:20270131T180000", "LAST-MODIFIED:20270131T180000")
    assert entry.values == {
        "created_at": "2027-01-31T17:00:00+00:00",
        "updated_at": "2027-01-31T18:00:00",
        "completed": False,
    }


TEXTS: dict[str, tuple[Sequence[str | bytes], str]] = {
    "vCalendar 1.0, quoted-printable": (["SUMMARY;ENCODING=QUOTED-PRINTABLE:K=C3=A4se"], "Käse"),
    "vCalendar 1.0, without the parameter's name": (["SUMMARY;QUOTED-PRINTABLE:K=C3=A4se"], "Käse"),
    "vCalendar 1.0, another character set (Nokia)": (
        ["SUMMARY;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:K=E4se"],
        "Käse",
    ),
    "vCalendar 1.0, over two lines": (
        ["SUMMARY;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:Buy=20=", "milk =3D and bread"],
        "Buy milk = and bread",
    ),
    "vCalendar 1.0, raw octets": ([b"SUMMARY;CHARSET=windows-1252:K\xe4se \x80"], "Käse €"),
    "Base64": (["SUMMARY;ENCODING=BASE64;VALUE=BINARY:S8Okc2U="], "Käse"),
    "Base64, vCalendar 3": (["SUMMARY;ENCODING=b:S8Okc2U="], "Käse"),
    "RFC 5545, section 3.1: folded within a character": ([b"SUMMARY:K\xc3", b" \xa4se"], "Käse"),
    "folded with a tab": (["SUMMARY:Buy", "\t milk"], "Buy milk"),
    "an equals sign at the end": (["SUMMARY:a=", "LOCATION:b"], "a="),
}


@pytest.mark.parametrize(("lines", "title"), TEXTS.values(), ids=TEXTS)
def test_text_is_decoded(lines: Sequence[str | bytes], title: str) -> None:
    entry = read_todo(*lines)
    assert (entry.error, (entry.values or {}).get("title")) == ("", title)


INVALID: dict[str, tuple[Sequence[str | bytes], str]] = {
    "an unknown encoding": (["SUMMARY;ENCODING=X-GZIP:a"], "SUMMARY has the unknown encoding X-GZIP."),
    "an unknown character set": (
        ["SUMMARY;CHARSET=punycode:a"],
        "SUMMARY has the unknown character set punycode.",
    ),
    "broken Base64": (["SUMMARY;ENCODING=BASE64:a"], "SUMMARY is not Base64."),
    "Latin-1 in a title": ([b"SUMMARY:K\xe4se"], "SUMMARY is not UTF-8."),
    "an unknown zone": (
        ["DUE;TZID=Mars/Olympus:20270131T180000"],
        "The time zone Mars/Olympus of DUE is unknown, and the file does not define it.",
    ),
    "no duration": (
        ["DTSTART:20270131T180000", "DURATION:P"],
        "DURATION is invalid. Use a form such as P1D or PT1H30M.",
    ),
    "beyond the calendar": (
        ["DUE;TZID=America/New_York:99991231T235959"],
        "DUE is not a time in the years 1 to 9999.",
    ),
    "far beyond the calendar": (
        ["DTSTART:99990131T180000", "DURATION:P999999W"],
        "DTSTART is not a time in the years 1 to 9999.",
    ),
    "an invalid property line": (["SUMMARY:a", "unfolded text"], "Line 4 is not a property of a calendar."),
    "a quote without its end": (['SUMMARY;X="a:b'], "The parameters of SUMMARY are invalid."),
    "a colon in quotes only": (['SUMMARY;X=":"'], "The parameters of SUMMARY are invalid."),
    "an end of nothing": (["SUMMARY:a", "END:VALARM"], "END:VALARM ends a component that is not open."),
}


@pytest.mark.parametrize(("lines", "error"), INVALID.values(), ids=INVALID)
def test_invalid_todo_does_not_affect_other_todos(lines: Sequence[str | bytes], error: str) -> None:
    entries = read_lines("BEGIN:VTODO", *lines, "END:VTODO", "BEGIN:VTODO", "SUMMARY:good", "END:VTODO")
    first, second = sorted(entries, key=lambda entry: entry.line)
    assert first.error == error
    assert second == Entry(len(lines) + 4, {"title": "good", "completed": False})


GOOD = Entry(0, {"title": "good", "completed": False})
ODD: dict[str, tuple[Sequence[str | bytes], list[Entry]]] = {
    "an underscore in a name": (["X_WR_COLOUR;A_B=1:red"], []),
    "an invalid property line": (["Buy milk"], [Entry(2, None, ("unreadable line",))]),
    "a Latin-1 LOCATION in an event": (
        ["BEGIN:VEVENT", b"LOCATION:K\xf6ln", "END:VEVENT"],
        [Entry(2, None, ("VEVENT",))],
    ),
    "an event with a broken line": (
        ["BEGIN:VEVENT", "no property", 'X;A="', "END:VEVENT"],
        [Entry(2, None, ("VEVENT",))],
    ),
    "an event without its end": (["BEGIN:VEVENT", "SUMMARY:b"], [Entry(2, None, ("VEVENT",))]),
    "an alarm without its end": (
        ["BEGIN:VEVENT", "BEGIN:VALARM", "END:VEVENT"],
        [Entry(2, None, ("VEVENT",))],
    ),
    "a todo without its end": (
        ["BEGIN:VTODO", "SUMMARY:a"],
        [Entry(2, {}, error="The todo has no END:VTODO.")],
    ),
    "an end without its beginning": (["END:VEVENT"], []),
    "a broken zone": (["BEGIN:VTIMEZONE", "BEGIN:STANDARD", "RRULE", "END:VTIMEZONE"], []),
}


@pytest.mark.parametrize(("lines", "before"), ODD.values(), ids=ODD)
def test_unreadable_line_outside_of_todos_is_ignored(
    lines: Sequence[str | bytes], before: list[Entry]
) -> None:
    found = read_lines(*lines, "BEGIN:VTODO", "SUMMARY:good", "END:VTODO")
    assert found == [*before, GOOD._replace(line=len(lines) + 2)]


def test_unreadable_lines_in_a_todo_are_reported() -> None:
    entry = read_todo("SUMMARY:a", "X_Y;A_B=1:x", b"LOCATION:K\xf6ln", "SUMMARY:b", "BEGIN:VALARM")
    assert entry == Entry(
        2, {"title": "a", "completed": False}, ("X_Y", "LOCATION", "second SUMMARY", "VALARM")
    )


ZONE = """BEGIN:VTIMEZONE
TZID:Office
BEGIN:STANDARD
DTSTART:16011104T020000
RRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=11
TZOFFSETFROM:-0400
TZOFFSETTO:-0500
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010311T020000
RRULE:FREQ=YEARLY;BYDAY=2SU;BYMONTH=3
TZOFFSETFROM:-0500
TZOFFSETTO:-0400
END:DAYLIGHT
END:VTIMEZONE"""


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("20270131T180000", "2027-01-31T23:00:00+00:00"),
        ("20270701T180000", "2027-07-01T22:00:00+00:00"),
        ("20450701T180000", "2045-07-01T22:00:00+00:00"),
        ("30000701T180000", "3000-07-01T22:00:00+00:00"),
        ("20270314T023000", "2027-03-14T07:30:00+00:00"),  # the clock skips this time
        ("20271107T013000", "2027-11-07T05:30:00+00:00"),  # the first occurrence of this time
        ("15000101T000000", "1500-01-01T05:00:00+00:00"),
    ],
)
def test_zone_of_the_file_is_used(local: str, utc: str) -> None:
    (entry,) = read_lines(*ZONE.split("\n"), "BEGIN:VTODO", f"DUE;TZID=Office:{local}", "END:VTODO")
    assert (entry.values or {})["deadline_at"] == utc


NAMES = {
    "a name of the tz database without a slash": ("EST", "EST"),
    "an escaped comma (Outlook)": (r"(UTC-05:00) Boston\, New York", '"(UTC-05:00) Boston, New York"'),
    "an escaped comma in both": (r"Boston\, New York", r'"Boston\, New York"'),
    "quotes in the definition": ('"Office"', '"Office"'),
}


@pytest.mark.parametrize(("defined", "used"), NAMES.values(), ids=NAMES)
def test_zone_of_the_file_is_found_by_its_name(defined: str, used: str) -> None:
    zone = ZONE.replace("TZID:Office", f"TZID:{defined}")
    lines = "BEGIN:VTODO", f"DUE;TZID={used}:20270701T180000", "END:VTODO"
    (entry,) = read_lines(*zone.split("\n"), *lines)
    assert (entry.values or {})["deadline_at"] == "2027-07-01T22:00:00+00:00"


def test_zone_can_follow_the_todos() -> None:
    todo = "BEGIN:VTODO", "DUE;TZID=Office:20270701T180000", "END:VTODO"
    known = "BEGIN:VTODO", "SUMMARY:good", "END:VTODO"
    entries = read_lines(*todo, *known, *ZONE.split("\n"), *todo)
    deadline = {"deadline_at": "2027-07-01T22:00:00+00:00", "completed": False}
    assert entries == [GOOD._replace(line=5), Entry(23, deadline), Entry(2, deadline)]


@pytest.mark.parametrize("name", ["localtime", "/etc/localtime", "posixrules", "right/Europe/Berlin"])
def test_zone_of_the_machine_is_unknown(name: str) -> None:
    entry = read_todo(f"DUE;TZID={name}:20270131T180000")
    assert entry.error == f"The time zone {name} of DUE is unknown, and the file does not define it."


def test_zone_of_an_old_calendar_is_reported() -> None:
    assert read_lines("TZ:-05", "BEGIN:VTODO", "SUMMARY:good", "END:VTODO") == [
        Entry(2, None, ("TZ",)),
        GOOD._replace(line=3),
    ]


RULES = {
    "a million times a minute": "FREQ=MINUTELY;COUNT=1000000",
    "a hundred million times": "FREQ=MINUTELY;COUNT=100000000",
    "each second for ever": "FREQ=SECONDLY",
    "an interval": "FREQ=YEARLY;INTERVAL=2",
    "a part that is not a number": "FREQ=YEARLY;BYMONTH=May",
    "month 13": "FREQ=YEARLY;BYMONTH=13",
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_that_is_not_yearly_defines_no_zone(rule: str) -> None:
    zone = ZONE.replace("FREQ=YEARLY;BYDAY=2SU;BYMONTH=3", rule)
    (entry,) = read_lines(*zone.split("\n"), "BEGIN:VTODO", "DUE;TZID=Office:20270131T180000", "END:VTODO")
    assert entry.error.startswith("The time zone Office of DUE is unknown")


def _seconds(make: Any, size: int) -> float:
    data = make(size)
    start = time.process_time()
    list(read([data[i : i + 65536] for i in range(0, len(data), 65536)], BERLIN))
    return time.process_time() - start


_TODO = b"BEGIN:VTODO\nSUMMARY:a\nDUE;TZID=Z:20270131T180000\nEND:VTODO\nEND:VCALENDAR\n"
_RULE = (
    b"BEGIN:STANDARD\nDTSTART:16010101T000000\nRRULE:FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=1\n"
    b"TZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\n"
)
LARGE = {
    "continued lines": lambda n: b"BEGIN:VCALENDAR\nX:" + b"\n a" * (n * 20) + b"\nEND:VCALENDAR\n",
    "quoted-printable lines": lambda n: (
        b"BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY;QUOTED-PRINTABLE:"
        + b"a=\n" * (n * 20)
        + b"\nEND:VTODO\nEND:VCALENDAR\n"
    ),
    "parameters": lambda n: (
        b"BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY" + b';A="b"' * (n * 10) + b":a\nEND:VTODO\nEND:VCALENDAR\n"
    ),
    "parameters without an end": lambda n: (
        b"BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY" + b";A=b," * (n * 10) + b'";:\nEND:VTODO\nEND:VCALENDAR\n'
    ),
    "properties": lambda n: (
        b"BEGIN:VCALENDAR\nBEGIN:VTODO\n"
        + b"".join(b"X-%d:a\n" % i for i in range(n * 4))
        + b"END:VTODO\nEND:VCALENDAR\n"
    ),
    "components in a todo": lambda n: (
        b"BEGIN:VCALENDAR\nBEGIN:VTODO\n" + b"BEGIN:A\nEND:A\n" * (n * 4) + b"END:VTODO\nEND:VCALENDAR\n"
    ),
    "rules of a zone": lambda n: (
        b"BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:Z\n" + _RULE * n + b"END:VTIMEZONE\n" + _TODO
    ),
    "dates of a zone": lambda n: (
        b"BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:Z\nBEGIN:STANDARD\nDTSTART:16010101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nRDATE:"
        + b"20270101T000000," * (n * 4)
        + b"20270101T000000\nEND:STANDARD\nEND:VTIMEZONE\n"
        + _TODO
    ),
    "zones of a file": lambda n: (
        b"BEGIN:VCALENDAR\n"
        + b"".join(b"BEGIN:VTODO\nDUE;TZID=Z%d:20270131T180000\nEND:VTODO\n" % i for i in range(n))
        + b"END:VCALENDAR\n"
    ),
}


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_time_is_not_quadratic_in_the_size_of_the_file(make: Any) -> None:
    _seconds(make, 100)  # imports modules and fills caches
    pairs = [(_seconds(make, 1000), _seconds(make, 4000)) for _ in range(3)]
    small, large = map(min, zip(*pairs, strict=True))
    # For four times the input, less than ten times as long. Quadratic work would take 16 times as long.
    assert large < 10 * max(small, 0.005)
