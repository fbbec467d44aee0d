"""The map of the model: every part leads to its page, one is lit."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import pytest
from bookbinder import model_map
from bookbinder.book import find_book, toc_pages
from bookbinder.model_map import PAGES, as_html, as_text, strip
from bookbinder.plain import plain
from handmade.diagrams import llama
from test_extension import REFERENCES, build
from test_plain import links_of
from test_sync import ROOT, make_book

LINKS = {part: f"../{page}.html" for part, page in PAGES.items()}
each_part = pytest.mark.parametrize("part", PAGES)


class Found(HTMLParser):
    """The links of a page's map: (address, text, aria-current, lit)."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[list] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        if tag == "a":
            lit = given.get("class") == "hm-lit"
            now = given.get("aria-current")
            self.links.append([given["href"], "", now, lit])

    def handle_data(self, data: str) -> None:
        if self.links:
            self.links[-1][1] += data.strip()


def test_every_part_has_a_page_of_the_book():
    pages = toc_pages(find_book().root / "_toc.yml")
    for part, page in PAGES.items():
        assert f"book/{page}" in pages, part
    assert set(llama.PARTS) | set(model_map.INSTEAD) == set(PAGES)


def test_the_binder_needs_no_pytorch_for_it():
    script = "import sys, bookbinder.model_map; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


@each_part
def test_the_part_is_lit_and_said_to_be_the_current_one(part):
    links = Found(as_html((part,), LINKS, LINKS[part])).links
    assert {address for address, *_ in links} >= {
        LINKS[name] for name in llama.PARTS
    }
    lit = [link for link in links if link[3]]
    assert {address for address, *_ in lit} == {LINKS[part]}
    assert [now for *_, now, _ in lit if now] == ["page"]
    assert all(now is None for *_, now, shown in links if not shown)
    elsewhere = Found(as_html((part,), LINKS, "here.html")).links
    assert [now for *_, now, _ in elsewhere if now] == ["true"]


def test_a_variant_is_shown_only_where_it_is_lit():
    def names(parts) -> list[str]:
        return [
            name for part in parts for name in (part.name, *names(part.inside))
        ]

    for part in PAGES:
        shown = names(strip((part,)))
        assert part in shown
        for variant, beside in model_map.INSTEAD.items():
            assert (variant in shown) == (variant == part)
            if variant == part:
                assert shown.index(variant) == shown.index(beside) + 1


def test_in_a_notebook_it_is_one_line_of_links():
    line = as_text(("alibi",), LINKS)
    assert "\n" not in line
    assert (
        f"[RoPE]({LINKS['rope']}) or **[ALiBi]({LINKS['alibi']})**, " in line
    )
    assert line.count("**") == 2
    assert "**" not in as_text((), LINKS)


@pytest.fixture
def links(tmp_path):
    (tmp_path / "book" / "part").mkdir(parents=True)
    found = links_of(tmp_path)
    labels = {
        f"book/{page}": (f"book/{page}.html", page) for page in PAGES.values()
    }
    return replace(found, labels={**found.labels, **labels})


def test_several_parts_are_those_that_differ():
    html = as_html(("norms", "positions", "feedforward"), LINKS)
    assert escape(model_map.DIFFERS) in html
    assert model_map.SAYS not in html
    links = Found(html).links
    lit = {address for address, *_, shown in links if shown}
    assert lit == {LINKS[p] for p in ("norms", "positions", "feedforward")}
    assert [now for *_, now, _ in links if now] == ["true"] * 3
    line = as_text(("alibi", "positions"), LINKS)
    assert "[RoPE](" in line
    assert line.count(" or **[") == 2


@pytest.mark.parametrize("part", ["", *PAGES, "norms alibi"])
def test_a_twin_gets_the_line(links, part):
    there = {
        name: f"https://site/book/{page}.html" for name, page in PAGES.items()
    }
    assert plain(f"```{{model-map}} {part}\n```", links) == as_text(
        tuple(part.split()), there
    )


def test_a_part_that_is_not_known_is_refused_in_a_twin(links):
    told = r"page\.md: model-map: got 'atention', want one of tokenizer, "
    with pytest.raises(ValueError, match=told):
        plain("```{model-map} atention\n```", links)


def bound(tmp_path, part: str):
    """A book whose pages are those of the map, one with the map on it."""
    pages = {page: f"# {page}\n\nText.\n" for page in PAGES.values()}
    pages["blocks/attention"] += f"\n```{{model-map}} {part}\n```\n"
    pages["models/llama"] += "\n```{model-map}\n```\n"
    for page in pages:
        (tmp_path / "book" / page).parent.mkdir(parents=True, exist_ok=True)
    for name in ("style", "figures"):
        shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
    return make_book(tmp_path, **pages, refs=REFERENCES)


def test_a_page_shows_it_and_every_link_leads(tmp_path):
    done = build(bound(tmp_path, "attention"))
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "_build" / "html" / "book"
    page = site / "blocks" / "attention.html"
    (nav,) = re.findall(
        r'<nav class="hm-model-map".*?</nav>', page.read_text(), re.DOTALL
    )
    found = Found(nav).links
    for address, *_ in found:
        assert address.startswith("#") or (page.parent / address).is_file()
    assert [text for _, text, now, _ in found if now == "page"] == [
        "attention"
    ]

    page = site / "models" / "llama.html"
    (svg,) = re.findall(
        r'<svg [^>]*id="model-map1".*?</svg>', page.read_text(), re.DOTALL
    )
    led = {address for address, *_ in Found(svg).links}
    assert len(led) == len(llama.PARTS)
    for address in led:
        assert address.startswith("#") or (page.parent / address).is_file()
    assert 'role="group"' in svg


def test_a_page_with_an_unknown_part_is_not_built(tmp_path):
    done = build(bound(tmp_path, "atention"))
    assert done.returncode != 0
    assert (
        "model-map: got 'atention', want one of" in done.stdout + done.stderr
    )
