"""Write docs/performance.md and its charts from the results."""

import os
import platform
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import charts, listing
from bench.operations import OPERATIONS, UNCONDITIONAL
from bench.servers import FIRST_READS, OURS, PEERS, ROOT, Peer

DOCS = ROOT / "docs"
Turns = Sequence[dict[str, float]]

# The service to compare with, the operation, and the smallest ratios to the peers of FLOOR_PEERS.
FLOOR_PEERS = ("flask_wal", "express", "fastify")
FLOORS: tuple[tuple[Peer, str, tuple[float | None, ...]], ...] = (
    (OURS, "get_one", (6, 2, 0.55)),
    (OURS, "list_100", (15, 5, 3)),
    (OURS, "list_1000", (60, 15, 12)),
    (OURS, "get_one_304", (6, 2, None)),
    (FIRST_READS, "get_one", (1.8, 0.6, None)),
    (FIRST_READS, "list_100", (2, 0.6, None)),
    (FIRST_READS, "list_1000", (3, 0.9, None)),
    (OURS, "put", (2, 1.15, None)),
    (OURS, "patch", (2, 1.15, None)),
    (OURS, "post", (2, 1.15, None)),
    (OURS, "mix", (2.5, 0.75, None)),
    (OURS, "polling", (6, 2, 0.8)),
)
TITLES = {operation.name: operation.title for operation in OPERATIONS}
MOST_TIMES, MOST_MILLISECONDS = 1.5, 50
SLOWEST = 10  # combinations of a filter and a sort order

HEAD = """\
# Performance

    make bench

On SQLite, each worker caches responses in memory:

- **Cached**, until anything commits to the database: a todo, and a page of a list with `limit`.
- **Not cached**: lists without `limit`, the filters `window` and `overdue`, which depend on the time, errors,
  and writes. With a rate limit, or on PostgreSQL or MariaDB, nothing is cached. The peers have no cache.

So this page measures each read twice. A **repeated read** comes from the cache, which is on by default
(`TODO_RESPONSE_CACHE`). It shows the speed that clients see. A **first read** is measured with the cache off
(`TODO_RESPONSE_CACHE=0`). It compares the code.

`make bench` writes this page and its charts. It needs wrk and Node.js. To measure only a part, run for
example

    make bench BENCH="--peers flask,express --operations get_one --seconds 2 --rounds 1"

`make bench BENCH=--help` shows all options. Read the ratios rather than the rates: a ratio compares two turns
of the same round, so it holds better on other machines. Differences below 10 % are noise.
"""
PEERS_TEXT = """\
## Compared with its peers

Each peer is written as its own documentation teaches ([bench/](../bench)). It has the same seven members and
validates them as its framework usually does. *Plain Flask* appears twice, with the defaults of SQLite and
with WAL: one PRAGMA makes much of the difference on writes. *The limit* is WSGI and the database driver
without any validation. Every server has one worker for each core and its own copy of the same todos. All
servers take turns in each round. A failed request ends the run. An empty cell means that the server does not
have the operation, or that another column measures it.
"""
FLOORS_TEXT = """\
### Floors

The ratio to each peer, with the floor that the project sets in parentheses. A ratio below its floor is bold.
"""
SCALE_TEXT = """\
## On more todos

The service alone with the response cache off, each operation on 1,000, 100,000 and 1,000,000 todos. A page
has 100 or 1,000 todos. The filtered page has the open todos, which are the newest. The chart shows the time
of a request relative to 1,000 todos: flat curves are good.
"""
LISTS_TEXT = """\
## Filters, sort orders and pages

Requests on SQLite with `limit=100`, in one process with the response cache off: median milliseconds, and the
time on the largest file relative to the smallest. The todos are varied: a third is completed, and deadlines,
titles and updates have no pattern. A late page begins 150 todos before the end.
"""
INDEXES_TEXT = """
### Cost of each index

Microseconds (time and CPU) of one INSERT and its commit into a file of {rows:,} todos, as POST does it. The
rows of the indexes show how much less an INSERT takes without that index. Each index has a copy of the file
without it. The copies take turns with batches of inserts ({inserts:,} inserts in {batches} batches), and the
table has the medians of the differences. Differences below 5 % are noise.

| index | time | share | CPU | share |
| --- | ---: | ---: | ---: | ---: |"""


