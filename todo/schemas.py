"""Schemas of requests and responses: validation, error texts and OpenAPI from one definition."""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice, product
from typing import Annotated, Any, Literal, Self

from msgspec import UNSET, Meta, Struct, UnsetType, structs
from sqlalchemy import String, type_coerce

from todo.clock import ImportedWallTime, Instant, WallTime, format_instant
from todo.models import MOMENT
from todo.models.imported_uid import UID_LENGTH
from todo.models.todo import DESCRIPTION_LENGTH, TITLE_LENGTH, Todo

MAX_OPERATIONS = 1000
MAX_BATCH_BYTES = 1024 * 1024
# The location of the schemas in the OpenAPI document.
REF_TEMPLATE = "#/components/schemas/{name}"


def member(meaning: str | None, rule: str, **constraints: Any) -> Meta:
    """Describe a member: its meaning for the OpenAPI document, and its rule for error responses.

    The rule completes the sentence "title must be".
    """
    return Meta(description=meaning, extra={"rule": rule}, **constraints)


# RE2 does not know escapes such as \u3000 in a pattern.
_CONTROL = r"\x00-\x1f\x7f-\x9f"
_SPACE = r"\x20\xa0" "\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# In Python, `$` also matches before a final newline. The OpenAPI document has `$` only.
_END = r"$(?!\n)"

Title = Annotated[
    str,
    member(
        "The task. At least one character is not white space. Control characters are not allowed.",
        f"a string of 1 to {TITLE_LENGTH} characters, not all white space, no control characters",
        min_length=1,
        max_length=TITLE_LENGTH,
        pattern=f"^[^{_CONTROL}]*[^{_CONTROL}{_SPACE}][^{_CONTROL}]*{_END}",
        examples=["Buy milk"],
    ),
]
Description = Annotated[
    Annotated[str, Meta(max_length=DESCRIPTION_LENGTH, pattern=rf"^(?:[^{_CONTROL}]|[\t\n]|\r\n)*{_END}")]
    | None,
    member(
        "More about the todo. Newlines and tabs are allowed, other control characters are not.",
        f"null or a string of at most {DESCRIPTION_LENGTH} characters, "
        "with no control characters but newlines and tabs",
        examples=["Two litres", None],
    ),
]
Completed = Annotated[bool, member("Whether the todo is done.", "true or false")]
_DEADLINE = member(
    "When the todo is due: local time in the service's time zone. A time with an offset is converted to that "
    "zone. A date alone means midnight at its start.",
    "null or a time such as 2027-01-31T18:00:00, 2027-01-31 or 2027-01-31T18:00:00+10:00, "
    "with at most nine fraction digits, in the years 1 to 9999",
    examples=["2027-01-31T18:00:00", None],
)
Deadline = Annotated[WallTime | None, _DEADLINE]


class TodoCreate(Struct, forbid_unknown_fields=True, kw_only=True):
    """The members of a new todo."""

    title: Title
    description: Description = None
    completed: Completed = False
    deadline_at: Deadline = None


