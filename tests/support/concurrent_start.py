"""Processes that start the service at the same moment."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier

from tests.support.forks import FORKS
from tests.support.server import PATIENCE
from tests.support.sizes import size
from todo import create_app

PROCESSES = 4
ROUNDS = size(2, 20)

_barrier: Barrier


def at_once(urls: list[str]) -> list[int]:
    """Start the service in all processes on each database. Return how often each process could write."""
    with ProcessPoolExecutor(
        PROCESSES, mp_context=FORKS, initializer=_meet_at, initargs=(FORKS.Barrier(PROCESSES),)
    ) as processes:
        return list(processes.map(_start_each, [urls] * PROCESSES))


def _meet_at(barrier: Barrier) -> None:
    global _barrier  # a barrier can only be passed to a process when the process starts
    _barrier = barrier


def _start_each(urls: list[str]) -> int:
    created = 0
    for url in urls:
        _barrier.wait(PATIENCE)
        patient = dict.fromkeys(("BUSY_TIMEOUT", "CONNECT_TIMEOUT"), PATIENCE * 1000)
        app = create_app({"SQLALCHEMY_DATABASE_URI": url, **patient})
        created += app.test_client().post("/api/v1/todos", json={"title": "x"}).status_code == 201
    return created
