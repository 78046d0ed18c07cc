"""The package: its declarations, the content of its wheel, and an installed service."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.support.server import PATIENCE, ROOT, answers, environment, free_port, request, wait_until
from tests.support.sizes import soak_only

PIPFILE = tomllib.loads((ROOT / "Pipfile").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SERVER = "todo-server.exe" if os.name == "nt" else "todo-server"
# Modules and functions that Windows does not have.
POSIX_MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
POSIX_FUNCTIONS = ("fork", "getuid", "geteuid", "register_at_fork", "sched_getaffinity", "setsid", "killpg")


def requirements(packages: Mapping[str, Any]) -> set[Requirement]:
    """Convert packages of a Pipfile."""
    found = set()
    for name, value in packages.items():
        entry = {"version": value} if isinstance(value, str) else value
        requirement = Requirement(name)
        requirement.extras = set(entry.get("extras", ()))
        requirement.specifier = SpecifierSet("" if entry["version"] == "*" else entry["version"])
        found.add(requirement)
    return found


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE * 5,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", folder, ROOT),
        cwd=folder,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_pipfile_has_the_dependencies_of_pyproject() -> None:
    assert {"packages", "dev-packages", "requires"} == set(PIPFILE)
    assert {Requirement(text) for text in PROJECT["dependencies"]} == requirements(PIPFILE["packages"])
    extras = {Requirement(text) for group in PROJECT["optional-dependencies"].values() for text in group}
    assert extras <= requirements(PIPFILE["dev-packages"])


def test_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "todo").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        assert expected == {name for name in archive.namelist() if name.startswith("todo/")}


@pytest.mark.server
def test_installed_wheel_serves_and_its_command_line_uses_it(wheel: Path, tmp_path: Path) -> None:
    """An environment with the wheel, and with the dependencies of this environment."""
    scripts = install(tmp_path, "--no-deps", "--no-index", wheel)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(scripts / "python", "-c", code, cwd=tmp_path).strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    use_installed(scripts, tmp_path)


@soak_only
@pytest.mark.soak
def test_installed_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """An environment whose dependencies come from a package index."""
    use_installed(install(tmp_path, wheel), tmp_path)


def install(folder: Path, *arguments: str | Path) -> Path:
    """Create an environment, install into it, and return the folder of its scripts."""
    venv.create(folder / "venv")
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet")
    run(*pip, *arguments, cwd=folder)
    return scripts


def use_installed(scripts: Path, folder: Path) -> None:
    """Start the server outside of the checkout, and use it with its command line."""
    data = folder / "data"
    port = free_port()
    variables = {"XDG_DATA_HOME": str(data), "HOME": str(folder), "TODO_PORT": str(port), "TODO_WORKERS": "1"}
    url = f"http://127.0.0.1:{port}"
    run(scripts / SERVER, "token", "create", "Ann", cwd=folder, **variables)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [scripts / SERVER, "serve"], cwd=folder, env=environment(**variables), stdout=log, stderr=log
        )
    try:
        wait_until(lambda: server.poll() is not None or answers(port))
        assert server.poll() is None, (folder / "log").read_text()
        for command in ((scripts / "todo",), (scripts / "python", "-m", "todo")):
            run(*command, "--url", url, "add", "Buy milk", cwd=folder)
        listed = run(scripts / "todo", "--url", url, "list", cwd=folder)
        assert listed.count("Buy milk") == 2
        for path in ("/api/v1/openapi.json", "/api/v1/todos"):
            assert request(port, "GET", path).status == 200
    finally:
        server.terminate()
        server.wait(PATIENCE)
    if sys.platform == "linux":
        assert (data / "todo-service" / "db.sqlite").is_file()
    assert not list((folder / "venv").rglob("*.sqlite"))


def test_service_imports_without_posix_modules(tmp_path: Path) -> None:
    """Windows does not have these modules. Only `serve` needs them, and it reports the reason."""
    script = f"""
import os, signal, sys

for name in {POSIX_MODULES}:
    sys.modules[name] = None
for name in {POSIX_FUNCTIONS}:
    vars(os).pop(name, None)

from flask.cli import cli
from todo import client, create_app

app = create_app({{"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"}})
assert app.test_client().post("/api/v1/todos", json={{"title": "Buy milk"}}).status_code == 201
assert app.test_client().get("/").status_code == 200
print(app.test_cli_runner().invoke(args=["serve"]).output)
"""
    output = run(sys.executable, "-c", script, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert "flask --app todo run" in output
