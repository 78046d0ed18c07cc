"""The page of what was measured: docs/performance.md, and its charts."""

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
from bench.servers import OURS, PEERS, ROOT, Peer

DOCS = ROOT / "docs"
Turns = Sequence[dict[str, float]]

HEAD = """\
# Performance

The service beside what does the same job, and on more and more todos. This page and its charts are
written by

    make bench

which needs wrk and Node.js. A part of it is measured by, for example,

    make bench BENCH="--peers flask,express --operations get_one --seconds 2 --rounds 1"

and `make bench BENCH=--help` tells the rest. Read the ratios: they are of turns of one round, and hold on
other machines better than the rates. Differences under a tenth are noise.
"""
PEERS_TEXT = """\
## Beside its peers

Each is written as its own documentation teaches, has the same seven members and checks them as far as its
idiom goes ([bench/](../bench)). *The limit* is WSGI, the driver and nothing else: nothing is validated.
Every server has as many workers as there are cores and its own copy of the same todos, and all take turns
in rounds. An empty cell: it has no such thing. A request that fails ends the run, so that there is none.
"""
SCALE_TEXT = """\
## On more todos

The service alone, each operation on 1,000, 100,000 and 1,000,000 todos. A page has 100 or 1,000 todos; the
filtered one is of the newest, which are the open ones. Flat curves are wanted: the time of a request, in
times of that on 1,000 todos.
"""


LISTING_TEXT = """\
## Filters, sorts and pages

On SQLite, all in one run, lists with limit=100: requests a second (p50, p99 in milliseconds) on so many
todos, how many of them an answer has, and the time on the most in times of that on the fewest, which is to
be at most 1.5, but for `q`. The todos are varied: a third is completed, in no order, and so are deadlines,
titles and changes. A bound leaves so many of all todos; what is rare is read in pages that 1,000 todos
can fill too.
"""
INDEXES_TEXT = """
### What an index costs

Of one INSERT and its commit, as POST makes them, into a file of {rows:,} todos by one process: the
microseconds of time and of CPU with every index, and how much less they are without each. A copy of the
file for each takes its turns, {inserts:,} inserts in {batches} batches; the medians of the batches'
differences. Less than a twentieth is noise.

| index | time | share | CPU | share |
| --- | ---: | ---: | ---: | ---: |"""


def write(results: dict[str, Any]) -> None:
    """Write the page and its charts, and say so."""
    DOCS.mkdir(exist_ok=True)
    lines = [HEAD]
    if results["peers"]:
        charts.peers(DOCS / "performance-peers.svg", *relative(results["peers"]))
        lines += peers(results)
    if results["scale"]:
        charts.scale(DOCS / "performance-scale.svg", curves(results["scale"]))
        lines += scale(results)
    if "listing" in results:
        lines += listings(results["listing"])
    lines += ["## The machine\n", *(f"- {line}" for line in results["machine"]), ""]
    page = DOCS / "performance.md"
    page.write_text("\n".join(lines))
    print(f"{page.relative_to(ROOT)} is written.", file=sys.stderr)


def peers(results: dict[str, Any]) -> Iterator[str]:
    """The tables of the peers."""
    measured = results["peers"]
    yield PEERS_TEXT
    yield "![Requests a second of each, for one of the service's](performance-peers.svg)\n"
    yield from how(measured.values())
    yield f"\n### How many times faster {OURS.title} is\n"
    yield "The median (lowest to highest) of the rounds' ratios.\n"
    others = [peer for peer in PEERS if peer is not OURS]
    yield from table(measured, others, lambda ours, theirs: spread(ratios(ours, theirs), ".2f"))
    yield "\n### Requests a second\n\nThe median (lowest to highest) of the rounds.\n"
    yield from table(measured, PEERS, lambda _, turns: spread([turn["rate"] for turn in turns], ",.0f"))
    yield "\n### Latency: p50 / p99, in milliseconds\n\nThe medians of the rounds.\n"
    yield from table(
        measured, PEERS, lambda _, turns: f"{median(turns, 'p50'):.1f} / {median(turns, 'p99'):.1f}"
    )
    yield ""
    for name, text in UNCONDITIONAL.items():
        without = [peer.title for peer in PEERS if not peer.if_match]
        if name in measured:
            title = next(operation.title for operation in OPERATIONS if operation.name == name)
            yield f"{title}: {', '.join(without)}: {text}.\n"
    yield "### Memory, versions and durability\n"
    yield "Memory of all processes after the rounds, what they share once.\n"
    yield "| server | memory, MiB | versions | a commit |\n| --- | ---: | --- | --- |"
    for peer in PEERS:
        if server := results["servers"].get(peer.name):
            memory = server["memory"] / 2**20
            yield f"| {peer.title} | {memory:,.0f} | {server['versions']} | {server['durability']} |"
    yield ""


