"""What the README says is true: it is run, and compared with what really comes."""

import re
import shutil
import sqlite3
import subprocess
import unittest
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.server import PATIENCE, ROOT, Server, environment
from todo.config import PREFIX, SETTINGS

pytestmark = pytest.mark.server

README = (ROOT / "README.md").read_text()
PAGES = sorted(ROOT.glob("*.md"))
ADDRESS = "http://localhost:6400"
MAX_LINES = 131  # beside its tables

# What differs each time, and what stands for it when two answers are compared.
VOLATILE = (
    (r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d\.\d{6}", r"<time\1>"),
    (r"(?m)^date: .*", "date: <date>"),
    (r"\b[0-9a-f]{32}\b", "<request id>"),
    (r'"[0-9a-f]{24}"', "<etag>"),
    (r"cursor=[\w-]+", "cursor=<cursor>"),
    # The versions of the shell put different words around it.
    (r".*(CHECK constraint failed: \w+).*", r"\1"),
)


class Exchange(NamedTuple):
    prompt: str
    command: str
    answer: str


def exchanges() -> list[Exchange]:
    """All commands of the README, with the output that it shows, in its order."""
    blocks = re.findall(r"(?ms)^```console\n(.*?)^```$", README)
    pattern = re.compile(r"(?m)^(\$|sqlite>) (.*(?:\n> .*)*)\n((?:(?!\$ |sqlite> ).*\n)*)")
    return [
        Exchange(prompt, command.replace("\n> ", "\n"), answer)
        for block in blocks
        for prompt, command, answer in pattern.findall(block)
    ]


def comparable(answer: str) -> str:
    """Return the part of an output that must be equal, without line breaks."""
    for pattern, stand_in in VOLATILE:
        answer = re.sub(pattern, stand_in, answer)
    return re.sub(r"\s+", "", answer)


def table(text: str, columns: int) -> list[list[str]]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if len(row) == columns][2:]


def run(*command: str) -> str:
    process = subprocess.run(
        command,
        env=environment(no_proxy="*"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return process.stdout


def shell(database: Path, statement: str) -> str:
    return run("sqlite3", "-list", "-noheader", str(database), statement)


def query(database: Path, statement: str) -> str:
    """Do in Python what the shell does with a statement."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        try:
            rows = connection.execute(statement).fetchall()
        except sqlite3.IntegrityError as error:
            return str(error)
    return "\n".join("|".join("" if value is None else str(value) for value in row) for row in rows)


class TestReadme(unittest.TestCase):
    def test_readme_is_short(self) -> None:
        text = [line for line in README.splitlines() if not line.startswith("| ")]
        self.assertLessEqual(len(text), MAX_LINES)

    def test_readme_table_has_every_setting(self) -> None:
        expected = [
            [f"`{PREFIX}{name}`", f"`{str(default).lower() if isinstance(default, bool) else default}`", text]
            if default != ""
            else [f"`{PREFIX}{name}`", "", text]
            for name, default, text in SETTINGS
        ]
        self.assertEqual(expected, table(README, 3))

    def test_documentation_names_existing_files_and_targets(self) -> None:
        makefile = (ROOT / "Makefile").read_text()
        for page in PAGES:
            text = page.read_text()
            for path in re.findall(
                r"\]\((?!https?:)([^)#]+)|\b((?:todo|tests)/[\w/.]*\w|(?:todo|tests)/)", text
            ):
                with self.subTest(page=page.name, path=path):
                    self.assertTrue((ROOT / "".join(path)).exists())
            for target in re.findall(r"(?m)(?:`|^ +)make ([a-z-]+)", text):
                with self.subTest(page=page.name, target=target):
                    self.assertRegex(makefile, rf"(?m)^{target}:")

    @unittest.skipUnless(shutil.which("curl") and shutil.which("sh"), "the tour takes curl and a shell")
    def test_readme_tour_shows_the_real_responses(self) -> None:
        shells = (shell, query) if shutil.which("sqlite3") else (query,)
        (_, variables, _), *tour = exchanges()
        self.assertTrue(variables.startswith("API="), variables)
        with Server() as server:
            for prompt, command, answer in tour:
                if prompt == "$" and not command.startswith("sqlite3 "):
                    came = run("sh", "-c", f"{variables}\n{command}".replace(ADDRESS, server.url))
                    with self.subTest(command=command):
                        self.assertEqual(
                            comparable(answer), comparable(came.replace(server.url, ADDRESS)), came
                        )
            for execute in shells:
                database = server.database.with_name(execute.__name__)
                query(server.database, f"VACUUM INTO '{database}'")
                for prompt, command, answer in tour:
                    if prompt != "$":
                        came = execute(database, command)
                        with self.subTest(command=command, shell=execute.__name__):
                            self.assertEqual(comparable(answer), comparable(came), came)
