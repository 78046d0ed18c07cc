"""Requests that schemathesis generates from the OpenAPI document.

The test sends a few requests. `make soak` adds the requests at all limits of the document, and `python -m
tests.api.test_schemathesis 20000` sends any number.
"""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.server import PATIENCE, ROOT, Server
from tests.support.sizes import size

pytestmark = [pytest.mark.soak, pytest.mark.server]

SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"
EXAMPLES = size(1, 3)  # per operation
# The phase `coverage` sends a thousand more requests, at all limits of the document.
PHASES = size("examples,fuzzing,stateful", "examples,fuzzing,stateful,coverage")


def run(server: Server, *options: str) -> tuple[int, str]:
    """Test every operation of `server`. Return the exit status and the output of schemathesis."""
    process = subprocess.run(
        [
            SCHEMATHESIS,
            "--config-file=tests/support/schemathesis.toml",
            "--no-color",
            "run",
            f"--request-timeout={PATIENCE}",
            f"{server.url}/api/v1/openapi.json",
            *options,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout


class TestSchemathesis:
    def test_service_conforms_to_its_openapi_document(self) -> None:
        with Server() as server:
            status, output = run(
                server,
                f"--max-examples={EXAMPLES}",
                f"--phases={PHASES}",
                "--generation-deterministic",
                "--exclude-tag=HTTP",  # HEAD and OPTIONS would double the time
            )
        assert status == 0, output
        assert re.search("Stateful .*in", output), "all phases"


def fuzz(requests: int) -> int:
    """Send at least this number of requests, and return the number of failures."""
    sent = 0
    while sent < requests:
        with Server() as server:
            status, output = run(
                server, "--max-examples=100", "--continue-on-failure", "--generation-database=none"
            )
        print(output)  # noqa: T201
        counted = re.search(r"(\d+) generated", output)
        if status or counted is None:
            return status or 1
        sent += int(counted[1])
    print(f"{sent} requests, none failed")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(fuzz(int(sys.argv[1])))