class TodoUpdate(Struct, forbid_unknown_fields=True, kw_only=True):
    """The members of a change. Missing members keep their values."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    completed: Completed | UnsetType = UNSET
    deadline_at: Deadline | UnsetType = UNSET

    def to_columns(self) -> dict[str, Any]:
        """Return the values of the sent members by column."""
        return {name: value for name, value in structs.asdict(self).items() if value is not UNSET}


Id = Annotated[int, member("Assigned by the server, and never reused.", "the id of a todo, a whole number")]
IfMatch = Annotated[
    str,
    member(
        "The ETag of the version to change, with its quotes, or `*` for any version.",
        "an ETag with its quotes, or *",
        pattern=rf'^(?:\*|"[!#-~]*"){_END}',
    ),
]


InstantIn = Annotated[
    Instant, member(None, "a time such as 2027-01-31T18:00:00Z, in UTC if it has no offset")
]
Uid = Annotated[
    str,
    member(
        None,
        f"a string of 1 to {UID_LENGTH} characters, no control characters",
        min_length=1,
        max_length=UID_LENGTH,
        pattern=f"^[^{_CONTROL}]*{_END}",
    ),
]


class CreateOperation(Struct, tag_field="op", tag="create", forbid_unknown_fields=True):
    """Create a todo."""

    todo: Annotated[TodoCreate, member("The new todo.", "an object with the members of a new todo")]


class UpdateOperation(Struct, tag_field="op", tag="update", forbid_unknown_fields=True):
    """Update the members in the request."""

    id: Id
    todo: Annotated[TodoUpdate, member("The members to change.", "an object with the members that change")]
    if_match: IfMatch | UnsetType = UNSET


class DeleteOperation(Struct, tag_field="op", tag="delete", forbid_unknown_fields=True):
    """Delete a todo if it exists."""

    id: Id
    if_match: IfMatch | UnsetType = UNSET


Operation = CreateOperation | UpdateOperation | DeleteOperation


class Batch(Struct, forbid_unknown_fields=True):
    """Operations that run in order, all or none."""

    operations: Annotated[
        list[Operation],
        member(
            "The operations, in the order in which they run.",
            f"a list of 1 to {MAX_OPERATIONS} operations",
            min_length=1,
            max_length=MAX_OPERATIONS,
        ),
    ]


_DATE_AND_TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
InstantOut = Annotated[
    str,
    Meta(
        pattern=rf"^{_DATE_AND_TIME}\.[0-9]{{6}}Z{_END}",
        description="Set by the server, in UTC.",
        examples=["2027-01-31T18:00:00.000000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
WallTimeOut = Annotated[
    datetime,
    Meta(
        extra_json_schema={
            "format": "date-time-local",
            "pattern": rf"^{_DATE_AND_TIME}(?:\.[0-9]{{6}})?{_END}",
        }
    ),
]


_SQLITE_TIME_LENGTH = len("2027-01-31 18:00:00.000000")
# Of title, description, completed and deadline_at. One lookup is faster than four comparisons.
_TYPES = set(product([str], [str, type(None)], [bool], [datetime, type(None)]))


def _format_stored(instant: datetime | str) -> str:
    """Format a stored instant, which is text on SQLite, as the API does.

    Raises ValueError for text that is not a time or has an offset, and TypeError for other types.
    """
    if not isinstance(instant, str):
        return format_instant(instant)
    parsed = datetime.fromisoformat(instant)
    if len(instant) == _SQLITE_TIME_LENGTH:  # editing is three times as fast as formatting
        return instant.replace(" ", "T") + "Z"
    if parsed.tzinfo is not None:
        raise ValueError(f"not UTC without an offset: {instant!r}")
    return format_instant(parsed)


class TodoOut(Struct, gc=False):
    """A todo in a response."""

    id: Id
    # Text has looser rules than in requests, because other programs can write to the table.
    title: Annotated[str, Meta(min_length=1, max_length=TITLE_LENGTH, examples=["Buy milk"])]
    description: Annotated[
        Annotated[str, Meta(max_length=DESCRIPTION_LENGTH)] | None, Meta(examples=["Two litres", None])
    ]
    completed: bool
    deadline_at: Annotated[
        WallTimeOut | None,
        Meta(
            description="When the todo is due: local time in the service's time zone, without an offset.",
            examples=["2027-01-31T18:00:00", None],
        ),
    ]
    created_at: InstantOut
    updated_at: InstantOut

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """Represent a row of COLUMNS.

        Raises ValueError or TypeError for a value that the constraints of the database do not allow.
        """
        todo = cls(*row)
        if isinstance(todo.deadline_at, str):
            todo.deadline_at = datetime.fromisoformat(todo.deadline_at)
        types = type(todo.title), type(todo.description), type(todo.completed), type(todo.deadline_at)
        if types not in _TYPES:
            raise TypeError("a value has the wrong type")
        todo.created_at = _format_stored(todo.created_at)
        todo.updated_at = _format_stored(todo.updated_at)
        return todo


# The columns of a TodoOut, in the order of its members. SQLite stores times as text. Without a conversion to
# datetime, a list of 100 takes 320 us instead of 540 us.
COLUMNS: tuple[Any, ...] = tuple(
    type_coerce(column, String).label(column.key) if column.type is MOMENT else column
    for column in (getattr(Todo, name) for name in TodoOut.__struct_fields__)
)


class DeletedOut(TodoOut):
    """A deleted todo and the time of its deletion."""

    deleted_at: InstantOut

    @classmethod
    def from_deleted(cls, row: Sequence[Any]) -> Self:
        """Represent a row of COLUMNS and `deleted_at`."""
        *columns, deleted_at = row
        todo = structs.asdict(TodoOut.from_row(columns))
        return cls(**todo, deleted_at=_format_stored(deleted_at))


class TodoExport(TodoOut):
    """A todo in an exported file, with its UID if the todo was imported."""

    uid: str | UnsetType = UNSET


class TodoEntry(TodoCreate, forbid_unknown_fields=True, kw_only=True):
    """A todo in an imported file, which may include the members that the server usually sets."""

    deadline_at: Annotated[ImportedWallTime | None, _DEADLINE] = None
    id: Id | UnsetType = UNSET
    created_at: InstantIn | UnsetType = UNSET
    updated_at: InstantIn | UnsetType = UNSET
    uid: Uid | UnsetType = UNSET


class Deleted:
    """The result of a deletion or a batch operation: a todo, or `{}` if the todo did not exist."""

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema. msgspec has no union of a struct and an empty object."""
        todo = {"$ref": REF_TEMPLATE.format(name=TodoOut.__name__)}
        return {"anyOf": [todo, {"type": "object", "maxProperties": 0}]}


class BatchOut(Struct):
    """The results of a batch, in the order of its operations."""

    results: Annotated[list[Deleted], Meta(min_length=1, max_length=MAX_OPERATIONS)]


class Health(Struct, forbid_unknown_fields=True):
    """The service responds."""

    status: Literal["ok"]


class Ready(Struct, forbid_unknown_fields=True):
    """The service is ready, including its database."""

    status: Literal["ready"]


