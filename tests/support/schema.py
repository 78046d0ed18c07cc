"""The schema of a database, as the database describes it."""

import re
from typing import Any

from sqlalchemy import Connection, inspect

_QUERIES = {
    "sqlite": ("SELECT tbl_name, type, name, sql FROM sqlite_schema",),
    "postgresql": (
        """
        SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
               attcollation::regcollation, pg_get_expr(adbin, adrelid)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema::regnamespace)
        AND attnum > 0
        """,
        """
        SELECT conrelid::regclass, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = current_schema::regnamespace
        """,
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema",
        "SELECT tgrelid::regclass, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = current_schema::regnamespace",
    ),
    "mariadb": ("SELECT trigger_name, action_statement FROM information_schema.triggers",),
}


def describe(connection: Connection) -> list[str]:
    """Describe all tables, columns, defaults, constraints, indexes, triggers and functions, sorted."""
    name = connection.dialect.name
    rows: list[Any] = [row for query in _QUERIES[name] for row in connection.exec_driver_sql(query).all()]
    if name == "mariadb":
        for table in inspect(connection).get_table_names():
            (_, statement) = connection.exec_driver_sql(f"SHOW CREATE TABLE {table}").one()
            lines = re.sub(r" AUTO_INCREMENT=\d+", "", statement).splitlines()
            rows += [(table, line.rstrip(",")) for line in lines]
    if name == "sqlite":
        rows = [(*row[:3], part) for row in rows for part in _parts(row[1], row[3])]
    return sorted(" ".join(str(tuple(row)).replace("\\n", " ").split()) for row in rows)


def _parts(kind: str, sql: str | None) -> list[str | None]:
    """Split a table into its columns and constraints, because ALTER TABLE adds them in another order."""
    if kind != "table" or sql is None:
        return [sql]
    parts, depth = [""], 0
    # ADD COLUMN places the constraint after its column.
    for character in sql[sql.index("(") + 1 : sql.rindex(")")].replace(" CONSTRAINT ", ", CONSTRAINT "):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
