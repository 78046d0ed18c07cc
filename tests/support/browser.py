"""The system's Chromium, driven by Playwright."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

# Without one the tests in a browser, which take some minutes, are skipped.
CHROMIUM = Path(os.environ.get("CHROMIUM") or "/none")
NONE = "make pages runs it, in the browser that CHROMIUM names"
_ARGUMENTS = (
    "--no-sandbox",  # it refuses to have one as root
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # No name of a host can be looked up, so that whatever is asked of another one fails.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser; raises FileNotFoundError where there is none."""
    if not CHROMIUM.exists():
        raise FileNotFoundError(f"{CHROMIUM} is not there")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
