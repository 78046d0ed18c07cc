"""What `make run` installs, by what make would run."""

import shutil
import subprocess
import unittest
from tempfile import TemporaryDirectory

from tests.support.server import PATIENCE, ROOT, environment


@unittest.skipUnless(shutil.which("make"), "there is no make")
class TestRun(unittest.TestCase):
    def test_it_installs_the_driver_of_the_server_that_the_setting_names(self) -> None:
        folder = self.enterContext(TemporaryDirectory())
        for url, category in (
            ("postgresql://todo:$(shell false)p%25@db.example/todo", "postgresql"),
            ("postgres://db.example/todo", "postgresql"),
            ("postgresql+psycopg://db.example/todo", "postgresql"),
            ("mysql://db.example/todo", "mariadb"),
            ("mariadb+pymysql://db.example/todo", "mariadb"),
            ("sqlite:////folder/postgresql:mariadb", None),
            ("", None),
        ):
            with self.subTest(url):
                done = subprocess.run(
                    ["make", "-n", "run", f"VENV={folder}"],
                    cwd=ROOT,
                    env=environment(TODO_SQLALCHEMY_DATABASE_URI=url),
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=PATIENCE,
                )
                self.assertEqual(category is not None, "sync --categories" in done.stdout, done.stdout)
                self.assertIn(f"sync --categories {category}\n" if category else "sync\n", done.stdout)
