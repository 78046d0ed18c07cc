"""Power cuts: disk images rebuilt from a trace of the server's writes and syncs.

This follows SQLite's own crash tests (https://www.sqlite.org/testing.html#crash_testing). strace records
each write and sync of the database files under load. An image has every write before the last sync, and a
random choice of the later ones: complete, dropped, or torn at sectors. Each image must open, pass the
integrity check, and contain every change that a client saw acknowledged by then.
"""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest

from tests.support.clients import TODOS
from tests.support.programs import can_trace
from tests.support.server import COMMAND, PATIENT, ROOT, answers, environment, free_port, request, wait_until
from tests.support.sizes import size
from todo import create_app

IMAGES = size(40, 400)
SECONDS = max(1, IMAGES / 100)
CLIENTS = 4
BATCH = 200  # todos; SQLite copies its log to the database after 1000 pages, so both files are written
SECTOR = 512

_CALL = re.compile(
    r"(?P<pid>\d+) +(?P<time>\d+\.\d+) (?P<name>pwrite64|ftruncate|fdatasync|fsync|unlink)\("
    r'(?:\d+<(?P<fd_path>[^>]*)>|"(?P<path>[^"]*)")(?:, "(?P<data>[^"]*)")?(?:, (?P<numbers>[\d, ]+))?'
)
_RESUMED = re.compile(r"(?P<pid>\d+) +\d+\.\d+ <\.\.\. (?P<name>\w+) resumed>")


pytestmark = [
    pytest.mark.server,
    pytest.mark.soak,
    pytest.mark.skipif(not can_trace(), reason="needs strace and the right to trace"),
]


class Change(NamedTuple):
    """A change of a todo by its only client. A deletion has the version None."""

    sent: float
    acknowledged: float
    todo_id: int
    version: int | None


class Write(NamedTuple):
    """A write at an offset, or a truncation to `offset` if `data` is None."""

    offset: int
    data: bytes | None


