"""Directives: what each one the book uses becomes in a plain notebook.

The classes are those that the site's build runs, so arguments, options and
content are cut apart as on the page. Of the options each row names those that
are shown here, and those that say nothing in a notebook; any other is an
error.
"""

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from docutils.parsers.rst import Directive as Class
from docutils.parsers.rst.directives import admonitions
from docutils.parsers.rst.states import MarkupError
from markdown_it.token import Token
from myst_parser.parsers.directives import parse_directive_text
from sphinx.directives import code, patches
from sphinx_design.dropdown import DropdownDirective
from sphinx_exercise import directive as exercises
from sphinxcontrib.bibtex.directives import BibliographyDirective

from bookbinder import excerpts, formulas, model_map, myst
from bookbinder.links import Links

# how it looks on the page, or what it is called there
INERT = frozenset({"class", "name", "label"})


class Writer(Protocol):
    """What a directive asks of the page's rewriting."""

    links: Links

    def blocks(self, text: str) -> str: ...
    def inline(self, text: str) -> str: ...
    def html(self, text: str) -> str: ...
    def starts_with_prose(self, text: str) -> bool: ...


@dataclass(frozen=True)
class Directive:
    """One directive, cut apart as the page's build does."""

    name: str
    argument: str
    options: dict[str, Any]
    body: str


@dataclass(frozen=True)
class Rewriting:
    """A directive's class in the build, and what becomes of it."""

    build: type[Class]
    show: Callable[[Directive, Writer], str]
    shown: frozenset[str] = frozenset()  # options that change the notebook
    inert: frozenset[str] = INERT  # options that are for the page alone
    nested: bool = True  # whether its content is MyST


def read(token: Token, page: Path) -> Directive:
    """Cut a fence apart. Raises ValueError for what is not rewritten."""
    found = myst.directive(token)
    assert found is not None
    name, argument = found
    if name not in TABLE:
        raise ValueError(f"{page}: no rewriting for the directive {name!r}")
    row = TABLE[name]
    try:
        parsed = parse_directive_text(row.build, argument, myst.content(token))
    except MarkupError as error:
        raise ValueError(f"{page}: the directive {name!r}: {error}") from None
    if parsed.warnings:
        told = "; ".join(warning.msg for warning in parsed.warnings)
        raise ValueError(f"{page}: the directive {name!r}: {told}")
    for option, value in parsed.options.items():
        if option not in row.shown | row.inert:
            raise ValueError(
                f"{page}: the option {option!r} of {name!r}: got {value!r}, "
                f"want none but {sorted(row.shown | row.inert)}"
            )
    title = " ".join(parsed.arguments)
    return Directive(name, title, parsed.options, "\n".join(parsed.body))


def show(directive: Directive, writer: Writer) -> str:
    """Return what a notebook shows in place of the directive."""
    return TABLE[directive.name].show(directive, writer)


def quoted(text: str) -> str:
    return textwrap.indent(text, "> ", lambda line: True).replace(
        "> \n", ">\n"
    )


def note(directive: Directive, writer: Writer) -> str:
    inner = writer.blocks(directive.body).strip("\n")
    # what is no paragraph starts on a line of its own
    gap = " " if writer.starts_with_prose(directive.body) else "\n\n"
    return quoted(f"**{directive.name.capitalize()}.**{gap}{inner}")


def admonition(directive: Directive, writer: Writer) -> str:
    title = writer.inline(directive.argument)
    return quoted(f"**{title}**\n\n{writer.blocks(directive.body).strip()}")


def exercise(directive: Directive, writer: Writer) -> str:
    title = writer.inline(directive.argument)
    head = f"**Exercise: {title}**" if title else "**Exercise**"
    inner = writer.blocks(directive.body).strip("\n")
    text = f"{head}\n\n{inner}".rstrip("\n")
    return quoted(text) if directive.name == "exercise" else text


def solution_start(directive: Directive, writer: Writer) -> str:
    inner = writer.blocks(directive.body).strip("\n")
    head = "**Solution** (try it yourself first)"
    return f"{head}\n\n{inner}".rstrip("\n")


def fold(directive: Directive, writer: Writer) -> str:
    # a summary is HTML: no notebook reads markdown in it
    title = "Solution"
    if directive.name == "dropdown":
        title = writer.html(writer.inline(directive.argument)) or "Details"
    state = " open" if "open" in directive.options else ""
    inner = writer.blocks(directive.body).strip("\n")
    return (
        f"<details{state}><summary>{title}</summary>\n\n{inner}\n\n</details>"
    )


