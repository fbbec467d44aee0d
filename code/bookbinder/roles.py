"""Roles: what each one the book uses becomes in a plain notebook."""

import json
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import unquote

from bookbinder.links import Links

EXPLICIT = re.compile(r"(.+?)\s*<([^<>]+)>", re.DOTALL)
SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")


def role(name: str, content: str, links: Links) -> str:
    """Return a role's text. Raises ValueError for one that is not known."""
    if name not in TABLE:
        raise ValueError(f"{links.page}: no rewriting for the role {name!r}")
    return TABLE[name](content, links)


def split(content: str) -> tuple[str | None, str]:
    """`text <target>` -> (text, target); `target` -> (None, target)."""
    found = EXPLICIT.fullmatch(content)
    return (found[1], found[2]) if found else (None, content.strip())


def link(text: str | None, where: tuple[str, str]) -> str:
    address, title = where
    return f"[{text or title}]({address})"


def ref(content: str, links: Links) -> str:
    text, target = split(content)
    return link(text, links.label(target))


def doc(content: str, links: Links) -> str:
    text, target = split(content)
    return link(text, links.document(target))


def cite(content: str, links: Links) -> str:
    cited = []
    for key in (key.strip() for key in content.split(",")):
        if key not in links.citations:
            raise ValueError(f"{links.page}: no reference {key!r}")
        cited.append(links.citations[key])
    address = links.address("book/back/references.html")
    return f"[{'; '.join(cited)}]({address})"


def cite_in_brackets(content: str, links: Links) -> str:
    return f"({cite(content, links)})"


def value(content: str, links: Links) -> str:
    if content not in links.values:
        raise ValueError(f"{links.page}: no cell glues {content!r}")
    return links.values[content]


def minutes(content: str, links: Links) -> str:
    # no twin changes when another page gets shorter
    return "the site says how long"


def set_words(content: str, links: Links) -> str:
    """Return the words of a setting: a notebook's readers move the control."""
    words, target = split(content)
    return value(target, links) if words is None else words


def settings(
    content: str,
    values: Mapping[str, str],
    sets: Mapping[str, dict],
    traits: Collection[str],
    page: object,
) -> tuple[str, dict[str, Any]]:
    """Return (words, trait -> value) of a setting.

    values and sets: what the page glues, and what of it sets something.
    traits: all that can be set. Raises ValueError, with the page's name.
    """
    words, target = split(content)
    if words is None:
        if target not in sets:
            raise ValueError(
                f"{page}: set: got {target!r}, want the name of a value "
                f"glued with sets=, one of {sorted(sets)}"
            )
        words, given = values[target], sets[target]
    else:
        given = dict(_assignment(part, page) for part in shlex.split(target))
    unknown = sorted(given.keys() - set(traits))
    if unknown or not given:
        raise ValueError(
            f"{page}: set: got {unknown or target!r}, want what the page's "
            f"explorables can set: {sorted(traits)}"
        )
    return words, given


def _assignment(part: str, page: object) -> tuple[str, Any]:
    """`theta=1e6` -> ("theta", 1000000.0); what is no JSON is a word."""
    name, equals, text = part.partition("=")
    if not (name and equals and text):
        raise ValueError(f"{page}: set: got {part!r}, want trait=value")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


TABLE: dict[str, Callable[[str, Links], str]] = {
    "ref": ref,
    "doc": doc,
    "eq": ref,
    "cite:p": cite_in_brackets,
    "cite:t": cite,
    "glue:text": value,
    "minutes": minutes,
    "set": set_words,
}


def destination(href: str, links: Links) -> tuple[str, str] | None:
    """Return (address, title) of a link into the book; None: it stays.

    MyST looks for a page or a file, then for a label. Raises ValueError for
    what it would not find.
    """
    target = unquote(href)
    if scheme := SCHEME.match(target):
        if scheme[1].lower() in ("http", "https", "mailto"):
            return None
        raise ValueError(
            f"{links.page}: link: got {target!r}, want http, https, mailto, "
            "a page, a file or a label"
        )
    path, _, anchor = target.partition("#")
    folder = links.root if path.startswith("/") else links.page.parent
    file = folder / path.lstrip("/")
    if not path:
        return links.label(anchor)
    if file.suffix == ".md":
        page = links.document(path.removesuffix(".md"))
        return (links.label(anchor)[0], page[1]) if anchor else page
    return None if file.is_file() else links.label(target)
