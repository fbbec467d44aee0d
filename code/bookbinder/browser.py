"""Chromium, as the site's tests, the PDF and the social card use it."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    # no name resolves: a page that asks another host fails at once
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
MISSING = (
    "Chromium: got none, want one: `apt-get install chromium`, or on any "
    "system `python -m playwright install chromium`"
)


@contextlib.contextmanager
def chromium() -> Iterator:
    """Start a headless Chromium: the system's, or Playwright's own.

    Raises ValueError where there is none, or no Playwright.
    """
    try:
        from playwright import sync_api
    except ImportError:
        raise ValueError(
            "playwright: got no such package, want one: `pip install "
            "playwright`"
        ) from None
    with sync_api.sync_playwright() as playwright:
        found = [path for name in BROWSERS if (path := shutil.which(name))]
        found.append(playwright.chromium.executable_path)
        path = next((path for path in found if Path(path).exists()), None)
        if path is None:
            raise ValueError(MISSING)
        browser = playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS
        )
        try:
            yield browser
        finally:
            browser.close()