def write(results: dict[str, Any]) -> None:
    """Write the page and its charts."""
    DOCS.mkdir(exist_ok=True)
    lines = [HEAD]
    if results["peers"]:
        charts.peers(DOCS / "performance-peers.svg", *relative(results["peers"]))
        lines += peers(results)
    if results["scale"]:
        charts.scale(DOCS / "performance-scale.svg", curves(results["scale"]))
        lines += scale(results)
    if "lists" in results:
        lines += lists(results["lists"])
    lines += ["## The machine\n", *(f"- {line}" for line in results["machine"]), ""]
    page = DOCS / "performance.md"
    page.write_text("\n".join(lines))
    print(f"Wrote {page.relative_to(ROOT)}.", file=sys.stderr)


def peers(results: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the peers."""
    measured = results["peers"]
    yield PEERS_TEXT
    yield "| operation | why it is measured |\n| --- | --- |"
    yield from (f"| {operation.title} | {operation.why} |" for operation in OPERATIONS)
    yield "\n![Requests a second of each server relative to the service](performance-peers.svg)\n"
    yield from how(measured.values())
    yield ""
    yield from floors(measured)
    yield f"\n### How many times faster {OURS.title} is\n"
    yield "The median (lowest to highest) of the ratios of the rounds.\n"
    yield from table(
        measured,
        [peer for peer in PEERS if peer not in (OURS, FIRST_READS)],
        lambda ours, theirs: spread(ratios(ours, theirs), ".2f"),
        compared=(OURS, FIRST_READS),
    )
    yield "\n### Requests a second\n\nThe median (lowest to highest) of the rounds.\n"
    yield from table(measured, PEERS, lambda _, turns: spread([turn["rate"] for turn in turns], ",.0f"))
    yield "\n### Latency: p50 / p99, in milliseconds\n\nThe medians of the rounds.\n"
    yield from table(
        measured, PEERS, lambda _, turns: f"{median(turns, 'p50'):.1f} / {median(turns, 'p99'):.1f}"
    )
    yield ""
    for operation in OPERATIONS:
        if operation.name in measured and operation.conditional:
            without = [peer.title for peer in PEERS if operation.conditional not in peer.conditional]
            yield f"{operation.title}: {', '.join(without)}: {UNCONDITIONAL[operation.conditional]}.\n"
        if operation.name in measured and operation.meanwhile:
            turns = measured[operation.name]["servers"]
            rates = [
                f"{peer.title} {median(turns[peer.name], 'writes'):.0f}"
                for peer in PEERS
                if peer.name in turns
            ]
            yield f"{operation.title}: the writes a second were {', '.join(rates)}.\n"
    yield "### Memory, versions and durability\n"
    yield "Memory of all processes after the rounds. Shared memory is counted once.\n"
    yield "| server | memory, MiB | versions | a commit |\n| --- | ---: | --- | --- |"
    for peer in PEERS:
        if server := results["servers"].get(peer.name):
            memory = server["memory"] / 2**20
            yield f"| {peer.title} | {memory:,.0f} | {server['versions']} | {server['durability']} |"
    yield ""


def floors(measured: dict[str, Any]) -> Iterator[str]:
    """Yield the table of floors."""
    yield FLOORS_TEXT
    yield f"| operation |{''.join(f' to {peer.title} |' for peer in PEERS if peer.name in FLOOR_PEERS)}"
    yield f"| --- |{' ---: |' * len(FLOOR_PEERS)}"
    for peer, name, lowest in FLOORS:
        servers = measured.get(name, {}).get("servers", {})
        cells = [
            compare(servers[peer.name], servers[other], floor)
            if floor and peer.name in servers and other in servers
            else ""
            for other, floor in zip(FLOOR_PEERS, lowest, strict=True)
        ]
        yield f"| {title_of(peer, name, measured)} | {' | '.join(cells)} |"


def compare(ours: Turns, theirs: Turns, floor: float) -> str:
    """Return the ratio beside its floor."""
    ratio = statistics.median(ratios(ours, theirs))
    text = f"{ratio:.2f}" if ratio >= floor else f"**{ratio:.2f}**"
    return f"{text} ({floor:g})"


def title_of(peer: Peer, name: str, measured: dict[str, Any]) -> str:
    """Return the title of an operation, with the kind of the read if it is measured twice."""
    if peer is FIRST_READS:
        return f"{TITLES[name]}, first"
    return f"{TITLES[name]}{', repeated' * (FIRST_READS.name in measured.get(name, {}).get('servers', {}))}"


def scale(results: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the sizes."""
    yield SCALE_TEXT
    yield "![Time of each operation on more todos](performance-scale.svg)\n"
    for database in results["scale"].values():
        yield f"### {database['name']}\n"
        yield from how(database["operations"].values())
        sizes = sorted({int(size) for entry in database["operations"].values() for size in entry["sizes"]})
        yield "\nRequests a second, p50 / p99 in milliseconds. The last column is the time on the most todos"
        yield "relative to the fewest.\n"
        yield f"| operation |{''.join(f' {size:,} |' for size in sizes)} times |"
        yield f"| --- |{' ---: |' * (len(sizes) + 1)}"
        for operation in OPERATIONS:
            if entry := database["operations"].get(operation.name):
                turns = [entry["sizes"][str(size)] for size in sizes]
                cells = [
                    f"{median(turn, 'rate'):,.0f}, {median(turn, 'p50'):.1f} / {median(turn, 'p99'):.1f}"
                    for turn in turns
                ]
                times = median(turns[0], "rate") / median(turns[-1], "rate")
                yield f"| {short(operation.title)} | {' | '.join(cells)} | {times:.2f} |"
        yield ""


def lists(measured: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of lists, and of the indexes."""
    yield LISTS_TEXT
    run = measured["how"]
    yield f"{run['date']}: load average before {run['load_before']:.2f} (it should be near 0)."
    readings = measured["readings"]
    sizes = list(map(int, readings[0]["milliseconds"]))
    slowest = sorted(readings, key=lambda reading: -reading["milliseconds"][str(sizes[-1])])
    groups = {
        group: [reading for reading in slowest if reading["group"] == group]
        for group in (listing.OTHERS, listing.SEARCHES)
    }
    first = groups[listing.OTHERS][0]
    yield "\n### Each sort order, and each filter in the order of its own index\n"
    yield f"These take at most {MOST_TIMES} times as long on the largest file. A larger ratio is bold.\n"
    yield from readings_table(
        [each for each in readings if each["group"] in {listing.ORDERS, listing.OWN}], sizes
    )
    yield "\n### Other combinations of a filter and a sort order\n"
    yield f"Each of {len(groups[listing.OTHERS])} combinations should take at most {MOST_MILLISECONDS} ms."
    yield f"**The slowest is `{first['title']}`: {first['milliseconds'][str(sizes[-1])]:.1f} ms.**"
    yield f"The {SLOWEST} slowest are:\n"
    yield from readings_table(groups[listing.OTHERS][:SLOWEST], sizes)
    yield "\n### Searches\n"
    yield "No index serves `q`. A search reads todos in the sort order until the page is full, so a rare text"
    yield "takes the time to read all todos. The slowest are:\n"
    yield from readings_table(groups[listing.SEARCHES][:3], sizes)
    costs = measured["costs"]
    batches, inserts = listing.BATCHES, listing.BATCHES * listing.BATCH
    yield INDEXES_TEXT.format(rows=sizes[-1], inserts=inserts, batches=batches)
    whole = costs[listing.ALL]
    for name, cost in costs.items():
        cells = [f"{part:.0f} | {part / of_all:.0%}" for part, of_all in zip(cost, whole, strict=True)]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def readings_table(readings: Sequence[dict[str, Any]], sizes: Sequence[int]) -> Iterator[str]:
    """Yield a table of lists: the milliseconds on each size, and the ratio of the last to the first."""
    yield f"| request |{''.join(f' {size:,} |' for size in sizes)} times |"
    yield f"| --- |{' ---: |' * (len(sizes) + 1)}"
    for reading in readings:
        times = list(reading["milliseconds"].values())
        ratio = f"{times[-1] / times[0]:.2f}"
        if reading["group"] in {listing.ORDERS, listing.OWN} and float(ratio) > MOST_TIMES:
            ratio = f"**{ratio}**"
        cells = " | ".join(f"{time:.2f}" for time in times)
        yield f"| {reading['title']} | {cells} | {ratio} |"


def short(title: str) -> str:
    """Return the title of an operation without its number of todos."""
    return title.removesuffix(" of 1,000,000")


def how(entries: Any) -> Iterator[str]:
    """Yield a line for each way of measuring."""
    ways = {
        (
            f"{way['date']}: {way['rounds']} rounds, turns of {way['seconds']} s, {way['workers']} workers, "
            "8 clients unless the operation names another number, load average before "
            f"{way['load_before']:.2f} (it should be near 0)."
        )
        for way in (entry["how"] for entry in entries)
    }
    yield from sorted(ways)


def table(
    measured: dict[str, Any],
    columns: Sequence[Peer],
    cell: Callable[[Turns, Turns], str],
    compared: Sequence[Peer] = (OURS,),
) -> Iterator[str]:
    """Yield a table with a column for each server, and a row for each operation of `compared` services."""
    shown = [peer for peer in columns if any(peer.name in entry["servers"] for entry in measured.values())]
    yield f"| operation |{''.join(f' {peer.title} |' for peer in shown)}"
    yield f"| --- |{' ---: |' * len(shown)}"
    for name in (operation.name for operation in OPERATIONS if operation.name in measured):
        servers = measured[name]["servers"]
        for ours in (peer for peer in compared if peer.name in servers):
            title = title_of(ours, name, measured) if len(compared) > 1 else TITLES[name]
            turns = [servers.get(peer.name) for peer in shown]
            cells = ["" if turn is None else cell(servers[ours.name], turn) for turn in turns]
            yield f"| {title} | {' | '.join(cells)} |"


def ratios(ours: Turns, theirs: Turns) -> list[float]:
    """Return the rates of the service relative to those of the other server, by round."""
    return [mine["rate"] / other["rate"] for mine, other in zip(ours, theirs, strict=True)]


def relative(measured: dict[str, Any]) -> tuple[list[str], dict[str, list[float | None]]]:
    """Return the operations, and for each server its rates relative to the service, or None."""
    operations = [operation for operation in OPERATIONS if operation.name in measured]
    rates: dict[str, list[float | None]] = {}
    for peer in PEERS:
        values: list[float | None] = []
        for operation in operations:
            servers = measured[operation.name]["servers"]
            turns = servers.get(peer.name)
            values.append(turns and 1 / statistics.median(ratios(servers[OURS.name], turns)))
        if any(values):
            rates[peer.title] = values
    return [operation.title for operation in operations], rates


def curves(measured: dict[str, Any]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return the sizes by database and operation, and the time on each relative to the smallest."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for database in measured.values():
        lines = found.setdefault(database["name"].partition(",")[0], {})
        for operation in OPERATIONS:
            if entry := database["operations"].get(operation.name):
                sizes = sorted(entry["sizes"].items(), key=lambda item: int(item[0]))
                first = median(sizes[0][1], "rate")
                lines[short(operation.title)] = [
                    (int(size), first / median(turns, "rate")) for size, turns in sizes
                ]
    return found


def median(turns: Turns, name: str) -> float:
    """Return the median of a value of the turns."""
    return statistics.median(turn[name] for turn in turns)


def spread(values: Sequence[float], form: str) -> str:
    """Return the median, the minimum and the maximum of `values`."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def machine() -> list[str]:
    """Describe the machine."""
    return [
        f"{_processor()}, {os.cpu_count()} cores; {platform.system()} {platform.release()}",
        f"Python {platform.python_version()} by {platform.python_compiler()}",
        f"SQLite {sqlite3.sqlite_version} in Python; the other servers have their own",
        f"data on {_file_system()} (a commit would cost nothing on a file system in memory)",
        _wrk(),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system() -> str:
    folder = os.environ.get("TMPDIR", "/tmp")
    return subprocess.check_output(["stat", "--file-system", "--format=%T", folder], text=True).strip()


def _wrk() -> str:
    # wrk prints its version only with a usage error.
    output = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return output.partition(" Copyright")[0]
