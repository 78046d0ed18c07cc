"""The commands of `flask --app todo`."""

import click
from flask import Flask
from flask.cli import AppGroup, FlaskGroup

from todo import database
from todo.cli import backup, copy, fake, schema, serve, tokens, transfer
from todo.config import StartupError

# Commands that also work with the schema of another release.
FOR_ANY_SCHEMA = {"db", "backup", "restore"}


class Commands(AppGroup):
    """The commands of an app. Most of them require the schema of this release."""

    def __init__(self, app: Flask) -> None:
        super().__init__(app.name)
        self.app = app

    def list_commands(self, context: click.Context) -> list[str]:
        """List the commands that work with the current schema."""
        names = super().list_commands(context)
        with self.app.app_context():
            try:
                database.check_schema()
            except StartupError:
                return [name for name in names if name in FOR_ANY_SCHEMA]
        return names

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command. Raises StartupError if the command requires another schema."""
        command = super().get_command(context, name)
        if command is not None and name not in FOR_ANY_SCHEMA:
            with self.app.app_context():
                database.check_schema()
        return command


def is_resolving_command() -> bool:
    """Return True if `flask` creates the app only to look up a command."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)


def register(app: Flask) -> None:
    """Add the commands to `app`."""
    app.cli = Commands(app)
    schema.schema.add_command(copy.copy_database)
    app.cli.add_command(schema.schema)
    app.cli.add_command(serve.serve)
    app.cli.add_command(tokens.token)
    app.cli.add_command(fake.fake)
    app.cli.add_command(backup.backup)
    app.cli.add_command(backup.restore)
    app.cli.add_command(transfer.export_todos)
    app.cli.add_command(transfer.import_todos)
