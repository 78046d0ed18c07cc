"""The Makefile: the packages that it installs, and its size."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.server import PATIENCE, ROOT, environment

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        pytest.param("postgresql://todo:$(shell false)p%25@db.example/todo", "postgresql", id="postgresql"),
        pytest.param("postgres://db.example/todo", "postgresql", id="postgres"),
        pytest.param("postgresql+psycopg://db.example/todo", "postgresql", id="postgresql+psycopg"),
        pytest.param("mysql://db.example/todo", "mariadb", id="mysql"),
        pytest.param("mariadb+pymysql://db.example/todo", "mariadb", id="mariadb+pymysql"),
        pytest.param("sqlite:////folder/postgresql:mariadb", None, id="sqlite"),
        pytest.param("", None, id="default"),
    ],
)
def test_make_run_installs_the_driver_of_the_database(url: str, extra: str | None, tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-n", "run", f"VENV={tmp_path}"],
        cwd=ROOT,
        env=environment(TODO_SQLALCHEMY_DATABASE_URI=url),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert "pipenv sync" in done.stdout
    assert (f'".[{extra}]"' in done.stdout) if extra else ('".[' not in done.stdout)


def test_makefile_has_at_most_70_lines() -> None:
    assert len((ROOT / "Makefile").read_text().splitlines()) <= 70
