"""`python -m bookbinder new PART/PAGE`: a page's skeleton, in its order."""

import re
from pathlib import Path

from handmade.cache import write_whole

from bookbinder.book import Book

TEMPLATE = Path(__file__).with_name("page_template.md")
NAME = re.compile(r"([a-z][a-z0-9-]*)/([a-z][a-z0-9-]*)")
LAST_PART = "Back"


def write(book: Book, name: str) -> str:
    """Write the page and name it in `_toc.yml`, last of its part.

    Returns what to do next. Raises ValueError for a name that is no
    part/page, and for a page that is there already.
    """
    found = NAME.fullmatch(name)
    if not found:
        raise ValueError(
            f"page: got {name!r}, want part/page in small letters, digits "
            "and dashes, such as models/gpt2"
        )
    part, slug = found.groups()
    path = book.root / "book" / part / f"{slug}.md"
    if path.exists() or any(p.name == f"book/{name}" for p in book.pages):
        raise ValueError(f"page: got {name!r}, want one that is not there yet")
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("TITLE", _title(slug)).replace("SLUG", slug)
    text = text.replace("PART", part).replace("MODULE", _module(slug))
    toc = book.root / "_toc.yml"
    contents = with_page(toc.read_text(encoding="utf-8"), part, slug)
    _write(path, text)
    _write(toc, contents)
    return (
        f"wrote {path.relative_to(book.root)} and named it in _toc.yml\n"
        f"its code goes to handmade/{_module(part)}/{_module(slug)}.py, its "
        f"exercises to handmade/exercises/{_module(part)}/{_module(slug)}.py\n"
        "`make sync` runs it and writes its twin"
    )


def with_page(toc: str, part: str, slug: str) -> str:
    """Return the text of `_toc.yml` with one page more, comments kept.

    A part that is not there yet is put before the last one. Raises
    ValueError where the contents have no parts.
    """
    lines = toc.rstrip("\n").split("\n")
    if "parts:" not in lines:
        raise ValueError("_toc.yml: got no parts, want chapters in parts")
    entry = f"      - file: book/{part}/{slug}"
    same = [
        i for i, line in enumerate(lines) if f"- file: book/{part}/" in line
    ]
    if same:
        lines.insert(same[-1] + 1, entry)
        return "\n".join(lines) + "\n"
    new = [f"  - caption: {_title(part)}", "    chapters:", entry]
    last = f"  - caption: {LAST_PART}"
    at = lines.index(last) if last in lines else len(lines)
    return "\n".join([*lines[:at], *new, *lines[at:]]) + "\n"


def _title(slug: str) -> str:
    return slug.replace("-", " ").capitalize()


def _module(slug: str) -> str:
    return slug.replace("-", "_")


def _write(path: Path, text: str) -> None:
    write_whole(
        path, lambda p: p.write_text(text, encoding="utf-8", newline="\n")
    )
