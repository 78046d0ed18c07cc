"""The import rules of pyproject.toml, which import-linter checks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_imports_point_one_way() -> None:
    result = lint(PROJECT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        pytest.param("clock.py", "from todo.models import db", id="clock imports models"),
        pytest.param("models/todo.py", "from todo.http import problem", id="models import http"),
        pytest.param("database/errors.py", "from todo.http import problem", id="database imports http"),
        pytest.param("http/problem.py", "from todo.views import routes", id="http imports views"),
        pytest.param("views/routes.py", "from todo.cli import serve", id="views import cli"),
        pytest.param("views/routes.py", "import sqlite3", id="a view uses a driver"),
        pytest.param("new.py", "", id="a module without a layer"),
    ],
)
def test_import_that_breaks_a_layer_is_found(module: str, line: str, tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "todo", tmp_path / "todo", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    with (tmp_path / "todo" / module).open("a") as file:
        file.write(f"\n\ndef _late() -> None:\n    {line or 'pass'}\n")
    assert lint(tmp_path).returncode != 0


def test_no_module_has_a_generic_name() -> None:
    names = {path.stem for path in (PROJECT / "todo").rglob("*.py")}
    assert names.isdisjoint({"utils", "util", "helpers", "common", "misc", "base"})


def test_no_folder_of_tests_shadows_the_package() -> None:
    assert not [path for path in (PROJECT / "tests").rglob("*") if re.fullmatch("todo", path.name)]
