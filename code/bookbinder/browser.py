"""A Chromium on this machine: it draws pictures, and tests the site."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    # no name resolves: a page that asks another host fails at once
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
MISSING = (
    "no Chromium: `apt-get install chromium`, or on any system "
    "`python -m playwright install chromium`"
)


class NoBrowserError(Exception):
    """What to install where there is no browser."""


@contextlib.contextmanager
def chromium() -> Iterator["Browser"]:
    """Start the system's Chromium, or the one that Playwright installed.

    Raises NoBrowserError, which says what is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowserError(
            "no Playwright: `python -m pip install playwright`"
        ) from None
    with sync_playwright() as playwright:
        found = [path for name in NAMES if (path := shutil.which(name))]
        found.append(playwright.chromium.executable_path)
        path = next((path for path in found if Path(path).exists()), None)
        if path is None:
            raise NoBrowserError(MISSING)
        browser = playwright.chromium.launch(
            executable_path=path, args=list(ARGUMENTS)
        )
        try:
            yield browser
        finally:
            browser.close()
