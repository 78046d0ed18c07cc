"""Processes forked of one that has imported the service: to import it is most of what a start takes."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["tests.clients", "granian.server", "todo.cli", "todo.openapi", "todo.views.system"]
)
