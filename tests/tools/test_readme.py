"""The examples in the README run, and the tables in README and settings page match the code."""

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from tests.support.cases import Prepared
from tests.support.server import PATIENCE, ROOT, Server, environment
from todo import create_app
from todo.config import PREFIX, SETTINGS
from todo.schemas import ListQuery, TodoOut

pytestmark = pytest.mark.server

README = (ROOT / "README.md").read_text()
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
DOCUMENT = "/api/v1/openapi.json"
ADDRESS = "http://localhost:6400"
BLOCKS = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", README)
MAX_WORDS = 4 * 160  # read aloud in four minutes

# Parts of the output that differ in each run, and replacements for comparisons.
VOLATILE = (
    (r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d\.\d{6}", r"<time\1>"),
    (r"(?m)^date: .*", "date: <date>"),
    (r"\b[0-9a-f]{32}\b", "<request id>"),
    (r'"[0-9a-f]{24}"', "<etag>"),
    (r"cursor=[\w-]+", "cursor=<cursor>"),
    (r"todo_[\w-]{20,}", "<token>"),
    # The wording depends on the version of the sqlite3 shell.
    (r".*(CHECK constraint failed: \w+).*", r"\1"),
)


class Example(NamedTuple):
    """A command or a program of the README, and its shown output."""

    language: str
    source: str
    output: str


def examples() -> list[Example]:
    """Return all commands and programs of the README in their order."""
    found = []
    exchange = re.compile(r"(?m)^(\$|sqlite>) (.*)\n((?:(?!\$ |sqlite> ).*\n)*)")
    comment = {"python": r"(?m)^print\(.*  # (.*)$", "javascript": r"(?m)^console\.log\(.*// (.*)$"}
    for language, text in BLOCKS:
        if language == "console":
            found += [Example(*groups) for groups in exchange.findall(text)]
        elif language == "javascript" or text.startswith("import "):
            found.append(Example(language, text, "\n".join(re.findall(comment[language], text))))
    return found


def comparable(output: str) -> str:
    """Remove the parts that differ between runs: times, ids and wrapping."""
    for pattern, stand_in in VOLATILE:
        output = re.sub(pattern, stand_in, output)
    return re.sub(r"\s+", "", output)


def is_shown(shown: str, output: str) -> bool:
    """Return True if `shown` is `output`, in which `...` stands for any text."""
    pattern = ".*".join(re.escape(part) for part in comparable(shown).split("..."))
    return re.fullmatch(pattern, comparable(output)) is not None


def table(text: str, columns: int) -> list[list[str]]:
    """Return the rows, without the heads, of all tables with this number of columns."""
    rows = re.findall(r"(?m)^\| (.*) \|$", re.sub(r"(?m)^\| .*\n\| ---.*\n", "", text))
    return [cells for row in rows if len(cells := re.split(r" ?\| ", row)) == columns]


def run(*command: str, **variables: str) -> str:
    process = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(no_proxy="*", **variables),
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
    """Execute a statement in Python as the shell does."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        try:
            rows = connection.execute(statement).fetchall()
        except sqlite3.IntegrityError as error:
            return str(error)
    return "\n".join("|".join("" if value is None else str(value) for value in row) for row in rows)


class TestReadme(Prepared):
    def test_readme_is_read_in_four_minutes(self) -> None:
        prose = re.sub(r"(?ms)^```.*?^```$|^\|.*?$|\(http\S+\)", "", README)
        assert len(prose.split()) <= MAX_WORDS

    def test_settings_page_has_every_setting(self) -> None:
        expected = [
            [f"`{PREFIX}{name}`", f"`{str(default).lower() if isinstance(default, bool) else default}`", text]
            if default != ""
            else [f"`{PREFIX}{name}`", "", text]
            for name, default, text in SETTINGS
        ]
        page = (ROOT / "docs/settings.md").read_text()
        assert sorted(expected) == sorted(table(page, 3))

    def test_readme_has_every_endpoint(self) -> None:
        paths = create_app({"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"}).test_client().get(DOCUMENT).json
        assert paths is not None
        expected = {
            (path.replace("{todo_id}", "{id}"), method.upper())
            for path, operations in (paths or {})["paths"].items()
            for method in operations
            if path.startswith(("/api/", "/readyz", "/metrics"))
            and method in {"get", "post", "put", "patch", "delete"}
        }
        shown = set()
        for endpoint, _ in table(README, 2):
            first, *others = re.findall(r"`(.*?)`", endpoint)
            if " " in first:
                method, path = first.split()
                shown |= {(path, name) for name in (method, *others)}
        assert expected == shown

    def test_readme_has_every_member_and_list_parameter(self) -> None:
        members = [row[0].strip("`") for row in table(README, 3)]
        assert [*TodoOut.__struct_fields__] == members
        parameters = {row[0].strip("`") for row in table(README, 2) if " " not in row[0]}
        assert {*ListQuery.__struct_fields__} == parameters

    def test_readme_quotes_the_code(self) -> None:
        quotes = re.findall(r"in \[(todo/[\w/]+\.py)\]\(\1\):\n\n```python\n(.*?)```", README, re.DOTALL)
        assert [path for path, _ in quotes] == ["todo/models/todo.py", "todo/views/routes.py"]
        for path, quote in quotes:
            code = (ROOT / path).read_text()
            for part in quote.split("...\n"):
                assert part in code

    def test_documentation_names_existing_files_and_targets(self) -> None:
        makefile = (ROOT / "Makefile").read_text()
        for page in PAGES:
            text = page.read_text()
            links = [page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
            if page.parent == ROOT:
                links += [ROOT / path for path in re.findall(r"\b((?:todo|tests)/[\w/.]*\w)", text)]
            for path in links:
                assert path.exists()
            for target in re.findall(r"(?m)(?:`|^ +)make ([a-z-]+)", text):
                assert re.search(rf"(?m)^{target}:", makefile)

    @pytest.mark.skipif(
        not all(map(shutil.which, ("curl", "node", "sh"))),
        reason="the examples need curl, Node.js and a shell",
    )
    def test_readme_examples_show_the_real_output(self) -> None:
        pytest.importorskip("requests")  # a dependency of schemathesis
        shells = (shell, query) if shutil.which("sqlite3") else (query,)
        commands = {
            "$": ("sh", "-c"),
            "python": (sys.executable, "-c"),
            "javascript": ("node", "--input-type=module", "-e"),
        }
        folder = self.stack.enter_context(TemporaryDirectory())
        server = self.stack.enter_context(Server())
        variables = {
            "TODO_SQLALCHEMY_DATABASE_URI": f"sqlite:///{server.database}",
            "TODOS_URL": server.url,
            "HOME": folder,
            "XDG_CONFIG_HOME": folder,
        }
        replacements = {
            ADDRESS: server.url,
            "curl ": "curl -s ",
            "todos.json": f"{folder}/todos.json",
            ".venv/bin/flask": f"{sys.executable} -m flask",
            "bin/todo": f"{sys.executable} -m todo.client",
        }
        for number, (language, source, shown) in enumerate(examples()):
            if language == "sqlite>":
                self._check_statement(server.database, shells, source, shown, number)
            elif not source.startswith("sqlite3 "):
                command = source
                for old, new in replacements.items():
                    command = command.replace(old, new)
                output = run(*commands[language], command, **variables)
                output = output.replace(server.url, ADDRESS).replace(f"{folder}/", "")
                assert is_shown(shown, output), output

    def _check_statement(
        self,
        database: Path,
        shells: Iterable[Callable[[Path, str], str]],
        statement: str,
        shown: str,
        number: int,
    ) -> None:
        """Run a statement in each shell. All shells but the last one use a copy."""
        *others, last = shells
        for execute in others:
            copy = database.with_name(f"{execute.__name__}{number}")
            query(database, f"VACUUM INTO '{copy}'")
            assert is_shown(shown, (output := execute(copy, statement))), output
        assert is_shown(shown, (output := last(database, statement))), output
