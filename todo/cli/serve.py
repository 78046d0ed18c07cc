"""The command `serve`."""

import errno
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address
from logging import Logger
from pathlib import Path
from typing import Any

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info, with_appcontext
from sqlalchemy.exc import DBAPIError

from todo import database
from todo.config import PREFIX, StartupError, machine_zone, without_secrets
from todo.database import sqlite
from todo.database.errors import DatabaseUnavailable
from todo.http import keep_alive, log, metrics, security
from todo.models import db

KILL_TIMEOUT = 10  # seconds in which a worker can finish its requests after SIGTERM
# Per worker. Slow clients can hold keep_alive.MAX_BODIES and MAX_STREAMS of these threads.
THREADS = 256
MAX_CONNECTIONS = 4096  # per worker; each connection is an open file
# Files in this folder are in memory, so that metrics work on a full disk.
MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp() creates a folder that only this user can access
METRICS = "todo-metrics-"
LOCK = "lock"

MAX_HEAD = 64 * 1024  # bytes of a request line and its headers
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
# A worker that dies again within this many seconds waits 1, 2, 4 ... seconds before its next start.
RESTART_MEMORY = 120
MAX_RESTART_DELAY = 30


@click.command()
@click.option("--host", help="Address to listen on, instead of TODO_HOST.")
@click.option("--port", type=int, help="Port to listen on, instead of TODO_PORT.")
@click.option("--insecure", is_flag=True, help="Allow unauthenticated access from other machines.")
@pass_script_info
@with_appcontext
def serve(script: ScriptInfo, host: str | None, port: int | None, *, insecure: bool) -> None:
    """Serve the API with the production server, until Ctrl-C."""
    # Imported here, because other commands do not need the server.
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server import Server

    app = script.load_app()
    if not hasattr(os, "fork"):
        raise StartupError(
            "serve requires fork(), which Windows does not have. Use WSL or Docker, or run "
            "flask --app todo run."
        )
    host = app.config["HOST"] if host is None else host
    port = app.config["PORT"] if port is None else port
    security.trust(app, host)
    log.log_requests(app)
    address = _resolve(host, port)
    if not (ip_address(address).is_loopback or app.config["REQUIRE_TOKEN"] or insecure):
        raise StartupError(
            f"On {host} everyone who can reach this machine could read and change all todos. Set "
            "TODO_REQUIRE_TOKEN=true and create tokens with flask --app todo token create NAME, listen on "
            "127.0.0.1, or use --insecure if a proxy or firewall restricts access."
        )
    name = f"[{host}]" if ":" in host else host
    in_memory = database.in_memory(db.engine)  # in one connection, which no other thread can share
    path = sqlite.file_of(db.engine.url)
    place = "memory, until the service ends" if in_memory else path or without_secrets(db.engine.url)
    click.echo(f"Listening on http://{name}:{port}, data in {place}")
    if path is not None and sqlite.is_readable_by_others(path):
        click.echo(f"Warning: other users of this machine can read {path}. Run chmod 600 on it.", err=True)
    zone = machine_zone()
    if f"{PREFIX}TIMEZONE" not in os.environ and zone not in {None, "UTC", "Etc/UTC", app.config["TIMEZONE"]}:
        click.echo(
            f"Deadlines are in the time zone {app.config['TIMEZONE']}. Set {PREFIX}TIMEZONE={zone} for the "
            "zone of this machine."
        )
    # Workers inherit this app through fork(). A new app per worker would create a new database if the file
    # was deleted, and fail if the file is locked.
    multiprocessing.set_start_method("fork")
    cores = _cores()
    workers = 1 if in_memory else app.config["WORKERS"] or len(cores)
    server = Server(
        "todo",
        interface=Interfaces.WSGI,
        address=address,
        port=port,
        workers=workers,
        blocking_threads=1 if in_memory else THREADS,
        backpressure=_allow_connections(),
        http=HTTPModes.auto if app.config["HTTP2"] else HTTPModes.http1,
        websockets=False,
        http1_settings=HTTP1Settings(max_buffer_size=MAX_HEAD),
        # Granian's warnings are false alarms: more workers than cores, and killed workers that had ended.
        log_level=LogLevels.error,
        workers_kill_timeout=KILL_TIMEOUT,
        respawn_failed_workers=True,
    )
    restarts = server.respawned_wrks = _Restarts(app.logger)
    server.on_shutdown(database.checkpoint)
    # Every thread and worker blocks the signals. One thread of each process waits for the signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    threading.Thread(target=stop_on_signal, args=(server.signal_handler_interrupt,), daemon=True).start()
    with _metrics_folder() as folder:
        os.environ[metrics.FOLDER] = str(folder)
        own_cores = cores if app.config["PIN_WORKERS"] and workers == len(cores) else []
        server.serve(
            target_loader=partial(load_worker, app, folder, own_cores, port, restarts), wrap_loader=False
        )


