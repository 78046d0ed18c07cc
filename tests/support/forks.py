"""Processes that are forked from a process with the imported service, because imports are most of a start."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "tests.support.clients",
        "flask_limiter.commands",  # Flask imports this module with every command
        "granian.server",
        "todo.cli.serve",
        "todo.http.rate_limit",
        "todo.openapi",
        "todo.views.routes",
        "todo.views.system",
    ]
)
