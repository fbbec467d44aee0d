"""What `_config.yml` and `_toc.yml` say, read once."""

import copy
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
import yaml
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig


@dataclass(frozen=True)
class Page:
    """One page: its name in the table of contents and its two files."""

    root: Path
    name: str

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

    @cached_property
    def has_cells(self) -> bool:
        return bool(self.cells("code"))

    @cached_property
    def _parsed(self) -> nbformat.NotebookNode:
        return read_myst_markdown_notebook(
            self.text, config=MdParserConfig(), path=self.source
        )

    def read(self) -> nbformat.NotebookNode:
        """Return the page as a notebook without outputs, as myst-nb does.

        Every call returns a copy of its own, to be filled in.
        """
        return copy.deepcopy(self._parsed)

    def cells(self, kind: str) -> list[nbformat.NotebookNode]:
        """Return the page's "markdown" or "code" cells, to look at."""
        return [c for c in self._parsed.cells if c.cell_type == kind]

    def read_twin(self) -> nbformat.NotebookNode:
        """Raise FileNotFoundError or ValueError if there is none, or half."""
        try:
            return nbformat.read(self.twin, as_version=4)
        except (nbformat.reader.NotJSONError, KeyError) as error:
            raise ValueError(f"{self.twin} is not a notebook") from error


@dataclass(frozen=True)
class Book:
    """The project's root folder, its settings and its pages in order."""

    root: Path

    @cached_property
    def settings(self) -> dict:
        text = (self.root / "_config.yml").read_text(encoding="utf-8")
        return yaml.safe_load(text)

    @cached_property
    def pages(self) -> tuple[Page, ...]:
        """All pages of the table of contents, the root first."""
        text = (self.root / "_toc.yml").read_text(encoding="utf-8")
        toc = yaml.safe_load(text)
        names = [toc["root"]]

        def visit(entry: dict) -> None:
            for key in ("parts", "chapters", "sections"):
                for child in entry.get(key, ()):
                    if "file" in child:
                        names.append(child["file"])
                    visit(child)

        visit(toc)
        return tuple(Page(self.root, name) for name in names)

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
            f"page: got {name!r}, wanted one of "
            f"{[page.name for page in self.pages]}"
        )


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
