"""Processes forked of one that has imported the service: to import it is most of what a start takes."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "tests.support.clients",
        "flask_limiter.commands",  # which Flask imports with every command
        "granian.server",
        "todo.cli.serve",
        "todo.http.rate_limit",
        "todo.openapi",
        "todo.views.routes",
        "todo.views.system",
    ]
)
