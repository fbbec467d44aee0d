"""The guard before publishing: a whole site passes, each lack is named."""

from pathlib import Path

import pytest
from bookbinder.checksite import WIDGET_STATE, check_site, main

TOC = """
format: jb-book
root: book/intro
parts:
  - caption: Blocks
    chapters:
      - file: book/blocks/attention
        sections:
          - file: book/blocks/masks.md
      - url: https://example.org
"""
PAGES = ("book/intro", "book/blocks/attention", "book/blocks/masks")
WIDGETS = ("require", "local-widgets", "embed-amd")
PROSE = "What a page says, at some length. " * 5


def html(depth: int, extra: str = "", prose: str = PROSE) -> str:
    up = "../" * depth
    return f"""<!DOCTYPE html><html><head>
    <link rel="stylesheet" href="{up}_static/book.css?v=1">
    <link rel="canonical" href="https://example.org/elsewhere">
    <script src="{up}_static/mathjax.js?digest=2"></script></head>
    <body><nav>{PROSE}</nav><article><h1>Title</h1><p>{prose}</p>
    <script>"{PROSE}"</script>{extra}</article></body></html>"""


@pytest.fixture
def book(tmp_path) -> Path:
    """Write a small site that is whole."""
    (tmp_path / "_toc.yml").write_text(TOC, encoding="utf-8")
    site = tmp_path / "site"
    for name in PAGES:
        page = site / f"{name}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(html(name.count("/")), encoding="utf-8")
    (site / "_static").mkdir()
    files = ["index.html", "search.html", "searchindex.js"]
    files += ["_static/book.css", "_static/mathjax.js"]
    for name in (*files, *(f"_static/{name}.js" for name in WIDGETS)):
        (site / name).write_text("something", encoding="utf-8")
    return tmp_path


def faults(book: Path) -> str:
    return "\n".join(check_site(book / "site", book / "_toc.yml"))


def rewrite(book: Path, **how: str) -> None:
    page = book / "site/book/intro.html"
    page.write_text(html(1, **how), encoding="utf-8")


def test_whole_site_passes(book, capsys):
    assert faults(book) == ""
    toc = str(book / "_toc.yml")
    assert main([str(book / "site"), "--toc", toc]) == 0
    assert "every page is there" in capsys.readouterr().out


def test_missing_page_is_named_and_refused(book, capsys):
    (book / "site/book/blocks/masks.html").unlink()
    assert "book/blocks/masks: the page is not in the site" in faults(book)
    toc = str(book / "_toc.yml")
    assert main([str(book / "site"), "--toc", toc]) == 1
    assert "book/blocks/masks" in capsys.readouterr().err


def test_empty_page_is_refused_whatever_surrounds_it(book):
    rewrite(book, prose="")
    assert faults(book) == "book/intro: the page is empty"
    (book / "site/book/intro.html").write_text("", encoding="utf-8")
    assert faults(book) == "book/intro: the page is empty"


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_vendored_script_must_be_there(book, how):
    script = book / "site/_static/mathjax.js"
    if how == "missing":
        script.unlink()
    else:
        script.write_text("", encoding="utf-8")
    found = faults(book).splitlines()
    assert len(found) == len(PAGES)
    assert all("_static/mathjax.js" in fault for fault in found)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("https://cdn.example.org/x.js", "from another host"),
        ("//cdn.example.org/x.js", "from another host"),
        ("/_static/book.css", "from the root of its host"),
        ("../../../../etc/x.js", "outside the site"),
        ("../_static/nothing.js", "missing or empty"),
    ],
)
def test_assets_come_from_the_site_itself(book, address, what):
    rewrite(book, extra=f'<script src="{address}"></script>')
    assert what in faults(book)
    assert faults(book).count("\n") == 0


def test_widgets_need_their_scripts(book):
    state = f'<script type="{WIDGET_STATE}">{{}}</script>'
    rewrite(book, extra=state)
    assert faults(book).splitlines() == [
        f"book/intro: has widgets, but does not load {name}.js"
        for name in WIDGETS
    ]
    scripts = "".join(
        f'<script src="../_static/{name}.js?digest=1"></script>'
        for name in WIDGETS
    )
    rewrite(book, extra=state + scripts)
    assert faults(book) == ""


def test_site_without_search_is_partial(book):
    (book / "site/searchindex.js").write_text("", encoding="utf-8")
    assert faults(book) == "searchindex.js: missing or empty"


def test_nothing_at_all_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--toc", str(tmp_path / "_toc.yml")]) == 1
    (tmp_path / "_toc.yml").write_text("format: jb-book\n", encoding="utf-8")
    assert main([str(tmp_path), "--toc", str(tmp_path / "_toc.yml")]) == 1
    assert "'root' key not found" in capsys.readouterr().err
