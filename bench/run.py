"""Measure the service beside its peers, and on up to a million todos. Write docs/performance.md.

Every server runs on loopback with its own copy of the same todos. All servers take turns in each round,
so that other load on the machine affects them equally. The results are saved by operation, and the page
contains all saved results. So a run may measure some operations only.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from sqlalchemy import make_url

from bench import data, listing, report
from bench.operations import OPERATIONS, WRITES_PER_SECOND, Operation, Request
from bench.servers import FIRST_READS, OURS, PEERS, ROOT, TIMEOUT, Peer, Server, serving, versions

LOAD = Path(__file__).with_name("load.lua")
RESULTS = ROOT / ".bench_cache" / "results.json"
SIZES = (1000, 100_000, 1_000_000)
DATABASES = ("sqlite", "postgresql")
# The scale is measured without the response cache and without operations that consist of others.
SCALED_PEER = FIRST_READS._replace(only="")
SCALED = tuple(operation for operation in OPERATIONS if operation.name not in {"mix", "polling"})


def main() -> None:
    """Measure the chosen sections and write the page."""
    options = parse()
    if options.render:
        report.write(json.loads(RESULTS.read_text()))
        return
    if not shutil.which("wrk"):
        sys.exit("wrk, which sends the requests, is missing. Install it (on Debian: apt install wrk).")
    # Stop the servers on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated."))
    results = load_results()
    if "peers" in options.sections:
        measure_peers(options, results)
    if "scale" in options.sections:
        measure_scale(options, results)
    if "lists" in options.sections:
        measure_lists(options, results)
    report.write(results)


def parse() -> argparse.Namespace:
    """Parse the command line."""

    def some(names: Sequence[str]) -> Any:
        def choose(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := set(chosen) - set(names):
                raise argparse.ArgumentTypeError(
                    f"Unknown: {', '.join(sorted(unknown))}. Choose from {','.join(names)}."
                )
            return chosen

        return choose

    def option(name: str, names: Sequence[str], text: str) -> None:
        parser.add_argument(
            name, type=some(names), default=list(names), metavar="NAMES", help=f"{text} ({','.join(names)})"
        )

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option("--sections", ("peers", "scale", "lists"), "sections of the page to measure")
    option("--peers", [peer.name for peer in PEERS], f"servers; {OURS.name} is always measured")
    option("--operations", [operation.name for operation in OPERATIONS], "operations")
    option("--databases", DATABASES, "databases for the scale")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=2, help="whole seconds of each turn (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="workers of each server (default: one for each core)",
    )
    parser.add_argument(
        "--postgresql",
        metavar="URL",
        help="superuser URL of a PostgreSQL server (default: the server of a Python package)",
    )
    parser.add_argument("--render", action="store_true", help="write the page from the saved results")
    options = parser.parse_args()
    options.operations = [operation for operation in OPERATIONS if operation.name in options.operations]
    options.peers = [peer for peer in PEERS if peer is OURS or peer.name in options.peers]
    return options


def load_results() -> dict[str, Any]:
    """Return the saved results if they are from this machine."""
    machine = report.machine()
    if RESULTS.exists():
        results: dict[str, Any] = json.loads(RESULTS.read_text())
        if results["machine"] == machine:
            return results
    return {"machine": machine, "servers": {}, "peers": {}, "scale": {}}


def save(results: dict[str, Any]) -> None:
    """Save the results for the page and for the next run."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))


def describe_run(options: argparse.Namespace) -> dict[str, Any]:
    """Return the conditions of the measurement."""
    return {
        "seconds": options.seconds,
        "rounds": options.rounds,
        "workers": options.workers,
        "date": time.strftime("%Y-%m-%d"),
        "load_before": os.getloadavg()[0],
    }


