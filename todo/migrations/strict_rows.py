r"""The constraints and triggers of version 0002. A shell cannot store values that the API rejects.

A released text never changes, because databases were created with it. A later version writes its own text,
and `todo.database.constraints` then uses that one.

In the patterns for SQLite, `char(1, 45, 31)` is the range \x01-\x1f, because 45 is the hyphen. The numbers
above 159 are the white space of Unicode beyond ASCII.
"""

from collections.abc import Sequence

# JavaScript holds integers up to 2^53 - 1. Explicit ids leave the last million to new todos.
LARGEST_ID = 2**53 - 1
LARGEST_EXPLICIT_ID = LARGEST_ID - 1_000_000

TITLE_LENGTH = 80
DESCRIPTION_LENGTH = 120
COLUMNS = ("id", "title", "description", "completed", "deadline_at", "created_at", "updated_at")

# Servers enforce the declared types. SQLite stores any value in any column.
_IS_TIME = (
    ("like_2027_01_31_18_00_00_000000", "sqlite",
     # SQLite compares times as text, so all times need one format. In calculations, SQLite reads
     # 30 February as 2 March.
     ("{0} IS NULL OR typeof({0}) = 'text' AND length(CAST({0} AS BLOB)) = 26 AND substr({0}, 1, 4) >= '0001'"
      " AND datetime(substr({0}, 1, 19), '+0 days') IS substr({0}, 1, 19)"
      " AND substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]'")),
    ("in_years_1_to_9999", "postgresql", "{0} BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'"),
    # Without its strict modes, the server accepts 0000-00-00 and 30 February.
    ("on_the_calendar", "mariadb",
     "{0} IS NULL OR ifnull(year({0}) > 0 AND dayofmonth({0}) BETWEEN 1 AND dayofmonth(last_day({0})), 0)"),
)  # fmt: skip
CHECKS = (
    # MariaDB allows no constraint on an AUTO_INCREMENT column.
    ("id_of_at_most_53_bits", "sqlite", f"id BETWEEN -{LARGEST_ID} AND {LARGEST_ID}"),
    ("id_of_at_most_53_bits", "postgresql", f"id BETWEEN -{LARGEST_ID} AND {LARGEST_ID}"),
    (f"title_1_to_{TITLE_LENGTH}_characters", "sqlite",
     f"typeof(title) = 'text' AND length(title) BETWEEN 1 AND {TITLE_LENGTH}"),
    ("title_not_blank", "sqlite",
     ("title GLOB '*[^' || char(9, 45, 13, 32, 160, 5760, 8192, 45, 8202, 8232, 8233, 8239, 8287, 12288)"
      " || ']*'")),
    ("title_not_blank", "postgresql",
     r"title ~ '[^\u0009-\u000d\u0020\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'"),
    ("title_not_blank", "mariadb",
     (r"title REGEXP '[^\\x{9}-\\x{d}\\x{20}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
      r"\\x{205f}\\x{3000}]'")),
    ("title_without_control_characters", "sqlite",
     "title NOT GLOB '*[' || char(1, 45, 31, 127, 45, 159) || ']*' AND instr(title, char(0)) = 0"),
    ("title_without_control_characters", "postgresql", r"title !~ '[\u0001-\u001f\u007f-\u009f]'"),
    ("title_without_control_characters", "mariadb",
     r"title NOT REGEXP '[\\x{0}-\\x{1f}\\x{7f}-\\x{9f}]'"),
    (f"description_up_to_{DESCRIPTION_LENGTH}_characters", "sqlite",
     ("typeof(description) IN ('text', 'null')"
      f" AND ifnull(length(description), 0) <= {DESCRIPTION_LENGTH}")),
    # Tabs and line ends are allowed, but no carriage return alone.
    ("description_without_control_characters", "sqlite",
     ("description NOT GLOB '*[' || char(1, 45, 8, 11, 12, 14, 45, 31, 127, 45, 159) || ']*'"
      " AND instr(description, char(0)) = 0"
      " AND instr(replace(description, char(13, 10), ''), char(13)) = 0")),
    ("description_without_control_characters", "postgresql",
     r"description !~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]|\r(?!\n)'"),
    ("description_without_control_characters", "mariadb",
     (r"description NOT REGEXP '[\\x{0}-\\x{8}\\x{b}\\x{c}\\x{e}-\\x{1f}\\x{7f}-\\x{9f}]"
      r"|\\x{d}(?!\\x{a})'")),
    ("completed_0_or_1", "sqlite", "completed IN (0, 1)"),
    ("completed_0_or_1", "mariadb", "completed IN (0, 1)"),
    *(
        (f"{column}_{name}", dialect, condition.format(column))
        for column in ("deadline_at", "created_at", "updated_at")
        for name, dialect, condition in _IS_TIME
    ),
)  # fmt: skip
# The triggers:
# - todos_updated_at: an UPDATE sets `updated_at`, which never decreases, even if the clock was set back.
# - todos_deleted: a DELETE moves the todo to `deleted_todos`. The trigger names the columns.
# - todos_text_insert, todos_text_update: only UTF-8. A constraint cannot look at each character, because it
#   cannot contain a subquery. ASCII is skipped. Other text takes 1 us per character.
# - todos_id: the limit of an explicit id leaves room for the next ids.
# - todos_id_update: ids never change. A changed id could be assigned to a second todo.
# - todos_id_seq: an INSERT with an explicit id does not advance PostgreSQL's sequence, which would then
#   reach that id again. The other databases continue from the largest id.
# On MariaDB few users have the right to create triggers.
_PLACES = ",".join(f"{place:3}" for place in range(1, TITLE_LENGTH + DESCRIPTION_LENGTH + 2))
_SQLITE_TEXT_TRIGGER = """
    CREATE TRIGGER todos_text_{name} BEFORE {event} ON todos
    WHEN NEW.title GLOB '*[^ -~]*' OR NEW.description GLOB '*[^' || char(9, 10, 13) || ' -~]*'
    BEGIN
        SELECT RAISE(ABORT, 'title and description must be UTF-8')
        FROM (SELECT NEW.title || char(10) || ifnull(NEW.description, '') AS text),
            json_each('[' || substr('{places}', 1, 4 * length(text) - 1) || ']') AS place
        WHERE char(unicode(substr(text, place.value, 1))) <> substr(text, place.value, 1)
        AND substr(text, place.value, 1) NOT IN (char(65534), char(65535));
    END
"""
_SQLITE = (
    """
    CREATE TRIGGER todos_updated_at AFTER UPDATE ON todos WHEN NEW.updated_at <= OLD.updated_at
    BEGIN
        UPDATE todos SET updated_at = max(OLD.updated_at, strftime('%Y-%m-%d %H:%M:%f000', 'now'))
        WHERE id = NEW.id;
    END
    """,
    _SQLITE_TEXT_TRIGGER.format(name="insert", event="INSERT", places=_PLACES),
    _SQLITE_TEXT_TRIGGER.format(name="update", event="UPDATE OF title, description", places=_PLACES),
    f"""
    CREATE TRIGGER todos_id BEFORE INSERT ON todos WHEN NEW.id > {LARGEST_EXPLICIT_ID}
    BEGIN SELECT RAISE(ABORT, 'id must be at most {LARGEST_EXPLICIT_ID}'); END
    """,
    """
    CREATE TRIGGER todos_id_update BEFORE UPDATE OF id ON todos WHEN NEW.id IS NOT OLD.id
    BEGIN SELECT RAISE(ABORT, 'id must not change'); END
    """,
)
_POSTGRESQL = """
    CREATE OR REPLACE FUNCTION todos_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.updated_at := greatest(OLD.updated_at, timezone('utc', statement_timestamp()));
        RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER todos_updated_at BEFORE UPDATE ON todos FOR EACH ROW
    WHEN (NEW.updated_at <= OLD.updated_at)
    EXECUTE FUNCTION todos_updated_at();

    CREATE OR REPLACE FUNCTION todos_id_update() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE check_violation USING MESSAGE = 'id must not change';
    END $$;
    CREATE OR REPLACE TRIGGER todos_id_update BEFORE UPDATE OF id ON todos FOR EACH ROW
    WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION todos_id_update()
"""


