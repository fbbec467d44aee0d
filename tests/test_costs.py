"""What a page costs is measured, and shown on the set-up page."""

import pytest
from bookbinder import costs
from bookbinder.book import find_book

BOOK = find_book()
PAGES = [page for page in BOOK.pages if page.has_cells]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_measured_within_its_minute(page):
    cost = costs.read(BOOK)[costs.slug(page)]
    assert 0 < cost["seconds"] <= 60
    assert 0 < cost["gigabytes"] < 12


def test_the_set_up_page_lists_every_page():
    text = BOOK.page("book/start/setup").text
    for page in PAGES:
        assert f"{{cost}}`{costs.slug(page)}`" in text, page.name


def test_nothing_measured_is_gone():
    assert set(costs.read(BOOK)) == {costs.slug(page) for page in PAGES}


def test_a_cost_reads_as_a_sentence():
    cost = {"seconds": 0, "gigabytes": 1.25, "weights": ["A", "B"]}
    said = costs.sentence(cost)
    assert said.startswith("1 s on two CPU cores, 1.2 GB of memory")
    assert said.endswith("A and B from the cache")
    bare = costs.sentence(cost | {"weights": []})
    assert bare.endswith("nothing to download")
