"""The command line for people: in this process, in other processes and on a terminal."""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

import pexpect  # type: ignore[import-untyped]
import pytest

from tests.support.server import PATIENCE, ROOT, Server, environment
from todo import client

pytestmark = pytest.mark.server

COMMAND = [sys.executable, "-m", "todo.client"]
ZONE = "Pacific/Kiritimati"  # 14 hours ahead, so that its date often differs from the date of this machine


class Result(NamedTuple):
    status: int
    stdout: str
    stderr: str


Run = Callable[..., Result]


@pytest.fixture(scope="module")
def zoned_server() -> Iterator[Server]:
    with Server(TODO_WORKERS="1", TODO_TIMEZONE=ZONE) as server:
        yield server


@pytest.fixture
def server(zoned_server: Server) -> Server:
    """Return the server of the module, without todos."""
    for todo in zoned_server.request("GET", client.TODOS).json:
        zoned_server.request("DELETE", f"{client.TODOS}/{todo['id']}")
    return zoned_server


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the client in this process, which is faster than a new process."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run_(url: str, *arguments: str) -> Result:
        if url:
            monkeypatch.setenv("TODOS_URL", url)
        status = client.main(arguments)
        return Result(status, *capsys.readouterr())

    return run_


def read_json(result: Result) -> Any:
    assert result.status == 0, result.stderr
    return json.loads(result.stdout)


def process(url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=environment(TODOS_URL=url, XDG_CONFIG_HOME="/none", **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def terminal(
    url: str, *arguments: str, columns: int = 80, variables: dict[str, str] | None = None
) -> list[str]:
    """Return the lines that a command prints on a terminal."""
    variables = {"TERM": "xterm"} | (variables or {})
    variables = environment(TODOS_URL=url, XDG_CONFIG_HOME="/none", **variables)
    for name in ("COLUMNS", "LINES"):  # these variables would override the size of the terminal
        variables.pop(name, None)
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *arguments],
        env=variables,
        cwd=str(ROOT),
        encoding="utf-8",
        timeout=PATIENCE,
        dimensions=(24, columns),
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    return str(child.before).splitlines()


def create(server: Server, title: str, **members: Any) -> int:
    response = server.request("POST", client.TODOS, {"title": title, **members})
    assert response.status == 201, response.json
    todo_id: int = response.json["id"]
    return todo_id


def test_todo_from_creation_to_deletion(server: Server, run: Run) -> None:
    added = read_json(
        run(
            server.url,
            "add",
            "Buy milk",
            "--due",
            "2027-01-31T18:00",
            "--description",
            "Two litres",
            "--json",
        )
    )
    todo_id = str(added["id"])
    assert (added["title"], added["description"], added["completed"]) == ("Buy milk", "Two litres", False)
    assert added["deadline_at"] == "2027-01-31T18:00:00"
    assert read_json(run(server.url, "show", todo_id, "--json")) == added
    for arguments, members in (
        (("done", todo_id), {"completed": True}),
        (("edit", todo_id, "--open", "--title", "Käse"), {"completed": False, "title": "Käse"}),
        (("edit", todo_id, "--due", "2027-02-01"), {"deadline_at": "2027-02-01T23:59:59"}),
        (("edit", todo_id, "--due", "", "--description", ""), {"deadline_at": None, "description": None}),
        (("rm", todo_id), {"title": "Käse"}),
    ):
        changed = read_json(run(server.url, *arguments, "--json"))
        assert changed == changed | members, arguments
    assert read_json(run(server.url, "list", "--all", "--json")) == []


def test_commands_print_their_result(server: Server, run: Run) -> None:
    added = run(server.url, "add", "Buy", "oat", "milk", "--due", "2027-01-31")
    todo_id = added.stdout.split()[1].rstrip(":")
    assert added.stdout == f"Added {todo_id}: Buy oat milk (due 2027-01-31)\n"
    assert run(server.url, "done", todo_id).stdout == f"Completed {todo_id}: Buy oat milk\n"
    edited = run(server.url, "edit", todo_id, "--title", "Tea", "--due", "")
    assert edited.stdout == f"Changed {todo_id}: Tea (title, no deadline)\n"
    assert run(server.url, "rm", todo_id).stdout == f"Deleted {todo_id}: Tea. Undo: todo restore {todo_id}\n"


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (("Buy", "milk"), "Buy milk"),
        (("Buy", "--due", "tomorrow", "milk"), "Buy milk"),
        (("--due", "tomorrow", "18:00", "Buy", "milk"), "Buy milk"),
        (("--due", "tomorrow", "18:00", "9:00", "is too late"), "9:00 is too late"),
        (("Cold:", "--done", "-5", "to", "-", "1"), "Cold: -5 to - 1"),
        (("--", "-5", "degrees", "--due"), "-5 degrees --due"),
    ],
    ids=" ".join,
)
def test_add_joins_unquoted_words(server: Server, run: Run, arguments: tuple[str, ...], title: str) -> None:
    assert read_json(run(server.url, "add", "--json", *arguments))["title"] == title