MAX_LIMIT = 1000
MAX_WINDOW = 3_652_058  # days from the year 1 to the year 9999
_Text = Annotated[str, Meta(pattern=rf"^[^\x00]*{_END}")]
# The members to sort by, and the valid values of each in a cursor. Databases fail on ids and characters
# that they cannot store.
_MEMBERS: dict[str, Any] = {
    "id": Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    "title": _Text,
    "description": _Text | None,
    "completed": bool,
    "deadline_at": datetime | None,
    "created_at": datetime,
    "updated_at": datetime,
}


class Sort(tuple[tuple[str, bool], ...]):
    """The members to sort by, each with True for descending order, the most significant first.

    The last member is `id`, in the direction of the first one.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Parse a text such as `-deadline_at,title`. Raises ValueError for an unknown member."""
        keys: dict[str, bool] = {}
        for term in str(value).split(",", maxsplit=len(_MEMBERS)):
            name = term.removeprefix("-")
            if name not in _MEMBERS:
                raise ValueError("not a member")
            keys.setdefault(name, term.startswith("-"))
        keys.setdefault("id", next(iter(keys.values())))
        return cls(islice(keys.items(), list(keys).index("id") + 1))

    def types(self) -> list[Any]:
        """Return the types of the values of a position."""
        return [_MEMBERS[name] for name, _ in self]

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the strings that `parse` accepts."""
        term = f"-?(?:{'|'.join(_MEMBERS)})"
        return {"type": "string", "pattern": f"^{term}(?:,{term}){{0,{len(_MEMBERS) - 1}}}$"}


_FLAG = "true or false"
_WALL_TIME = (
    "a time such as 2027-01-31T18:00:00, or 2027-01-31 for midnight at its start "
    "(write the + of an offset as %2B)"
)
_INSTANT = "a time such as 2027-01-31T18:00:00Z, in UTC if it has no offset (write the + of an offset as %2B)"
OnlyCompleted = Annotated[bool, member("Only completed todos (`true`) or only open ones (`false`).", _FLAG)]
OnlyOverdue = Annotated[bool, member("Only overdue todos (`true`), or all other todos (`false`).", _FLAG)]
Window = Annotated[
    int,
    member(
        "Only todos due within this many days, overdue ones included.",
        f"a whole number of days from 0 to {MAX_WINDOW}",
        ge=0,
        le=MAX_WINDOW,
    ),
]
_SUCH_AS = "such as `2027-01-31` or `2027-01-31T18:00:00`."
DeadlineFrom = Annotated[WallTime, member(f"Only todos due at or after this time, {_SUCH_AS}", _WALL_TIME)]
DeadlineBefore = Annotated[WallTime, member(f"Only todos due before this time, {_SUCH_AS}", _WALL_TIME)]
UpdatedSince = Annotated[
    Instant,
    member("Only todos changed at or after this time, such as `2027-01-31T18:00:00Z`.", _INSTANT),
]
Text = Annotated[
    str,
    member(
        "Only todos with this text in the title or the description, ignoring case.",
        "text of at least 1 character, without U+0000",
        min_length=1,
        pattern=rf"^[^\x00]*{_END}",
    ),
]
SortBy = Annotated[
    Sort,
    member(
        "The members to sort by, such as `-deadline_at,title`. `-` means descending. The default is `id`. "
        "Null values are last in both directions.",
        f"a comma-separated list of members ({', '.join(_MEMBERS)}), each with an optional - for "
        "descending order, such as -deadline_at,title",
    ),
]
Limit = Annotated[
    int,
    member(
        "Maximum number of todos in the response. The `Link` header leads to the next page.",
        f"a whole number from 1 to {MAX_LIMIT}",
        ge=1,
        le=MAX_LIMIT,
    ),
]
CURSOR_RULE = "the cursor in the Link header of the previous page, with the same sort and filters"
CursorText = Annotated[
    str,
    member(
        "The start of the next page, from the `Link` header of the previous page.",
        CURSOR_RULE,
    ),
]
WithTotal = Annotated[bool, member("Whether to count the matches on all pages in `X-Total-Count`.", _FLAG)]


class ListQuery(Struct, kw_only=True, frozen=True):
    """The parameters of the list. Missing filters match every todo."""

    completed: OnlyCompleted | UnsetType = UNSET
    window: Window | UnsetType = UNSET
    overdue: OnlyOverdue | UnsetType = UNSET
    deadline_from: DeadlineFrom | UnsetType = UNSET
    deadline_before: DeadlineBefore | UnsetType = UNSET
    updated_since: UpdatedSince | UnsetType = UNSET
    q: Text | UnsetType = UNSET
    sort: SortBy | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET
    cursor: CursorText | UnsetType = UNSET
    total: WithTotal = False


class DeletedQuery(Struct):
    """The parameters of the list of deleted todos."""

    limit: Limit = MAX_LIMIT


def decode_hook(field_type: Any, value: Any) -> Any:
    """Parse `value` as a type that msgspec does not know, such as a time. Called by msgspec."""
    return field_type.parse(value)


def schema_hook(field_type: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type that msgspec does not know. Called by msgspec."""
    schema: dict[str, Any] = field_type.json_schema()
    return schema
