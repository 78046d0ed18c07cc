"""The commands of `flask --app todo`."""

import errno
import multiprocessing
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from functools import partial

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info, with_appcontext
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from todo.config import StartupError
from todo.http.problem import Unavailable
from todo.models import database, db, sqlite

KILL_TIMEOUT = 10  # seconds that a worker has for the requests under way, once it is told to end


def register(app: Flask) -> None:
    """Add the commands to `app`."""
    app.cli.add_command(serve)


@click.command()
@click.option("--host", help="The address to listen on, instead of the setting HOST.")
@click.option("--port", type=int, help="The port to listen on, instead of the setting PORT.")
@pass_script_info
@with_appcontext
def serve(script: ScriptInfo, host: str | None, port: int | None) -> None:
    """Serve the API with the production server, until Ctrl-C."""
    app = script.load_app()
    host = app.config["HOST"] if host is None else host
    port = app.config["PORT"] if port is None else port
    address = _resolve(host, port)
    name = f"[{host}]" if ":" in host else host
    click.echo(f"Listening on http://{name}:{port}, data in {_place(db.engine)}")
    # A worker that takes the place of a dead one is forked with the app as it is: made anew, it
    # would begin a new database where the file was deleted, and fail where it is locked.
    multiprocessing.set_start_method("fork")
    os.register_at_fork(after_in_child=_end_at_signals)
    server = Server(
        "todo",
        interface=Interfaces.WSGI,
        address=address,
        port=port,
        workers=1 if database.in_memory(db.engine) else app.config["WORKERS"] or os.cpu_count() or 1,
        blocking_threads=1,
        websockets=False,
        # Its warnings speak of more workers than cores, and of workers killed that had just ended.
        log_level=LogLevels.error,
        workers_kill_timeout=KILL_TIMEOUT,
        respawn_failed_workers=True,
    )
    server.on_shutdown(database.checkpoint)
    server.serve(target_loader=partial(_load, app), wrap_loader=False)


def _end_at_signals() -> None:
    """Have a worker that is told to end before it serves do so; it inherits what the main process does."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _load(app: Flask) -> Flask:
    """Begin a worker: it ends with the main process, lest it keep the port when that one is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # From now on it knows the file, and notices when another one takes its place.
    with suppress(DBAPIError, Unavailable), app.app_context():
        db.engine.connect().close()
    return app


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(KILL_TIMEOUT)
        os.kill(os.getpid(), signal.SIGKILL)


def _place(engine: Engine) -> str:
    """Say where the data is, in words for people."""
    if database.in_memory(engine):
        return "memory, until the end"
    return str(sqlite.file_of(engine) or engine.url.render_as_string())


def _resolve(host: str, port: int) -> str:
    """Return the address of `host`. Raises StartupError where its `port` can't be listened on.

    The server itself would share the port with another one (SO_REUSEPORT).
    """
    if not 0 < port < 2**16:
        raise StartupError(f"{port} is no port: choose one from 1 to 65535 (make run PORT=…, or --port).")
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
    return str(address[0])
