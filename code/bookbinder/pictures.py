"""Pictures of the explorables: what stands in the page until they move.

`sync` opens each in a Chromium, as our host draws it, once as wide as the
page on a screen and once as on a phone, in both colour schemes, and stores
what is seen as SVG beside the twin. It carries the hash of all that it shows,
so that `sync --check` finds an old one without a browser.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bookbinder import browser, explorables
from bookbinder.book import Book, Page
from bookbinder.explorables import Explorable

HERE = Path(__file__).parent
HOST = HERE / "site" / "host.js"
DRAWS = HERE / "picture.js"
# name -> pixels that the page leaves a cell: of 1300 and of 390
WIDTHS = {"wide": 704, "phone": 358}
STAMP = re.compile(r'data-of="([0-9a-f]+)"')


def path(page: Page, found: Explorable, width: str) -> Path:
    """Return where a picture is stored: beside the twin."""
    end = ".phone.svg" if width == "phone" else ".svg"
    return page.source.with_name(f"{page.source.stem}.{found.name}{end}")


@cache
def _drawn_by(*files: Path) -> str:
    """Return the hash of what draws all pictures."""
    parts = [file.read_bytes() for file in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def fingerprint(page: Page, found: Explorable) -> str:
    """Return the hash of all that a picture shows."""
    style = page.root / "book" / "style" / "host.css"
    shown = json.dumps([found.scripts, found.data], sort_keys=True)
    by = _drawn_by(HOST, DRAWS, *([style] if style.exists() else []))
    return hashlib.sha256(f"{by}{shown}".encode()).hexdigest()[:16]


def stale(page: Page) -> list[Explorable]:
    """Return the explorables of a page whose pictures are old or missing."""
    found = explorables.of_twin(page.read_twin(), page.source)
    return [one for one in found if not _is_fresh(page, one)]


def _is_fresh(page: Page, found: Explorable) -> bool:
    wanted = fingerprint(page, found)
    for width in WIDTHS:
        file = path(page, found, width)
        stamp = STAMP.search(
            file.read_text(encoding="utf-8") if file.exists() else ""
        )
        if stamp is None or stamp[1] != wanted:
            return False
    return True


def inline(page: Page, found: Explorable) -> str:
    """Return the pictures of an explorable, as they stand in its page."""
    files = [path(page, found, width) for width in WIDTHS]
    return "".join(
        file.read_text(encoding="utf-8").strip()
        for file in files
        if file.exists()
    )


def superfluous(page: Page) -> list[Path]:
    """Return pictures of explorables that a page no longer has."""
    found = explorables.of_twin(page.read_twin(), page.source)
    kept = {path(page, one, width) for one in found for width in WIDTHS}
    there = page.source.parent.glob(f"{page.source.stem}.explorable-*.svg")
    return [file for file in sorted(there) if file not in kept]


def fault(page: Page) -> str | None:
    """Say what is wrong with a page's pictures, or return None."""
    if old := stale(page):
        names = ", ".join(found.name for found in old)
        return f"the picture of {names} is old or missing"
    if more := superfluous(page):
        return f"{more[0].name} is the picture of nothing"
    return None


def update(book: Book, pages: Iterable[Page]) -> None:
    """Draw what is old; delete what is of no use; say what was done.

    Without a browser the old ones stay, and that is said.
    """
    from bookbinder import snapshot  # which is made of this module

    waiting = []
    for page in pages:
        if not page.twin.exists():
            continue
        for file in superfluous(page):
            file.unlink()
            print(f"removed    {file.name}", flush=True)
        waiting += [(page, found) for found in stale(page)]
    if not waiting:
        return
    with contextlib.ExitStack() as stack:
        try:
            chromium = stack.enter_context(browser.chromium())
        except ValueError as error:
            names = ", ".join(f"{p.name} {one.name}" for p, one in waiting)
            print(f"pictures stay as they are ({names}): {error}", flush=True)
            return
        for page, found in waiting:
            snapshot.draw(book, page, found, chromium)
            print(f"drawn      {page.name} {found.name}", flush=True)
