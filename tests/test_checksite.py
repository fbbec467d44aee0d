"""The guard before publishing: a whole site passes, each lack is named."""

import importlib.util
import json
import shutil
import struct
import zlib
from html import escape
from pathlib import Path

import pytest
from bookbinder import live_package, sitefiles, vendor
from bookbinder.book import Page
from bookbinder.checksite import check_site, main
from bookbinder.explorables import Explorable, placeholder, write

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
SCRIPT = b"a script,\r\nof two lines\n"
CHECKSUM = f"{zlib.crc32(SCRIPT.replace(bytes([13]), b'')):08x}"
VENDORED = {
    "mathjax.js": b"vendored script",
    "fonts/a.woff": b"wOFF" + bytes(4) + struct.pack(">I", 16) + b"font",
    "fonts/b.woff2": b"wOF2" + bytes(4) + struct.pack(">I", 15) + b"two",
}
STYLE = """
a {{ background: url("data:image/svg+xml;utf8,%3Csvg%3E") }}
@font-face {{ src: url( '{}b.woff2?v=1#iefix' ) }}
b {{ fill: url(#gradient) }}
"""
PROSE = "What a page says, at some length. " * 5


def html(depth: int, extra: str = "", prose: str = PROSE) -> str:
    up = "../" * depth
    return f"""<!DOCTYPE html><html><head>
    <link rel="stylesheet" href="{up}_static/book.css?v=1">
    <link rel="canonical" href="https://example.org/elsewhere">
    <script src="{up}_static/pages.js?v={CHECKSUM}"></script>
    <link rel="stylesheet" href="{up}_static/pygments.css?v=00000000">
    <script src="{up}_static/mathjax.js?digest=2"></script></head>
    <body><a href="{up}_sources/book/blocks/masks.ipynb">the twin</a>
    <a href="https://example.org/elsewhere.ipynb">Colab</a>
    <nav>{PROSE}</nav><article><h1>Title</h1><p>{prose}</p>
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
    (site / "_static" / "styles").mkdir(parents=True)
    for name in ("index.html", "search.html", "_static/pygments.css"):
        (site / name).write_text("something", encoding="utf-8")
    (site / "_static/pages.js").write_bytes(SCRIPT)
    (site / "_static/book.css").write_text(STYLE.format("fonts/"))
    (site / "_static/styles/ours.css").write_text(STYLE.format("../fonts/"))
    index = json.dumps({"docnames": PAGES, "terms": {"a(b)": 1}})
    (site / "searchindex.js").write_text(f"Search.setIndex({index})")
    theme = Path(importlib.util.find_spec("sphinx").origin).parent
    source = theme / sitefiles.THEMES["sphinx"] / "searchtools.js"
    shutil.copy(source, site / "_static")
    # what `vendor` leaves, and Sphinx copies
    folder = tmp_path / "book" / "vendor"
    for name, data in VENDORED.items():
        for file in (folder / name, site / "_static" / name):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    mark = {"from": "x", "files": vendor.hashes(folder)}
    (folder / vendor.MARK).write_text(json.dumps(mark))
    # one page with cells
    for file in (tmp_path, site / "_sources"):
        file = file / "book/blocks/masks.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"cells": []}')
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
    assert len(found) == len(PAGES) + 1
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


def test_explorables_need_their_host_and_their_files(book):
    page, site = Page(book, "book/intro"), book / "site"
    script = 'handmade.files["drawing-0a1b2c3d.js"]={};\n'
    named = {"drawing-44136fa3.js": script.replace("0a1b2c3d", "44136fa3")}
    found = Explorable("explorable-1", named, {"models": []}, frozenset())
    frame = placeholder(page, found, "")
    rewrite(book, extra=frame)
    data, _ = found.data_file(page)
    files = (f"../_static/explorables/{next(iter(named))}", data)
    missing = [
        f"book/intro: asks for {file}, which is missing or empty"
        for file in files
    ]
    host = "book/intro: has explorables, but does not load host.js"
    assert faults(book).splitlines() == [*missing, host]
    write(page, found, site)
    (site / "_static" / "host.js").write_text("something")
    rewrite(
        book, extra=f'{frame}<script src="../_static/host.js?v=1"></script>'
    )
    assert faults(book) == ""
    cut = (site / "book" / data).read_text().replace("models", "model")
    (site / "book" / data).write_text(cut)
    assert faults(book) == (
        f"book/intro: asks for {data}, which is cut or changed"
    )


def test_cells_to_run_need_their_script_and_their_archive(book):
    content = b"an archive"
    name = live_package.name_of(content)
    bar = f'<div data-live="{escape(json.dumps({"archive": name}))}"></div>'
    rewrite(book, extra=bar)
    script = "book/intro: has cells to run, but does not load run.js"
    lost = f"book/intro: runs with {name}, which is missing"
    assert faults(book).splitlines() == [script, lost]
    static = book / "site" / "_static"
    (static / "run.js").write_text("something")
    (static / name).write_bytes(content)
    rewrite(book, extra=f'{bar}<script src="../_static/run.js"></script>')
    assert faults(book) == ""
    (static / name).write_bytes(content[:-1])
    assert faults(book) == f"book/intro: runs with {name}, which is cut"


LOST = """
_sources/book/blocks/masks.ipynb: the twin is missing
_static/fonts/a.woff: missing
_static/fonts/b.woff2: missing
_static/mathjax.js: missing
_static/pages.js: missing or empty
searchindex.js: missing
search.html: missing or empty
"""
CUT = """
_sources/book/blocks/masks.ipynb: not the twin beside the page
_static/fonts/a.woff: a cut font
_static/fonts/b.woff2: a cut font
_static/mathjax.js: cut or changed
_static/pages.js?v=: cut or changed
_static/searchtools.js: cut or changed
searchindex.js: cut
"""


def cases(table: str) -> list:
    lines = (line.split(": ", 1) for line in table.strip().splitlines())
    return [pytest.param(*line, id=line[0]) for line in lines]


@pytest.mark.parametrize(("name", "what"), cases(LOST))
def test_a_file_that_is_gone_is_named(book, name, what):
    (book / "site" / name).unlink()
    assert any(
        name in fault and what in fault for fault in faults(book).splitlines()
    )


@pytest.mark.parametrize(("name", "what"), cases(CUT))
def test_a_file_that_was_cut_is_named(book, name, what):
    path = book / "site" / name.removesuffix("?v=")
    path.write_bytes(path.read_bytes()[:-1])
    assert any(
        name in fault and what in fault for fault in faults(book).splitlines()
    )


OPEN = """
language_data.js: var stemmer = function() { return [1, "}"];
ours.js: f(/[(]/, `${a}`, [2)
late.css: a { color: red } /* of the
soon.css: a { color: red } @media print { b { color: blue }
"""


@pytest.mark.parametrize(("name", "text"), cases(OPEN))
def test_a_script_or_style_of_the_site_is_read_to_its_end(book, name, text):
    (book / "site/_static" / name).write_text(text, encoding="utf-8")
    assert f"_static/{name}: cut, something in it is still open" in faults(
        book
    )


def test_brackets_in_texts_and_patterns_are_not_counted(book):
    text = 'f("{", "image/*", /[(]/, `)`) // ['
    (book / "site/_static/ours.js").write_text(text, encoding="utf-8")
    assert not faults(book)


def test_a_style_of_an_extension_is_the_one_it_ships(book):
    shipped = Path(importlib.util.find_spec("sphinx_exercise").origin).parent
    source = shipped / sitefiles.THEMES["sphinx_exercise"] / "exercise.css"
    text = source.read_text(encoding="utf-8")
    path = book / "site/_static/exercise.css"
    path.write_text(text, encoding="utf-8")
    assert not faults(book)
    # between two rules: all brackets are shut
    path.write_text(text[: text.rindex("}", 0, -9) + 1], encoding="utf-8")
    assert "_static/exercise.css: cut or changed" in faults(book)


def test_fonts_that_a_style_asks_for_are_there(book):
    """Not only the vendored ones: there is no record of a theme's."""
    (book / "book/vendor" / vendor.MARK).unlink()
    (book / "site/_static/fonts/b.woff2").write_bytes(b"")
    found = faults(book).splitlines()
    assert found[:2] == [
        f"_static/{style}: asks for {address}b.woff2?v=1#iefix, "
        "which is missing or empty"
        for style, address in (
            ("book.css", "fonts/"),
            ("styles/ours.css", "../fonts/"),
        )
    ]
    assert found[2:] == ["_static/fonts/b.woff2: a cut font"]
    style = book / "site/_static/book.css"
    style.write_text("a { src: url(//example.org/a.woff2) }")
    assert "book.css: takes //example.org/a.woff2" in faults(book)


@pytest.mark.parametrize(
    "text",
    ["", "Search.setIndex([1])", "Search.setIndex({})", "Search.setIndex(3)"],
)
def test_what_is_no_search_index_is_refused(book, text):
    (book / "site/searchindex.js").write_text(text)
    assert faults(book) == "searchindex.js: cut, or no search index"


def test_a_search_index_knows_every_page(book):
    index = json.dumps({"docnames": PAGES[1:]})
    (book / "site/searchindex.js").write_text(f"Search.setIndex({index})")
    assert faults(book) == f"searchindex.js: does not know {PAGES[0]}"


def test_a_notebook_that_a_page_offers_is_there(book):
    rewrite(book, extra='<a href="../_sources/book/intro.ipynb">it</a>')
    assert faults(book) == (
        "book/intro: asks for ../_sources/book/intro.ipynb, "
        "which is missing or empty"
    )


def test_a_page_that_is_no_text_is_named(book):
    (book / "site/book/intro.html").write_bytes(b"caf\xe9")
    assert "book/intro: want UTF-8" in faults(book)


def test_nothing_at_all_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--toc", str(tmp_path / "_toc.yml")]) == 1
    (tmp_path / "_toc.yml").write_text("format: jb-book\n", encoding="utf-8")
    assert main([str(tmp_path), "--toc", str(tmp_path / "_toc.yml")]) == 1
    assert "'root' key not found" in capsys.readouterr().err
