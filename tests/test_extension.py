"""The HTML build: it runs nothing, and shows what the twins hold."""

import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape as html_text
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from bookbinder import extension, sync, twin, vendor
from bookbinder.book import Book
from nbformat import v4
from sphinx.errors import ExtensionError
from test_sync import ROOT, SECOND, append, cell, make_book, rewrite

SENTINEL = "no kernel would say 4711"
SHOWN = "class A:\n    def b(self):\n        return 1\n\n    c = 2\n"
REFERENCES = "(references)=\n# References\n\n```{bibliography}\n:all:\n```\n"


STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
MODEL = "c0ffee" * 5
# each would end a script's text, or begin one in it, if it stood in the page
HOSTILE = "</script ><!--<script></SCRIPT\n><img src=x onerror=alert(1)>"


def widgets() -> tuple[dict, dict]:
    """Return (the states of a widget, its view), both with hostile text."""
    model = {
        "model_name": "TextModel",
        "model_module": "@jupyter-widgets/controls",
        "model_module_version": "2.0.0",
        "state": {"value": HOSTILE, "description": "a name"},
    }
    state = {"version_major": 2, "version_minor": 0, "state": {MODEL: model}}
    view = {"model_id": MODEL, "version_major": 2, "note": HOSTILE}
    return {STATE: state}, {VIEW: view, "text/plain": HOSTILE}


