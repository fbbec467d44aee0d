"""Refuse to publish a site that is empty or partial.

`python -m bookbinder.checksite [_build/html]` exits with 1 and names what is
missing: a page of `_toc.yml` that was not written, is empty, takes a script or
a style sheet from another host, or asks for a file that is not in the site;
a script, a font, a search index or a twin that is gone, or cut, or another.
It reads files only, so it needs no browser and takes some seconds.
"""

import argparse
import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bookbinder import live_package, sitefiles
from bookbinder.book import toc_pages

# besides the pages: without these the site opens but does not work
ALWAYS = ("index.html", "search.html")
# what draws a page's explorables
HOST = "host.js"
# and what runs its cells
RUNS = "run.js"
# a page of the book says more than its title; this many characters at least
LEAST_TEXT = 80


class Page(HTMLParser):
    """What matters of one page: its text, its assets, its explorables."""

    def __init__(self) -> None:
        super().__init__()
        self.assets: list[str] = []
        self.notebooks: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.explorables: list[str] = []  # what they fetch
        self.archives: list[str] = []  # what its cells run with
        self._article = 0  # how many <article> are open
        self._silent = 0  # how many <script> or <style> are open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "article":
            self._article += 1
        if tag in ("script", "style"):
            self._silent += 1
        if tag == "script" and "src" in given:
            self.scripts.append(given["src"])
            self.assets.append(given["src"])
        self.explorables += given.get("data-files", "").split()
        if live := given.get("data-live"):
            self.archives.append(json.loads(live)["archive"])
        if tag == "link" and "stylesheet" in given.get("rel", "").split():
            self.assets.append(given.get("href", ""))
        target = urlsplit(given.get("href", "")) if tag == "a" else None
        if target and not target.netloc and target.path.endswith(".ipynb"):
            self.notebooks.append(target.path)
        if tag == "img":
            self.assets.append(given.get("src", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self._article -= 1
        if tag in ("script", "style"):
            self._silent -= 1

    def handle_data(self, data: str) -> None:
        if self._article > 0 and self._silent == 0:
            self.text.append(data.strip())


def check_page(site: Path, name: str) -> list[str]:
    """Return what is wrong with one page, in words."""
    path = site / f"{name}.html"
    if not path.is_file():
        return [f"{name}: the page is not in the site"]
    page = Page()
    try:
        page.feed(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        return [f"{name}: want UTF-8: {error}"]
    faults = []
    if len("".join(page.text)) < LEAST_TEXT:
        faults.append(f"{name}: the page is empty")
    asked = [*page.assets, *page.notebooks, *page.explorables]
    for asset in dict.fromkeys(asked):
        fault = _check_asset(site, path, asset)
        if fault:
            faults.append(f"{name}: {fault}")
    loaded = {urlsplit(src).path.split("/")[-1] for src in page.scripts}
    if page.explorables and HOST not in loaded:
        faults.append(f"{name}: has explorables, but does not load {HOST}")
    if page.archives and RUNS not in loaded:
        faults.append(f"{name}: has cells to run, but does not load {RUNS}")
    for archive in page.archives:
        file = site / "_static" / archive
        if not file.is_file():
            faults.append(f"{name}: runs with {archive}, which is missing")
        elif live_package.name_of(file.read_bytes()) != archive:
            faults.append(f"{name}: runs with {archive}, which is cut")
    return faults


def _check_asset(site: Path, page: Path, asset: str) -> str | None:
    parts = urlsplit(asset)
    if parts.scheme == "data":
        return None
    if parts.scheme or parts.netloc:
        return f"takes {asset} from another host"
    if not parts.path:
        return "has an asset without an address"
    local = unquote(parts.path)
    if local.startswith("/"):
        # a site may live below its host's root: only relative links move
        return f"asks for {asset} from the root of its host"
    file = (page.parent / local).resolve()
    if not file.is_relative_to(site.resolve()):
        return f"asks for {asset}, which is outside the site"
    if not file.is_file() or file.stat().st_size == 0:
        return f"asks for {asset}, which is missing or empty"
    if sitefiles.wrong_checksum(asset, file):
        return f"asks for {asset}, which is cut or changed"
    return None


def check_site(site: Path, toc: Path) -> list[str]:
    """Return everything wrong with a built site; an empty list is good."""
    try:
        pages = toc_pages(toc)
    except ValueError as error:
        return [str(error)]
    faults = []
    for name in ALWAYS:
        file = site / name
        if not file.is_file() or file.stat().st_size == 0:
            faults.append(f"{name}: missing or empty")
    for name in pages:
        faults += check_page(site, name)
    return faults + sitefiles.check_files(site, toc.parent, pages)


def main(argv: list[str] | None = None) -> int:
    """Check a site, print what is wrong, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bookbinder.checksite")
    parser.add_argument("site", nargs="?", type=Path, default="_build/html")
    parser.add_argument("--toc", type=Path, default="_toc.yml")
    given = parser.parse_args(argv)
    if not given.toc.is_file():
        print(f"{given.toc}: no such table of contents", file=sys.stderr)
        return 1
    faults = check_site(given.site, given.toc)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        print(f"refused: {len(faults)} faults", file=sys.stderr)
        return 1
    print(f"{given.site}: every page is there, and whole")
    return 0


if __name__ == "__main__":
    sys.exit(main())
