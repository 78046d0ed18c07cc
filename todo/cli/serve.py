"""The command `serve`."""

import errno
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info, with_appcontext
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from todo import database
from todo.config import StartupError
from todo.database import sqlite
from todo.database.errors import DatabaseUnavailable
from todo.http import log, metrics, security
from todo.models import db

KILL_TIMEOUT = 10  # seconds that a worker has for the requests under way, once it is told to end
# Of each worker: a client that sends or reads slowly keeps one of them waiting.
THREADS = 256
# Where the system keeps files in memory: what workers count there meets no full disk.
MEMORY = "/dev/shm"  # noqa: S108 - the folder in it is made for this user alone

MAX_HEAD = 64 * 1024  # bytes, of a request line and its headers
ENDING = {signal.SIGINT, signal.SIGTERM}  # what tells a process to end


@click.command()
@click.option("--host", help="The address to listen on, instead of the setting HOST.")
@click.option("--port", type=int, help="The port to listen on, instead of the setting PORT.")
@click.option("--insecure", is_flag=True, help="Let everybody who reaches the address read and write.")
@pass_script_info
@with_appcontext
def serve(script: ScriptInfo, host: str | None, port: int | None, *, insecure: bool) -> None:
    """Serve the API with the production server, until Ctrl-C."""
    # No other command, nor the development server, waits for it to be imported.
    from granian.constants import Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server import Server

    app = script.load_app()
    if not hasattr(os, "fork"):
        raise StartupError(
            "serve needs fork(), as Linux and macOS have. On Windows, run it in WSL or in Docker, or use "
            "flask --app todo run."
        )
    host = app.config["HOST"] if host is None else host
    port = app.config["PORT"] if port is None else port
    security.trust(app, host)
    log.tell_requests(app)
    address = _resolve(host, port)
    if not (ip_address(address).is_loopback or app.config["REQUIRE_TOKEN"] or insecure):
        raise StartupError(
            f"On {host} everybody who reaches this machine could read and change all todos. Set "
            "TODO_REQUIRE_TOKEN=true and make tokens with flask --app todo token create NAME, listen on "
            "127.0.0.1, or say --insecure where something else keeps strangers out."
        )
    name = f"[{host}]" if ":" in host else host
    click.echo(f"Listening on http://{name}:{port}, data in {_place(db.engine)}")
    # A worker that takes the place of a dead one is forked with the app as it is: made anew, it
    # would begin a new database where the file was deleted, and fail where it is locked.
    multiprocessing.set_start_method("fork")
    in_memory = database.in_memory(db.engine)  # in one connection, which no other thread can share
    cores = _cores()
    workers = 1 if in_memory else app.config["WORKERS"] or len(cores)
    server = Server(
        "todo",
        interface=Interfaces.WSGI,
        address=address,
        port=port,
        workers=workers,
        blocking_threads=1 if in_memory else THREADS,
        websockets=False,
        http1_settings=HTTP1Settings(max_buffer_size=MAX_HEAD),
        # Its warnings speak of more workers than cores, and of workers killed that had just ended.
        log_level=LogLevels.error,
        workers_kill_timeout=KILL_TIMEOUT,
        respawn_failed_workers=True,
    )
    server.on_shutdown(database.checkpoint)
    # In each thread, and in each worker from its first moment on; one thread of each process waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    threading.Thread(target=stop_when_told, args=(server.signal_handler_interrupt,), daemon=True).start()
    with TemporaryDirectory(
        prefix="todo-metrics-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None
    ) as folder:
        os.environ[metrics.FOLDER] = folder
        own_cores = cores if workers == len(cores) else []
        server.serve(target_loader=partial(_load, app, Path(folder), own_cores), wrap_loader=False)


def _cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def stop_when_told(stop: Callable[[], None]) -> None:
    """Call `stop` once a signal tells this process to end, until it does.

    The server can miss one, for good, while it replaces a worker that has died.
    """
    signal.sigwait(ENDING)
    while True:
        stop()
        time.sleep(0.1)


def _load(app: Flask, folder: Path, own_cores: Iterable[int]) -> Flask:
    """Begin a worker."""
    if hasattr(os, "sched_setaffinity"):
        _keep_to_a_core(folder, own_cores)
    for target in (_end_when_told, _end_with_parent):
        threading.Thread(target=target, daemon=True).start()
    metrics.begin()
    # From now on it knows the file, and notices when another one takes its place.
    with suppress(DBAPIError, DatabaseUnavailable), app.app_context():
        db.engine.connect().close()
    return app


def _keep_to_a_core(folder: Path, cores: Iterable[int]) -> None:
    """Run on the first of `cores` that no other worker has, if there is one.

    The threads of a worker, of which one runs at a time anyhow, hand over to each other on one core for
    much less than between two.
    """
    import fcntl  # Windows has none

    for core in cores:
        lock = os.open(folder / f"core-{core}", os.O_CREAT | os.O_WRONLY)  # for as long as the process lives
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.sched_setaffinity(0, {core})
        except OSError:  # another worker has it, or this process may not use it any more
            os.close(lock)
        else:
            return


def _end_when_told() -> None:
    """End the worker after the requests under way, by the handler that the server is yet to set.

    The server can lose a signal, most of all before it listens, and two at once stop it halfway:
    Ctrl-C and service managers tell all processes, and then the main process tells its workers.
    """
    inherited = signal.getsignal(signal.SIGTERM)
    signal.sigwait({signal.SIGTERM})
    # A worker that ended before the main process knows why would be taken for a failure.
    time.sleep(0.1)
    while (handler := signal.getsignal(signal.SIGTERM)) is inherited:
        time.sleep(0.01)
    if callable(handler):
        handler(signal.SIGTERM, None)


def _end_with_parent() -> None:
    """End the worker with the main process, lest it keep the port when that one is killed."""
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
    return str(sqlite.file_of(engine.url) or engine.url.render_as_string())


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
