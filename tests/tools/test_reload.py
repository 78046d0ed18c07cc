"""The development server reloads changed files."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.server import PATIENCE, ROOT, environment, free_port, request, wait_until


def test_flaskenv_lists_every_template_and_static_file() -> None:
    (files,) = re.findall(r"(?m)^FLASK_RUN_EXTRA_FILES=(.*)$", (ROOT / ".flaskenv").read_text())
    served = [path for folder in ("static", "templates") for path in (ROOT / "todo" / folder).rglob("*")]
    assert set(files.split(":")) == {str(path.relative_to(ROOT)) for path in served if path.is_file()}


@pytest.mark.server
def test_flask_run_debug_restarts_when_a_text_changes() -> None:
    port = free_port()
    texts = ROOT / "todo/templates/texts.json"
    command = [sys.executable, "-m", "flask", "run", "--debug", "--port", str(port)]
    variables = environment(TODO_SQLALCHEMY_DATABASE_URI="sqlite:///:memory:")
    with subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.DEVNULL) as process:

        def has_todos(count: int) -> bool:
            try:
                return len(request(port, "GET", "/api/v1/todos").json) == count
            except OSError:
                return False

        try:
            wait_until(lambda: has_todos(0))
            request(port, "POST", "/api/v1/todos", {"title": "Buy milk"})
            assert has_todos(1)
            os.utime(texts)
            wait_until(lambda: has_todos(0))  # a new process has a new database in memory
        finally:
            process.terminate()
            process.wait(PATIENCE)
