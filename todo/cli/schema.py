"""The commands `db upgrade` and `db revision`."""

import click
from flask.cli import with_appcontext

from todo import database
from todo.database import schema as database_schema


@click.group("db")
def schema() -> None:
    """Bring the schema of the database to that of this release."""


@schema.command("upgrade")
@with_appcontext
def upgrade_schema() -> None:
    """Upgrade the schema. A SQLite file is copied to FILE.before-upgrade-1 (-2, …) first."""
    upgraded = database.upgrade_schema()
    click.echo("The schema is upgraded." if upgraded else "The schema is that of this release already.")


@schema.command("revision")
@click.argument("message")
def write_revision(message: str) -> None:
    """Write a migration that has what the models have and the migrations don't, for a developer to edit."""
    database_schema.write_revision(message)
