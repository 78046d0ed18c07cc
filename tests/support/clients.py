"""Clients of a running server that know from the responses which todos must be stored."""

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from threading import Barrier, Event
from typing import Any

from tests.support.server import Answer, request

TODOS = "/api/v1/todos"

LEAST = 10  # rounds of a client, however slow the machine is

Todos = dict[int, dict[str, Any]]


def change_at_random(port: int, seed: int, shared: int, seconds: float) -> tuple[Todos, dict[str, Any]]:
    """Create, update and delete todos for some time, and update one todo that other clients update too.

    Return the todos that the responses promise, and the last response for the shared todo. Raises
    AssertionError for an unexpected response.
    """
    chance = random.Random(seed)
    mine: Todos = {}
    last: dict[str, Any] = {}
    end = time.monotonic() + seconds

    def expect(status: int, answer: Answer) -> Any:
        if answer.status != status:
            raise AssertionError(f"{answer.status} instead of {status}: {answer.json}")
        return answer.json

    for number in count():
        if number >= LEAST and time.monotonic() > end:
            return mine, last
        title = f"{seed} {number}"
        last = expect(200, request(port, "PUT", f"{TODOS}/{shared}", {"title": title}))
        todo_id = chance.choice([*mine, 0])
        if todo_id == 0:
            todo = expect(201, request(port, "POST", TODOS, {"title": title}))
            mine[todo["id"]] = todo
        elif chance.random() < 0.2:
            deleted = expect(200, request(port, "DELETE", f"{TODOS}/{todo_id}"))
            if deleted != mine.pop(todo_id):
                raise AssertionError(f"{deleted} is not the todo as it was")
        else:
            mine[todo_id] = expect(
                200, request(port, "PUT", f"{TODOS}/{todo_id}", {"title": title, "completed": True})
            )
    raise AssertionError


def create_until(stopped: Event, port: int) -> Todos:
    """Create todos until `stopped`, and return the todos with a response of 201."""
    created: Todos = {}
    while not stopped.is_set():
        with suppress(OSError):
            answer = request(port, "POST", TODOS, {"title": f"{len(created)}", "description": "x" * 120})
            if answer.status == 201:
                created[answer.json["id"]] = answer.json
    return created


def at_once(count: int, work: Callable[[], Answer]) -> list[Future[Answer]]:
    """Call `work` in `count` threads at the same moment."""
    barrier = Barrier(count)

    def begin() -> Answer:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(count) as pool:
        return [pool.submit(begin) for _ in range(count)]
