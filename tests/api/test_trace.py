"""The number of files and functions of the service that a request passes.

Each of them is one more to read for a newcomer.
"""

import gc
import sys
from types import FrameType
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

from todo import create_app

TODOS = "/api/v1/todos"
QUERY = "sort=-deadline_at&completed=false&limit=20"
MAX_FUNCTIONS = 36


@pytest.fixture
def file_client(tmp_path: Any) -> FlaskClient:
    """Return a client of a service on a file, without the response cache."""
    url = f"sqlite:///{tmp_path / 'db.sqlite'}"
    return create_app({"SQLALCHEMY_DATABASE_URI": url, "RESPONSE_CACHE": 0}).test_client()


@pytest.mark.parametrize(
    ("options", "max_files"),
    [
        pytest.param(
            {"method": "POST", "path": TODOS, "json": {"title": "Buy milk"}}, 14, id="create a todo"
        ),
        pytest.param({"path": TODOS, "query_string": QUERY}, 14, id="list sorted todos"),
    ],
)
def test_request_passes_few_files_and_functions(
    file_client: FlaskClient, options: dict[str, Any], max_files: int
) -> None:
    passed: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and "/todo/" in file and "site-packages" not in file and "/tests/" not in file:
            passed.add((file.rpartition("/todo/")[2], frame.f_code.co_qualname))

    file_client.post(TODOS, json={"title": "Buy bread"})
    for _ in range(2):
        file_client.open(**options)  # fills the caches
    environ = EnvironBuilder(**options).get_environ()
    gc.collect()
    gc.disable()  # the finalizers of earlier apps would count
    former = sys.getprofile()
    sys.setprofile(note)
    try:
        response = file_client.application(environ, lambda *_: None)  # type: ignore[arg-type]
        list(response)
    finally:
        sys.setprofile(former)
        gc.enable()
    files = {file for file, _ in passed}
    assert len(files) <= max_files, sorted(files)
    assert len(passed) <= MAX_FUNCTIONS, sorted(passed)