def test_list_shows_open_todos_by_deadline(server: Server, run: Run) -> None:
    for title, due, done in (
        ("None", None, False),
        ("Never", "9999-01-01", False),
        ("Late", "2001-01-01", False),
        ("Done", "2002-01-01", True),
    ):
        create(server, title, deadline_at=due, completed=done)
    for arguments, titles in (
        ((), ["Late", "Never", "None"]),
        (("--all",), ["Late", "Done", "Never", "None"]),
        (("list",), ["Late", "Never", "None"]),
        (("list", "--all", "--sort", "title"), ["Done", "Late", "Never", "None"]),
        (("list", "--window", "7"), ["Late"]),
        (("list", "--overdue"), ["Late"]),
        (("list", "--open"), ["Late", "Never", "None"]),
        (("--done",), ["Done"]),
        (("list", "--all", "--find", "NE"), ["Done", "Never", "None"]),
        (("--sort", "-title", "--limit", "2"), ["None", "Never"]),
    ):
        assert [todo["title"] for todo in read_json(run(server.url, *arguments, "--json"))] == titles, (
            arguments
        )


def test_empty_list_prints_a_message(server: Server, run: Run) -> None:
    assert run(server.url).stdout == "No open todos.\n"
    assert run(server.url, "--all").stdout == "No todos.\n"
    assert run(server.url, "--find", "x").stdout == "No open todos match.\n"


def test_list_has_a_header_and_one_line_for_each_todo_in_a_pipe(server: Server, run: Run) -> None:
    todo_id = create(server, "Buy milk", description="Two\nlitres", deadline_at="2027-01-31T00:00:00")
    create(server, "Long", description="x " * 60)
    header, line, long = run(server.url).stdout.splitlines()
    assert header.split() == ["ID", "Due", "Title"]
    assert line == f"{todo_id:>2}    2027-01-31 00:00  Buy milk  Two  litres"
    assert long.endswith(f"Long  {'x ' * 60}".strip())
    assert header.index("Title") == line.index("Buy milk")


def test_list_continues_from_page_to_page(server: Server, run: Run) -> None:
    operations = [{"op": "create", "todo": {"title": f"Todo {i}"}} for i in range(1000)]
    for some in (operations, operations, operations[:5]):
        server.request("POST", f"{client.TODOS}/batch", {"operations": some})
    ids = [todo["id"] for todo in read_json(run(server.url, "--json"))]
    assert len(set(ids)) == len(ids) == 2005
    for limit in ("1", "1000", "1001", "2004"):
        assert len(read_json(run(server.url, "--limit", limit, "--json"))) == int(limit)
    assert len(run(server.url).stdout.splitlines()) == 2006
    for part in (ids[:1000], ids[1000:2000]):
        deletes = [{"op": "delete", "id": todo_id} for todo_id in part]
        server.request("POST", f"{client.TODOS}/batch", {"operations": deletes})


def now() -> datetime:
    return datetime.now(ZoneInfo(ZONE)).replace(tzinfo=None, microsecond=0)


