"""```{model-map} attention```: where a page stands in the model.

With a part, a strip of the Llama's parts, that one lit; with several, those
in which the page's model differs from the Llama; without, the whole drawing.
Each part leads to its page. In a notebook it is one line of links.
"""

from html import escape
from typing import NamedTuple

from docutils import nodes
from handmade.diagrams import llama
from sphinx.util.docutils import SphinxDirective

from bookbinder.inline_svg import inline

# part -> its page; the one place that knows
PAGES = {
    "tokenizer": "text/tokenization",
    "embedding": "text/embeddings",
    "block": "blocks/block",
    "norms": "blocks/norms",
    "attention": "blocks/attention",
    "multi-head": "blocks/multi-head",
    "grouped-query": "blocks/grouped-query",
    "rope": "blocks/rope",
    "masks": "blocks/masks",
    "feedforward": "blocks/feedforward",
    "model": "models/llama",
    "sampling": "inference/sampling",
    # what another model has in its place
    "positions": "blocks/positions",
    "alibi": "blocks/alibi",
    "mixture-of-experts": "blocks/mixture-of-experts",
}
# a variant is shown where it is lit: variant -> beside what
INSTEAD = {
    "positions": "rope",
    "alibi": "rope",
    "mixture-of-experts": "feedforward",
}
LABELS = {
    "block": "N × block",
    "norms": "norm",
    "multi-head": "heads",
    "grouped-query": "grouped query",
    "rope": "RoPE",
    "masks": "mask",
    "feedforward": "feed-forward",
    "model": "lm_head",
    "alibi": "ALiBi",
    "mixture-of-experts": "experts",
}
SAYS = "Where this page stands in the model"
DIFFERS = "The Llama's parts; lit are those that this page's model changes"


class Part(NamedTuple):
    """A part of the strip, and what is inside it."""

    name: str
    inside: tuple["Part", ...] = ()

    @property
    def label(self) -> str:
        return LABELS.get(self.name, self.name)


def strip(lit: tuple[str, ...]) -> tuple[Part, ...]:
    """Return the model's parts in their order, lit variants among them."""

    def parts(*names: str) -> tuple[Part, ...]:
        shown = []
        for name in names:
            shown.append(Part(name))
            shown += [Part(each) for each in lit if INSTEAD.get(each) == name]
        return tuple(shown)

    heads = parts("multi-head", "grouped-query", "rope", "masks")
    block = (
        Part("norms"),
        Part("attention", heads),
        *parts("norms", "feedforward"),
    )
    return (
        *parts("tokenizer", "embedding"),
        Part("block", block),
        *parts("norms", "model", "sampling"),
    )


def known(parts: str) -> tuple[str, ...]:
    """Return the names of parts. Raises ValueError for one not known."""
    names = tuple(parts.split())
    for part in names:
        if part not in PAGES:
            want = f"one of {', '.join(PAGES)}, or none"
            raise ValueError(f"model-map: got {part!r}, want {want}")
    return names


def as_html(
    lit: tuple[str, ...], links: dict[str, str], here: str = ""
) -> str:
    """Return the strip; ``here`` is the address of the page it stands on."""
    said = set()

    def link(part: Part) -> str:
        now = ""
        if part.name in lit:
            now = ' class="hm-lit"'
            if part.name not in said:  # a norm stands in three places
                page = links[part.name] == here
                now += f' aria-current="{"page" if page else "true"}"'
            said.add(part.name)
        target = escape(links[part.name])
        return f'<a href="{target}"{now}>{escape(part.label)}</a>'

    def item(part: Part) -> str:
        if part.inside:
            inside = f"{link(part)}<ol>{items(part.inside)}</ol>"
            return f'<li><span class="hm-has-parts">{inside}</span></li>'
        either = ' class="hm-or"' if part.name in INSTEAD else ""
        return f"<li{either}>{link(part)}</li>"

    def items(parts: tuple[Part, ...]) -> str:
        # with a space: there a line may break
        return " ".join(map(item, parts))

    says = escape(SAYS if len(lit) < 2 else DIFFERS)
    return (
        f'<nav class="hm-model-map" aria-label="{says}">'
        f"<ol>{items(strip(lit))}</ol></nav>\n"
    )


def as_text(lit: tuple[str, ...], links: dict[str, str]) -> str:
    """Return the strip as one line of markdown, the lit parts in bold."""

    def items(parts: tuple[Part, ...], between: str) -> str:
        shown = ""
        for part in parts:
            text = part.label.replace("_", r"\_")
            text = f"[{text}]({links[part.name]})"
            if part.name in lit:
                text = f"**{text}**"
            if part.inside:
                inner = ", " if part.name == "attention" else " → "
                text += f" ({items(part.inside, inner)})"
            if shown:
                shown += " or " if part.name in INSTEAD else between
            shown += text
        return shown

    return items(strip(lit), " → ")


class model_map(nodes.General, nodes.Element):  # noqa: N801
    """The map, before the builder knows the way to the pages."""


class ModelMap(SphinxDirective):
    """Put the strip, or the whole drawing, into a page."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = False

    def run(self) -> list[nodes.Node]:
        try:
            lit = known(" ".join(self.arguments))
        except ValueError as error:
            raise self.error(str(error)) from None
        for page in PAGES.values():
            if f"book/{page}" not in self.env.found_docs:
                raise self.error(f"model-map: got no page {page!r} in the toc")
        number = self.env.new_serialno("model-map") + 1
        return [model_map(lit=lit, name=f"model-map{number}")]


def visit_html(self, node: model_map) -> None:
    here = self.builder.current_docname

    def address(name: str) -> str:
        return self.builder.get_relative_uri(here, name) or "#"

    links = {part: address(f"book/{page}") for part, page in PAGES.items()}
    if node["lit"]:
        self.body.append(as_html(node["lit"], links, address(here)))
    else:
        drawn = {part: links[part] for part in llama.PARTS}
        svg = inline(llama.model(links=drawn).svg, node["name"])
        self.body.append(f'<div class="hm-model">{svg}</div>\n')
    raise nodes.SkipNode


def setup(app) -> None:
    app.add_node(model_map, html=(visit_html, None))
    app.add_directive("model-map", ModelMap)
