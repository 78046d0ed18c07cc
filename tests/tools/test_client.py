"""The command line for people, as processes against a server that runs."""

import json
import subprocess
import sys
import threading
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pexpect  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner, Result

from tests.support.server import PATIENCE, ROOT, Server, environment, free_port
from todo import client

pytestmark = pytest.mark.server

COMMAND = [sys.executable, "-m", "todo.client"]


def run(url: str, *arguments: str) -> Result:
    """Run the client in this process, which takes less time than one of its own."""
    return CliRunner().invoke(client.todo, ["--url", url, *arguments])


class TestClient(unittest.TestCase):
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(TODO_WORKERS="1", TODO_TIMEZONE="Europe/Berlin")
        cls.enterClassContext(cls.server)

    def setUp(self) -> None:
        for todo in self.server.request("GET", client.TODOS).json:
            self.server.request("DELETE", f"{client.TODOS}/{todo['id']}")

    def run_json(self, *arguments: str) -> Any:
        result = run(self.server.url, *arguments, "--json")
        self.assertEqual(0, result.exit_code, result.output)
        return json.loads(result.stdout)

    def process(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=ROOT,
            env=environment(TODOS_URL=self.server.url, **variables),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def test_a_todo_from_its_making_to_its_end(self) -> None:
        made = self.run_json("add", "Buy milk", "--due", "2027-01-31T18:00", "--description", "Two litres")
        todo_id = str(made["id"])
        expected = {"title": "Buy milk", "description": "Two litres", "completed": False}
        self.assertEqual(made, made | expected | {"deadline_at": "2027-01-31T18:00:00"})
        self.assertEqual(made, self.server.request("GET", f"{client.TODOS}/{todo_id}").json)
        for arguments, members in (
            (("done", todo_id), {"completed": True}),
            (("edit", todo_id, "--open", "--title", "Käse"), {"completed": False, "title": "Käse"}),
            (("edit", todo_id, "--due", "2027-02-01"), {"deadline_at": "2027-02-01T00:00:00"}),
            (("edit", todo_id, "--due", "", "--description", ""), {"deadline_at": None, "description": None}),
            (("rm", todo_id), {"title": "Käse"}),
        ):
            with self.subTest(arguments):
                changed = self.run_json(*arguments)
                self.assertEqual(changed, changed | members)
        self.assertEqual([], self.run_json("list"))

    def test_list(self) -> None:
        for title, due, done in (
            ("Late", "2001-01-01", False),
            ("Never", "9999-01-01", False),
            ("Done", None, True),
        ):
            body = {"title": title, "deadline_at": due, "completed": done}
            self.server.request("POST", client.TODOS, body)
        for arguments, titles in (
            ((), ["Late", "Never", "Done"]),
            (("--window", "7"), ["Late"]),
            (("--overdue",), ["Late"]),
            (("--open",), ["Late", "Never"]),
            (("--done",), ["Done"]),
            (("--find", "NE"), ["Never", "Done"]),
            (("--sort", "-title", "--limit", "2"), ["Never", "Late"]),
        ):
            with self.subTest(arguments):
                self.assertEqual(titles, [todo["title"] for todo in self.run_json("list", *arguments)])

    def test_list_goes_on_from_page_to_page(self) -> None:
        operations = [{"op": "create", "todo": {"title": f"Todo {i}"}} for i in range(1000)]
        for some in (operations, operations, operations[:5]):
            self.server.request("POST", f"{client.TODOS}/batch", {"operations": some})
        self.assertEqual(2005, len({todo["id"] for todo in self.run_json("list")}))
        for limit in ("1", "1000", "1001", "2004"):
            self.assertEqual(int(limit), len(self.run_json("list", "--limit", limit)))
        todos = run(self.server.url, "list").stdout.splitlines()
        self.assertEqual(2005, len(todos))
        ids = [int(todo.split()[0]) for todo in todos]
        for part in (ids[:1000], ids[1000:2000]):
            deletes = [{"op": "delete", "id": todo_id} for todo_id in part]
            self.server.request("POST", f"{client.TODOS}/batch", {"operations": deletes})

    def test_exit_status(self) -> None:
        url = self.server.url
        for status, message, where, arguments in (
            (1, "title must be", url, ("add", "")),
            (1, "deadline_at must be", url, ("add", "a", "--due", "tomorrow")),
            (1, "sort must be", url, ("list", "--sort", "colour")),
            (3, "There is nothing at this address", f"{url}/docs", ("list",)),
            (2, "Missing argument", url, ("add",)),
            (2, "Say what to change", url, ("edit", "1")),
            (2, "is not a valid integer", url, ("done", "milk")),
            (2, "The address must be like", "ftp://127.0.0.1", ("list",)),
            (3, "Todo not found", url, ("done", "999999")),
            (3, "Todo not found", url, ("rm", "999999")),
            (5, "Nothing answers at", f"http://127.0.0.1:{free_port()}", ("list",)),
        ):
            with self.subTest(arguments, status=status):
                result = run(where, *arguments)
                self.assertEqual(status, result.exit_code, result.output)
                self.assertIn(message, result.stderr)
                self.assertEqual("", result.stdout)

    def test_in_a_pipe(self) -> None:
        added = self.process("add", "Buy milk", "--due", "2027-01-31")
        self.assertEqual(0, added.returncode, added.stderr)
        self.assertRegex(added.stdout, r"^\d+   2027-01-31 00:00 Buy milk\n$")
        done = self.process("done", added.stdout.split()[0], "--json")
        self.assertTrue(json.loads(done.stdout)["completed"])
        absent = self.process("done", "999999")
        self.assertEqual(
            (3, "", "Error: Todo not found\n"), (absent.returncode, absent.stdout, absent.stderr)
        )

    def test_on_a_terminal(self) -> None:
        self.run_json("add", "Buy milk", "--done")
        for variables, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
            child = pexpect.spawn(
                COMMAND[0],
                [*COMMAND[1:], "list"],
                env=environment(TODOS_URL=self.server.url, **variables),
                cwd=str(ROOT),
                encoding="utf-8",
                timeout=PATIENCE,
            )
            child.expect(pexpect.EOF)
            child.close()
            self.assertEqual(0, child.exitstatus)
            self.assertEqual(coloured, "\x1b[32m✓" in str(child.before), child.before)
            self.assertIn("Buy milk", str(child.before))

    def test_completion(self) -> None:
        todo_id = str(self.run_json("add", "Buy milk")["id"])
        words = {"COMP_WORDS": f"todo done {todo_id}", "COMP_CWORD": "2", "_TODO_COMPLETE": "bash_complete"}
        self.assertEqual(f"plain,{todo_id}\n", self.process(**words).stdout)
        words = {"COMP_WORDS": "todo li", "COMP_CWORD": "1", "_TODO_COMPLETE": "bash_complete"}
        self.assertEqual("plain,list\n", self.process(**words).stdout)
        self.assertIn("complete", self.process(_TODO_COMPLETE="bash_source").stdout)

    def test_from_any_folder(self) -> None:
        link = Path(self.enterContext(TemporaryDirectory())) / "todo"
        link.symlink_to(ROOT / "bin" / "todo")
        shown = subprocess.run(
            [link, "--help"], cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        self.assertIn("Your todos, on the command line.", shown.stdout, shown.stderr)

    def test_it_starts_without_what_the_service_needs(self) -> None:
        code = "import sys, todo.client; print(*{'flask', 'sqlalchemy', 'msgspec'}.intersection(sys.modules))"
        shown = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
        self.assertEqual("\n", shown)


Handler = Callable[[BaseHTTPRequestHandler, int], None]


@contextmanager
def answering(handle: Handler) -> Iterator[tuple[str, list[BaseHTTPRequestHandler]]]:
    """A service that answers as `handle` does, which is told the number of the request."""
    seen: list[BaseHTTPRequestHandler] = []

    class Answers(BaseHTTPRequestHandler):
        def answer(self) -> None:
            seen.append(self)
            self.rfile.read(int(self.headers["Content-Length"] or 0))
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
    data = json.dumps(body).encode()
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


TODO = {"id": 1, "title": "Buy milk", "description": None, "completed": False, "deadline_at": None}


class TestFailingService(unittest.TestCase):
    """What only a service that fails can show."""

    def test_a_lost_answer_is_asked_for_again_under_the_same_key(self) -> None:
        def handle(request: BaseHTTPRequestHandler, number: int) -> None:
            if number == 2:
                reply(request, 503, {"detail": "Busy."}, Retry_After="0")
            elif number > 2:
                reply(request, 201, TODO)

        with answering(handle) as (url, seen):
            self.assertEqual(0, run(url, "add", "Buy milk").exit_code)
        keys = [request.headers["Idempotency-Key"] for request in seen]
        self.assertEqual(3, len(keys))
        self.assertEqual(1, len(set(keys)))
        self.assertTrue(keys[0])

    def test_it_gives_up(self) -> None:
        for handle, message in (
            (lambda request, _: reply(request, 503, {"detail": "Busy."}, Retry_After="0"), "Busy."),
            (lambda *_: None, "was lost"),
        ):
            with (
                self.subTest(message),
                answering(handle) as (url, seen),
                patch.object(client, "MAX_DELAY", 0),
            ):
                result = run(url, "list")
                self.assertEqual((5, client.ATTEMPTS), (result.exit_code, len(seen)))
                self.assertIn(message, result.stderr)

    def test_a_change_whose_answer_is_lost_is_not_made_again(self) -> None:
        def handle(request: BaseHTTPRequestHandler, number: int) -> None:
            if number == 1:
                reply(request, 200, TODO, ETag='"1"')

        with answering(handle) as (url, seen):
            result = run(url, "done", "1")
        self.assertEqual((5, 2), (result.exit_code, len(seen)))
        self.assertIn("It may have been done or not", result.stderr)
        self.assertEqual('"1"', seen[1].headers["If-Match"])

    def test_a_todo_that_was_changed_meanwhile(self) -> None:
        def handle(request: BaseHTTPRequestHandler, number: int) -> None:
            if number == 1:
                reply(request, 200, TODO, ETag='"1"')
            else:
                reply(request, 412, {"detail": "It was changed meanwhile."}, ETag='"2"')

        with answering(handle) as (url, _):
            result = run(url, "edit", "1", "--title", "a")
        self.assertEqual((4, "Error: It was changed meanwhile.\n"), (result.exit_code, result.stderr))

    def test_the_token_goes_nowhere_else(self) -> None:
        with answering(lambda request, _: reply(request, 200, [])) as (elsewhere, asked):

            def handle(request: BaseHTTPRequestHandler, number: int) -> None:
                if number == 1:
                    reply(request, 302, {}, Location=elsewhere)
                else:
                    reply(
                        request, 200, [], Link=f'<{elsewhere}/?cursor=1>; rel="next"' if number == 2 else ""
                    )

            with answering(handle) as (url, seen):
                self.assertEqual(1, run(url, "--token", "secret", "list").exit_code)
                self.assertEqual(0, run(url, "--token", "secret", "list").exit_code)
        self.assertEqual([], asked)
        self.assertEqual(["Bearer secret"] * 3, [request.headers["Authorization"] for request in seen])
        self.assertEqual(f"{client.TODOS}?cursor=1", seen[2].path)

    def test_what_a_terminal_would_obey_is_not_printed(self) -> None:
        todo = TODO | {"title": "\x1b[31mred\x07", "description": "a\nb\x9b"}
        with answering(lambda request, _: reply(request, 200, [todo])) as (url, _):
            self.assertEqual("1                     [31mred  a b \n", run(url, "list").stdout)

    def test_no_todo_service(self) -> None:
        def handle(request: BaseHTTPRequestHandler, _: int) -> None:
            request.send_response(200)
            request.end_headers()
            request.wfile.write(b"<html>")

        with answering(handle) as (url, _):
            result = run(url, "list")
        self.assertEqual(1, result.exit_code)
        self.assertEqual("Error: The service answers 200, without saying why.\n", result.stderr)