FRIDAY = datetime(2026, 11, 27, 12, 30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", "2026-11-27T23:59:59"),
        ("Tomorrow", "2026-11-28T23:59:59"),
        ("today 9:00", "2026-11-27T09:00:00"),
        ("fri", "2026-12-04T23:59:59"),
        ("friday", "2026-12-04T23:59:59"),
        ("sat", "2026-11-28T23:59:59"),
        ("Thursday 9:05", "2026-12-03T09:05:00"),
        ("mon 5pm", "2026-11-30T17:00:00"),
        ("mon 12am", "2026-11-30T00:00:00"),
        ("mon 12:30 pm", "2026-11-30T12:30:00"),
        ("+3d", "2026-11-30T23:59:59"),
        ("+0d", "2026-11-27T23:59:59"),
        ("+2w 18:00", "2026-12-11T18:00:00"),
        ("18:00", "2026-11-27T18:00:00"),
        ("12:30", "2026-11-28T12:30:00"),
        ("2027-01-31", "2027-01-31T23:59:59"),
        ("20270131", "20270131T23:59:59"),
        ("2027-01-31 00:00", "2027-01-31T00:00:00"),
        ("2027-01-31 9:00", "2027-01-31T09:00:00"),
        ("2027-01-31 18:00:30", "2027-01-31T18:00:30"),
        ("2027-01-31 18:00:30.500000", "2027-01-31 18:00:30.500000"),
        ("2027-01-31T18:00:00+10:00", "2027-01-31T18:00:00+10:00"),
    ],
    ids=str,
)
def test_due_is_parsed(text: str, expected: str) -> None:
    assert client.parse_due(text, lambda: FRIDAY) == expected


@pytest.mark.parametrize(
    "text",
    [
        "gestern",
        "31.1.2027",
        "fri 9",
        "fri 25:00",
        "fri 13pm",
        "tomorrow 18:60",
        "+3",
        "+99999999d",
        "\u0663",
        "now",
    ],
    ids=str,
)
def test_invalid_due_is_rejected_with_an_example(run: Run, text: str) -> None:
    result = run("http://127.0.0.1:1", "add", "Buy milk", "--due", text)
    # A relative day requires the date of the service, and this service is unreachable.
    assert result.status in {client.USAGE, client.UNREACHABLE}
    with pytest.raises(client.Failure, match=r"^--due .* Use ") as failure:
        client.parse_due(text, lambda: FRIDAY)
    assert failure.value.status == client.USAGE


def test_relative_days_use_the_zone_of_the_service(server: Server, run: Run) -> None:
    before = now()
    todo = read_json(run(server.url, "add", "Buy milk", "--due", "tomorrow", "--json"))
    days = {(moment + timedelta(days=1)).date().isoformat() for moment in (before, now())}
    assert todo["deadline_at"] in {f"{day}T23:59:59" for day in days}


@pytest.mark.parametrize(
    "deadline_at",
    ["2027-01-31T23:59:59", "2027-01-31T00:00:00", "2027-01-31T18:00:30", "2027-01-31T18:00:30.500000"],
)
def test_printed_due_is_accepted(server: Server, run: Run, deadline_at: str) -> None:
    shown = client.format_due(deadline_at)
    assert ("T" in shown, ":" in shown) == (False, not deadline_at.endswith("23:59:59"))
    todo = read_json(run(server.url, "add", "Buy milk", "--due", shown, "--json"))
    assert todo["deadline_at"] == deadline_at


