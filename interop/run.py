"""Use the service with clients that openapi-python-client and openapi-typescript generate.

openapi-python-client must be on the PATH, next to a `python` with the dependencies of its clients.
"""

import json
import subprocess
import sys
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory

from tests.support.server import Server

HERE = Path(__file__).parent


def main() -> None:
    """Generate, check and run both clients."""
    with Server() as server, TemporaryDirectory() as folder:
        place = Path(folder)
        document = json.dumps(server.request("GET", "/api/v1/openapi.json").json)
        (place / "openapi.json").write_text(document)
        run_python(place, server.url)
        run_typescript(place, server.url)


def run_python(place: Path, url: str) -> None:
    call(
        place,
        *("openapi-python-client", "generate", "--meta=none", "--fail-on-warning"),
        *("--path=openapi.json", "--output-path=todo_api"),
    )
    copy(HERE / "client.py", place)
    call(place, "python", "client.py", url)


def run_typescript(place: Path, url: str) -> None:
    for name in ("package.json", "tsconfig.json", "client.ts"):
        copy(HERE / name, place)
    call(place, "npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
    # A member with a default need not be sent.
    call(
        place,
        *("npx", "openapi-typescript", "openapi.json"),
        *("--output=todo_api.ts", "--default-non-nullable=false"),
    )
    call(place, "npx", "tsc")
    call(place, "node", "client.js", url)


def call(place: Path, *command: str) -> None:
    """Run `command` in `place`. Show its output if it fails."""
    process = subprocess.run(
        command,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{process.stdout}")


if __name__ == "__main__":
    main()
    print("Clients in Python and TypeScript: 2 passed, 0 failed")
