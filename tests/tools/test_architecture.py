"""The house rules on imports: each module may import those of its own floor and below, no other.

The check reads the source, so that it sees imports inside functions too.
"""

import ast
import re
import unittest
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent
PACKAGE = PROJECT / "todo"

# From the ground up. A module is on the first floor that matches its name.
FLOORS = (
    r"clock|config|http\.problem|http\.turn|http",
    r"models(\..+)?|database(\..+)?|migrations(\..+)?",
    r"schemas|query|listing|formats(\..+)?|http\..+",
    r"views(\..+)?",
    r"openapi|cli(\..+)?|client",
    r"|server|__main__",
)
ROOT = len(FLOORS) - 1
VIEWS = 3


def modules() -> dict[str, str]:
    """The source of each module, by its name below the package; that of the package itself is empty."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        .removesuffix("__init__")
        .rstrip("."): path.read_text()
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def floor(module: str) -> int:
    """The floor of `module`; raises LookupError for one that has none yet."""
    for number, pattern in enumerate(FLOORS):
        if re.fullmatch(pattern, module):
            return number
    raise LookupError(f"todo.{module} has no floor: give it one in FLOORS")


def imports(source: str, known: set[str]) -> Iterator[str]:
    """The modules of the package that `source` imports; `.name` for a name of the package itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                yield ".relative"
                continue
            parent = node.module or ""
            for alias in node.names:
                full = f"{parent}.{alias.name}"
                yield from _below_package(full if full.removeprefix("todo.") in known else parent, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _below_package(alias.name, "todo")


def _below_package(module: str, name: str) -> Iterator[str]:
    if module == "todo":
        yield f".{name}"
    elif module.startswith("todo."):
        yield module.removeprefix("todo.")


def breaches(module: str, source: str, known: set[str]) -> Iterator[str]:
    """What `module` imports against the rules, in words."""
    here = floor(module)
    for imported in imports(source, known):
        if imported.startswith("."):
            if here < ROOT:
                yield f"todo.{module} imports {imported[1:]} from the root package"
        elif floor(imported) > here:
            yield f"todo.{module} imports todo.{imported}, which is above it"
        elif here == floor(imported) == VIEWS and imported != "views":
            yield f"todo.{module} imports todo.{imported}, and views never import each other"


def mentions(source: str) -> Iterator[str]:
    """The names and texts in `source` that speak of todos; not docstrings, nor names of the package."""
    tree = ast.parse(source)
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if id(node) in docstrings:
            continue
        for _, value in ast.iter_fields(node):
            for word in value if isinstance(value, list) else [value]:
                if isinstance(node, ast.ImportFrom) and word == "todo":
                    continue
                if not isinstance(word, str) or "--app todo" in word:
                    continue
                if "todo" in word.removeprefix("todo.").lower():
                    yield word


class TestHouse(unittest.TestCase):
    def test_imports_point_one_way(self) -> None:
        sources = modules()
        self.assertLessEqual({"", "clock", "http.problem", "models.todo", "views.routes"}, set(sources))
        for module, source in sources.items():
            with self.subTest(module):
                self.assertEqual([], list(breaches(module, source, set(sources))))

    def test_http_knows_no_todo(self) -> None:
        for module, source in modules().items():
            if module.startswith("http."):
                with self.subTest(module):
                    self.assertEqual([], list(mentions(source)))

    def test_no_name_that_says_nothing(self) -> None:
        for module in modules():
            self.assertNotIn(
                module.rpartition(".")[2], {"utils", "util", "helpers", "common", "misc", "base"}
            )

    def test_no_folder_shadows_the_package(self) -> None:
        self.assertEqual([], list((PROJECT / "tests").rglob("todo")))


class TestTheCheckItself(unittest.TestCase):
    def test_breaches(self) -> None:
        known = {"clock", "config", "query", "http", "http.body", "http.problem", "models", "models.todo"}
        known |= {"views", "views.routes", "views.web", "cli"}
        for module, source, count in (
            ("query", "from todo.clock import wall_now\nfrom todo.models.todo import Todo", 0),
            ("query", "from todo.models import todo\nfrom todo.http import body", 0),
            ("http.body", "from todo.http.problem import Fault\nimport json\nfrom todoist import x", 0),
            ("views.routes", "from todo.http import body, problem", 0),
            ("", "from todo import cli, config\nfrom todo.views import routes", 0),
            ("clock", "from todo.models import db", 1),
            ("clock", "def late():\n    from todo.models import db", 1),
            ("clock", "import todo.models.todo", 1),
            ("http.problem", "from todo.http import body", 1),
            ("models.todo", "from todo.http.body import read", 1),
            ("models.todo", "from todo.query import page", 1),
            ("query", "from todo.views.routes import api", 1),
            ("query", "from todo.views import routes, web", 2),
            ("views.routes", "from todo.views import web", 1),
            ("views.routes", "from todo.views.web import page", 1),
            ("views.routes", "from todo import cli", 1),
            ("cli", "from todo import create_app", 1),
            ("cli", "import todo", 1),
            ("cli", "from . import clock", 1),
        ):
            with self.subTest(module, source=source):
                self.assertEqual(count, len(list(breaches(module, source, known))))
        with self.assertRaises(LookupError):
            list(breaches("utils", "", known))

    def test_mentions(self) -> None:
        for source, count in (
            ('"""Not a todo."""\nfrom todo.http import problem', 0),
            ('app.extensions["todo.zone"]', 0),
            ("from todo.models.todo import Todo", 2),
            ("def todo(): ...", 1),
            ('detail = "Todo not found"', 1),
            ("read(TodoCreate)", 1),
        ):
            with self.subTest(source):
                self.assertEqual(count, len(list(mentions(source))))
