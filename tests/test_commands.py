"""`python -m bookbinder …` and `costs`: what each command does and says."""

import http.client
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from bookbinder import measure, sync, twin
from bookbinder.__main__ import main
from bookbinder.book import Book
from test_sync import SECOND, cell, cli, make_book

FIRST = (
    "(first)=\n# First\n\nIt is measured.\n"
    + cell("held = bytearray(300_000_000)\nprint(len(held))")
    + "\nMore.\n"
)


@pytest.fixture
def book(tmp_path) -> Book:
    """A book of two pages, bound."""
    make_book(tmp_path, first=FIRST, second=SECOND)
    # the front page carries no line of facts
    toc = "format: jb-book\nroot: book/second\nparts:\n"
    toc += "  - caption: Back\n    chapters:\n      - file: book/first\n"
    (tmp_path / "_toc.yml").write_text(toc)
    done = cli(tmp_path)
    assert done.returncode == 0, done.stderr
    return Book(tmp_path)


def test_costs_are_measured_and_the_outputs_kept(book, monkeypatch, capsys):
    page = book.page("first")
    before = page.read_twin()
    cost = before.metadata.handmade.cost
    assert 0.3 < cost.gigabytes < 5
    shown = "".join(c.source for c in before.cells)
    assert f"runs in 1 s, {cost.gigabytes:.1f} GB" in shown

    def slower(book, page):
        run = twin.stored_run(page.read_twin())
        cost = {"seconds": 59, "gigabytes": 1.2}
        return twin.Run([], {}, {**run.kept, "cost": cost})

    monkeypatch.setattr(measure, "execute", slower)
    measure.update(book, ["first"])
    assert capsys.readouterr().out == (
        "first: 59 s on two CPU cores, 1.2 GB of memory, nothing to download\n"
    )
    book = Book(book.root)
    after = book.page("first").read_twin()
    assert after.metadata.handmade.cost == {"seconds": 59, "gigabytes": 1.2}
    assert "runs in 59 s, 1.2 GB*" in "".join(c.source for c in after.cells)
    for old, new in zip(before.cells, after.cells, strict=True):
        assert old.get("outputs") == new.get("outputs")
    assert sync.stale(book) == {}


def test_costs_of_a_stale_page_are_refused(book):
    path = book.page("second").source
    path.write_text(path.read_text().replace('"two"', '"2"'))
    book = Book(book.root)
    with pytest.raises(sync.PageError, match="run `make sync` first"):
        measure.update(book, ["second"])


def test_sync_and_new_end_with_one_line_and_a_status(
    book, monkeypatch, capsys
):
    monkeypatch.chdir(book.root)
    assert main(["sync", "--check"]) == 0
    assert main(["new", "no part"]) == 1
    assert "page: got 'no part', want part/page" in capsys.readouterr().err
    assert main(["sync", "nothing"]) == 1
    assert "page: got 'nothing'" in capsys.readouterr().err
    assert main(["new", "third/page"]) == 0
    assert "wrote book/third/page.md" in capsys.readouterr().out
    assert main(["sync", "--check"]) == 1
    assert "stale: book/third/page" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"# caf\xe9\n", "want UTF-8"),
        (b"---\na: [\n---\n# Second\n", "metadata"),
        (b"\n", "got an empty page"),
        (None, "want a page"),
    ],
)
def test_every_command_names_a_page_that_cannot_be_read(
    book, monkeypatch, capsys, text, what
):
    monkeypatch.chdir(book.root)
    path = book.pages[1].source
    path.unlink()
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text)
    commands = ("sync", "sync --check", "why second", "costs second")
    for command in commands:
        assert main(command.split()) == 1, command
        (told,) = capsys.readouterr().err.splitlines()
        assert told.startswith(str(path)), command
        assert what in told


def test_serve_says_that_its_port_is_taken(book, monkeypatch, capsys):
    monkeypatch.chdir(book.root)
    site = Path(book.root, "_build", "html")
    site.mkdir(parents=True)
    (site / "index.html").write_text("<p>the book</p>")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        for port in (taken, 70_000):
            serve = ["serve", "--no-browser", "--port", str(port)]
            assert main(serve) == 1
            (told,) = capsys.readouterr().err.splitlines()
            assert told.startswith(f"port: got {port} (")
            assert "want a free one" in told


def test_serve_wants_a_built_book_and_serves_it_here(
    book, monkeypatch, capsys
):
    monkeypatch.chdir(book.root)
    assert main(["serve", "--no-browser"]) == 1
    assert "run `make book` first" in capsys.readouterr().err
    site = Path(book.root, "_build", "html")
    site.mkdir(parents=True)
    (site / "index.html").write_text("<p>the book</p>")
    command = [sys.executable, "-m", "bookbinder", "serve"]
    process = subprocess.Popen(
        [*command, "--no-browser", "--port", "0"],
        cwd=book.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        said = process.stdout.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", said)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/")
        assert b"the book" in connection.getresponse().read()
        connection.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_a_twin_keeps_is_plain_data(book):
    for page in book.pages:
        kept = page.read_twin().metadata.handmade
        assert json.loads(json.dumps(kept)) == kept