def measure_peers(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Measure the peers, all operations on one size of the database at a time."""
    how = describe_run(options)
    for rows in sorted({operation.rows for operation in options.operations}):
        operations = [operation for operation in options.operations if operation.rows == rows]
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            servers = [
                running.enter_context(serving(peer, Path(folder) / peer.name, rows, options.workers))
                for peer in options.peers
                if any(takes(peer, operation) for operation in operations)
            ]
            for operation in operations:
                compare(operation, servers)
            turns = in_rounds(operations, servers, options)
            for operation in operations:
                results["peers"][operation.name] = {"how": how, "servers": turns[operation.name]}
            if rows == min(operation.rows for operation in OPERATIONS):
                for server in servers:
                    results["servers"][server.peer.name] = {
                        "memory": server.memory(),
                        "versions": versions(server.peer),
                        "durability": server.peer.durability,
                    }
        save(results)


def measure_scale(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Measure the service on databases of several sizes, which take turns like peers."""
    how = describe_run(options)
    operations = [operation for operation in options.operations if operation in SCALED]
    for database in options.databases:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            new_url = running.enter_context(databases(database, options.postgresql))
            servers = [
                running.enter_context(
                    serving(SCALED_PEER, Path(folder) / str(rows), rows, options.workers, new_url(rows))
                )
                for rows in SIZES
            ]
            saved = results["scale"].setdefault(database, {"operations": {}})
            saved["name"] = (
                f"SQLite, {OURS.durability}"
                if database == "sqlite"
                else data.settings_of_postgresql(servers[0].database)
            )
            for name, sizes in in_rounds(operations, servers, options).items():
                saved["operations"][name] = {"how": how, "sizes": sizes}
        save(results)


def measure_lists(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Measure filters, sort orders and pages on files of several sizes, and the cost of each index."""
    with tempfile.TemporaryDirectory() as folder:
        files = {rows: Path(folder) / f"{rows}.sqlite" for rows in SIZES}
        results["lists"] = {"how": describe_run(options), **listing.measure(files, options.rounds)}
        results["lists"]["costs"] = listing.costs_of_indexes(files[SIZES[-1]])
    save(results)


@contextmanager
def databases(database: str, given: str | None) -> Iterator[Callable[[int], str]]:
    """Yield a function that creates a database and returns its URL, which is empty for a SQLite file."""
    if database == "sqlite":
        yield lambda _: ""
        return
    from tests.support import database_server

    with ExitStack() as stack:
        server = make_url(given) if given else stack.enter_context(database_server.postgresql())
        yield lambda rows: stack.enter_context(data.new_database(server, f"todo_bench_{rows}"))


def in_rounds(
    operations: Sequence[Operation], servers: Sequence[Server], options: argparse.Namespace
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Measure each operation on each server in rounds. Return the turns by operation and server.

    A server has the name of its peer or, if all servers are the same peer, the number of its todos.
    """
    alone = len({server.peer.name for server in servers}) == len(servers)
    turns: dict[str, dict[str, list[dict[str, float]]]] = {operation.name: {} for operation in operations}
    for number in range(options.rounds):
        for operation in operations:
            print(f"round {number + 1} of {options.rounds}: {operation.title}", file=sys.stderr, flush=True)
            for server in servers:
                if takes(server.peer, operation):
                    turn = measure(server, operation, options.seconds)
                    name = server.peer.name if alone else str(server.rows)
                    turns[operation.name].setdefault(name, []).append(turn)
    return turns


def takes(peer: Peer, operation: Operation) -> bool:
    """Return True if `operation` is measured on `peer`."""
    return peer.only in {"", "writes" if operation.writes else "reads"}


def compare(operation: Operation, servers: Sequence[Server]) -> None:
    """Exit unless all servers respond with the same number of todos, with all members of the service."""
    expected: list[set[str]] = []
    for server in servers:
        if not takes(server.peer, operation):
            continue
        data.reset(server.database, server.kind, server.rows)
        status, _, body = server.ask(operation.request(server.peer.api, 1, server.rows))
        if status not in {200, 201}:
            sys.exit(f"{server.peer.title} responded to {operation.title} with {status}: {body}")
        members = [set(todo) for todo in server.peer.api.todos(body)]
        expected = expected or members
        if len(members) != len(expected) or not all(
            ours <= theirs for ours, theirs in zip(expected, members, strict=True)
        ):
            sys.exit(
                f"{server.peer.title} responded to {operation.title} with other todos than {OURS.title}."
            )


def measure(server: Server, operation: Operation, seconds: int) -> dict[str, float]:
    """Measure one turn of `server` on its first todos. Exit if a request fails."""
    data.reset(server.database, server.kind, server.rows)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as executor:
        file = Path(folder) / "requests"
        tags = list(write_requests(server, operation, file))
        command = (
            f"wrk -t {len(tags) or 1} -c {operation.connections} -d {seconds} --timeout {TIMEOUT} -s {LOAD} "
            f"http://127.0.0.1:{server.port} -- {file}"
        )
        finished = Event()
        writer = executor.submit(write_meanwhile, server, operation, finished)
        try:
            output = subprocess.run(
                [*command.split(), *tags], stdout=subprocess.PIPE, check=True, timeout=seconds + 2 * TIMEOUT
            ).stdout
        finally:
            finished.set()
        turn: dict[str, float] = json.loads(output.splitlines()[-1]) | {"writes": writer.result()}
    if turn["errors"] or not turn["rate"]:
        sys.exit(f"{server.peer.title} failed {turn['errors']:.0f} requests of {operation.title}.")
    return turn


def write_requests(server: Server, operation: Operation, file: Path) -> Iterator[str]:
    """Write the requests of a turn. Yield the first entity tag of each thread that follows the tags.

    Each of these threads has a separate file, and sends the last tag that it received. Changes need a
    thread and a todo for each connection.
    """
    header = operation.conditional if operation.conditional in server.peer.conditional else ""
    if operation.writes and header:
        for number in range(1 if operation.meanwhile else operation.connections):
            request = operation.request(server.peer.api, number, server.rows)
            bodies = [request.body and {"title": f"Buy milk, change {n}"} for n in range(2)]
            save_requests(
                file.with_name(f"{file.name}{number + 1}"),
                [request._replace(body=body, headers=((header, "@etag@"),)) for body in bodies],
            )
            yield str(server.ask(Request("GET", request.path))[1])
        return
    requests = [operation.request(server.peer.api, n, server.rows) for n in range(operation.varied)]
    if header:
        requests = [
            request._replace(headers=((header, str(server.ask(request)[1])),)) for request in requests
        ]
    save_requests(file, requests)
    expected = operation.status if header or not operation.conditional else 200
    status, _, body = server.ask(requests[0])
    if status != server.peer.api.statuses.get(expected, expected):
        sys.exit(f"{server.peer.title} responded to {operation.title} with {status}: {body}")


def save_requests(file: Path, requests: Sequence[Request]) -> None:
    """Write a file of requests for load.lua."""
    file.write_bytes(b"\0".join(request.to_bytes() for request in requests))


def write_meanwhile(server: Server, operation: Operation, finished: Event) -> float:
    """Send the writes of `operation` until `finished` is set. Return the number of writes per second."""
    if operation.meanwhile is None:
        return 0
    began, n = time.monotonic(), 0
    while not finished.wait(max(0, began + n / WRITES_PER_SECOND - time.monotonic())):
        status, _, body = server.ask(operation.meanwhile(server.peer.api, n, server.rows))
        if status != 200:  # OK
            sys.exit(f"{server.peer.title} responded to a write with {status}: {body}")
        n += 1
    return n / (time.monotonic() - began)


if __name__ == "__main__":
    main()
