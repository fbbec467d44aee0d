"""Parts of files that pages show, cut by Sphinx's own reader."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sphinx.directives.code import LiteralIncludeReader
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer

from bookbinder.links import Links

# the options that say which part
CUTS = frozenset({
    "pyobject", "lines", "start-after", "start-at", "end-before", "end-at",
    "dedent", "tab-width", "prepend", "append", "encoding",
})  # fmt: skip


def read(name: str, options: Mapping[str, Any], links: Links) -> str:
    """Return the part of a file that the options of literalinclude name.

    Raises ValueError for what Sphinx would only warn of, too.
    """
    path = file(name, links)
    try:
        with warnings_raised("sphinx.sphinx.directives.code"):
            utf8 = SimpleNamespace(source_encoding="utf-8")
            return Reader(str(path), dict(options), utf8).read()[0]
    except (ValueError, OSError, PycodeError) as error:
        raise ValueError(f"{links.page}: literalinclude: {error}") from None


def file(name: str, links: Links) -> Path:
    """Return the file, as Sphinx finds it: from the page, or the root."""
    folder = links.root if name.startswith("/") else links.page.parent
    path = (folder / name.lstrip("/")).resolve()
    if not (path.is_relative_to(links.root.resolve()) and path.is_file()):
        raise ValueError(
            f"{links.page}: literalinclude: got {name!r}, "
            "want a file of this repository"
        )
    return path


class Reader(LiteralIncludeReader):
    """Sphinx's reader; a module is parsed once, not once an object."""

    def pyobject_filter(
        self, lines: list[str], location: tuple[str, int] | None = None
    ) -> list[str]:
        name = self.options.get("pyobject")
        if not name:
            return lines
        found = objects("".join(lines)).get(name)
        if found is None:
            raise ValueError(f"{self.filename} has no {name!r}")
        _, start, end = found
        return lines[start - 1 : end]


@cache
def objects(source: str) -> dict[str, tuple[str, int, int]]:
    """Return name -> (kind, first line, last line) of classes, functions."""
    return ModuleAnalyzer.for_string(source, "").find_tags()


@contextmanager
def warnings_raised(name: str) -> Iterator[None]:
    """Raise a warning of this logger: it would stop the site's build."""

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError(record.getMessage())

    logger, handler = logging.getLogger(name), Raising(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
