"""Processes forked from a process that has imported the service, because imports take most of the start."""

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
