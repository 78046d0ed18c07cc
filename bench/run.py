"""Measure the service beside what does the same job, and on more and more todos; write docs/performance.md.

Every server runs on loopback, with its own copy of the same todos, and takes its turn in every round,
so that whatever else the machine does falls on all alike. What was measured is kept in a file, an
operation at a time, so that a run can be made of several; the page is written anew from it each time.
"""

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from bench import data, listing, report
from bench.operations import OPERATIONS, Operation, Request
from bench.servers import OURS, PATIENCE, PEERS, ROOT, Peer, Server, serving, versions

LOAD = Path(__file__).with_name("load.lua")
KEPT = ROOT / ".bench_cache" / "results.json"
SIZES = (1000, 100_000, 1_000_000)
DATABASES = ("sqlite", "postgresql")
# What is a mix of the others is left out of the scale.
SCALED = tuple(operation for operation in OPERATIONS if operation.name != "mix")


def main() -> None:
    """Measure what is asked for, and write the page."""
    options = parse()
    if options.render:
        report.write(json.loads(KEPT.read_text()))
        return
    if not shutil.which("wrk"):
        sys.exit("wrk, which makes the load, is missing: install it (on Debian: apt install wrk).")
    # To be told to end leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended."))
    results = load_results()
    if "peers" in options.sections:
        measure_peers(options, results)
    if "scale" in options.sections:
        measure_scale(options, results)
    if "listing" in options.sections:
        short = vars(options) | {"seconds": listing.SECONDS}
        measure_listing(argparse.Namespace(**short), results)
    report.write(results)


def parse() -> argparse.Namespace:
    """Read the command line."""

    def some(names: Sequence[str]) -> Any:
        def choose(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := set(chosen) - set(names):
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: take some of {','.join(names)}")
            return chosen

        return choose

    def option(name: str, names: Sequence[str], what: str) -> None:
        parser.add_argument(
            name, type=some(names), default=list(names), metavar="NAMES", help=f"{what}, of {','.join(names)}"
        )

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option("--sections", ("peers", "scale", "listing"), "what to measure")
    option("--peers", [peer.name for peer in PEERS], f"which servers, {OURS.name} always among them")
    option("--operations", [operation.name for operation in OPERATIONS], "which operations")
    option("--databases", DATABASES, "the scale on which databases")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=2,
        help="of each turn, rounded up to whole ones, as wrk takes no others (default: %(default)s); "
        f"of listing, which has many, {listing.SECONDS}",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="of each server (default: one a core)"
    )
    parser.add_argument(
        "--postgresql",
        metavar="URL",
        help="a server, as a superuser, instead of the one from its package",
    )
    parser.add_argument("--render", action="store_true", help="write the page anew, and measure nothing")
    options = parser.parse_args()
    options.seconds = math.ceil(options.seconds)
    options.operations = [operation for operation in OPERATIONS if operation.name in options.operations]
    options.peers = [peer for peer in PEERS if peer is OURS or peer.name in options.peers]
    return options


def load_results() -> dict[str, Any]:
    """What was measured before, where it was on this machine."""
    machine = report.machine()
    if KEPT.exists():
        results: dict[str, Any] = json.loads(KEPT.read_text())
        if results["machine"] == machine:
            return results
    return {"machine": machine, "servers": {}, "peers": {}, "scale": {}}


def keep(results: dict[str, Any]) -> None:
    """Keep what was measured, for the page and for the next run."""
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(results, indent=1))


def conditions(options: argparse.Namespace) -> dict[str, Any]:
    """How the measurement is made."""
    return {
        "seconds": options.seconds,
        "rounds": options.rounds,
        "workers": options.workers,
        "date": time.strftime("%Y-%m-%d"),
        "load_before": os.getloadavg()[0],
    }


