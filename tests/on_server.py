"""The API's tests on a database server: `python -m tests.on_server postgresql` (or mariadb).

They are the same tests. A class that makes its app in `TodoTest.setUp` gets another one here, on the
server; what else needs an app asks `tests.api` or `tests.server`, which look at TEST_DATABASE_URL.
"""

import importlib
import os
import sys
import unittest
from collections.abc import Iterator

from tests import database_server
from tests.api import empty_app
from tests.base import TodoTest

SKIPPED = (
    "The tests on MariaDB are skipped: there is none in a package. "
    "Set TEST_MARIADB_URL to a server, such as mariadb://root@127.0.0.1."
)
MODULES = (
    "test_todo",
    "test_list",
    "test_batch",
    "test_conditional",
    "test_idempotency",
    "test_patch",
    "test_bad_input",
    "test_clock",
    "test_auth",
    "test_feeds.TestFeeds",
    "test_feeds.TestNegotiation",
    "test_transfer.TestRoundTrip",
    "test_model",
    "test_concurrency",
    "test_database_server",
    "test_migration.TestOnServer",
    "test_backup.TestBackup",
    "test_outage",
)


class OnServer(TodoTest):
    """What takes the place of `TodoTest` under the classes that are derived from it."""

    def setUp(self) -> None:
        self.app = empty_app()
        self.client = self.app.test_client()


def classes(path: str) -> Iterator[type[unittest.TestCase]]:
    """Yield the test classes of a module, or the one that is named behind it, put on the server."""
    module, _, chosen = path.partition(".")
    name = f"tests.{module}"
    for value in vars(importlib.import_module(name)).values():
        if not isinstance(value, type) or not issubclass(value, unittest.TestCase):
            continue
        if value.__module__ == name and value.__name__.startswith(chosen):
            bases = (value, OnServer) if issubclass(value, TodoTest) else (value,)
            yield type(value.__name__, bases, {"__module__": name})


def main(kind: str, *names: str) -> int:
    """Run the tests of the modules or classes, all of them unless some are named; return an exit status."""
    if kind == "mariadb" and "TEST_MARIADB_URL" not in os.environ:
        print(SKIPPED)  # noqa: T201 - a command
        return 0
    with getattr(database_server, kind)() as server, database_server.new_database(server) as url:
        os.environ["TEST_DATABASE_URL"] = url
        load = unittest.defaultTestLoader.loadTestsFromTestCase
        suite = unittest.TestSuite(load(test) for path in names or MODULES for test in classes(path))
        return not unittest.TextTestRunner().run(suite).wasSuccessful()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
