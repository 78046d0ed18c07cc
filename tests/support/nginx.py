"""nginx for tests, with the deployed configuration."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.server import PATIENCE, ROOT, free_port

CONFIGURATION = (ROOT / "deploy/nginx.conf").read_text()
PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
# The configuration around the files of conf.d. All other files are in the folder of the test.
MAIN = """
daemon off;
pid pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include todo.conf;
}
"""


def replace(pattern: str, lines: str, text: str) -> str:
    """Replace the only match of `pattern`. Raises LookupError for any other number of matches."""
    replaced, count = re.subn(pattern, lines, text)
    if count != 1:
        raise LookupError(f"{pattern} is {count} times in deploy/nginx.conf, rather than once")
    return replaced


@contextmanager
def nginx(*instances: int, directives: str = "") -> Iterator[int]:
    """Run nginx in front of the instances on these ports, with additional directives, and yield its port."""
    port = free_port()
    servers = "".join(rf"server 127.0.0.1:{instance} \1\n" for instance in instances)
    text = replace(r"server todo:6400 (.*;)", servers, CONFIGURATION)
    text = replace(r"listen 8080;", f"listen 127.0.0.1:{port};\n{directives}", text)
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # the workers of nginx may run as another user
        (folder / "nginx.conf").write_text(MAIN)
        (folder / "todo.conf").write_text(text)
        with (folder / "log").open("wb") as log:
            command = [PROGRAM or "nginx", "-p", f"{folder}/", "-c", f"{folder}/nginx.conf"]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                with suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), PATIENCE).close()
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"nginx does not listen: {(folder / 'log').read_text()}")
                time.sleep(0.01)
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)