class _Restarts(dict[int, float]):
    """The restart times of workers, as the mapping that Granian uses.

    Granian ends the service, healthy workers included, if a worker dies twice within 5.5 seconds. So
    this mapping returns no times, and a worker that died repeatedly waits before its next start.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger
        self.times: dict[int, list[float]] = {}
        self.delay = 0  # seconds before the start of the next worker

    def __setitem__(self, index: int, now: float) -> None:
        """Record the restart of a worker before fork()."""
        times = self.times.setdefault(index, [])
        times[:] = [time for time in times if now - time < RESTART_MEMORY] + [now]
        self.delay = min(2 ** (len(times) - 2), MAX_RESTART_DELAY) if len(times) > 1 else 0
        self.logger.error("Worker %d ended unexpectedly. It starts again in %d s.", index + 1, self.delay)

    def get(self, _: int, default: Any = None) -> Any:
        """Return `default`, so that Granian never ends the service."""
        return default

    def clear(self) -> None:
        """Ignore the call, to remember the times."""


@contextmanager
def _metrics_folder() -> Iterator[Path]:
    """Create the folder of the workers' metrics, and remove the folders of killed services.

    The main process locks a file in the folder, and the workers inherit the lock.
    """
    import fcntl  # not available on Windows

    parent = Path(MEMORY if os.access(MEMORY, os.W_OK) else tempfile.gettempdir())
    for lock in parent.glob(f"{METRICS}*/{LOCK}"):
        with suppress(OSError), lock.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=METRICS, dir=parent))
    try:
        with (folder / "new").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / "new").rename(folder / LOCK)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _allow_connections() -> int:
    """Raise the limit of open files, and return the maximum number of connections per worker."""
    import resource  # not available on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * MAX_CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(MAX_CONNECTIONS, wanted // 2)


def _cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def stop_on_signal(stop: Callable[[], None]) -> None:
    """Wait for SIGINT or SIGTERM, then call `stop` repeatedly until this process ends.

    The server loses a signal that arrives while it replaces a dead worker.
    """
    signal.sigwait(STOP_SIGNALS)
    while True:
        stop()
        time.sleep(0.1)


def load_worker(app: Flask, folder: Path, own_cores: Iterable[int], port: int, restarts: _Restarts) -> Flask:
    """Prepare a worker process and return its application."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if restarts.delay and signal.sigtimedwait({signal.SIGTERM}, restarts.delay):
        os._exit(0)
    if hasattr(os, "sched_setaffinity"):
        _pin_to_core(folder, own_cores)
    threading.Thread(target=_end_on_sigterm, daemon=True).start()
    if keep_alive.CAN_WATCH:
        threading.Thread(target=keep_alive.watch, args=(port,), daemon=True).start()
    metrics.init_worker()
    # The first connection records the identity of the file, so that the worker detects a replaced file.
    with suppress(DBAPIError, DatabaseUnavailable), app.app_context():
        db.engine.connect().close()
    return app


def _pin_to_core(folder: Path, cores: Iterable[int]) -> None:
    """Pin this worker to the first of `cores` that no other worker uses.

    Only one thread of a worker runs at a time. On one core, threads pass the interpreter lock much faster
    than between two cores.
    """
    import fcntl  # not available on Windows

    for core in cores:
        lock = os.open(folder / f"core-{core}", os.O_CREAT | os.O_WRONLY)  # locked until the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.sched_setaffinity(0, {core})
        except OSError:  # another worker uses the core, or this process may no longer use it
            os.close(lock)
        else:
            return


def _end_on_sigterm() -> None:
    """Wait for SIGTERM, then call the server's handler, which ends the worker after its requests.

    The server can lose a signal before it listens, and two signals at once stop it halfway. Service managers
    signal all processes, and the main process reports a failure if a worker ends before it stops the worker.
    """
    inherited = signal.getsignal(signal.SIGTERM)
    if sys.platform == "linux":
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender not in {os.getpid(), os.getppid()}:
            signal.sigtimedwait({signal.SIGTERM}, KILL_TIMEOUT / 2)
    else:
        signal.sigwait({signal.SIGTERM})
        time.sleep(0.1)
    while (handler := signal.getsignal(signal.SIGTERM)) is inherited:
        time.sleep(0.01)
    if callable(handler):
        handler(signal.SIGTERM, None)


def _end_with_parent() -> None:
    """End the worker when the main process ends. Otherwise the port would stay in use."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(KILL_TIMEOUT)
        os.kill(os.getpid(), signal.SIGKILL)


def _resolve(host: str, port: int) -> str:
    """Return the address of `host`. Raises StartupError if the port is in use.

    Without this check, the server would share the port with another program (SO_REUSEPORT).
    """
    if not 0 < port < 2**16:
        raise StartupError(f"Invalid port {port}. Use a number from 1 to 65535 (make run PORT=…, or --port).")
    try:
        family, socket_type, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket_type, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"Port {port} is in use. Stop the program that uses it, or choose another port"
        else:
            reason = f"Cannot listen on {host}:{port} ({error.strerror}). Choose another host or port"
        raise StartupError(f"{reason} (make run HOST=… PORT=…, or --host and --port).") from None
    return str(address[0])