class Disk:
    """The database files: their durable content, and the writes after the last sync."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.durable = {name: bytearray(content) for name, content in files.items()}
        self.pending: dict[str, list[Write]] = {}
        self._syncs: dict[str, tuple[str, int]] = {}  # by thread: the file, and its number of writes so far

    def begin(self, thread: str, call: str, name: str, write: Write) -> None:
        pending = self.pending.setdefault(name, [])
        if call == "unlink":
            self.durable.pop(name, None)
            pending.clear()
        elif call in {"fdatasync", "fsync"}:
            self._syncs[thread] = name, len(pending)
        else:
            pending.append(write)

    def end(self, thread: str) -> None:
        """Apply the writes before a completed sync."""
        name, count = self._syncs.pop(thread, ("", 0))
        for write in self.pending.get(name, [])[:count]:
            _apply(self.durable.setdefault(name, bytearray()), write)
        if count:
            del self.pending[name][:count]

    def image(self, chance: random.Random) -> dict[str, bytes]:
        """Return the files after a power cut now."""
        files = {name: bytearray(content) for name, content in self.durable.items()}
        for name, writes in self.pending.items():
            share = chance.choice((0, 0.5, 0.9, 1))
            for write in writes:
                if chance.random() < share:
                    for part in _tear(write, chance):
                        _apply(files.setdefault(name, bytearray()), part)
        return {name: bytes(content) for name, content in files.items()}


def _apply(content: bytearray, write: Write) -> None:
    if write.data is None:
        del content[write.offset :]
        content.extend(bytes(write.offset - len(content)))
        return
    content.extend(bytes(max(0, write.offset - len(content))))
    content[write.offset : write.offset + len(write.data)] = write.data


def _tear(write: Write, chance: random.Random) -> Iterator[Write]:
    if write.data is None or chance.random() < 0.7:
        yield write
        return
    start = 0
    while start < len(write.data):
        end = (write.offset + start) // SECTOR * SECTOR + SECTOR - write.offset
        if chance.random() < 0.5:
            yield Write(write.offset + start, write.data[start:end])
        start = end


def change_until(stopped: Event, port: int, client: int) -> list[Change]:
    """Create, update and delete todos, and create batches. Return all acknowledged changes."""
    chance = random.Random(client)
    changes: list[Change] = []
    versions: dict[int, int] = {}

    def send(status: int, method: str, path: str, body: object = None) -> tuple[float, float, Any]:
        sent = time.time()
        answer = request(port, method, path, body)
        assert answer.status == status, answer
        return sent, time.time(), answer.json

    while not stopped.is_set():
        todo_id = chance.choice([*versions, 0])
        if chance.random() < 0.05:
            operations = [
                {"op": "create", "todo": {"title": f"0 {'x' * 70}", "description": "x" * 120}}
            ] * BATCH
            sent, acknowledged, result = send(200, "POST", f"{TODOS}/batch", {"operations": operations})
            changes += [Change(sent, acknowledged, todo["id"], 0) for todo in result["results"]]
        elif todo_id == 0:
            sent, acknowledged, todo = send(201, "POST", TODOS, {"title": "0"})
            versions[todo["id"]] = 0
            changes.append(Change(sent, acknowledged, todo["id"], 0))
        elif chance.random() < 0.2:
            sent, acknowledged, _ = send(200, "DELETE", f"{TODOS}/{todo_id}")
            del versions[todo_id]
            changes.append(Change(sent, acknowledged, todo_id, None))
        else:
            versions[todo_id] += 1
            title = str(versions[todo_id])
            sent, acknowledged, _ = send(200, "PUT", f"{TODOS}/{todo_id}", {"title": title})
            changes.append(Change(sent, acknowledged, todo_id, versions[todo_id]))
    return changes


def record(folder: Path) -> tuple[Disk, list[str], list[Change]]:
    """Run a server under strace and change todos. Return the first files, the trace and the changes."""
    database = folder / "db.sqlite"
    create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}"})
    files = {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}
    port = free_port()
    strace = (
        "strace", "-f", "-qq", "-ttt", "-y", "-xx", "-s", "1000000", "--seccomp-bpf",
        "-e", "trace=pwrite64,ftruncate,fdatasync,fsync,unlink", "-o", folder / "trace",
    )  # fmt: skip
    variables = environment(
        TODO_SQLALCHEMY_DATABASE_URI=f"sqlite:///{database}",
        TODO_PORT=str(port),
        TODO_WORKERS="2",
        TODO_LOG_FORMAT="off",
        **PATIENT,
    )
    with (folder / "output").open("wb") as output:
        server = subprocess.Popen(
            [*strace, *COMMAND], cwd=ROOT, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(lambda: answers(port))
        stopped = Event()
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(change_until, stopped, port, client) for client in range(CLIENTS)]
            try:
                time.sleep(SECONDS)
                wait_until(lambda: (folder / "trace").read_bytes().count(b"\n") > 4 * IMAGES)
            finally:
                stopped.set()
        changes = [change for client in clients for change in client.result()]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    return Disk(files), (folder / "trace").read_text().splitlines(), changes


def replay(disk: Disk, trace: list[str], *, ignore_syncs: bool = False) -> Iterator[float]:
    """Repeat the traced calls on `disk`. Yield the time before each write or sync."""
    for line in trace:
        resumed = _RESUMED.match(line)
        if resumed and not ignore_syncs:
            disk.end(resumed["pid"])
        call = _CALL.match(line)
        path = call and _unescape(call["fd_path"] or call["path"])
        name = path and Path(path.decode()).name
        if not call or not name or not name.startswith("db.sqlite") or name.endswith("-shm"):
            continue
        yield float(call["time"])
        numbers = [int(number) for number in re.findall(r"\d+", call["numbers"] or "")]
        data = _unescape(call["data"]) if call["name"] == "pwrite64" else None
        disk.begin(call["pid"], call["name"], name, Write(numbers[-1] if numbers else 0, data))
        if " <unfinished ...>" not in line and not ignore_syncs:
            disk.end(call["pid"])


def _unescape(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()


def find_losses(folder: Path, files: dict[str, bytes], changes: list[Change], at: float) -> list[str]:
    """Open an image, check it, and compare it with the changes that were acknowledged in time."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        with closing(sqlite3.connect(folder / "db.sqlite")) as shell:
            integrity = shell.execute("PRAGMA integrity_check").fetchall()
            rows = shell.execute("SELECT id, title FROM todos").fetchall()
    except sqlite3.DatabaseError as error:
        return [str(error)]
    stored = {todo_id: int(title.split()[0]) for todo_id, title in rows}
    last = {change.todo_id: change.version for change in changes if change.acknowledged <= at}
    deleted = {change.todo_id for change in changes if change.version is None and change.sent <= at}
    losses = [
        f"todo {todo_id} is {stored.get(todo_id)}, not {version}"
        for todo_id, version in last.items()
        if (todo_id in stored if version is None else stored.get(todo_id, -1) < version)
        and not (version is not None and todo_id not in stored and todo_id in deleted)
    ]
    batches = sum(title.startswith("0 x") for _, title in rows)
    if batches % BATCH:
        losses.append(f"a batch is incomplete: {batches} todos")
    return losses if integrity == [("ok",)] else [*losses, f"integrity: {integrity[:1]}"]


@pytest.mark.timeout(600)
def test_power_cut_loses_no_acknowledged_change(tmp_path: Path) -> None:
    disk, trace, changes = record(tmp_path)
    changes.sort(key=lambda change: change.acknowledged)
    base = {name: bytes(content) for name, content in disk.durable.items()}
    moments = [at for at in replay(Disk(base), trace) if at > changes[0].sent]
    chance = random.Random(1)
    chosen = set(chance.sample(range(len(moments)), min(IMAGES, len(moments))))
    first = len(list(replay(Disk(base), trace))) - len(moments)
    images = with_pending = 0
    for number, at in enumerate(replay(disk, trace), -first):
        if number in chosen:
            losses = find_losses(tmp_path / "image", disk.image(chance), changes, at)
            assert losses == [], f"{len(losses)} losses in the image of {at}"
            images += 1
            with_pending += any(disk.pending.values())
    assert images == IMAGES
    assert with_pending > IMAGES / 4
    # The test itself must detect losses: a disk that ignores syncs loses changes.
    careless = Disk(base)
    *_, at = replay(careless, trace, ignore_syncs=True)
    careless.pending.clear()
    assert find_losses(tmp_path / "image", careless.image(chance), changes, at)
