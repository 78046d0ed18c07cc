"""Programs of the system that tests run on loopback.

Tests start, end, kill and stop these programs like machines.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

FOLDERS = (
    "/usr/sbin",
    "/usr/lib/postgresql/15/bin",
)  # Debian installs some programs in folders that are not on every PATH
PATIENCE = 60  # seconds


def find(name: str) -> str | None:
    """Return the path of a program, or None if it is not installed."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(FOLDERS))


def missing(**packages: str) -> str:
    """Return the reason to skip a test that needs `program="package"`, or an empty string."""
    absent = [package for name, package in packages.items() if not find(name.replace("_", "-"))]
    return f"install {', '.join(absent)} to run it" if absent else ""


def can_trace() -> bool:
    """Return True if strace is installed and this user may trace processes."""
    command = [find("strace") or "false", "-qq", "-o", os.devnull, "true"]
    return subprocess.run(command, check=False).returncode == 0


def wait_for(condition: Callable[[], bool], subject: str, seconds: float = PATIENCE) -> float:
    """Wait until `condition` holds, and return the seconds. Raises AssertionError after a timeout."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s: {subject}")
        time.sleep(0.05)
    return time.monotonic() - began


def descendants(pid: int) -> list[int]:
    """Return the process and all of its descendants."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


class Program:
    """A program in its own folder. Programs that refuse to run as root run as `user`."""

    def __init__(
        self, folder: Path, command: Sequence[str], *, user: str = "", environment: Mapping[str, str] = {}
    ) -> None:
        self.folder = folder
        self.command = [find(command[0]) or command[0], *command[1:]]
        self.user = user if user and os.geteuid() == 0 else None
        self.environment = {"PATH": os.pathsep.join([os.environ["PATH"], *FOLDERS]), **environment}
        folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            shutil.chown(folder, self.user, self.user)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def run(self) -> None:
        """Start the program and wait until it succeeds."""
        self.start()
        if self.process and self.process.wait(PATIENCE):
            raise AssertionError(f"{self.command[0]} failed: {self.log}")

    @property
    def pids(self) -> list[int]:
        """Return all processes of the program."""
        return descendants(self.process.pid) if self.process else []

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the program, including new ones."""
        sent: set[int] = set()
        while new := set(self.pids) - sent:
            for pid in new:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            sent |= new

    def kill(self) -> None:
        """Kill all processes as a power cut would. Stopped processes cannot start others."""
        self.send(signal.SIGSTOP)
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End the program as an operator would."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
        self.wait()

    def wait(self) -> None:
        if self.process:
            self.process.wait(PATIENCE)
        self.process = None

    @property
    def log(self) -> str:
        """Return the end of its output."""
        return (self.folder / "log").read_text(errors="replace")[-5000:]


class Cluster:
    """Programs that form one service."""

    programs: Sequence[Program]

    def start(self) -> None:
        """Start the programs, and wait until the service is complete."""
        raise NotImplementedError

    def kill(self) -> None:
        for program in self.programs:
            program.send(signal.SIGCONT)
            program.kill()


AnyCluster = TypeVar("AnyCluster", bound=Cluster)


@contextmanager
def running(make: Callable[[Path], AnyCluster]) -> Iterator[AnyCluster]:
    """Run a cluster in a temporary folder. An error gets the logs of its programs as notes."""
    folder = Path(tempfile.mkdtemp(prefix="cluster"))
    folder.chmod(0o755)  # programs that refuse to run as root are other users
    cluster = make(folder)
    try:
        cluster.start()
        yield cluster
    except BaseException as error:
        for program in cluster.programs:
            error.add_note(program.log)
        raise
    finally:
        cluster.kill()
        shutil.rmtree(folder)
