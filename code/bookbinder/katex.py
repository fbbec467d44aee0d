"""Formulas, set once, at build: the page needs a style sheet and no script.

One Node process sets all formulas of a build. What KaTeX cannot set stops the
build with the page and the formula: nothing comes out red.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.locale import _
from sphinx.util.math import get_node_equation_number

from bookbinder import formulas, macros

SCRIPT = Path(__file__).parent / "node" / "katex.cjs"
LIBRARY = "book/vendor/.build/katex.min.js"
STYLE = "katex/katex.min.css"
CLASS = "math notranslate nohighlight"
JOINER, CLOSING = "\u2060", tuple(".,;:!?)")
# the formula's source, again, for copying scripts that we do not have
SOURCE = re.compile(r"<annotation.*?</annotation>", re.DOTALL)


def is_ready(root: Path) -> bool:
    """Whether there is a Node, and the library for it."""
    return (root / LIBRARY).is_file() and shutil.which("node") is not None


class Setter:
    """Sets formulas with one process, which starts at the first of them."""

    def __init__(self, root: Path, known: dict[str, str]) -> None:
        self.library = root / LIBRARY
        self.macros = known
        self.done: dict[tuple[str, bool], str] = {}
        self.process: subprocess.Popen | None = None
        self.owner = 0  # a process of Sphinx's own starts another

    def html(self, tex: str, display: bool = False) -> str:
        """Return a formula's HTML. Raises ValueError with KaTeX's words."""
        tex = macros.expand(tex, self.macros)
        if (tex, display) not in self.done:
            self.done[tex, display] = self._ask(tex, display)
        return self.done[tex, display]

    def _ask(self, tex: str, display: bool) -> str:
        if self.owner != os.getpid():
            self.process = subprocess.Popen(
                ["node", str(SCRIPT), str(self.library)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
            self.owner = os.getpid()
        asked = json.dumps({"tex": tex, "display": display})
        self.process.stdin.write(f"{asked}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise ValueError("node: got no answer, want KaTeX's: see above")
        told = json.loads(answer)
        if "error" in told:
            raise ValueError(f"formula: got {tex!r}: {told['error']}")
        return SOURCE.sub("", told["html"])

    def close(self) -> None:
        if self.process and self.owner == os.getpid():
            self.process.communicate()
        self.process, self.owner = None, 0


def start(app) -> None:
    """Make what sets this build's formulas."""
    known = macros.read(app.config.mathjax3_config or {})
    app.formulas = Setter(Path(app.confdir), known)


def stop(app, error) -> None:
    app.formulas.close()


def _set(translator, node, tex: str, display: bool) -> str:
    try:
        return translator.builder.app.formulas.html(tex, display)
    except ValueError as error:
        page = translator.docnames[0]
        raise ExtensionError(f"{page}:{node.line or ''} {error}") from None


def visit_math(self, node) -> None:
    """Write an inline formula."""
    html = _set(self, node, node.astext(), display=False)
    self.body.append(self.starttag(node, "span", "", CLASS=CLASS))
    self.body.append(f"{html}</span>")
    after = node.next_node(descend=False, siblings=True)
    if isinstance(after, nodes.Text) and after[:1] in CLOSING:
        self.body.append(JOINER)  # no line begins with a full stop
    raise nodes.SkipNode


def visit_math_block(self, node) -> None:
    """Write a formula that may scroll, and its number beside it."""
    tex = node.astext()
    if not node["nowrap"] and formulas.needs_rows(tex):
        tex = f"\\begin{{aligned}}{tex}\\end{{aligned}}"
    html = _set(self, node, tex, display=True)
    self.body.append(self.starttag(node, "div", CLASS=CLASS))
    self.body.append(f'<div class="formula scrolls">{html}</div>')
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def add_style(app, pagename, templatename, context, doctree) -> None:
    """Load KaTeX's style sheet where the page has a formula."""
    if 'class="katex' in context.get("body", ""):
        app.add_css_file(STYLE)


def setup(app) -> None:
    """Add the renderer; a build begins with reading the macros."""
    app.add_html_math_renderer(
        "katex", (visit_math, None), (visit_math_block, None)
    )
    app.connect("builder-inited", start)
    app.connect("html-page-context", add_style)
    app.connect("build-finished", stop)
