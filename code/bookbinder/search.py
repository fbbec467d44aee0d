"""What the search finds, and a preview quotes: words, and no formulas.

Nor what stands on every page alike: that carries the class `nosearch`, and a
paragraph that holds some of it goes whole.
"""

import re

from docutils import nodes
from sphinxext import opengraph

# a formula that reads as it is written, with or without a root
SIMPLE = re.compile(r"(\\sqrt)?\{?(\w+)\}?")


def words(doctree: nodes.document) -> nodes.document:
    """Return a copy that holds what a search may find."""
    copy = doctree.deepcopy()
    for node in list(copy.findall(_is_silent)):
        if node.parent is not None:
            node.parent.remove(node)
    return copy


def _is_silent(node: nodes.Node) -> bool:
    if isinstance(node, nodes.math | nodes.math_block):
        return True
    if isinstance(node, nodes.paragraph):
        return any(map(_is_marked, node.findall(nodes.Element)))
    return _is_marked(node)


def _is_marked(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Element) and (
        "nosearch" in node.get("classes", ())
    )


def readable(doctree: nodes.document) -> nodes.document:
    """Return a copy whose formulas are text: what a preview may quote."""
    copy = doctree.deepcopy()
    for node in list(copy.findall(nodes.math)):
        found = SIMPLE.fullmatch(node.astext().strip())
        text = "√" * bool(found[1]) + found[2] if found else "…"
        node.replace_self(nodes.Text(text))
    return copy


def listen(app) -> None:
    """Let the index be fed with words alone."""
    if app.builder.name != "html":
        return
    feed = app.builder.index_page
    app.builder.index_page = lambda page, doctree, title: feed(
        page, words(doctree), title
    )


def setup(app) -> None:
    """Take formulas from the index and from the previews of pages."""
    quote = opengraph.get_description
    opengraph.get_description = lambda doctree, *more: quote(
        readable(doctree), *more
    )
    app.connect("builder-inited", listen)
