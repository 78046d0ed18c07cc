"""The rules on English: codespell, and the phrases that english.toml bans."""

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

PROJECT = Path(__file__).parents[2]
RULES = tomllib.loads((Path(__file__).with_name("english.toml")).read_text())
FOLDERS = ("todo", "tests", "bench", "interop", "deploy", "docs", "bin")
HASH_COMMENTS = {".conf", ".ini", ".toml", ".yaml", ".yml", ".cnf", ".cfg", ".service", ".http"}


class Text(NamedTuple):
    """A text that people read: a paragraph of a page, a docstring, a comment or a message."""

    path: str
    line: int
    text: str


def project_files() -> Iterator[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=False).stdout
    if names:  # a checkout: without the files that git ignores
        yield from (PROJECT / name for name in names.decode().split("\0") if (PROJECT / name).is_file())
    else:
        yield from (path for path in PROJECT.glob("*") if path.is_file())
        for folder in FOLDERS:
            yield from (path for path in (PROJECT / folder).rglob("*") if path.is_file())


def python_texts(path: str, source: str) -> Iterator[Text]:
    """Yield the comments and the strings with at least three words. A block of comments is one text."""
    block: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if block and token.start[0] != start + len(block):
                yield Text(path, start, " ".join(block))
                block = []
            start = start if block else token.start[0]
            block.append(token.string.lstrip("#: "))
    if block:
        yield Text(path, start, " ".join(block))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            words = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value
        else:
            continue
        if len(words.split()) > 2:
            yield Text(path, node.lineno, words)


def page_texts(path: str, source: str) -> Iterator[Text]:
    """Yield the paragraphs and the rows of tables, without fenced code and quoted code."""
    source = re.sub(r"(?ms)^```.*?^```$", lambda block: "\n" * block[0].count("\n"), source)
    for paragraph in re.finditer(r"(?:^(?!\|)(?!    ).+\n?)+|^\|.*$", source, re.MULTILINE):
        yield Text(
            path, source.count("\n", 0, paragraph.start()) + 1, re.sub(r"`[^`\n]*`", "``", paragraph[0])
        )


def script_texts(path: str, source: str) -> Iterator[Text]:
    """Yield the comments of JavaScript and CSS. Consecutive lines with `//` are one text."""
    comments = r"/\*.*?\*/|(?:^\s*// [^\n]*\n)+|(?<=\s)// [^\n]*"
    for comment in re.finditer(comments, source, re.DOTALL | re.MULTILINE):
        words = re.sub(r"(?m)^\s*(?:/?\*+|//) ?", "", comment[0])
        yield Text(path, source.count("\n", 0, comment.start()) + 1, words)


def template_texts(path: str, source: str) -> Iterator[Text]:
    """Yield the texts between tags, and the comments."""
    for text in re.finditer(r">([^<>{}]+)<|<!--(.*?)-->", source, re.DOTALL):
        yield Text(path, source.count("\n", 0, text.start()) + 1, text[1] or text[2])


READERS = {
    ".py": python_texts,
    ".md": page_texts,
    ".js": script_texts,
    ".css": script_texts,
    ".html": template_texts,
}


def texts_of(path: Path) -> Iterator[Text]:
    name = str(path.relative_to(PROJECT))
    if any(fnmatch(name, pattern) for pattern in RULES["unchecked"]):
        return
    if path.suffix in READERS:
        yield from READERS[path.suffix](name, path.read_text())
    elif path.name == "texts.json":
        for value in _strings(json.loads(path.read_text())):
            yield Text(name, 1, value)
    elif path.suffix in HASH_COMMENTS or path.name in {"Makefile", "Dockerfile", "Pipfile", ".flaskenv"}:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if comment := re.match(r"\s*[#;]+ (.*)", line):
                yield Text(name, number, comment[1])


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings(member)


def violations(text: Text) -> Iterator[str]:
    words = " ".join(text.text.split())
    for rule in RULES["banned"]:
        for match in re.finditer(rule["pattern"], words, re.IGNORECASE):
            around = words[max(0, match.start() - 60) : match.end() + 60]
            if not any(exception in around for exception in rule.get("exceptions", ())):
                yield f"{text.path}:{text.line}: {around!r}: {rule['reason']}"


def test_texts_contain_no_banned_phrase() -> None:
    found = [line for path in project_files() for text in texts_of(path) for line in violations(text)]
    assert not found, "\n" + "\n".join(found)


def test_list_of_banned_phrases_is_short_and_has_reasons() -> None:
    assert len(RULES["banned"]) <= 30
    assert all(rule["reason"] for rule in RULES["banned"])


@pytest.mark.parametrize(
    ("name", "source"),
    [
        pytest.param("code.py", '"""Tell which value is none."""\n', id="docstring"),
        pytest.param("code.py", "x = 1  # the value is\n# none of them\n", id="comment on two lines"),
        pytest.param("code.py", 'raise ValueError(f"{1} is no port")\n', id="message"),
        pytest.param(
            "page.md", "# Title\n\nA value that is\nnone stops the start.\n", id="paragraph on two lines"
        ),
        pytest.param("page.md", "| a | b |\n| --- | --- |\n| x | is no port |\n", id="row of a table"),
        pytest.param("page.js", "/** Null if the value\n * is none. */\n", id="comment of a function"),
        pytest.param("page.js", "// The value is\n// none of them.\n", id="comment on two lines of a script"),
        pytest.param("page.js", "let x = 1; // is no port\n", id="comment at the end of a line"),
        pytest.param("page.html", "<p>The value\nis none.</p>\n", id="text of a template"),
    ],
)
def test_banned_phrase_is_found(name: str, source: str) -> None:
    texts = READERS[Path(name).suffix](name, source)
    assert [line for text in texts for line in violations(text)]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("```console\n$ echo is none\n```\n", id="fenced code"),
        pytest.param("    echo is none\n", id="indented code"),
        pytest.param("The message `is none` is quoted.\n", id="quoted code"),
    ],
)
def test_code_of_a_page_is_not_a_text(source: str) -> None:
    assert not [line for text in page_texts("page.md", source) for line in violations(text)]


def test_codespell_finds_no_misspelling() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *(str(path) for path in project_files() if is_spelled(path))],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def is_spelled(path: Path) -> bool:
    """Return True for text files written by hand."""
    written = {".py", ".md", ".toml", ".html", ".css", ".js", ".json", ".yaml", ".conf", ".http"}
    return path.suffix in written and path.name not in {"package-lock.json", "package.json"}
