r"""Formulas: macros written out, labels turned into the page's numbers."""

import re

from markdown_it.token import Token

from bookbinder import macros
from bookbinder.links import Links

TYPES = frozenset({"math_block", "math_block_label", "amsmath"})
INNERMOST = re.compile(
    r"\\begin\{(\w+\*?)\}(?:(?!\\begin\{).)*?\\end\{\1\}", re.DOTALL
)
ROW = re.compile(r"\\\\|(?<!\\)&")


def needs_rows(tex: str) -> bool:
    r"""Say whether `&` or `\\` stands outside every environment.

    Sphinx puts an environment around such a formula, a notebook does not.
    """
    while (outer := INNERMOST.sub("", tex)) != tex:
        tex = outer
    return bool(ROW.search(tex))


def display(
    tex: str, label: str | None, links: Links, nowrap: bool = False
) -> str:
    """Return a formula of its own, with its number if it has a label."""
    tex = macros.expand(tex, links.macros)
    if nowrap:
        return tex
    if needs_rows(tex):
        tex = f"\\begin{{aligned}}\n{tex}\n\\end{{aligned}}"
    return f"$$\n{tex}{tag(label, links)}\n$$"


def tag(label: str | None, links: Links) -> str:
    """Return the TeX for the number that the page gives to an equation."""
    if not label:
        return ""
    _, title = links.label(label)
    return rf" \tag{{{title.strip('()')}}}"


def rewrite(token: Token, lines: list[str], links: Links) -> None:
    """Rewrite a formula in its lines; what contains it stays."""
    start, end = token.map
    if token.type == "amsmath":
        end += 1  # its last line is not in its map
    for i in range(start, end):
        lines[i] = macros.expand(lines[i], links.macros)
    if token.type == "amsmath":
        return
    added, last = "", lines[end - 1]
    # what follows is the label
    before, after = last[: last.rindex("$$")], last[last.rindex("$$") + 2 :]
    if needs_rows(token.content):
        lines[start] = lines[start].replace("$$", "$$\\begin{aligned}", 1)
        added = "\\end{aligned}"
    if token.type == "math_block_label":
        added, after = added + tag(token.info, links), ""
    if before.strip(" \t>") or end - start == 1:
        lines[end - 1] = f"{before}{added}$${after}"
    else:
        lines[end - 2] += added
        lines[end - 1] = f"{before}$${after}"
