"""The commands `db upgrade` and `db revision`."""

import click
from flask.cli import with_appcontext

from todo import database
from todo.database import schema as database_schema


@click.group("db")
def schema() -> None:
    """Upgrade or copy the database."""


@schema.command("upgrade")
@with_appcontext
def upgrade_schema() -> None:
    """Upgrade the schema. A SQLite file is copied to FILE.before-upgrade-1 (-2, …) first."""
    upgraded = database.upgrade_schema()
    click.echo("Upgraded the schema." if upgraded else "The schema is up to date.")


@schema.command("revision")
@click.argument("message")
def write_revision(message: str) -> None:
    """Write a migration draft for changed models. For developers of the service."""
    database_schema.write_revision(message)
