"""What the rewriting of one page needs to know: where things are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docutils.nodes import fully_normalize_name


@dataclass(frozen=True)
class Links:
    """The page, and everything that its markdown may refer to."""

    root: Path
    page: Path
    site: str
    labels: Mapping[str, tuple[str, str]]  # label -> (address, title)
    citations: Mapping[str, str]  # key -> "Vaswani et al., 2017"
    values: Mapping[str, str]  # glued name -> value
    macros: Mapping[str, str]  # name of a TeX macro -> its text
    extensions: tuple[str, ...]  # MyST's, as `_config.yml` names them

    def address(self, target: str) -> str:
        return self.site + target

    def label(self, name: str) -> tuple[str, str]:
        """Return (address in the site, title). Raises ValueError."""
        known = fully_normalize_name(name)
        if known not in self.labels:
            raise ValueError(f"{self.page}: no page has the label {name!r}")
        address, title = self.labels[known]
        return self.address(address), title

    def document(self, target: str) -> tuple[str, str]:
        """Return (address, title) of a page, named from here or the root."""
        folder = self.root if target.startswith("/") else self.page.parent
        path = (folder / target.lstrip("/")).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise ValueError(
                f"{self.page}: page: got {target!r}, want one of this book"
            )
        return self.label(path.relative_to(self.root.resolve()).as_posix())
