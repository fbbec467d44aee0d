"""MyST markdown -> what a plain notebook shows.

Jupyter and Colab know CommonMark, tables and $math$, but no directive and no
role. Each one the book uses is rewritten; any other is an error, so nothing
raw ever reaches a notebook. A cell is parsed as the site's build parses it;
what needs no rewriting stays as it was written, byte for byte.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from markdown_it.token import Token

from bookbinder import directives, macros, myst, roles
from bookbinder.links import Links

__all__ = ["Links", "plain"]

# what every notebook shows as it stands
BLOCKS = frozenset(
    "paragraph heading hr bullet_list ordered_list list_item blockquote "
    "code_block fence html_block table thead tbody tr th td inline".split()
)
SPANS = frozenset(
    "text softbreak hardbreak code_inline html_inline em strong "
    "image link".split()
)
FORMULAS = frozenset({"math_block", "math_block_label", "amsmath"})
MARGIN = re.compile(r"[\s>]*(?:(?:[-+*]|\d+[.)])\s+)*")
FORMULA_END = re.compile(r"\$\$\s*(\([^)$]+\)\s*)?$")


def plain(text: str, links: Links) -> str:
    """Rewrite one markdown cell. Raises ValueError for unknown markup."""
    return Cell(links).blocks(text).strip("\n")


class Edit(NamedTuple):
    """Put `text` in place of content[start:end] of a block."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Cell:
    """The rewriting of one cell, or of what a directive in it contains."""

    links: Links

    def blocks(self, text: str) -> str:
        """Rewrite text made of blocks."""
        lines = text.split("\n")
        tokens = self._parse(text)
        kept = self._with_spans(lines, tokens)
        seams, done = Seams(), 0
        for token in tokens:
            if token.type in FORMULAS:
                self._number(token, kept)
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
        for edit in sorted(self._edits(token), reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return text

    def html(self, text: str) -> str:
        """Return rewritten inline markdown as HTML, formulas as $x$."""
        return myst.parser(self.links.extensions).renderInline(text)

    def starts_with_prose(self, text: str) -> bool:
        tokens = self._parse(text)
        return bool(tokens) and tokens[0].type == "paragraph_open"

    def _parse(self, text: str) -> list[Token]:
        return myst.parser(self.links.extensions).parse(text)

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

    def _number(self, token: Token, kept: list[str]) -> None:
        """Write a formula's macros out; its label becomes its number."""
        start, end = token.map
        if token.type == "amsmath":
            end += 1  # its last line is not in its map
        for i in range(start, end):
            kept[i] = macros.expand(kept[i], self.links.macros)
        if token.type == "amsmath":
            return
        first, last = kept[start], kept[end - 1]
        found = FORMULA_END.search(last)
        if not found or (end - start == 1 and first.count("$$") < 2):
            raise self._refused(f"{first!r} is never closed")
        added = ""
        if macros.needs_rows(token.content):
            kept[start] = first.replace("$$", "$$\\begin{aligned}", 1)
            last, added = kept[end - 1], "\\end{aligned}"
        if token.type == "math_block_label":
            number = directives.number(token.info, self.links)
            added += rf" \tag{{{number}}}"
        before = last[: last.rindex("$$")]
        if before.strip(" \t>") or end - start == 1:
            kept[end - 1] = f"{before}{added}$$"
        else:
            kept[end - 2] += added
            kept[end - 1] = f"{before}$$"

    def _with_spans(self, lines: list[str], tokens: list[Token]) -> list[str]:
        """Return the lines with the spans in their text rewritten.

        A line that was joined to the one before it is None.
        """
        kept = list(lines)
        for start, end, text in sorted(
            self._located(lines, tokens), reverse=True
        ):
            (i, a), (j, b) = start, end
            kept[i] = kept[i][:a] + text + kept[j][b:]
            kept[i + 1 : j + 1] = [None] * (j - i)
        return kept

    def _located(
        self, lines: list[str], tokens: list[Token]
    ) -> Iterator[tuple[tuple[int, int], tuple[int, int], str]]:
        """Yield (line, column) of start and end, and the new text."""
        columns: dict[int, int] = {}  # how far a table's row is read
        for i, token in enumerate(tokens):
            if token.type != "inline":
                continue
            cell = tokens[i - 1].type in ("th_open", "td_open")
            row = token.map[0]
            after = columns.get(row, _margin(lines[row])) if cell else None
            places = myst.places(token, lines, after)

            def place(
                offset: int, token=token, places=places, cell=cell
            ) -> tuple[int, int]:
                first, line, column = next(
                    p for p in reversed(places) if p[0] <= offset
                )
                text = token.content[first:offset]
                return line, column + len(_escaped(text, cell))

            columns[row] = place(len(token.content))[1]
            for edit in self._edits(token):
                start, end = place(edit.start), place(edit.end)
                margin = _continued(lines[start[0]][: places[0][2]])
                text = edit.text.replace("\n", f"\n{margin}")
                yield start, end, _escaped(text, cell)

    def _edits(self, inline: Token) -> Iterator[Edit]:
        """Yield what changes in a block's text, by place."""
        for token in inline.children or ():
            start, end = token.meta.get("span", (0, 0))
            written = inline.content[start:end]
            if token.type == "myst_role":
                name = token.meta["name"]
                ticks = re.match("`+", written[len(name) + 2 :])[0]
                content = written[len(name) + 2 + len(ticks) : -len(ticks)]
                new = roles.role(name, content, self.links)
                yield Edit(start, end, new)
            elif token.type == "math_inline":
                new = macros.expand(written, self.links.macros)
                if new != written:
                    yield Edit(start, end, new)
            elif token.type == "link_open":
                yield from self._link(token)
            elif _kind(token) not in SPANS:
                raise self._refused(f"no rewriting for a {token.type}")
            elif any(t.type == "myst_role" for t in token.children or ()):
                raise self._refused(f"no rewriting for a role in {written!r}")

    def _link(self, token: Token) -> Iterator[Edit]:
        """Let a link to a page, or a label, lead into the site."""
        found = roles.destination(str(token.attrs["href"]), self.links)
        if found is None:
            return
        address, title = found
        (start, end), text_end = token.meta["span"], token.meta["label_end"]
        if text_end == start + 1:
            yield Edit(text_end, text_end, title)
        hint = token.attrs.get("title")
        more = f' "{hint}"' if hint else ""
        yield Edit(text_end + 1, end, f"({address}{more})")


@dataclass
class Seams:
    """Lines, with one blank line on both sides of what is put between.

    Prose would run into a quote without it.
    """

    lines: list[str] = field(default_factory=list)
    blank: str | None = None  # the blank line that is still owed

    def keep(self, lines: list[str]) -> None:
        """Add lines as they are."""
        lines = [line for line in lines if line is not None]
        if self.blank is not None:
            while lines and _is_blank(lines[0]):
                lines.pop(0)
        if lines:
            self._pay()
            self.lines += lines

    def put(self, text: str, prefix: str) -> None:
        """Add a block inside the list or the quote that `prefix` opens."""
        margin = _continued(prefix)
        if margin == prefix and self.blank is None:
            self.blank = margin.rstrip()
        if text or margin != prefix:
            self._pay()
            first, *others = text.split("\n")
            self.lines.append(prefix + first if first else prefix.rstrip())
            self.lines += [
                margin + line if line else margin.rstrip() for line in others
            ]
        self.blank = margin.rstrip()

    def _pay(self) -> None:
        if self.blank is None:
            return
        if self.lines and not _is_blank(self.lines[-1]):
            self.lines.append(self.blank)
        self.blank = None


def _kind(token: Token) -> str:
    return token.type.removesuffix("_open").removesuffix("_close")


def _is_blank(line: str) -> bool:
    return not line.strip(" \t>")


def _before(token: Token, line: str) -> str:
    """Return what stands before a block in its first line: `> ` or `- `."""
    return line[: line.index(token.markup or "(")]


def _margin(line: str) -> int:
    """Return how much of a line the quotes and lists take that it opens."""
    return len(MARGIN.match(line)[0])


def _continued(prefix: str) -> str:
    """Return the same for the block's other lines: no second `- `."""
    return re.sub(r"[^\s>]", " ", prefix)


def _escaped(text: str, cell: bool) -> str:
    """Return text as it stands in a table's cell, or anywhere else."""
    return text.replace("|", r"\|") if cell else text
