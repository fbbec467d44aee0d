"""What opens: a <details> whose whole title bar is the handle.

The theme folds by a script, behind a button in the corner of the title. This
one needs no script, opens by Enter too, and stays closed on paper.
"""

from docutils import nodes
from sphinx.util.nodes import NodeMatcher
from sphinx_exercise.nodes import solution_node


class Fold(nodes.General, nodes.Element):
    """What is folded; its first child is what opens it."""


class Handle(nodes.General, nodes.TextElement):
    """The title of a fold that was an admonition."""


def fold(app, doctree, docname) -> None:
    """Let each admonition of the class `dropdown` be a fold."""
    for node in list(doctree.findall(NodeMatcher(nodes.Admonition))):
        if "dropdown" in node.get("classes", ()):
            node.replace_self(folded(node))


def folded(node: nodes.Admonition) -> Fold:
    """Return an admonition, or a solution, as a fold."""
    made = Fold("", ids=node["ids"], classes=[*node["classes"], "admonition"])
    title, *rest = node.children
    # a link in a handle would be followed, and nothing would open
    for link in list(title.findall(nodes.reference)):
        link.replace_self(link.children)
    made += Handle("", "", *title.children)
    if isinstance(node, solution_node) and len(rest) == 1:
        rest = rest[0].children  # a section without a heading
    made += rest
    return made


def visit_fold(self, node: Fold) -> None:
    self.body.append(self.starttag(node, "details"))


def depart_fold(self, node: Fold) -> None:
    self.body.append("</details>\n")


def visit_handle(self, node: Handle) -> None:
    self.body.append(
        self.starttag(node, "summary", "", CLASS="admonition-title")
    )


def depart_handle(self, node: Handle) -> None:
    self.body.append('<span class="chevron"></span></summary>\n')


def setup(app) -> None:
    """Fold after every title has its number and every reference its place."""
    app.add_node(Fold, html=(visit_fold, depart_fold))
    app.add_node(Handle, html=(visit_handle, depart_handle))
    app.connect("doctree-resolved", fold)