def nothing(directive: Directive, writer: Writer) -> str:
    return ""


def figure(directive: Directive, writer: Writer) -> str:
    image = f"![{directive.options.get('alt', '')}]({directive.argument})"
    if not directive.body.strip():
        return image
    caption, *legend = re.split(r"\n\s*\n", directive.body.strip(), maxsplit=1)
    below = [f"*{writer.inline(caption)}*", *map(writer.blocks, legend)]
    return "\n\n".join([image, *below])


def formula(directive: Directive, writer: Writer) -> str:
    tex = f"{directive.argument}\n\n{directive.body}".strip()
    label = directive.options.get("label", directive.options.get("name"))
    return formulas.display(
        tex, label, writer.links, "nowrap" in directive.options
    )


def page_costs(directive: Directive, writer: Writer) -> str:
    # no twin changes when another page is slower
    links = writer.links
    page = links.page.relative_to(links.root).with_suffix(".html")
    return f"[The table is in the book]({links.address(page.as_posix())})."


def map_of_model(directive: Directive, writer: Writer) -> str:
    links = {
        part: writer.links.document(f"/book/{page}")[0]
        for part, page in model_map.PAGES.items()
    }
    try:
        lit = model_map.known(directive.argument or "")
    except ValueError as error:
        raise ValueError(f"{writer.links.page}: {error}") from None
    return model_map.as_text(lit, links)


def bibliography(directive: Directive, writer: Writer) -> str:
    entries = writer.links.citations
    return "\n".join(f"- {entries[key]}" for key in sorted(entries))


def include(directive: Directive, writer: Writer) -> str:
    """Show a file of the repository, cut by Sphinx as on the page."""
    text = excerpts.read(directive.argument, directive.options, writer.links)
    text = text.rstrip("\n")
    ticks = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    language = directive.options.get("language", "python")
    block = f"{fence}{language}\n{text}\n{fence}"
    if (caption := directive.options.get("caption", "no")) == "no":
        return block
    return f"*{writer.inline(caption or directive.argument)}*\n\n{block}"


NUMBERED = frozenset({
    "linenos", "lineno-start", "lineno-match", "emphasize-lines", "force",
})  # fmt: skip
LOOKS = frozenset({
    "color", "icon", "chevron", "animate", "margin", "class-container",
    "class-title", "class-body",
})  # fmt: skip

TABLE = {
    "note": Rewriting(admonitions.Note, note),
    "tip": Rewriting(admonitions.Tip, note),
    "warning": Rewriting(admonitions.Warning, note),
    "important": Rewriting(admonitions.Important, note),
    "admonition": Rewriting(admonitions.Admonition, admonition),
    "dropdown": Rewriting(
        DropdownDirective, fold, frozenset({"open"}), INERT | LOOKS
    ),
    "exercise": Rewriting(
        exercises.ExerciseDirective, exercise, inert=INERT | {"nonumber"}
    ),
    "exercise-start": Rewriting(
        exercises.ExerciseStartDirective, exercise, inert=INERT | {"nonumber"}
    ),
    "exercise-end": Rewriting(exercises.ExerciseEndDirective, nothing),
    "solution": Rewriting(exercises.SolutionDirective, fold),
    "solution-start": Rewriting(
        exercises.SolutionStartDirective, solution_start
    ),
    "solution-end": Rewriting(exercises.SolutionEndDirective, nothing),
    "figure": Rewriting(
        patches.Figure,
        figure,
        frozenset({"alt"}),
        INERT | {"align", "figclass"},
    ),
    "math": Rewriting(
        patches.MathDirective,
        formula,
        frozenset({"label", "name", "nowrap"}),
        frozenset({"class"}),
        nested=False,
    ),
    "literalinclude": Rewriting(
        code.LiteralInclude,
        include,
        excerpts.CUTS | {"language", "caption"},
        INERT | NUMBERED,
    ),
    "page-costs": Rewriting(Class, page_costs),
    "model-map": Rewriting(model_map.ModelMap, map_of_model, nested=False),
    "bibliography": Rewriting(
        BibliographyDirective, bibliography, frozenset({"all"})
    ),
}
