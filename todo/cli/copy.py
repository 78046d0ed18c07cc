"""The command `db copy`, which copies all rows to another database, such as from SQLite to PostgreSQL."""

from collections.abc import Iterator

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from sqlalchemy import Connection, Row, Table, insert, select
from sqlalchemy.exc import DBAPIError

from todo import database
from todo.models import db

ROWS = 1000  # in one statement
# Ids are never reused. The target continues from the last id, even if that todo was deleted.
LAST_ID = {
    "sqlite": "SELECT seq FROM sqlite_sequence WHERE name = 'todos'",
    "postgresql": "SELECT last_value FROM todos_id_seq WHERE is_called",
    "mariadb": "SELECT auto_increment - 1 FROM information_schema.tables "
    "WHERE table_schema = database() AND table_name = 'todos'",
}
COUNT_ON = {
    "sqlite": "INSERT INTO sqlite_sequence (name, seq) VALUES ('todos', {last_id})",
    "postgresql": "SELECT setval('todos_id_seq', {last_id})",
    "mariadb": "ALTER TABLE todos AUTO_INCREMENT = {next_id}",
}


@click.command("copy")
@click.argument("url", envvar="COPY_TO")
@with_appcontext
def copy_database(url: str) -> None:
    """Copy all todos, tokens and everything else into the empty database at URL.

    Stop the service first, because later changes would be missing. URL can come from the variable COPY_TO,
    which hides a password from other users. The copy is one transaction: all rows are copied, or none.
    """
    database.check_schema()
    target = Flask(current_app.import_name, instance_path=current_app.instance_path)
    target.config.update(current_app.config)
    target.config.update(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS={})
    database.init_app(target)
    with database.read() as source, target.app_context():
        try:
            counts = database.write(lambda connection: _copy(source, connection))
        except DBAPIError as error:
            raise click.ClickException(f"Nothing was copied: {error.orig}") from None
    for name, count in counts.items():
        click.echo(f"{name}: {count} rows")


def _copy(source: Connection, target: Connection) -> dict[str, int]:
    """Copy the rows of all tables, check that they are equal, and return the number of rows of each table."""
    tables = db.metadata.sorted_tables
    for table in tables:
        if target.execute(select(table).limit(1)).first() is not None:
            raise click.ClickException(
                f"The table {table.name} at URL has rows. Copy into an empty database."
            )
    last_id = source.exec_driver_sql(LAST_ID[source.dialect.name]).scalar()
    if last_id:
        # This precedes the rows, because MariaDB commits ALTER TABLE.
        target.exec_driver_sql(
            COUNT_ON[target.dialect.name].format(last_id=int(last_id), next_id=int(last_id) + 1)
        )
    counts = {}
    for table in tables:
        counts[table.name] = 0
        for rows in _chunks(source, table):
            target.execute(insert(table), [row._asdict() for row in rows])
            counts[table.name] += len(rows)
        for copied, original in zip(_chunks(target, table), _chunks(source, table), strict=True):
            if copied != original:
                raise click.ClickException(
                    f"Nothing was copied, because the rows of {table.name} would differ from the originals."
                )
    if target.dialect.name == "postgresql":
        target.exec_driver_sql("SELECT setval('tokens_id_seq', max(id)) FROM tokens")
    return counts


def _chunks(connection: Connection, table: Table) -> Iterator[list[Row[tuple[object, ...]]]]:
    """Yield the rows in the order of their keys, in chunks that keep statements short."""
    (key,) = table.primary_key
    statement = select(table).order_by(key).limit(ROWS)
    rows = list(connection.execute(statement))
    while rows:
        yield rows
        rows = list(connection.execute(statement.where(key > getattr(rows[-1], key.name))))
