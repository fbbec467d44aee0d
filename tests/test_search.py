"""What the search may find, and a preview may quote."""

import json
import re

import pytest
from bookbinder import search
from docutils import nodes
from docutils.utils import new_document


def page() -> nodes.document:
    document = new_document("page")
    document += nodes.paragraph(
        "", "", nodes.Text("before "), nodes.math("", r"\frac{a}{b}"),
        nodes.Text(" after "), nodes.math("", r"\sqrt{K}"),
    )  # fmt: skip
    document += nodes.math_block("", r"\mathbb{R}")
    cost = nodes.inline("", "9 s", classes=["nosearch"])
    document += nodes.paragraph("", "", nodes.Text("It takes "), cost)
    document += nodes.paragraph("", "Try it", classes=["nosearch"])
    document += nodes.literal_block("", "sdpa(q, k, v)")
    return document


def test_the_index_holds_words_and_code_alone():
    document = page()
    text = search.words(document).astext()
    assert "before" in text
    assert "after" in text
    assert "sdpa" in text
    for gone in ("frac", "sqrt", "mathbb", "takes", "9 s", "Try"):
        assert gone not in text
    assert "frac" in document.astext()  # the page itself is as it was


def test_a_preview_reads_as_text():
    text = search.readable(page()).astext()
    assert text.startswith("before … after √K")


@pytest.mark.slow
def test_the_built_index_knows_no_latex(site):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    found = re.fullmatch(r"Search\.setIndex\((.*)\)", text.strip(), re.DOTALL)
    index = json.loads(found[1])
    for name in ("mathbb", "operatornam", "frac", "mathrm", "bigl", "lvert"):
        assert not index["terms"].get(name), name
    assert "attent" in index["terms"] or "attent" in index["titleterms"]


@pytest.mark.slow
def test_previews_hold_no_latex(site):
    for path in (site / "book").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        tags = dict(
            re.findall(
                r'<meta (?:property|name)="([^"]+)" content="([^"]*)', text
            )
        )
        assert tags["og:site_name"] == "Handmade Transformers"
        assert tags["og:image"].endswith("/_static/card.png"), path
        assert tags["og:title"] in text
        assert "\\" not in tags.get("og:description", ""), path
        assert tags["twitter:card"] == "summary_large_image"
