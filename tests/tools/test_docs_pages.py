"""Tests, files and sections that the pages in docs/ name exist."""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGES = sorted((PROJECT / "docs").glob("*.md"))


def test_every_guarantee_names_an_existing_test() -> None:
    page = (PROJECT / "docs/guarantees.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("|")][2:]
    named = [re.search(r"`(tests/[\w/]+\.py)::(test_\w+)` \|$", row) for row in rows]
    assert rows
    missing = [
        row
        for row, test in zip(rows, named, strict=True)
        if test is None or not re.search(rf"(?m)^ *def {test[2]}\(", (PROJECT / test[1]).read_text())
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_a_page_exists(page: Path) -> None:
    text = re.sub(r"(?m)^The new file `.*", "", page.read_text())  # a step of the tutorial
    paths = re.findall(r"`((?:todo|tests|docs|deploy|bench)/[\w/.-]+)", text)
    assert not [path for path in paths if not (PROJECT / path).exists()]


def test_map_of_the_code_names_every_part() -> None:
    page = (PROJECT / "CONTRIBUTING.md").read_text()
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout
    paths = [Path(line) for line in listed.splitlines()]
    parts = {
        f"{path.parts[0]}/" for path in paths if len(path.parts) > 1 and not path.parts[0].startswith(".")
    }
    parts |= {
        f"todo/{path.parts[1]}{'/' if len(path.parts) > 2 else ''}"
        for path in paths
        if path.parts[0] == "todo"
    }
    assert not [part for part in sorted(parts) if not re.search(rf"(?m)(?:^ +|, |; ){re.escape(part)}", page)]


def test_map_of_the_tests_names_every_file() -> None:
    page = (PROJECT / "CONTRIBUTING.md").read_text()
    tree = page[page.index("    tests\n") :]
    for folder in ("api", "database", "formats", "page", "server", "tools"):
        named = re.search(rf"├── {folder} .*\n((?:    │ .*\n)*)", tree)
        assert named is not None
        files = sorted(path.stem[5:] for path in (PROJECT / "tests" / folder).glob("test_*.py"))
        assert named[1].replace("│", "").split() == files, folder