def measure_peers(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """The peers side by side, all those of one size of the database at a time."""
    how = conditions(options)
    for rows in sorted({operation.rows for operation in options.operations}):
        operations = [operation for operation in options.operations if operation.rows == rows]
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            servers = [
                running.enter_context(serving(peer, Path(folder) / peer.name, rows, options.workers))
                for peer in options.peers
                if not peer.writes_only or any(operation.writes for operation in operations)
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
        keep(results)


def measure_scale(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """The service alone, on databases of several sizes, which take turns like peers."""
    how = conditions(options)
    operations = [operation for operation in options.operations if operation in SCALED]
    for database in options.databases:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            new_url = running.enter_context(databases(database, options.postgresql))
            servers = [
                running.enter_context(
                    serving(OURS, Path(folder) / str(rows), rows, options.workers, new_url(rows))
                )
                for rows in SIZES
            ]
            kept = results["scale"].setdefault(database, {"operations": {}})
            kept["name"] = (
                f"SQLite, {OURS.durability}"
                if database == "sqlite"
                else data.settings_of_postgresql(servers[0].database)
            )
            for name, sizes in in_rounds(operations, servers, options).items():
                kept["operations"][name] = {"how": how, "sizes": sizes}
        keep(results)


def measure_listing(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """The service alone: all that is read of files of several sizes, and what their indexes cost."""
    how = conditions(options)
    operations = list(listing.operations())
    with tempfile.TemporaryDirectory() as folder:
        files = {rows: Path(folder) / str(rows) for rows in SIZES}
        with ExitStack() as running:
            servers = [
                running.enter_context(serving(OURS._replace(varied=True), file, rows, options.workers))
                for rows, file in files.items()
            ]
            found = {operation.name: find(operation, servers) for operation in operations}
            turns = in_rounds(operations, servers, options)
        results["listing"] = {
            "how": how,
            "operations": [
                {"title": each.title, "found": found[each.name], "sizes": turns[each.name]}
                for each in operations
            ],
            "costs": listing.costs_of_indexes(files[SIZES[-1]] / OURS.file),
        }
    keep(results)


def find(operation: Operation, servers: Sequence[Server]) -> list[int]:
    """How many todos each server finds; ends the program where it is not what is to be found."""
    found = []
    for server in servers:
        status, _, answer = server.ask(operation.request(server.peer.api, 0, server.rows))
        found.append(len(server.peer.api.todos(answer)))
        expected = listing.expected(operation)
        if status != 200 or expected not in {None, found[-1]}:  # OK
            sys.exit(f"{server.rows} todos: {operation.title}: {status}, {found[-1]} todos, not {expected}.")
    return found


@contextmanager
def databases(database: str, given: str | None) -> Iterator[Callable[[int], str]]:
    """What makes a new database and returns its URL; an empty text for a SQLite file."""
    if database == "sqlite":
        yield lambda _: ""
        return
    from tests.support import database_server  # of the packages for development

    with ExitStack() as stack:
        server = make_url(given) if given else stack.enter_context(database_server.postgresql())
        # They are dropped in the end, when nothing uses them any more.
        yield lambda rows: stack.enter_context(data.new_database(server, f"todo_bench_{rows}"))


def in_rounds(
    operations: Sequence[Operation], servers: Sequence[Server], options: argparse.Namespace
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Measure each operation on each server that has it, in rounds; by operation and server.

    A server goes by its peer's name or, among several of one peer, by the number of its todos.
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
    """Whether `peer` is measured with `operation`."""
    if operation.tags and not operation.writes:
        return peer.etags
    return operation.writes or not peer.writes_only


def compare(operation: Operation, servers: Sequence[Server]) -> None:
    """See that each server answers as the first, the service, does: the same members of as many todos."""
    expected: list[set[str]] = []
    for server in servers:
        if not takes(server.peer, operation):
            continue
        data.reset(server.database, server.kind, server.rows)
        status, _, answer = server.ask(operation.request(server.peer.api, 1, server.rows))
        if status not in {200, 201}:
            sys.exit(f"{server.peer.title} answers {operation.title} with {status}: {answer}")
        members = [set(todo) for todo in server.peer.api.todos(answer)]
        expected = expected or members
        if len(members) != len(expected) or not all(
            ours <= theirs for ours, theirs in zip(expected, members, strict=True)
        ):
            sys.exit(f"{server.peer.title} answers {operation.title} with other todos than {OURS.title}.")


def measure(server: Server, operation: Operation, seconds: int) -> dict[str, float]:
    """One turn of `server`, on the todos it had at first; ends the program where a request fails."""
    if not server.peer.varied:  # nothing writes to those
        data.reset(server.database, server.kind, server.rows)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requests"
        tags: list[str] = []
        if operation.tags and operation.writes and server.peer.if_match:
            tags = list(write_tagged(server, operation, file))
        else:
            requests = list(make_requests(server, operation))
            file.write_bytes(b"\0".join(request.to_bytes() for request in requests))
            status, _, answer = server.ask(requests[0])
            if status != server.peer.api.statuses.get(operation.status, operation.status):
                sys.exit(f"{server.peer.title} answers {operation.title} with {status}: {answer}")
        threads = len(tags) or 1
        command = f"wrk -t {threads} -c {operation.connections} -d {seconds} --timeout {PATIENCE} -s {LOAD}"
        output = subprocess.run(
            [*command.split(), f"http://127.0.0.1:{server.port}", "--", str(file), *tags],
            stdout=subprocess.PIPE,
            check=True,
            timeout=seconds + 2 * PATIENCE,
        ).stdout
    turn: dict[str, float] = json.loads(output.splitlines()[-1])
    if turn["errors"] or not turn["rate"]:
        sys.exit(f"{server.peer.title} failed {turn['errors']} requests of {operation.title}.")
    return turn


def make_requests(server: Server, operation: Operation) -> Iterator[Request]:
    """The requests of a turn, each with the entity tag of its todo where the operation wants it."""
    for n in range(operation.varied):
        request = operation.request(server.peer.api, n, server.rows)
        if operation.tags and server.peer.etags and not operation.writes:
            tag = server.ask(request)[1]
            request = request._replace(headers=(("If-None-Match", str(tag)),))
        yield request


def write_tagged(server: Server, operation: Operation, file: Path) -> Iterator[str]:
    """Write for each connection a file of changes of a todo of its own; yield the todos' entity tags."""
    for connection in range(operation.connections):
        request = operation.request(server.peer.api, connection, server.rows)
        changes = (
            request._replace(body={"title": f"Buy milk, change {n}"}, headers=(("If-Match", "@etag@"),))
            for n in range(2)
        )
        numbered = file.with_name(f"{file.name}{connection + 1}")
        numbered.write_bytes(b"\0".join(change.to_bytes() for change in changes))
        yield str(server.ask(Request("GET", request.path))[1])


if __name__ == "__main__":
    main()
