"""Metrics in the text format of Prometheus: requests, database connections, and changes of todos.

`serve` sets PROMETHEUS_MULTIPROC_DIR before it creates the first metric. Each worker then stores its numbers
in files of that folder, and the worker that serves `/metrics` adds up the files of all workers.
"""

import os
import threading
from collections.abc import Callable, Hashable
from functools import cache, partial, wraps
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from todo.http import middleware
from todo.models import db

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from prometheus_client import CollectorRegistry, Counter

MEDIA_TYPE = "text/plain"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Seconds. Reads are in the first buckets, and requests that wait for a lock in the last ones.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Restrict label values, so that clients cannot create unlimited time series.
METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
OTHER = "other"

T = TypeVar("T")
_lock = threading.RLock()


def cache_once(function: Callable[..., T]) -> Callable[..., T]:
    """Cache the results of `function`.

    `functools.cache` would let several threads call `function` at the same time.
    """
    cached = cache(function)

    @wraps(function)
    def get(*arguments: Hashable) -> T:
        with _lock:
            return cached(*arguments)

    return get


class _Requests:
    """The metrics of requests. Series are cached, because a lookup takes longer than an increment."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self.series: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        labels = ("method", "route")
        self.count = Counter(
            "http_requests",
            "Requests by method, route and status.",
            (*labels, "status"),
            registry=_registry(),
        )
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Time from the request to the end of its response.",
            labels,
            buckets=BUCKETS,
            registry=_registry(),
        )
        self.in_use = Gauge(
            "database_pool_connections_in_use",
            "Database connections that are in use.",
            registry=_registry(),
            multiprocess_mode="livesum",
        )
        self.known_in_use = -1

    def add_series(self, method: str, route: str, status: int) -> tuple[Any, Any]:
        labels = (method if method in METHODS else OTHER, route)
        series = self.count.labels(*labels, str(status)), self.duration.labels(*labels)
        if method in METHODS:
            self.series[method, route, status] = series
        return series


def register(app: Flask) -> None:
    """Measure every request to `app`."""
    with app.app_context():
        engine = db.engine
    middleware.observe(app, partial(_measure, engine))


def init_worker() -> None:
    """Create the metric files of this worker now, because the disk may be full later."""
    _requests().add_series("GET", OTHER, HTTPStatus.NOT_FOUND)


@cache_once
def counter(name: str, text: str) -> "Counter":
    """Return the counter `name`, described by `text`."""
    from prometheus_client import Counter

    return Counter(name, text, registry=_registry())


def exposition() -> bytes:
    """Return the metrics of all workers in the text format of Prometheus."""
    from prometheus_client import CollectorRegistry, generate_latest, multiprocess

    registry = _registry()
    if folder := os.environ.get(FOLDER):
        drop_dead_workers(Path(folder))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


@cache_once
def _registry() -> "CollectorRegistry":
    from prometheus_client import CollectorRegistry, disable_created_metrics

    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry()


@cache_once
def _requests() -> _Requests:
    return _Requests()


def _measure(engine: Engine, environ: "WSGIEnvironment", route: str, status: int, duration: float) -> None:
    requests = _requests()
    key = environ["REQUEST_METHOD"], route or OTHER, status
    count, durations = requests.series.get(key) or requests.add_series(*key)
    count.inc()
    durations.observe(duration)
    if isinstance(engine.pool, QueuePool) and (in_use := engine.pool.checkedout()) != requests.known_in_use:
        requests.known_in_use = in_use
        requests.in_use.set(in_use)


def drop_dead_workers(folder: Path) -> None:
    """Drop the gauges of dead workers and keep their counters."""
    from prometheus_client import multiprocess

    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
