"""Bytes to text, text to lines in bounded memory, and words to booleans."""

import codecs
from collections.abc import Iterable, Iterator
from typing import Any

from todo.formats import ParseError

MAX_LINE = 1024 * 1024  # characters
_MAX_OCTETS = 75  # in a line of a calendar

# Words of databases, of spreadsheets in common languages, and of Outlook.
_TRUE = """1 t y yes on true wahr vrai verdadero verdadeiro vero waar sant sand sann tosi prawda pravda igaz
adevărat doğru истина істина completed done checked x ✓ ✔ ☑"""
_FALSE = """0 f n no off false falsch faux falso onwaar falskt falsk usann epätosi fałsz nepravda hamis
fals yanliş yanl\u0131ş ложь хибність open unchecked ☐"""
_BOOLEANS = {
    **dict.fromkeys(_TRUE.split(), True),
    **dict.fromkeys(_FALSE.split(), False),
    **dict.fromkeys(("not started", "in progress", "waiting on someone else", "deferred"), False),
}

_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _refuse_utf_16(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for number, piece in enumerate(filter(None, pieces)):
        if not number and piece.startswith(_OTHER_ENCODINGS):
            raise ParseError(1, "The file is UTF-16. Save it as UTF-8.")
        yield piece


def decode(pieces: Iterable[bytes]) -> Iterator[str]:
    """Decode UTF-8, with or without a byte order mark.

    Raises ParseError at the first line with another encoding.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    for piece in _refuse_utf_16(pieces):
        try:
            yield decoder.decode(piece)
        except UnicodeDecodeError as error:
            number = line + bytes(error.object[: error.start]).count(b"\n")
            raise ParseError(
                number, f"The file must be UTF-8, but this line is not: {error.reason}. Save it as UTF-8."
            ) from None
        line += piece.count(b"\n")
    try:
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise ParseError(line, "The file ends within a character. The file may be incomplete.") from None


def octets(pieces: Iterable[bytes]) -> Iterator[str]:
    """Represent each byte as a character of Latin-1, without a UTF-8 byte order mark at the start."""
    mark = codecs.BOM_UTF8
    for piece in _refuse_utf_16(pieces):
        yield piece.removeprefix(mark).decode("latin-1")
        mark = b""


def lines(pieces: Iterable[str]) -> Iterator[str]:
    """Divide text at each newline, which stays at the end of its line.

    Excel's CSV for the Macintosh has carriage returns instead. Raises ParseError for a line of more than
    MAX_LINE characters.
    """
    rest = ""
    number = 1
    newline = ""
    for piece in pieces:
        newline = newline or ("\r" if "\r" in piece[:-1] and "\n" not in piece else "\n")
        piece = piece.replace(newline, "\n")
        *complete, rest = (rest + piece).split("\n")
        for line in complete:
            yield line + "\n"
        number += len(complete)
        if len(rest) > MAX_LINE:
            raise ParseError(number, f"The line has more than {MAX_LINE} characters.")
    if rest:
        yield rest


def to_boolean(value: Any) -> Any:
    """Convert a word, 0 or 1 to a boolean. Return any other value unchanged."""
    if isinstance(value, str | int):
        return _BOOLEANS.get(str(value).strip().casefold(), value)
    return value


def basic_format(time: str) -> str:
    """Convert an ISO 8601 date or time to the basic format, without fractions of a second and offset."""
    return time[:19].replace("-", "").replace(":", "")


def fold(line: str) -> str:
    """End a line of a calendar, and fold the line (RFC 5545, section 3.1) if it is too long in UTF-8."""
    octets = line.encode()
    pieces: list[bytes] = []
    while len(octets) > (limit := _MAX_OCTETS - bool(pieces)):
        while octets[limit] & 0xC0 == 0x80:  # the limit is within a character
            limit -= 1
        pieces.append(octets[:limit])
        octets = octets[limit:]
    return b"\r\n ".join([*pieces, octets]).decode() + "\r\n"
