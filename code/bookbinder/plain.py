"""MyST markdown -> what a plain notebook shows.

Jupyter and Colab know CommonMark, tables and $math$, but no directive and no
role. Each one the book uses is rewritten; any other is an error, so nothing
raw ever reaches a notebook. A cell is parsed as the site's build parses it;
what needs no rewriting stays as it was written, byte for byte.
"""

import html
from dataclasses import dataclass

from markdown_it.token import Token

from bookbinder import directives, formulas, myst, spans
from bookbinder.links import Links
from bookbinder.seams import Seams

__all__ = ["Links", "plain"]

# what every notebook shows as it stands
BLOCKS = frozenset({
    "paragraph", "heading", "hr", "bullet_list", "ordered_list", "list_item",
    "blockquote", "code_block", "fence", "html_block", "table", "thead",
    "tbody", "tr", "th", "td", "inline",
})  # fmt: skip


def plain(text: str, links: Links) -> str:
    """Rewrite one markdown cell. Raises ValueError for unknown markup."""
    return Cell(links).blocks(text).strip("\n")


@dataclass(frozen=True)
class Cell:
    """The rewriting of one cell, or of what a directive in it contains."""

    links: Links

    def blocks(self, text: str) -> str:
        """Rewrite text made of blocks."""
        lines = myst.normalized(text).split("\n")
        tokens = self._parse(text)
        kept = spans.in_lines(lines, tokens, self.links)
        seams, done = Seams(), 0
        for token in tokens:
            if token.type in formulas.TYPES:
                formulas.rewrite(token, kept, self.links)
            elif (new := self._block(token, lines)) is not None:
                start, end = token.map
                seams.keep(kept[done:start])
                seams.put(new, _before(token, lines[start]))
                done = end
        seams.keep(kept[done:])
        return "\n".join(seams.lines)

    def inline(self, text: str) -> str:
        """Rewrite one title or caption."""
        (token,) = myst.parser(self.links.extensions).parseInline(text)
        return spans.in_text(text, token, self.links)

    def html(self, text: str) -> str:
        """Return rewritten inline markdown as HTML, formulas as $x$."""
        return myst.parser(self.links.extensions).renderInline(text)

    def starts_with_prose(self, text: str) -> bool:
        tokens = self._parse(text)
        return bool(tokens) and tokens[0].type == "paragraph_open"

    def _parse(self, text: str) -> list[Token]:
        return myst.parse(text, self.links.extensions)

    def _refused(self, what: str) -> ValueError:
        return ValueError(f"{self.links.page}: {what}")

    def _block(self, token: Token, lines: list[str]) -> str | None:
        """Return what stands in a block's place, or None: it stays."""
        if token.type in ("fence", "colon_fence"):
            first = lines[token.map[0]]
            if not myst.is_closed(token, lines):
                raise self._refused(f"{first!r} is never closed")
            if myst.directive(token):
                found = directives.read(token, self.links.page)
                return directives.show(found, self)
            if token.type == "colon_fence":
                raise self._refused(f"no rewriting for {first!r}")
        if token.type == "myst_target":
            return f'<a id="{html.escape(token.content)}"></a>'
        if token.type == "myst_line_comment":
            return ""
        if _kind(token) not in BLOCKS:
            raise self._refused(f"no rewriting for a {token.type}")
        return None


def _kind(token: Token) -> str:
    return token.type.removesuffix("_open").removesuffix("_close")


def _before(token: Token, line: str) -> str:
    """Return what stands before a block in its first line: `> ` or `- `."""
    return line[: line.index(token.markup or "(")]
