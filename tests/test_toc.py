"""Contents, pages, twins and the built site agree, and every link leads."""

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bookbinder import costs
from bookbinder.book import find_book, fork
from bookbinder.checksite import check_site
from bookbinder.launch import BINDER_GIGABYTES

BOOK = find_book()
PAGES = BOOK.pages
NOTEBOOKS = [page for page in PAGES if page.has_cells]


def ids(pages: list) -> list[str]:
    return [page.name for page in pages]


def names(pattern: str) -> set[str]:
    paths = (BOOK.root / "book").rglob(pattern)
    found = {path.relative_to(BOOK.root) for path in paths}
    return {
        path.with_suffix("").as_posix()
        for path in found
        if ".ipynb_checkpoints" not in path.parts
    }


class Links(HTMLParser):
    """The places of a page, and the places it points at."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        self.places.update(given[key] for key in ("id",) if key in given)
        if tag == "a" and given.get("name"):
            self.places.add(given["name"])
        for key in ("href", "src"):
            if given.get(key):
                self.targets.append(given[key])


@cache
def links(path: Path) -> Links:
    parsed = Links()
    parsed.feed(path.read_text(encoding="utf-8"))
    return parsed


def dead(site: Path, path: Path) -> list[str]:
    """Return the links of a page that lead nowhere in the site."""
    found = []
    for target in dict.fromkeys(links(path).targets):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        there = path
        if parts.path:
            there = (path.parent / unquote(parts.path)).resolve()
        if not there.is_relative_to(site.resolve()) or not there.is_file():
            found.append(target)
        elif parts.fragment and there.suffix == ".html":
            place = unquote(parts.fragment)
            if place != "top" and place not in links(there).places:
                found.append(target)
    return found


def test_contents_name_every_page_once():
    assert len(set(ids(PAGES))) == len(PAGES)
    assert set(ids(PAGES)) == names("*.md")


def test_every_page_with_cells_has_a_twin():
    assert names("*.ipynb") == set(ids(NOTEBOOKS))


@pytest.mark.slow
def test_every_page_is_in_the_site_and_whole(site):
    assert check_site(site, BOOK.root / "_toc.yml") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ids(PAGES), "search", "genindex"])
def test_no_link_is_dead(name, site):
    assert dead(site, site / f"{name}.html") == []


@pytest.mark.slow
@pytest.mark.parametrize("page", NOTEBOOKS, ids=ids(NOTEBOOKS))
def test_buttons_open_the_twin(page, site):
    repository, _ = fork() or (BOOK.repository, BOOK.site)
    owner_and_name = urlsplit(repository).path
    targets = links(site / f"{page.name}.html").targets
    kept = page.read_twin().metadata["handmade"]
    fits_binder = costs.of_twin(kept)["gigabytes"] <= BINDER_GIGABYTES
    for host, buttons in (
        ("colab.research.google.com", 1),
        ("mybinder.org", int(fits_binder)),
    ):
        found = [
            t
            for t in targets
            if urlsplit(t).hostname == host
            # each exercise has a link of its own
            and not urlsplit(t).fragment.startswith("scrollTo=")
        ]
        assert len(found) == buttons, f"{host}: {found}"
        if not found:
            continue
        address = unquote(found[0])
        assert address.endswith(f"/{page.name}.ipynb")
        assert f"{owner_and_name}/" in address
    # the download button gives the executed notebook
    assert any(t.endswith(f"_sources/{page.name}.ipynb") for t in targets)
