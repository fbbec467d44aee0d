"""What `_config.yml` and `_toc.yml` say, read once."""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import nbformat
import yaml
from myst_nb.core.read import (
    MystMetadataParsingError,
    read_myst_markdown_notebook,
)
from nbformat.validator import NotebookValidationError
from sphinx_external_toc.parsing import MalformedError, parse_toc_data

from bookbinder import myst

# what myst-nb raises on front matter and cells; the last three where the
# front matter is no mapping
UNREADABLE = (
    MystMetadataParsingError,
    NotebookValidationError,
    AttributeError,
    TypeError,
)


@dataclass(frozen=True)
class Page:
    """One page: its name in the table of contents and its two files."""

    root: Path
    name: str
    # MyST's syntax beyond the common one, as `_config.yml` has it
    extensions: tuple[str, ...] = field(default=(), compare=False)

    @property
    def source(self) -> Path:
        return self.root / f"{self.name}.md"

    @property
    def twin(self) -> Path:
        return self.root / f"{self.name}.ipynb"

    @cached_property
    def text(self) -> str:
        try:
            return self.source.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ValueError(
                f"_toc.yml names {self.name}, but there is no {self.source}"
            ) from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.source}: want UTF-8: {error}") from None
        except OSError as error:
            raise ValueError(
                f"{self.source}: got {error.strerror}, want a page"
            ) from None

    @cached_property
    def has_cells(self) -> bool:
        return bool(self.cells("code"))

    @cached_property
    def _parsed(self) -> nbformat.NotebookNode:
        empty = f"{self.source}: got an empty page, want text"
        if not self.text.strip():
            raise ValueError(empty)
        try:
            notebook = read_myst_markdown_notebook(
                self.text,
                config=myst.config(self.extensions),
                path=self.source,
            )
        except UNREADABLE as error:
            why = str(error).split("\n")[0]
            raise ValueError(f"{self.source}: metadata: {why}") from None
        if not notebook.cells:
            raise ValueError(empty)
        return notebook

    def read(self) -> nbformat.NotebookNode:
        """Return the page as a notebook without outputs, as myst-nb does.

        Every call returns a copy of its own, to be filled in.
        """
        return copy.deepcopy(self._parsed)

    @property
    def all_cells(self) -> list[nbformat.NotebookNode]:
        """All cells in order, to look at."""
        return self._parsed.cells

    def cells(self, kind: str) -> list[nbformat.NotebookNode]:
        """Return the page's "markdown" or "code" cells, to look at."""
        return [c for c in self._parsed.cells if c.cell_type == kind]

    def read_twin(self) -> nbformat.NotebookNode:
        """Raise FileNotFoundError or ValueError if there is none, or half."""
        try:
            return nbformat.read(self.twin, as_version=4)
        except (nbformat.reader.NotJSONError, KeyError) as error:
            raise ValueError(f"{self.twin} is not a notebook") from error


T = TypeVar("T")


@dataclass(frozen=True)
class Book:
    """The project's root folder, its settings and its pages in order."""

    root: Path
    _made: dict[Callable, Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def settings(self) -> dict:
        path = self.root / "_config.yml"
        settings = read_yaml(path)
        if not isinstance(settings, dict):
            raise ValueError(f"{path}: got {settings!r}, want settings")
        return settings

    @cached_property
    def extensions(self) -> tuple[str, ...]:
        return myst.extensions(self.settings)

    @cached_property
    def pages(self) -> tuple[Page, ...]:
        """All pages of the table of contents, the root first."""
        names = toc_pages(self.root / "_toc.yml")
        return tuple(Page(self.root, n, self.extensions) for n in names)

    def once(self, make: Callable[["Book"], T]) -> T:
        """Return make(self), made at the first call and then kept."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    @property
    def repository(self) -> str:
        """The repository that the notebooks install the package from."""
        return self.settings["repository"]["url"].rstrip("/")

    @property
    def branch(self) -> str:
        return self.settings["repository"]["branch"]

    @property
    def site(self) -> str:
        """Where the book is published, with a slash at the end."""
        return self.settings["html"]["baseurl"].rstrip("/") + "/"

    def page(self, name: str) -> Page:
        """Return the page called `name`: its path, with or without `.md`."""
        path = Path(name)
        if path.is_absolute():
            path = path.resolve().relative_to(self.root)
        wanted = path.with_suffix("").as_posix()
        for page in self.pages:
            if page.name in (wanted, f"book/{wanted}"):
                return page
        raise ValueError(
            f"page: got {name!r}, want one of "
            f"{[page.name for page in self.pages]}"
        )


def read_yaml(path: Path) -> Any:
    """Raise ValueError, with the file's name, for what is no YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from None


def toc_pages(path: Path) -> list[str]:
    """Return the pages that a `_toc.yml` names, the root first.

    Raises ValueError for what sphinx-external-toc, which the site is built
    with, does not read, and for a pattern instead of names.
    """
    try:
        contents = parse_toc_data(read_yaml(path))
    except MalformedError as error:
        raise ValueError(f"{path}: {error}") from None
    if patterns := contents.globs():
        raise ValueError(f"{path}: glob: got {sorted(patterns)}, want files")
    return [name.removesuffix(".md") for name in contents]


def toc_parts(path: Path) -> list[tuple[str | None, list[str]]]:
    """Return (caption, pages) of each part; the root stands alone, first.

    Raises ValueError as `toc_pages` does.
    """
    names = toc_pages(path)
    root = parse_toc_data(read_yaml(path)).root
    parts: list[tuple[str | None, list[str]]] = [(None, [names[0]])]
    starts = {
        str(tree.items[0]).removesuffix(".md"): tree.caption
        for tree in root.subtrees
        if tree.items
    }
    for name in names[1:]:
        if name in starts:
            parts.append((starts[name], []))
        parts[-1][1].append(name)
    return parts


def fork() -> tuple[str, str] | None:
    """Return (repository, site) of the fork that CI builds, or None.

    GitHub sets `GITHUB_REPOSITORY` to owner/name in every workflow.
    """
    name = os.environ.get("GITHUB_REPOSITORY", "")
    if name.count("/") != 1:
        return None
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    owner, repository = name.split("/")
    return f"{server}/{name}", f"https://{owner}.github.io/{repository}/"


def find_book(start: Path | None = None) -> Book:
    """Return the book whose folder we stand in, or of this checkout."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, *Path(__file__).resolve().parents):
        if (folder / "_toc.yml").exists() and (folder / "book").is_dir():
            return Book(folder)
    raise ValueError(f"no book found: {here} has no _toc.yml above it")