class Scripts(HTMLParser):
    """What a browser would find in a page: scripts by type, and images."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self.images: list[dict] = []
        self.texts: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        if tag == "img":
            self.images.append(given)
        if tag == "script":
            self.texts = self.found.setdefault(given.get("type", ""), [])
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts is not None:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.texts = None


def first_page(told: Path) -> str:
    write = f"open({str(told)!r}, 'w').write('ran'); print('from a kernel')"
    return (
        "(first)=\n# First\n\nSee {ref}`second`, {cite:t}`a2001`, $x^2$.\n"
        + cell(write)
        + cell('glue("share", 1)')
        + "\nThe share is {glue:text}`share`.\n\n"
        "```{math}\n:label: eq-a\na\n```\n\n$$\nb\n$$\n\n"
        "$$\nc\n$$ (eq-c.d)\n\nBy {eq}`eq-a` and {eq}`eq-c.d`.\n\n"
        "```{page-costs}\n```\n\n"
        "```{literalinclude} shown.py\n:pyobject: A.b\n:append: '# c'\n```\n"
    )


def bind(book: Book) -> None:
    """Write twins whose outputs no execution would give."""
    scrap = {"name": "share", "mime_prefix": "application/papermill.record/"}
    glued = v4.new_output(
        "display_data",
        {"application/papermill.record/text/plain": "'from the twin: 0.5'"},
        metadata={"scrapbook": scrap},
    )
    said = v4.new_output("stream", name="stdout", text=f"{SENTINEL}\n")
    for page in book.pages:
        if page.has_cells:
            cells = page.cells("code")
            cells[0].outputs = [said]
            if len(cells) > 1:
                cells[1].outputs = [glued]
            for number, found in enumerate(cells, 1):
                found.execution_count = number
            cost = {"seconds": 7, "gigabytes": 1.25}
            kept = {"cost": cost, "files": {"cache/minilm-0.1.0": ""}}
            states, view = widgets()
            if page.source.stem != "second":
                states = {}
            else:
                shown = v4.new_output("display_data", view)
                cells[0].outputs.append(shown)
            made = sync.assemble(book, page, twin.Run(cells, states, kept))
            twin.write(page, made)


@pytest.fixture
def book(tmp_path) -> Book:
    text = first_page(tmp_path / "told")
    made = make_book(tmp_path, first=text, second=SECOND, refs=REFERENCES)
    for name in ("style", "figures"):
        shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
    (tmp_path / "book" / "shown.py").write_text(SHOWN)
    bind(made)
    append(made, "second", "\n{set}`a & b <'a name=4 & 5'>`\n")
    made = Book(tmp_path)
    bind(made)
    picture = tmp_path / "book" / "second.explorable-1.svg"
    picture.write_text("<svg>a picture of second</svg>")
    return made


def build(book: Book, **env: str) -> subprocess.CompletedProcess:
    command = Path(sys.executable).with_name("jupyter-book")
    clean = {k: v for k, v in os.environ.items() if "GITHUB" not in k}
    return subprocess.run(
        [command, "build", ".", "-W", "--keep-going"],
        cwd=book.root,
        env=clean | env,
        capture_output=True,
        text=True,
    )


def test_a_build_runs_nothing_and_shows_the_twins(book):
    done = build(book, GITHUB_REPOSITORY="ada/engine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (book.root / "told").exists()
    assert "Executing notebook" not in done.stdout + done.stderr
    assert "IPKernelApp" not in done.stdout + done.stderr
    html = book.root / "_build" / "html"
    page = (html / "book" / "first.html").read_text(encoding="utf-8")
    assert SENTINEL in page
    assert "from a kernel</" not in page
    assert "The share is from the twin: 0.5." in page
    costs = re.sub(r"<[^>]*>|\s", "", page)  # of both pages, in one table
    for title in ("First", "Second"):
        assert f"{title}7s1.2GBMiniLM" in costs
    assert "pip install" not in page  # Colab's cell is the notebook's alone

    # numbers, anchors and excerpts are those that the twin shows
    notebook = book.page("first").twin.read_text(encoding="utf-8")
    for number, label in enumerate(("eq-a", "eq-c-d"), 1):
        assert f'href="#equation-{label}">({number})</a>' in page
        assert (
            f"[({number})]({book.site}book/first.html#equation-{label})"
            in (notebook)
        )
        assert rf" \\tag{{{number}}}" in notebook
    included = re.search(
        r"<pre>(.*?)</pre>", page.split("By <a")[1], re.DOTALL
    )
    text = html_text(re.sub("<[^>]*>", "", included[1]))
    assert text == "    def b(self):\n        return 1\n# c\n"
    (excerpt,) = (
        found.source
        for found in book.page("first").read_twin().cells
        if "def b" in found.source
    )
    assert f"```python\n{text}```" in excerpt

    # a fork's links are the fork's
    assert "https://github.com/ada/engine" in page
    assert (
        "colab.research.google.com/github/ada/engine/blob/published/book/"
        "first.ipynb" in page
    )
    assert "mybinder.org/v2/gh/ada/engine/published?" in page
    # what is edited is the source, which no commit is stamped into
    assert "github.com/ada/engine/edit/main/book/first.md" in page
    assert page.count("/published") == 2
    assert "github.com/handmade-transformers" not in page
    assert "https://ada.github.io/engine/book/first.html" in page
    sitemap = (html / "sitemap.xml").read_text()
    assert "https://ada.github.io/engine/book/second.html" in sitemap

    # no book/vendor: the public networks, and the log says so
    assert "no book/vendor" in done.stdout + done.stderr
    assert re.search(r'src="https://cdn[^"]*mathjax', page)

    # the download is the executed twin, not a bare notebook
    for name in ("first", "second"):
        offered = html / "_sources" / "book" / f"{name}.ipynb"
        assert offered.read_bytes() == book.page(name).twin.read_bytes()
    assert SENTINEL in json.dumps(book.page("first").read_twin())

    # a widget's state is in a file beside its page, and not in the page
    text = (html / "book" / "second.html").read_text(encoding="utf-8")
    scripts = Scripts(text)
    assert not {STATE, VIEW} & scripts.found.keys()
    assert "alert(1)" not in text
    assert not any(image.get("src") == "x" for image in scripts.images)
    (frame,) = re.findall(r'<div class="hm-explorable".*?</div>', text)
    (name,) = re.findall(r'data-files="([^"]*)"', frame)
    data = (html / "book" / name).read_text(encoding="utf-8")
    assert json.dumps(HOSTILE) in data
    assert "a picture of second" in frame
    assert re.search(r'<script async="async" src="[^"]*host\.js', text)
    assert ".hm-explorable" in next(html.rglob("site.css")).read_text(
        encoding="utf-8"
    )
    for script in ("require", "embed-amd", "anywidget"):
        assert script not in text

    # words set it; a page without an explorable loads no host
    button = re.search(r'<button[^>]*class="hm-set"[^>]*>[^<]*</button>', text)
    assert html_text(button[0]) == (
        '<button type="button" class="hm-set" disabled '
        'data-set="{"a name": "4 & 5"}">a & b</button>'
    )
    assert "host.js" not in page

    # a second build sees a stale twin and stops
    changed = rewrite(book, "second", 'print("two")', 'print("2")')
    done = build(changed)
    assert done.returncode != 0
    assert "second.ipynb does not fit" in done.stdout + done.stderr
    assert "make sync" in done.stdout + done.stderr

    # and a third names a page that it cannot read
    book.page("second").source.write_bytes(b"# caf\xe9\n")
    done = build(Book(book.root))
    assert done.returncode != 0
    assert "second.md: want UTF-8" in done.stdout + done.stderr


@pytest.mark.skipif(
    not vendor.is_vendored(ROOT), reason="no book/vendor: `make book` fills it"
)
def test_with_vendored_scripts_no_other_host_is_asked(book):
    (book.root / "book" / "vendor").symlink_to(ROOT / "book" / "vendor")
    done = build(book)
    assert done.returncode == 0, done.stdout + done.stderr
    html = book.root / "_build" / "html"
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<script[^>]* src="(https?:)?//', text), page
        assert not re.search(
            r'<link[^>]* rel="stylesheet"[^>]*href="(https?:)?//', text
        ), page
    page = (html / "book" / "first.html").read_text(encoding="utf-8")
    # a formula is set already, and its letters are the site's own
    assert 'class="katex"' in page
    assert "MathJax" not in page
    assert re.search(r'href="\.\./_static/katex/katex\.min\.css', page)
    assert "github.com/handmade-transformers/handmade-transformers" in page


def app(book: Book, tmp_path: Path) -> SimpleNamespace:
    return SimpleNamespace(
        confdir=str(book.root),
        outdir=str(tmp_path / "_build" / "html"),
        config=SimpleNamespace(),
        env=SimpleNamespace(mystnb_config=SimpleNamespace()),
    )


def test_a_page_without_its_twin_is_refused(book, tmp_path):
    extension.seed(app(book, tmp_path))
    book.page("second").twin.unlink()
    with pytest.raises(ExtensionError, match=r"second\.md has no twin"):
        extension.seed(app(book, tmp_path))


def test_a_twin_that_does_not_fit_is_refused(book, tmp_path):
    append(book, "second", cell("3"))
    with pytest.raises(ExtensionError, match=r"second\.ipynb does not fit"):
        extension.seed(app(book, tmp_path))


def test_a_page_that_fits_no_twin_is_not_executed(book, tmp_path):
    extension.seed(app(book, tmp_path))
    with pytest.raises(ExtensionError, match="fits no twin"):
        extension.execution.single_nb_execution(None, cwd=str(tmp_path))


@pytest.mark.parametrize("name", ["first", "second", "refs"])
@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"# caf\xe9\n", "want UTF-8"),
        (b"---\na: [\n---\n# First\n", "metadata"),
        (b"", "got an empty page"),
    ],
)
def test_a_page_that_cannot_be_read_is_named(book, tmp_path, name, text, what):
    path = book.page(name).source
    path.write_bytes(text)
    with pytest.raises(ExtensionError, match=re.escape(str(path))) as error:
        extension.seed(app(Book(book.root), tmp_path))
    assert what in str(error.value)


def test_a_half_written_twin_is_refused(book, tmp_path):
    path = book.page("second").twin
    path.write_text(path.read_text()[:100])
    with pytest.raises(ExtensionError, match="not a notebook"):
        extension.seed(app(book, tmp_path))


def test_scripts_that_stand_twice_are_loaded_once():
    def script(filename, **attributes):
        return SimpleNamespace(filename=filename, attributes=attributes)

    context = {
        "script_files": [
            script("a.js"),
            script("b.js"),
            script("a.js"),
            script(None, body="const x = 1"),
            script(None, body="const x = 1"),
            script(None, body="const y = 1"),
        ]
    }
    extension.tidy_scripts(None, "page", "page.html", context, None)
    kept = [
        s.filename or s.attributes["body"] for s in context["script_files"]
    ]
    assert kept == ["a.js", "b.js", "const x = 1", "const y = 1"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ('{"a": "</script ><!--"}', r'{"a": "\u003c/script >\u003c!--"}'),
        ("if (a<b) f('</SCRIPT>')", r"if (a<b) f('\x3C/SCRIPT>')"),
        ("f('<!--<script>')", r"f('\x3C!--\x3Cscript>')"),
    ],
)
def test_what_stands_in_a_script_stays_inside(given, wanted):
    assert extension.in_script(given) == wanted
