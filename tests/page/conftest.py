"""One browser for all tests of the page, and one server for each module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import CHROMIUM, NONE, chromium
from tests.support.page import TIMEOUT, Site
from tests.support.server import PATIENT, Server

expect.set_options(timeout=TIMEOUT)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Run Chromium."""
    if not CHROMIUM:
        pytest.skip(NONE)
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run the service."""
    with Server(**PATIENT) as running:
        yield running


@pytest.fixture
def site(server: Server, browser: Browser) -> Iterator[Site]:
    """Yield the service with an empty list; afterwards, no page may have reported an error."""
    opened = Site(server, browser)
    opened.clear()
    try:
        yield opened
        assert opened.errors == []
        assert len(opened.hosts - {""}) <= 1, opened.hosts
    finally:
        opened.close()