def scale(results: dict[str, Any]) -> Iterator[str]:
    """The tables of the sizes."""
    yield SCALE_TEXT
    yield "![The time of each operation on more todos](performance-scale.svg)\n"
    for database in results["scale"].values():
        yield f"### {database['name']}\n"
        yield from how(database["operations"].values())
        sizes = sorted({int(size) for entry in database["operations"].values() for size in entry["sizes"]})
        yield "\nRequests a second, p50 / p99 in milliseconds; in the last column the time of a request on"
        yield "the most todos, in times of that on the fewest.\n"
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


def listings(measured: dict[str, Any]) -> Iterator[str]:
    """The tables of what is read, and of the indexes."""
    yield LISTING_TEXT
    yield from how([measured])
    sizes = list(map(int, measured["operations"][0]["sizes"]))
    yield f"\n| request |{''.join(f' {size:,} |' for size in sizes)} found | times |"
    yield f"| --- |{' ---: |' * (len(sizes) + 2)}"
    for operation in measured["operations"]:
        turns = list(operation["sizes"].values())
        cells = [
            f"{median(turn, 'rate'):,.0f} ({median(turn, 'p50'):.1f}, {median(turn, 'p99'):.1f})"
            for turn in turns
        ]
        found = " to ".join(map(str, sorted(set(operation["found"]))))
        times = median(turns[0], "rate") / median(turns[-1], "rate")
        yield f"| {operation['title']} | {' | '.join(cells)} | {found} | {times:.2f} |"
    costs = measured["costs"]
    batches, inserts = listing.BATCHES, listing.BATCHES * listing.BATCH
    yield INDEXES_TEXT.format(rows=sizes[-1], inserts=inserts, batches=batches)
    whole = costs[listing.ALL]
    for name, cost in costs.items():
        cells = [f"{part:.0f} | {part / of_all:.0%}" for part, of_all in zip(cost, whole, strict=True)]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def short(title: str) -> str:
    """The title of an operation where the number of todos is another one."""
    return title.removesuffix(" of 1,000,000")


def how(entries: Any) -> Iterator[str]:
    """How it was measured, a line for each way."""
    ways = {
        (
            f"{way['date']}: {way['rounds']} rounds, {way['seconds']} s a turn, {way['workers']} workers, 8 "
            "connections unless said otherwise; load average before "
            f"{way['load_before']:.2f} (near 0 is wanted)."
        )
        for way in (entry["how"] for entry in entries)
    }
    yield from sorted(ways)


def table(
    measured: dict[str, Any], columns: Sequence[Peer], cell: Callable[[Turns, Turns], str]
) -> Iterator[str]:
    """A row for each operation, a column for each server."""
    shown = [peer for peer in columns if any(peer.name in entry["servers"] for entry in measured.values())]
    yield f"| operation |{''.join(f' {peer.title} |' for peer in shown)}"
    yield f"| --- |{' ---: |' * len(shown)}"
    for operation in OPERATIONS:
        if entry := measured.get(operation.name):
            ours = entry["servers"][OURS.name]
            turns = [entry["servers"].get(peer.name) for peer in shown]
            cells = ["" if turn is None else cell(ours, turn) for turn in turns]
            yield f"| {operation.title} | {' | '.join(cells)} |"


def ratios(ours: Turns, theirs: Turns) -> list[float]:
    """The rates of the service for one of the other, round by round."""
    return [mine["rate"] / other["rate"] for mine, other in zip(ours, theirs, strict=True)]


def relative(measured: dict[str, Any]) -> tuple[list[str], dict[str, list[float | None]]]:
    """The operations, and for each server its rates for one of the service's, None where it has none."""
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
    """For each database and operation the sizes, and the time on each for that on the smallest."""
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
    """The median of what the turns have under this name."""
    return statistics.median(turn[name] for turn in turns)


def spread(values: Sequence[float], form: str) -> str:
    """The median of `values`, and between what they lie."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def machine() -> list[str]:
    """What it is measured on."""
    return [
        f"{_processor()}, {os.cpu_count()} cores; {platform.system()} {platform.release()}",
        f"Python {platform.python_version()} by {platform.python_compiler()}",
        f"SQLite {sqlite3.sqlite_version} in Python; the others bring their own",
        f"data on {_file_system()} (on a file system in memory, a commit would cost nothing)",
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
    # It has no option that tells its version and ends well.
    output = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return output.partition(" Copyright")[0]
