"""docs/tutorial.md: its steps, applied to a copy of the project, add a field."""

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.server import ROOT, environment
from todo import create_app

pytestmark = pytest.mark.server

TUTORIAL = (ROOT / "docs/tutorial.md").read_text()
EDITS = re.findall(r"(?ms)^In `(\S+)`[^\n]*:\n\n```diff\n(.*?)^```$", TUTORIAL)
NEW_FILES = re.findall(r"(?ms)^The new file `(\S+)`:\n\n```python\n(.*?)^```$", TUTORIAL)
TODOS = "/api/v1/todos"
# What else must hold with the new field.
TESTS = (
    "tests/api/test_priority.py",
    "tests/test_todo.py",
    "tests/api/test_openapi_document.py",
    "tests/database/test_migration.py::TestVersions::test_migrations_create_the_schema_of_the_models",
    "tests/tools/test_readme.py::TestReadme::test_readme_has_every_member_and_list_parameter",
)


def apply(text: str, diff: str) -> str:
    """Apply a diff without line numbers. Each place must occur once."""
    for place in diff.split("@@\n"):
        lines = place.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        assert text.count(old) == 1, f"not found once:\n{old}"
        text = text.replace(old, new)
    return text


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with the steps of the tutorial."""
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "instance", "*.sqlite*")
    shutil.copytree(ROOT, copy, ignore=ignored)
    for path, content in NEW_FILES:
        (copy / path).write_text(content)
    for path, diff in EDITS:
        (copy / path).write_text(apply((copy / path).read_text(), diff))
    return copy


def run(project: Path, *arguments: str, database: Path) -> str:
    process = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env=environment(TODO_SQLALCHEMY_DATABASE_URI=f"sqlite:///{database}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=250,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


def test_tutorial_has_six_steps_and_few_edits() -> None:
    assert len(re.findall(r"(?m)^## \d\. ", TUTORIAL)) == 6
    assert len(NEW_FILES) == 2
    code = [line for path, diff in EDITS if path.endswith(".py") for line in diff.splitlines()]
    assert len([line for line in code if line.startswith("+")]) <= 20


def test_steps_of_the_tutorial_pass_the_tests(project: Path, tmp_path: Path) -> None:
    output = run(project, "pytest", "-q", "-p", "no:cacheprovider", *TESTS, database=tmp_path / "none.sqlite")
    assert " passed" in output
    checked = [path for path, _ in (*EDITS, *NEW_FILES) if path.endswith(".py")]
    for command in (("ruff", "format", "--check"), ("ruff", "check", "--no-cache")):
        run(project, *command, *checked, database=tmp_path / "none.sqlite")


def test_migration_of_the_tutorial_upgrades_an_existing_file(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    app = create_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"})
    client = app.test_client()
    kept, deleted = (client.post(TODOS, json={"title": title}).get_json() for title in ("kept", "deleted"))
    client.delete(f"{TODOS}/{deleted['id']}")
    app.extensions["todo.database"].close()

    run(project, "flask", "--app", "todo", "db", "upgrade", database=path)
    run(project, "flask", "--app", "todo", "export", str(tmp_path / "todos.json"), database=path)
    assert '"priority":null' in (tmp_path / "todos.json").read_text()
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        assert shell.execute("SELECT id, title, priority FROM todos").fetchall() == [
            (kept["id"], "kept", None)
        ]
        shell.execute("UPDATE todos SET priority = 1")
        with pytest.raises(sqlite3.IntegrityError, match="ck_todos_priority_1_to_3"):
            shell.execute("UPDATE todos SET priority = 4")
        shell.execute("DELETE FROM todos")
        rows = shell.execute("SELECT title, priority FROM deleted_todos ORDER BY id").fetchall()
        assert rows == [("kept", 1), ("deleted", None)]
    backup = str(tmp_path / "backup.sqlite")
    run(project, "flask", "--app", "todo", "backup", backup, database=path)
    run(project, "flask", "--app", "todo", "restore", "--overwrite", backup, database=path)