def todos_id_seq(check: str = "") -> str:
    """Return the trigger that keeps PostgreSQL's sequence beyond each id, with a `check` of the id."""
    return f"""
    CREATE OR REPLACE FUNCTION todos_id_seq() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        ids constant regclass := pg_get_serial_sequence(TG_RELID::regclass::text, 'id');
    BEGIN{check}
        PERFORM pg_advisory_xact_lock(ids::oid::bigint);
        PERFORM setval(ids, greatest(NEW.id, pg_sequence_last_value(ids)));
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER todos_id_seq AFTER INSERT ON todos FOR EACH ROW
    WHEN (NEW.id > coalesce(pg_sequence_last_value('todos_id_seq'), 0))
    EXECUTE FUNCTION todos_id_seq()
    """


def todos_deleted(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the statements that create the trigger for a table with these columns."""
    names = ", ".join(columns)
    values = ", ".join(f"OLD.{name}" for name in columns)
    return {
        "sqlite": (
            "DROP TRIGGER IF EXISTS todos_deleted",
            f"""
            CREATE TRIGGER todos_deleted AFTER DELETE ON todos
            BEGIN
                INSERT OR REPLACE INTO deleted_todos ({names}, deleted_at)
                VALUES ({values}, strftime('%Y-%m-%d %H:%M:%f000', 'now'));
            END
            """,
        ),
        "postgresql": (
            f"""
            CREATE OR REPLACE FUNCTION todos_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                DELETE FROM deleted_todos WHERE id = OLD.id;
                INSERT INTO deleted_todos ({names}, deleted_at)
                VALUES ({values}, timezone('utc', statement_timestamp()));
                RETURN NULL;
            END $$;
            CREATE OR REPLACE TRIGGER todos_deleted AFTER DELETE ON todos
            FOR EACH ROW EXECUTE FUNCTION todos_deleted()
            """,
        ),
    }


_CHECK = f"""
        IF NEW.id > {LARGEST_EXPLICIT_ID} THEN
            RAISE check_violation USING MESSAGE = 'id must be at most {LARGEST_EXPLICIT_ID}';
        END IF;"""
TRIGGERS = {"sqlite": _SQLITE, "postgresql": (_POSTGRESQL, todos_id_seq(_CHECK))}
