"""Measure the service beside the plain form of the same API, and print a table in Markdown.

Every peer runs on loopback, with its own copy of the same todos, and takes its turn in every round,
so that whatever else the machine does falls on all alike. Peers answer at the same addresses and keep
their todos in a SQLite file, in the table `todos`.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
REQUESTS = Path(__file__).with_name("requests.lua")
ROWS = 1000
OPERATIONS = ("GET one", "list of 1,000", "PUT", "POST")
PATIENCE = 30  # seconds for a server to start or stop
# Whatever proxy the environment names, it does not lead to loopback.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Peer(NamedTuple):
    """A server to measure; its commands and environment may name {file}, {port} and {workers}."""

    name: str
    serve: str
    environment: dict[str, str]
    durability: str
    packages: Sequence[str]
    prepare: str = ""


OURS = Peer(
    name="todo",
    serve="flask --app todo serve --port {port}",
    environment={"TODO_SQLALCHEMY_DATABASE_URI": "sqlite:///{file}", "TODO_WORKERS": "{workers}"},
    durability="WAL, synchronous=FULL",
    packages=("flask", "sqlalchemy", "msgspec", "granian"),
)
PEERS = (
    OURS,
    Peer(
        name="plain Flask",
        prepare="flask --app bench.plain init-db",
        serve="gunicorn -b 127.0.0.1:{port} -w {workers} --log-level warning bench.plain:create_app()",
        environment={"FLASK_SQLALCHEMY_DATABASE_URI": "sqlite:///{file}"},
        durability="SQLite's defaults: rollback journal, synchronous=FULL",
        packages=("flask", "sqlalchemy", "gunicorn"),
    ),
)


class Server(NamedTuple):
    """A peer that runs."""

    peer: Peer
    url: str
    file: Path


class Measurement(NamedTuple):
    """What wrk saw in one turn; latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    errors: int


def main() -> None:
    """Start every peer, measure in rounds, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each turn (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=8, help="of wrk (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="of each server (default: one a core)"
    )
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk, which makes the load, is missing: install it (on Debian: apt install wrk).")

    others = os.getloadavg()[0]
    measured: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        servers = [running.enter_context(serving(peer, Path(folder), options.workers or 1)) for peer in PEERS]
        for _ in range(options.rounds):
            for operation in OPERATIONS:
                for server in servers:
                    seconds, connections = options.seconds, options.connections
                    measured[operation, server.peer.name].append(
                        measure(server, operation, seconds, connections)
                    )
        print(*report(measured, Path(folder), options), sep="\n")
        print(f"- load average before: {others:.2f} (what else runs takes its share, so near 0 is wanted)")


@contextmanager
def serving(peer: Peer, folder: Path, workers: int) -> Iterator[Server]:
    """Run `peer` on a free port, on a database with the todos to measure."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(peer, f"http://127.0.0.1:{port}/api/v1", folder / f"{peer.name}.sqlite")

    def fill(text: str) -> str:
        return text.format(file=server.file, port=port, workers=workers)

    def command(text: str) -> list[str]:
        program, *arguments = text.split()
        return [str(BIN / program), *map(fill, arguments)]

    environment = os.environ | {name: fill(value) for name, value in peer.environment.items()}
    if peer.prepare:
        subprocess.run(command(peer.prepare), cwd=ROOT, env=environment, check=True)
    process = subprocess.Popen(
        command(peer.serve), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(server, process)
        add_todos(server)
        yield server
    finally:
        stop(process)


def wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Wait until `server` says that it is well."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with HTTP.open(f"{server.url}/health", timeout=PATIENCE):
                return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{server.peer.name} did not start.")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server, and its workers where it leaves them behind."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def add_todos(server: Server) -> None:
    """Give `server` the todos 1 to ROWS, the same as every other."""
    moment = "2027-01-31 18:00:00.000000"
    todos = (
        (n, f"Todo {n}", f"Something to do, number {n}", n % 2, moment if n % 3 else None, moment, moment)
        for n in range(1, ROWS + 1)
    )
    with closing(sqlite3.connect(server.file)) as connection, connection:
        connection.executemany("INSERT INTO todos VALUES (?, ?, ?, ?, ?, ?, ?)", todos)
    with HTTP.open(f"{server.url}/todos", timeout=PATIENCE) as response:
        if len(json.load(response)) != ROWS:
            sys.exit(f"{server.peer.name} does not serve the todos that it was given.")


def measure(server: Server, operation: str, seconds: int, connections: int) -> Measurement:
    """One turn of `server`, on the todos it had at first."""
    # Not after a turn: wrk leaves requests behind that the server is still at work on.
    with closing(sqlite3.connect(server.file, timeout=PATIENCE)) as connection, connection:
        connection.execute("DELETE FROM todos WHERE id > ?", (ROWS,))
    load = f"wrk --threads 1 --connections {connections} --duration {seconds} --timeout {PATIENCE} --script"
    output = subprocess.run(
        [*load.split(), REQUESTS, server.url, "--", operation, str(ROWS)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=seconds + PATIENCE,
    ).stdout
    measurement = Measurement(**json.loads(output.splitlines()[-1]))
    if measurement.errors:
        sys.exit(f"{server.peer.name} failed {measurement.errors} requests of {operation}.")
    return measurement


def report(
    measured: dict[tuple[str, str], list[Measurement]], folder: Path, options: argparse.Namespace
) -> Iterator[str]:
    """The lines of the table and of what it was measured on."""
    yield f"| operation | server | requests a second | p50, ms | p99, ms | {OURS.name} is faster, times |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for operation in OPERATIONS:
        ours = [turn.rate for turn in measured[operation, OURS.name]]
        for peer in PEERS:
            rates, p50, p99, _ = zip(*measured[operation, peer.name], strict=True)
            ratios = [mine / other for mine, other in zip(ours, rates, strict=True)]
            yield (
                f"| {operation} | {peer.name} | {spread(rates, ',.0f')} | {statistics.median(p50):.1f} "
                f"| {statistics.median(p99):.1f} | {'' if peer is OURS else spread(ratios, '.2f')} |"
            )
    yield ""
    yield f"Median (lowest to highest) of {options.rounds} rounds of {options.seconds} s a turn,"
    yield f"{ROWS:,} todos, {options.connections} connections, {options.workers} workers."
    yield ""
    for peer in PEERS:
        packages = ", ".join(f"{package} {version(package)}" for package in peer.packages)
        yield f"- {peer.name}: {peer.durability}; {packages}"
    yield f"- Python {platform.python_version()} by {platform.python_compiler()}"
    yield f"- SQLite {sqlite3.sqlite_version}; data on {file_system(folder)}"
    yield f"- {processor()}, {os.cpu_count()} cores; {platform.platform()}"


def spread(values: Sequence[float], form: str) -> str:
    """The median of `values`, and between what they lie."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def processor() -> str:
    """The processor's name, where the system tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(folder: Path) -> str:
    """The file system under `folder`: on one in memory, a commit costs nothing."""
    output = subprocess.check_output(["stat", "--file-system", "--format=%T", folder], text=True)
    return output.strip()


if __name__ == "__main__":
    main()
