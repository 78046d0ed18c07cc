"""A PostgreSQL cluster for tests, with the configuration of deploy/: Patroni, a primary and a standby."""

import shutil
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.support import programs
from tests.support.programs import Program, descendants, missing, wait_for
from tests.support.server import ROOT, free_port

MISSING = missing(patroni="patroni", etcd="etcd-server", postgres="postgresql-15")
DEPLOYED = ROOT / "deploy/patroni"
PASSWORD = "secret"


class Node(Program):
    """A machine of the cluster: Patroni and its PostgreSQL."""

    def __init__(self, folder: Path, name: str, etcd: str) -> None:
        self.name = name
        self.port, self.health_port = free_port(), free_port()
        address, health = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.health_port}"
        environment = {
            "PATRONI_NAME": name,
            "PATRONI_ETCD_HOSTS": etcd,
            "PATRONI_RESTAPI_LISTEN": health,
            "PATRONI_RESTAPI_CONNECT_ADDRESS": health,
            "PATRONI_POSTGRESQL_LISTEN": address,
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": address,
            "PATRONI_POSTGRESQL_DATA_DIR": f"{folder}/data",
            "PATRONI_POSTGRESQL_PGPASS": f"{folder}/pgpass",
            "PATRONI_SUPERUSER_PASSWORD": PASSWORD,
            "PATRONI_REPLICATION_PASSWORD": PASSWORD,
            "TODO_PASSWORD": PASSWORD,
        }
        super().__init__(
            folder, ["patroni", str(folder.parent / "patroni.yml")], user="postgres", environment=environment
        )

    @property
    def pids(self) -> list[int]:
        """Return the processes of Patroni and of PostgreSQL, whose parent is no longer Patroni."""
        found = super().pids
        with suppress(OSError, ValueError, IndexError):
            postmaster = int((self.folder / "data/postmaster.pid").read_text().split()[0])
            if Path(f"/proc/{postmaster}/comm").read_text().startswith("postgres"):
                found += descendants(postmaster)
        return found

    def is_healthy(self, path: str) -> bool:
        """Return True if Patroni's health endpoint at `path` responds with 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, HTTPException):
            return False

    def is_demoted(self) -> bool:
        """Return True if PostgreSQL itself is read-only."""
        url = (
            f"postgresql+psycopg://todo:{PASSWORD}@127.0.0.1:{self.port}/todo?target_session_attrs=read-write"
        )
        try:
            create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 2}).connect().close()
        except DBAPIError:
            return True
        return False


class Cluster(programs.Cluster):
    """Two nodes, and the etcd in which the nodes elect the primary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        client, peer = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.etcd = Program(
            folder / "etcd",
            [
                "etcd",
                f"--data-dir={folder}/etcd/data",
                f"--listen-client-urls=http://{client}",
                f"--advertise-client-urls=http://{client}",
                f"--listen-peer-urls=http://{peer}",
                f"--initial-advertise-peer-urls=http://{peer}",
                f"--initial-cluster=default=http://{peer}",
                "--enable-v2",
                "--logger=zap",
            ],
            user="postgres",
        )
        create = folder / "create-database"
        shutil.copy(DEPLOYED / "create-database", create)
        text = (DEPLOYED / "patroni.yml").read_text()
        if "/etc/patroni/create-database" not in text:
            raise LookupError("patroni.yml does not name create-database")
        (folder / "patroni.yml").write_text(text.replace("/etc/patroni/create-database", str(create)))
        self.nodes = [Node(folder / name, name, client) for name in ("one", "two")]
        self.programs = (*self.nodes, self.etcd)

    @property
    def url(self) -> str:
        """Return the URL of the database on the current primary."""
        hosts = "&".join(f"host=127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql+psycopg://todo:{PASSWORD}@/todo?{hosts}&target_session_attrs=read-write"

    def start(self) -> None:
        self.etcd.start()
        for node in self.nodes:
            node.start()
        self.wait_until_safe()

    def wait_until_safe(self) -> float:
        """Wait until there is a primary with a synchronous standby, and return the seconds."""
        return wait_for(
            lambda: sorted(self.roles()) == ["primary", "synchronous"],
            "a primary and a synchronous standby",
        )

    def roles(self) -> list[str]:
        return [
            role for node in self.nodes for role in ("primary", "synchronous") if node.is_healthy(f"/{role}")
        ]

    def primary(self) -> Node:
        """Return the primary. Raises StopIteration if there is none."""
        return next(node for node in self.nodes if node.is_healthy("/primary"))
