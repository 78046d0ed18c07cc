import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.cases import Prepared
from tests.support.server import PATIENCE, ROOT, Server, environment

pytestmark = pytest.mark.server

# Tests download nothing. .ci/run downloads httpyac with npx first.
HTTPYAC = ("npx", "--yes", "--offline", "httpyac")
ENDPOINTS = (ROOT / "endpoints.http").read_text()
ADDRESS = "http://localhost:6400"


class TestEndpoints(Prepared):
    def test_every_request_has_an_expectation(self) -> None:
        for request in ENDPOINTS.split("\n### ")[1:]:
            assert re.search(r"\n# @expect [1-5][0-9]{2}\b", request)

    @pytest.mark.skipif(not shutil.which("npx"), reason="httpyac takes npx, which comes with Node.js")
    def test_every_response_meets_its_expectation(self) -> None:
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        shutil.copy(ROOT / "Pipfile.lock", folder)  # a body that is too large
        server = self.stack.enter_context(Server())
        (folder / "endpoints.http").write_text(ENDPOINTS.replace(ADDRESS, server.url))
        process = subprocess.run(
            (*HTTPYAC, "send", "endpoints.http", "--all", "--output", "none", "--output-failed", "exchange"),
            cwd=folder,
            env=environment(no_proxy="*"),
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            check=False,
        )
        if "ENOTCACHED" in process.stderr:
            pytest.skip("httpyac is not there: `npx --yes httpyac --version` fetches it")
        requests = len(re.findall(r"(?m)^### ", ENDPOINTS))
        assert process.returncode == 0, process.stdout + process.stderr
        assert f"{requests} requests processed ({requests} succeeded)" in process.stdout
