"""Fetch one file from the package index that pip uses, without pip.

`pip download` would build a source archive, which runs its code. What is
fetched is checked by its sha256, so no page of an index is trusted. A name
and password in the index's address go to that server alone and are never
shown.
"""

import base64
import hashlib
import http.client
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

PYPI = "https://pypi.org/simple"  # what pip asks without a setting
PAGE_BYTES = 2**24
FILE_BYTES = 2**27


def fetch(project: str, file: str, sha256: str) -> bytes:
    """Return the contents of a project's file.

    Raises ConnectionError if the index cannot be reached or lacks the file,
    ValueError if its address or page makes no sense or the file is another.
    """
    index = index_address(package_index())
    page = f"{address(index).rstrip('/')}/{project}/"
    try:
        link = find_link(_get(page, index, PAGE_BYTES), page, file)
        content = _get(link, index, FILE_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(
            f"{file} could not be fetched from {address(index)} "
            f"({_reason(error)}). Run `python -m handmade.weights` once with "
            "a connection"
        ) from None  # the cause may hold the address as it was typed
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{file} from {address(index)} is damaged: its sha256 is "
            f"{found}, expected {sha256}"
        )
    return content


def package_index() -> str:
    """Return the address of the index: pip's setting, else its default."""
    asked = os.environ.get("PIP_INDEX_URL", "").strip()
    if asked:
        return asked
    command = [sys.executable, "-m", "pip", "config", "get"]
    found = subprocess.run(
        [*command, "global.index-url"], capture_output=True, text=True
    )
    if found.returncode == 0 and found.stdout.strip():
        return found.stdout.strip()
    return PYPI


def index_address(text: str) -> SplitResult:
    """Take the index's address apart.

    Raises ValueError for what is none, and never shows its password.
    """
    parts = _split(text)
    # a password with a bare / or # ends up behind the host
    rest = f"{parts.path}{parts.query}{parts.fragment}" if parts else "@"
    if parts is None or "@" in rest:
        shown = re.sub(r"//.*@", "//***@", text, flags=re.DOTALL)
        raise ValueError(
            f"PIP_INDEX_URL: got {shown!r}, want an http, https or file "
            "address, its password with %-escapes"
        )
    return parts


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        _ = parts.port  # a wrong one raises here
    except ValueError:
        return None
    if parts.scheme == "file":
        return parts
    known = parts.scheme in ("http", "https") and parts.hostname
    return parts if known else None


def address(parts: SplitResult) -> str:
    """Return the address without name and password."""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl()


def find_link(page: bytes, base: str, file: str) -> str:
    """Return the address of `file` on an index page at `base`.

    A page of a server leads to servers only, never to a file on this
    machine. Raises ConnectionError if no link is left, ValueError if the
    page is no text.
    """
    try:
        text = page.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the index page {base} is not UTF-8 text: {error}"
        ) from None
    links = _Links()
    links.feed(text)
    allowed = {"http", "https"}
    if urlsplit(base).scheme == "file":
        allowed.add("file")
    for link in links.found:
        parts = _split(_joined(base, link))
        if parts is None or parts.scheme not in allowed:
            continue
        if unquote(parts.path).rpartition("/")[2] == file:
            return parts.geturl()
    raise ConnectionError(f"its page {base} has no link to it")


def _joined(base: str, link: str) -> str:
    try:
        return urljoin(base, link)
    except ValueError:  # no address at all
        return ""


class _Links(HTMLParser):
    """Collect where a page's links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        if tag == "a":
            self.found += [v for k, v in attrs if k == "href" and v]


def _get(url: str, index: SplitResult, most: int) -> bytes:
    parts = urlsplit(url)
    request = Request(address(parts))
    own = parts.netloc.rpartition("@")[0]
    _sign(request, index, own)
    opener = build_opener(_Redirects(index))
    with opener.open(request, timeout=60) as response:
        content: bytes = response.read(most + 1)
        told = response.headers.get("Content-Length", "")
    if len(content) > most:
        raise ConnectionError(f"its answer is longer than {most} bytes")
    if told.isdigit() and len(content) < int(told):
        raise ConnectionError("its answer was cut short")
    return content


def _sign(request: Request, index: SplitResult, own: str = "") -> None:
    """Add the name and password, if the request goes to the index."""
    parts = urlsplit(request.full_url)
    same = _server(parts) == _server(index)
    pair = own or (index.netloc.rpartition("@")[0] if same else "")
    if pair:
        name, _, password = pair.partition(":")
        plain = f"{unquote(name)}:{unquote(password)}".encode()
        basic = base64.b64encode(plain).decode("ascii")
        # not sent on by urllib to where an answer redirects: see below
        request.add_unredirected_header("Authorization", f"Basic {basic}")


class _Redirects(HTTPRedirectHandler):
    """Follow redirects, with the password only to the same server."""

    def __init__(self, index: SplitResult) -> None:
        self.index = index

    def redirect_request(self, *args: Any, **more: Any) -> Request | None:
        request = super().redirect_request(*args, **more)
        if request is not None:
            _sign(request, self.index)
        return request


def _server(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"it answers {error.code} {error.reason}"
    if isinstance(error, URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
