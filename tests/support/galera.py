"""A MariaDB Galera cluster of three nodes for tests, and HAProxy, with the configuration of deploy/."""

import shutil
from pathlib import Path

from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.support import programs
from tests.support.nginx import replace
from tests.support.programs import Program, missing, wait_for
from tests.support.server import ROOT, free_port

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
MISSING = missing(mariadbd="mariadb-server", haproxy="haproxy", rsync="rsync") or (
    "" if PROVIDER.exists() else "install galera-4 to run it"
)
NODES = 3
DEPLOYED = ROOT / "deploy/galera"


class Node(Program):
    """A node with all of its ports on loopback."""

    def __init__(self, folder: Path) -> None:
        self.port, self.group_port, self.ist_port, self.sst_port = (free_port() for _ in range(4))
        super().__init__(folder, ["mariadbd", f"--defaults-file={folder}/galera.cnf"], user="mysql")

    def configure(self, addresses: str) -> None:
        text = (DEPLOYED / "galera.cnf").read_text()
        options = f"base_port={self.group_port};gmcast.listen_addr=tcp://127.0.0.1:{self.group_port}"
        for pattern, line in (
            (r"bind_address = .*", f"bind_address = 127.0.0.1\nport = {self.port}"),
            (r"wsrep_cluster_address = .*", f"wsrep_cluster_address = gcomm://{addresses}"),
            (r"wsrep_node_address = .*", f"wsrep_node_address = 127.0.0.1:{self.group_port}"),
            (
                r'wsrep_provider_options = "(.*)"',
                rf'wsrep_provider_options = "\1;{options};ist.recv_addr=127.0.0.1:{self.ist_port}"',
            ),
        ):
            text = replace(pattern, line, text)
        text += f"""
wsrep_sst_receive_address = 127.0.0.1:{self.sst_port}
datadir = {self.folder}/data
socket = {self.folder}/socket
pid_file = {self.folder}/pid
"""
        (self.folder / "galera.cnf").write_text(text)

    @property
    def server(self) -> URL:
        return make_url(f"mariadb+pymysql://root@127.0.0.1:{self.port}/")

    def status(self, name: str) -> str:
        """Return a status variable, or an empty string if the node does not respond."""
        engine = create_engine(self.server, poolclass=NullPool, connect_args={"connect_timeout": 2})
        try:
            with engine.connect() as connection:
                row = connection.exec_driver_sql(f"SHOW STATUS LIKE '{name}'").one()
        except DBAPIError:
            return ""
        return str(row[1])

    def is_synced(self) -> bool:
        return self.status("wsrep_local_state_comment") == "Synced"


class Cluster(programs.Cluster):
    """Three nodes, and HAProxy in front of them."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Node(folder / f"node{number + 1}") for number in range(NODES)]
        for node in self.nodes:
            node.configure(",".join(f"127.0.0.1:{each.group_port}" for each in self.nodes))
        self.port = free_port()
        text = (DEPLOYED / "haproxy.cfg").read_text()
        text = replace(r"bind :3306", f"bind 127.0.0.1:{self.port}", text)
        for number, node in enumerate(self.nodes, 1):
            text = replace(rf"server node{number} .*", f"server node{number} 127.0.0.1:{node.port}", text)
        self.haproxy = Program(folder / "haproxy", ["haproxy", "-f", f"{folder}/haproxy.cfg"])
        (folder / "haproxy.cfg").write_text(text)
        self.programs = (self.haproxy, *self.nodes)

    @property
    def server(self) -> URL:
        """Return the URL of HAProxy, which leads to any node."""
        return self.nodes[0].server.set(port=self.port)

    def start(self) -> None:
        first, *others = self.nodes
        Program(
            first.folder,
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={first.folder}/data",
                "--auth-root-authentication-method=normal",
            ],
            user="mysql",
        ).run()
        command = first.command
        first.command = [*command, "--wsrep-new-cluster"]
        first.start()
        first.command = command
        wait_for(first.is_synced, "the first node")
        engine = create_engine(first.server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE USER haproxy")
        for node in others:
            (node.folder / "data").mkdir()
            if node.user:
                shutil.chown(node.folder / "data", node.user, node.user)
            node.start()
            wait_for(node.is_synced, "another node")
        self.haproxy.start()
        wait_for(lambda: self.status_of_proxy() == "Synced", "HAProxy")

    def status_of_proxy(self) -> str:
        engine = create_engine(self.server, poolclass=NullPool)
        try:
            with engine.connect() as connection:
                return str(
                    connection.exec_driver_sql("SHOW STATUS LIKE 'wsrep_local_state_comment'").one()[1]
                )
        except DBAPIError:
            return ""

    def wait_until_complete(self) -> float:
        """Wait until all nodes are synced, and return the seconds."""
        return wait_for(lambda: all(node.is_synced() for node in self.nodes), "all nodes are synced")
