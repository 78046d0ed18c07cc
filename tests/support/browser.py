"""The system's Chromium, driven by Playwright."""

import atexit
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from playwright.sync_api import Browser, Playwright, sync_playwright

CHROMIUM = shutil.which("chromium")
NONE = "Chromium is not installed"
_ARGUMENTS = (
    "--no-sandbox",  # Chromium refuses to run as root with a sandbox
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Host names are not resolved, so that requests to other hosts fail.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@cache
def _playwright() -> Playwright:
    """Start Playwright once per process, because a second instance cannot run in the same process."""
    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    return playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser."""
    browser = _playwright().chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
    try:
        yield browser
    finally:
        browser.close()
