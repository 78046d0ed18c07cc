"""A PgBouncer for tests, with the configuration of deploy/."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.support.nginx import replace
from tests.support.programs import Program, missing, wait_for
from tests.support.server import ROOT, free_port

MISSING = missing(pgbouncer="pgbouncer")


@contextmanager
def pgbouncer(server: URL, pool_size: int) -> Iterator[URL]:
    """Run PgBouncer in front of `server`, and yield the URL of the same database through PgBouncer."""
    port = free_port()
    text = (ROOT / "deploy/pgbouncer.ini").read_text()
    host = str(server.query.get("host", server.host))
    # The folder of the socket belongs to the user of the server.
    user = Path(host).owner() if host.startswith("/") else "postgres"
    for pattern, line in (
        (r"todo = host=db port=5432", f"* = host={host} port={server.port or 5432} user={server.username}"),
        (r"listen_addr = .*", "listen_addr = 127.0.0.1\nunix_socket_dir ="),
        (r"listen_port = .*", f"listen_port = {port}"),
        (r"auth_type = .*", "auth_type = any"),
        (r"auth_file = .*\n", ""),
        (r"default_pool_size = .*", f"default_pool_size = {pool_size}"),
    ):
        text = replace(pattern, line, text)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "pgbouncer.ini").write_text(text)
        program = Program(folder / "run", ["pgbouncer", f"{folder}/pgbouncer.ini"], user=user)
        pooled = server.set(host="127.0.0.1", port=port, query={})
        engine = create_engine(pooled, poolclass=NullPool)

        def responds() -> bool:
            try:
                engine.connect().close()
            except DBAPIError:
                return False
            return True

        program.start()
        try:
            wait_for(responds, f"PgBouncer responds: {program.log}")
            yield pooled
        finally:
            program.stop()
