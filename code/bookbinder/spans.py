"""Spans of text: roles, formulas and links, rewritten where they stand."""

from collections.abc import Iterator
from typing import NamedTuple

from markdown_it.token import Token

from bookbinder import macros, roles
from bookbinder.links import Links
from bookbinder.seams import margin

# what every notebook shows as it stands
PLAIN = frozenset({
    "text", "softbreak", "hardbreak", "code_inline", "html_inline", "em_open",
    "em_close", "strong_open", "strong_close", "link_close", "image",
})  # fmt: skip


class Edit(NamedTuple):
    """Put `text` in place of content[start:end] of a block."""

    start: int
    end: int
    text: str


def edits(inline: Token, links: Links) -> Iterator[Edit]:
    """Yield what changes in a block's text. Raises ValueError."""
    for token in inline.children or ():
        start, end = token.meta.get("span", (0, 0))
        written = inline.content[start:end]
        if token.type == "myst_role":
            name = token.meta["name"]
            content = _unquoted(written.removeprefix(f"{{{name}}}"))
            yield Edit(start, end, roles.role(name, content, links))
        elif token.type == "math_inline":
            expanded = macros.expand(written, links.macros)
            if expanded != written:
                yield Edit(start, end, expanded)
        elif token.type == "link_open":
            yield from _link(token, links)
        elif token.type not in PLAIN:
            raise ValueError(f"{links.page}: no rewriting for a {token.type}")
        elif any(t.type == "myst_role" for t in token.children or ()):
            raise ValueError(
                f"{links.page}: no rewriting for a role in {written!r}"
            )


def _unquoted(written: str) -> str:
    """Return what stands between a role's backticks, line ends included."""
    ticks = len(written) - len(written.lstrip("`"))
    return written[ticks:-ticks]


def _link(token: Token, links: Links) -> Iterator[Edit]:
    """Let a link to a page, or a label, lead into the site."""
    found = roles.destination(str(token.attrs["href"]), links)
    if found is None:
        return
    address, title = found
    (start, end), text_end = token.meta["span"], token.meta["label_end"]
    if text_end == start + 1:
        yield Edit(text_end, text_end, title)
    hint = str(token.attrs.get("title", "")).replace('"', r"\"")
    more = f' "{hint}"' if hint else ""
    yield Edit(text_end + 1, end, f"({address}{more})")


def in_text(text: str, inline: Token, links: Links) -> str:
    """Rewrite a text that is one block's whole content."""
    for start, end, new in sorted(edits(inline, links), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def in_lines(
    lines: list[str], tokens: list[Token], links: Links
) -> list[str | None]:
    """Return the lines of all blocks with their text rewritten.

    A line that was joined to the one before it is None.
    """
    kept: list[str | None] = list(lines)
    for (i, a), (j, b), text in sorted(
        _located(lines, tokens, links), reverse=True
    ):
        kept[i] = kept[i][:a] + text + kept[j][b:]
        kept[i + 1 : j + 1] = [None] * (j - i)
    return kept


def _located(
    lines: list[str], tokens: list[Token], links: Links
) -> Iterator[tuple[tuple[int, int], tuple[int, int], str]]:
    """Yield (line, column) of an edit's start and end, and its text."""
    read: dict[int, int] = {}  # line of a table -> how far it is read
    for before, inline in zip([None, *tokens], tokens, strict=False):
        if inline.type != "inline":
            continue
        after = None
        if before.type in ("th_open", "td_open"):
            row = inline.map[0]
            after = read.get(row, len(margin(lines[row])))
        places = Places(inline, lines, after)
        if after is not None:
            read[row] = places.of(len(inline.content))[1]
        for start, end, text in edits(inline, links):
            yield places.of(start), places.of(end), places.put(start, text)


class Places:
    r"""Where a block's text stands in the lines of its cell.

    Its lines lost what contains them, `> ` or spaces. A table's cell stands
    after the column `after`, and with `\|` for each `|`.
    """

    def __init__(
        self, inline: Token, lines: list[str], after: int | None
    ) -> None:
        self.content = inline.content
        self.in_table = after is not None
        self.starts: list[tuple[int, int, int]] = []  # offset, line, column
        offset = 0
        pieces = self.content.split("\n")
        # a form feed alone is a line of the source, not of the text
        first = next(
            i
            for i in range(*inline.map)
            if self._escaped(pieces[0].strip()) in lines[i]
        )
        for i, piece in enumerate(pieces, first):
            text, line = self._escaped(piece.strip()), lines[i]
            column = line.find(text, after or 0)
            if column < 0:  # `> ` was the table's own text
                column = line.index(text)
            indent = len(piece) - len(piece.lstrip())
            self.starts.append((offset + indent, i, column))
            offset += len(piece) + 1
        self.margins = {i: lines[i][:column] for _, i, column in self.starts}

    def of(self, offset: int) -> tuple[int, int]:
        """Return (line, column) of an offset in the content."""
        first, line, column = next(
            start for start in reversed(self.starts) if start[0] <= offset
        )
        text = self.content[first:offset]
        return line, column + len(self._escaped(text))

    def put(self, offset: int, text: str) -> str:
        """Return new text as it stands there: its lines keep their margin."""
        first, *others = text.split("\n")
        after, _ = self.of(offset)
        for i, line in enumerate(others, after + 1):
            first += f"\n{self.margins.get(i, '')}{line}"
        return self._escaped(first)

    def _escaped(self, text: str) -> str:
        return text.replace("|", r"\|") if self.in_table else text