@pytest.mark.parametrize(
    ("status", "message", "arguments"),
    [
        (1, "title must be", ("add", "")),
        (1, "--due must be", ("add", "a", "--due", "2027-02-30")),
        (1, "--description must be", ("add", "a", "--description", "x" * 121)),
        (1, "--sort must be", ("list", "--sort", "colour")),
        (1, "--window must be", ("--window", "-1")),
        (2, "required: TITLE", ("add",)),
        (2, "Nothing to change", ("edit", "1")),
        (2, "invalid positive number value: 'milk'", ("done", "milk")),
        (2, "invalid positive number value: '0'", ("list", "--limit", "0")),
        (2, "invalid choice: 'finish'", ("finish", "1")),
        (2, "Invalid URL", ("--url", "ftp://127.0.0.1")),
        (2, "Invalid URL", ("--url", "http://127.0.0.1:port")),
        (2, "must not contain a user or a password", ("--url", "http://user:pw@127.0.0.1")),
        (2, "Invalid token", ("list", "--token", "a b")),
        (3, "Todo 999999 does not exist", ("done", "999999")),
        (3, "Todo 999999 does not exist", ("edit", "999999", "--open")),
        (3, "Todo 999999 does not exist", ("rm", "999999")),
        (3, "Todo 999999 does not exist", ("show", "999999")),
        (5, "Cannot reach", ("list", "--url", "http://127.0.0.1:1")),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None,
)
def test_failure_has_its_exit_status_and_message(
    server: Server, run: Run, status: int, message: str, arguments: tuple[str, ...]
) -> None:
    result = run(server.url, *arguments)
    assert (result.status, result.stdout) == (status, ""), result
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_command_for_several_todos_continues_after_a_failure(server: Server, run: Run) -> None:
    first, second = create(server, "First"), create(server, "Second")
    result = run(server.url, "done", str(first), "999999", str(second))
    assert result.status == client.ABSENT
    assert result.stdout == f"Completed {first}: First\nCompleted {second}: Second\n"
    assert result.stderr == "Error: Todo 999999 does not exist.\n"


class TestOnATerminal:
    def test_overdue_todos_are_red_and_completed_todos_ticked(self, server: Server) -> None:
        create(server, "Late", deadline_at="2001-01-01")
        create(server, "Later", deadline_at="9999-01-01")
        last_id = create(server, "Done", deadline_at="2001-01-01", completed=True)
        header, late, done, later = terminal(server.url, "--all")
        width = max(2, len(str(last_id)))
        assert header == f"\x1b[1m{'ID':>{width}}    {'Due':16}  Title\x1b[0m"
        assert "\x1b[31m2001-01-01" in late
        assert "\x1b[31m" not in done + later
        assert "\x1b[32m✓" in done
        assert "\x1b[36m9999-01-01" in later

    @pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
    def test_colors_can_be_turned_off(self, server: Server, variables: dict[str, str]) -> None:
        create(server, "Late", deadline_at="2001-01-01")
        assert "\x1b" not in "".join(terminal(server.url, variables=variables))

    @pytest.mark.parametrize("columns", [40, 60, 80])
    def test_long_texts_wrap_within_their_column(self, server: Server, columns: int) -> None:
        create(server, "A title of some words " * 3, description=f"日本語 {'description ' * 4}{'x' * 40}")
        header, *lines = terminal(server.url, columns=columns, variables={"NO_COLOR": "1"})
        start = header.index("Title")
        assert len(lines) > 2
        for line in lines[1:]:
            assert line[:start].isspace()
            assert line[start] != " "
        for line in lines:
            assert client.count_columns(line) <= columns
        text = "".join(line[start:] for line in lines)
        assert "日本語" in text
        assert text.replace("description", "").count("x") == 40


class TestOutput:
    @pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
    def test_characters_that_the_output_cannot_encode_are_replaced(
        self, server: Server, encoding: str
    ) -> None:
        added = process(server.url, "add", "Call ✓", PYTHONIOENCODING=encoding)
        assert (added.returncode, added.stderr) == (0, "")
        todo_id = added.stdout.split()[1].rstrip(":")
        done = process(server.url, "done", todo_id, PYTHONIOENCODING=encoding)
        assert done.stdout == f"Completed {todo_id}: Call ?\n"
        shown = process(server.url, "--all", PYTHONIOENCODING=encoding)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert re.search(rf"{todo_id} +\? .*Call \?$", shown.stdout, re.MULTILINE)
        as_json = process(server.url, "--all", "--json", PYTHONIOENCODING=encoding)
        assert [todo["title"] for todo in json.loads(as_json.stdout)] == ["Call ✓"]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
    @pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("add", "Buy milk")], ids=str)
    def test_output_to_a_full_device_is_an_error(self, server: Server, arguments: tuple[str, ...]) -> None:
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [*COMMAND, *arguments],
                cwd=ROOT,
                env=environment(TODOS_URL=server.url, XDG_CONFIG_HOME="/none"),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        message = "Error: Cannot write the output: No space left on device.\n"
        assert (result.returncode, result.stderr) == (client.REFUSED, message)

    def test_closed_pipe_ends_the_command_silently(self, server: Server) -> None:
        create(server, "Buy milk")
        reader, writer = os.pipe()
        os.close(reader)
        result = subprocess.run(
            [*COMMAND, "list"],
            cwd=ROOT,
            env=environment(TODOS_URL=server.url, XDG_CONFIG_HOME="/none"),
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
        os.close(writer)
        assert result.stderr == b""


class TestConfiguration:
    def write(self, folder: Path, text: str) -> None:
        (folder / "todo").mkdir(exist_ok=True)
        (folder / "todo" / "config.toml").write_text(text)

    @pytest.fixture(autouse=True)
    def without_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TODOS_URL", raising=False)
        monkeypatch.delenv("TODOS_TOKEN", raising=False)

    def test_file_sets_url_and_token(self, run: Run, tmp_path: Path) -> None:
        with answering(lambda request, _: reply(request, 200, [])) as (url, seen):
            self.write(tmp_path, f'url = "{url}/"\ntoken = "secret"\n')
            assert run("", "list").status == 0
        assert [request.headers["Authorization"] for request in seen] == ["Bearer secret"]

    def test_token_of_the_file_is_not_sent_to_another_service(self, run: Run, tmp_path: Path) -> None:
        self.write(tmp_path, 'url = "http://127.0.0.1:1"\ntoken = "secret"\n')
        with answering(lambda request, _: reply(request, 200, [])) as (url, seen):
            assert run("", "list", "--url", url).status == 0
            assert run(url, "list").status == 0
            assert run(url, "list", "--token", "own").status == 0
        assert [request.headers["Authorization"] for request in seen] == [None, None, "Bearer own"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("url = http", "is not valid TOML"),
            ('colour = "red"', "invalid setting colour"),
            ("token = 1", "invalid setting token"),
        ],
    )
    def test_invalid_file_is_refused(self, run: Run, tmp_path: Path, text: str, message: str) -> None:
        self.write(tmp_path, text)
        result = run("", "list")
        assert result.status == client.USAGE
        assert message in result.stderr
        assert str(tmp_path) in result.stderr

    @pytest.mark.parametrize("folder", ["", "relative"])
    def test_home_is_used_without_an_absolute_xdg_folder(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CONFIG_HOME", folder)
        (tmp_path / ".config").mkdir()
        self.write(tmp_path / ".config", 'colour = "red"')
        assert "invalid setting colour" in run("", "list").stderr


class TestStart:
    def test_version_equals_the_version_of_the_package(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            client.main(["--version"])
        package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert capsys.readouterr().out == f"todo {package['version']}\n"

    def test_client_imports_nothing_from_the_current_folder(self, tmp_path: Path) -> None:
        link = tmp_path / "todo"
        link.symlink_to(ROOT / "bin" / "todo")
        (tmp_path / "json.py").write_text("raise SystemExit('imported')")
        shown = subprocess.run(
            [link, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert "List and change todos on the command line." in shown.stdout, shown.stderr

    def test_client_needs_only_the_standard_library(self, server: Server) -> None:
        code = (
            "import sys; before = {*sys.modules}; from todo import client; client.main(['list']);"
            "names = {name.partition('.')[0] for name in {*sys.modules} - before} - sys.stdlib_module_names;"
            "print(*names, file=sys.stderr)"
        )
        shown = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment(TODOS_URL=server.url),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        assert shown.stderr == "todo\n"


Handler = Callable[[BaseHTTPRequestHandler, int], None]


@contextmanager
def answering(handle: Handler) -> Iterator[tuple[str, list[BaseHTTPRequestHandler]]]:
    """Run a service that responds with `handle`, which gets the number of the request."""
    seen: list[BaseHTTPRequestHandler] = []

    class Answers(BaseHTTPRequestHandler):
        body = b""

        def answer(self) -> None:
            seen.append(self)
            self.body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            handle(self, len(seen))

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


def reply(request: BaseHTTPRequestHandler, status: int, body: object, **headers: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


TODO = {"id": 1, "title": "Buy milk", "description": None, "completed": False, "deadline_at": None}


class TestBehindAProxy:
    @pytest.mark.parametrize(
        "weaken",
        [
            lambda tag: f"W/{tag}",
            lambda tag: f'{tag[:-1]}-gzip"',
            lambda tag: f'W/{tag[:-1]}-gzip"',
            lambda tag: f'{tag[:-1]};br"',
        ],
        ids=["nginx", "Apache", "both", "suffix"],
    )
    def test_change_works_although_the_proxy_changes_tags(
        self, server: Server, run: Run, weaken: Callable[[str], str]
    ) -> None:
        def forward(request: BaseHTTPRequestHandler, _: int) -> None:
            sent = Request(
                server.url + request.path,
                getattr(request, "body", None) or None,
                {
                    name: request.headers[name]
                    for name in ("Content-Type", "If-Match")
                    if request.headers[name]
                },
                method=request.command,
            )
            try:
                response = urlopen(sent)
            except HTTPError as error:
                response = error
            with response:
                tag = response.headers["ETag"]
                headers = {"ETag": weaken(tag)} if tag else {}
                reply(request, response.status, response.read(), **headers)

        todo_id = create(server, "Buy milk")
        with answering(forward) as (url, seen):
            result = run(url, "done", str(todo_id))
        assert (result.status, result.stderr, len(seen)) == (0, "", 2)
        assert server.request("GET", f"{client.TODOS}/{todo_id}").json["completed"]

    def test_tag_of_another_service_is_sent_unchanged(self) -> None:
        assert client.strong_tag('W/"x1"') == 'W/"x1"'
        assert client.strong_tag(None) == "*"


class TestRestore:
    def test_restore_is_retried_after_a_lost_response(self, run: Run) -> None:
        def handle(request: BaseHTTPRequestHandler, number: int) -> None:
            if number > 1:
                reply(request, 200, TODO)

        with answering(handle) as (url, seen):
            result = run(url, "restore", "1")
        assert result == (0, "Restored 1: Buy milk\n", "")
        assert [(r.command, r.path) for r in seen] == [("POST", f"{client.TODOS}/1/restore")] * 2

    def test_todo_that_cannot_be_restored_is_named(self, run: Run) -> None:
        with answering(lambda request, _: reply(request, 404, {"detail": "It never existed."})) as (url, _):
            result = run(url, "restore", "7")
        assert result == (client.ABSENT, "", "Error: Todo 7: It never existed.\n")

    def test_wrong_path_in_the_url_is_no_absent_todo(self, run: Run) -> None:
        with answering(lambda request, _: reply(request, 404, {"detail": "Check the path."})) as (url, _):
            assert run(url, "list") == (client.REFUSED, "", "Error: Check the path.\n")
            assert run(url, "add", "Buy milk") == (client.REFUSED, "", "Error: Check the path.\n")

    def test_deleted_todos_are_listed(self, run: Run) -> None:
        deleted = TODO | {"deleted_at": "2027-01-31T18:00:00.000000Z"}
        with answering(lambda request, _: reply(request, 200, [deleted])) as (url, seen):
            assert "Buy milk" in run(url, "deleted", "--limit", "5").stdout
            assert read_json(run(url, "deleted", "--json")) == [deleted]
        assert seen[0].path == f"{client.TODOS}/deleted?limit=5"


class TestFailingService:
    """Behaviour that only a failing service can show."""

    @pytest.fixture(autouse=True)
    def without_delays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "MAX_DELAY", 0.0)

    def test_creation_is_repeated_with_the_same_key(self, run: Run) -> None:
        def handle(request: BaseHTTPRequestHandler, number: int) -> None:
            if number == 2:
                reply(request, 503, {"detail": "Busy."}, Retry_After="0")
            elif number > 2:
                reply(request, 201, TODO)

        with answering(handle) as (url, seen):
            assert run(url, "add", "Buy milk").status == 0
        keys = {request.headers["Idempotency-Key"] for request in seen}
        assert len(seen) == 3
        assert len(keys) == 1
        assert keys != {None}

    @pytest.mark.parametrize(
        ("handle", "message"),
        [
            (lambda request, _: reply(request, 503, {"detail": "Busy."}, Retry_After="0"), "Busy."),
            (lambda *_: None, "No response from"),
        ],
        ids=["busy", "silent"],
    )
    def test_client_gives_up_after_the_last_attempt(self, run: Run, handle: Handler, message: str) -> None:
        with answering(handle) as (url, seen):
            result = run(url, "list")
        assert (result.status, len(seen)) == (client.UNREACHABLE, client.ATTEMPTS)
        assert message in result.stderr

    def test_retry_delays_grow_despite_a_short_retry_after(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_DELAY", 10.0)
        delays: list[float] = []
        monkeypatch.setattr(client, "sleep", delays.append)
        with answering(lambda request, _: reply(request, 503, {"detail": "Busy."}, Retry_After="0")) as (
            url,
            _,
        ):
            run(url, "list")
        assert delays == sorted({*delays})
        assert len(delays) == client.ATTEMPTS - 1
        assert min(delays) > 0

    def test_circular_links_between_pages_are_an_error(self, run: Run) -> None:
        def handle(request: BaseHTTPRequestHandler, number: int) -> None:
            cursor = number % 3
            reply(request, 200, [TODO], Link=f'<http://127.0.0.1/api/v1/todos?cursor={cursor}>; rel="next"')

        with answering(handle) as (url, seen):
            result = run(url, "list", "--json")
        assert (result.status, len(seen)) == (client.REFUSED, 4)
        assert "back to an earlier page" in result.stderr

    def test_change_without_a_response_is_not_repeated(self, run: Run) -> None:
        def handle(request: BaseHTTPRequestHandler, number: int) -> None:
            if number == 1:
                reply(request, 200, TODO, ETag='"1"')

        with answering(handle) as (url, seen):
            result = run(url, "done", "1")
        assert (result.status, len(seen)) == (client.UNREACHABLE, 2)
        assert "The change may have been stored" in result.stderr
        assert seen[1].headers["If-Match"] == '"1"'

    def test_changed_todo_is_a_conflict(self, run: Run) -> None:
        def handle(request: BaseHTTPRequestHandler, number: int) -> None:
            if number == 1:
                reply(request, 200, TODO, ETag='"1"')
            else:
                reply(request, 412, {"detail": "It was changed."}, ETag='"2"')

        with answering(handle) as (url, seen):
            result = run(url, "edit", "1", "--title", "a")
        assert result == (client.CHANGED, "", "Error: Todo 1: It was changed.\n")
        assert len(seen) == 2

    def test_token_is_not_sent_to_another_host(self, run: Run) -> None:
        with answering(lambda request, _: reply(request, 200, [])) as (elsewhere, asked):

            def handle(request: BaseHTTPRequestHandler, number: int) -> None:
                if number == 1:
                    reply(request, 302, {}, Location=elsewhere)
                else:
                    link = f'<{elsewhere}/?cursor=1>; rel="next"' if number == 2 else ""
                    reply(request, 200, [], Link=link)

            with answering(handle) as (url, seen):
                assert run(url, "--token", "secret", "list").status == client.REFUSED
                assert run(url, "--token", "secret", "list").status == 0
        assert asked == []
        assert [request.headers["Authorization"] for request in seen] == ["Bearer secret"] * 3
        assert seen[2].path == f"{client.TODOS}?cursor=1"

    def test_control_characters_are_not_printed(self, run: Run) -> None:
        todo = TODO | {"title": "\x1b[31mred\x07", "description": "a\nb\x9b"}
        with answering(lambda request, _: reply(request, 200, [todo])) as (url, _):
            assert run(url, "list").stdout.splitlines()[1] == " 1                [31mred  a  b"

    @pytest.mark.parametrize("body", [b"<html>", b"{}", b'"todos"'], ids=repr)
    def test_response_of_another_service_is_an_error(self, run: Run, body: bytes) -> None:
        with answering(lambda request, _: reply(request, 200, body)) as (url, _):
            result = run(url, "list")
        assert result.status == client.REFUSED
        assert result.stderr == "Error: Unexpected response 200. Check that a todo service runs at the URL.\n"
