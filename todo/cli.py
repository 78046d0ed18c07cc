"""The commands of `flask --app todo`."""

import errno
import os
import socket

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server
from sqlalchemy import URL

from todo.config import StartupError
from todo.models import db


def register(app: Flask) -> None:
    """Add the commands to `app`."""
    app.cli.add_command(serve)


@click.command()
@click.option("--host", help="The address to listen on, instead of the setting HOST.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The port to listen on, instead of the setting PORT."
)
@with_appcontext
def serve(host: str | None, port: int | None) -> None:
    """Serve the API with the production server, until Ctrl-C."""
    config = current_app.config
    host, port = host or config["HOST"], port or config["PORT"]
    _check_free(host, port)
    click.echo(f"Listening on http://{host}:{port}, data in {_place(db.engine.url)}")
    Server(
        "todo:create_app",
        factory=True,
        interface=Interfaces.WSGI,
        address=host,
        port=port,
        workers=config["WORKERS"] or os.cpu_count() or 1,
        blocking_threads=1,
        websockets=False,
        log_level=LogLevels.warning,
        workers_kill_timeout=10,
        respawn_failed_workers=True,
    ).serve()


def _place(url: URL) -> str:
    return url.database or "memory" if url.get_backend_name() == "sqlite" else url.render_as_string()


def _check_free(host: str, port: int) -> None:
    """Raise StartupError where `host` and `port` can't be listened on.

    The server itself would share the port with another one (SO_REUSEPORT).
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"Port {port} is in use: stop the program that uses it, or choose another port"
        else:
            reason = f"{host}:{port} can't be listened on ({error.strerror}): choose another host or port"
        raise StartupError(f"{reason} (make run HOST=… PORT=…, or --host and --port).") from None
