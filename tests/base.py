import unittest
from typing import Any

from todo import create_app


class TodoTest(unittest.TestCase):
    """An app and a client for each test, on a new database in memory."""

    def setUp(self) -> None:
        self.app = create_app(
            config_overrides={"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:", "TESTING": True}
        )
        self.client = self.app.test_client()

    def assertDictSubset(self, expected: dict[str, Any], todo: dict[str, Any]) -> None:
        for name, value in expected.items():
            self.assertEqual(value, todo[name], name)
