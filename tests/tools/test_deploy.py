"""Files for deployments, as far as tests can check them without a container engine."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.api import TODOS
from tests.support.cases import Prepared
from tests.support.nginx import PROGRAM, nginx
from tests.support.server import PATIENCE, ROOT, environment, free_port
from tests.support.sizes import soak_only
from todo.config import PREFIX, SETTINGS

DOCKERFILE = (ROOT / "Dockerfile").read_text()
HOME = "/app"  # the folder of the service in the image


def instructions() -> Iterator[tuple[str, str]]:
    """Return the instructions of the Dockerfile: the keyword and its arguments."""
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    for instruction in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = instruction.partition(" ")
        yield word, rest


@pytest.fixture(params=["compose.yaml", "deploy/compose.postgresql.yaml"])
def compose(request: pytest.FixtureRequest) -> Path:
    path: Path = ROOT / request.param
    return path


def services(compose: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(compose.read_text())["services"]
    return found


def test_compose_file_names_existing_files_and_services(compose: Path) -> None:
    volumes = yaml.safe_load(compose.read_text())["volumes"]
    for name, service in services(compose).items():
        assert "image" in service or (compose.parent / service["build"] / "Dockerfile").is_file(), name
        for needed, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert needed in services(compose)
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (compose.parent / source).is_file() if source.startswith(".") else source in volumes, (
                volume
            )
        # If the image is built here, the Dockerfile contains the health check.
        assert ("healthcheck" in service) != ("build" in service)
    assert "HEALTHCHECK" in dict(instructions())


def test_compose_file_has_known_settings(compose: Path) -> None:
    known = {PREFIX + setting.name for setting in SETTINGS}
    assert set(services(compose)["todo"]["environment"]) <= known


def test_compose_with_nginx_requires_tokens() -> None:
    settings = services(ROOT / "deploy/compose.postgresql.yaml")["todo"]["environment"]
    assert (settings["TODO_REQUIRE_TOKEN"], settings["TODO_PROXIES"]) == ("true", "1")


def test_compose_without_tokens_is_published_on_loopback_only() -> None:
    service = services(ROOT / "compose.yaml")["todo"]
    assert "--insecure" in service["command"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_compose_has_no_password_and_no_default_password() -> None:
    text = (ROOT / "deploy/compose.postgresql.yaml").read_text()
    passwords = re.findall(r"(?:PASSWORD: |://todo:)(.*?)(?:@|\n)", text)
    assert len(passwords) == 2
    for password in passwords:
        assert re.match(r"^\$\{POSTGRES_PASSWORD:\?set it .*\}$", password)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_unit_is_valid(tmp_path: Path) -> None:
    unit = (ROOT / "deploy/todo.service").read_text()
    (tmp_path / "todo.service").write_text(unit.replace("/opt/todo/bin/todo-server", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "todo.service"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_pre_commit_runs_tools_of_the_project() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert {hook["entry"].split()[0] for hook in repository["hooks"]} == {".venv/bin/ruff", ".venv/bin/mypy"}


class TestDockerfile(Prepared):
    def test_dockerfile_copies_only_sent_files(self) -> None:
        sent = {
            line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
        }
        taken: set[str] = set()
        for word, rest in instructions():
            if word == "COPY" and "--from" not in rest:
                taken.update(rest.split()[:-1])
        assert sent == taken
        for name in sent:
            assert (ROOT / name).exists(), name

    def test_dockerfile_does_not_run_as_root(self) -> None:
        assert re.search(r"^[1-9]\d*:[1-9]\d*$", dict(instructions())["USER"])

    @soak_only
    @pytest.mark.soak
    def test_dockerfile_commands_work(self) -> None:
        folder = self.stack.enter_context(TemporaryDirectory())
        app = Path(folder) / "app"
        build = Path(folder) / "build"
        python = str(Path(sys.executable).parent)
        variables = environment(HOME=folder)
        variables["PATH"] = f"{python}{os.pathsep}{os.environ['PATH']}"
        for word, text in instructions():
            rest = text.replace(HOME, str(app))
            if word == "FROM" and app.exists():
                app.rename(build)
            elif word == "WORKDIR":
                assert str(app) == rest
                app.mkdir()
            elif word == "COPY":
                self.copy(rest, app, build)
            elif word == "ENV":
                for assignment in shlex.split(rest):
                    name, _, value = assignment.partition("=")
                    variables[name] = value.replace("$PATH", variables["PATH"])
            elif word == "RUN":
                done = subprocess.run(
                    ["sh", "-c", rest], cwd=app, env=variables, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{rest}\n{done.stdout}{done.stderr}"
        # A virtual environment contains the path at which it was created.
        self.serve(app, variables)

    def copy(self, arguments: str, app: Path, build: Path) -> None:
        """Execute COPY for files and folders below the home folder."""
        options = [word for word in arguments.split() if word.startswith("--")]
        *sources, target = (word for word in arguments.split() if not word.startswith("--"))
        for name in sources:
            if "--from=build" in options:
                shutil.move(build / Path(name).relative_to(app), app / target)
            elif (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, app / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, app / target)

    def serve(self, app: Path, variables: dict[str, str]) -> None:
        """Run CMD until HEALTHCHECK succeeds. Without tokens, the start is refused."""
        command = json.loads(dict(instructions())["CMD"])
        check = dict(instructions())["HEALTHCHECK"].partition("CMD ")[2]
        refused = subprocess.run(
            command, cwd=app, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert "TODO_REQUIRE_TOKEN=true" in refused.stderr
        assert refused.returncode == 1
        port = free_port()
        # Tests listen only on loopback.
        variables |= {"TODO_HOST": "127.0.0.1", "TODO_PORT": str(port), "TODO_REQUIRE_TOKEN": "true"}
        assert check.count(":6400/") == 1
        check = json.loads(check.replace(":6400/", f":{port}/"))

        def is_well() -> bool:
            return not subprocess.run(
                check, cwd=app, env=variables, capture_output=True, timeout=PATIENCE, check=False
            ).returncode

        assert not is_well()
        with (app / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=app, env=variables, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while not is_well():
                assert process.poll() is None, (app / "log").read_text()
                assert time.monotonic() < deadline
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0
        assert (app / "instance/db.sqlite").is_file()


@pytest.mark.skipif(not PROGRAM, reason="nginx is not installed")
class TestNginx(Prepared):
    def test_nginx_errors_are_problems(self) -> None:
        with nginx(free_port(), free_port()) as port:
            for method, path, body, headers, status in (
                ("GET", TODOS, b"", {}, 503),
                ("PATCH", f"{TODOS}/1", b"{}", {}, 503),
                ("POST", TODOS, b"{}", {"Idempotency-Key": "1"}, 503),
                ("POST", TODOS, b"{}", {"X-Request-ID": 'a"b'}, 503),
                ("POST", TODOS, b"", {"Content-Length": str(3 * 2**20)}, 413),
                ("GET", "/metrics", b"", {}, 404),
                ("GET", "/readyz", b"", {"X-Request-ID": "mine"}, 404),
            ):
                connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
                self.stack.callback(connection.close)
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                problem = json.load(answer)
                assert (status, status) == (answer.status, problem["status"])
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert ("5" if status == 503 else None) == answer.headers["Retry-After"]
                assert problem["detail"] == problem["error"]
                assert [problem["request_id"]] == answer.headers.get_all("X-Request-ID")
                if headers.get("X-Request-ID") == "mine":
                    assert problem["request_id"] == "mine"
