"""The Sphinx extension: a build that executes nothing and calls nobody.

Outputs come from the executed twins, put into jupyter-cache before a page is
read: the page shows exactly what the regression verified. JavaScript, letters
and icons come from `book/vendor`, which the site serves itself, and formulas
are set at build.
"""

import json
import re
import shutil
from pathlib import Path

from docutils import nodes
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core import render
from myst_nb.core.execute import cache as execution
from sphinx.errors import ExtensionError
from sphinx.highlighting import PygmentsBridge
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from bookbinder import bundle, costs, folds, katex, launch, search, twin
from bookbinder.book import Book, Page, fork
from bookbinder.codelines import LineFormatter
from bookbinder.vendor import is_vendored

SITE = Path(__file__).parent / "site"
TEMPLATES = Path(__file__).parent / "templates"
# what ends a script's text, or changes how a browser reads on
ENDS = re.compile(r"<(?=!--|/?script)", re.IGNORECASE)
logger = logging.getLogger(__name__)


def configure(app, config) -> None:
    """Point the theme at the right repository, the pages at local scripts."""
    root = Path(app.confdir)
    # virtual environments, node_modules, caches: whatever they are called
    config.exclude_patterns += [
        path.name for path in root.iterdir() if path.name != "book"
    ]
    config.html_static_path = [
        "book/style",
        "book/figures/card.png",
        str(SITE),
    ]
    config.html_css_files = ["custom.css", "print.css"]
    config.templates_path.append(str(TEMPLATES))
    config.html_js_files = ["pages.js"]
    if is_vendored(root):
        config.html_static_path.append("book/vendor")
        config.nb_ipywidgets_js = {
            "widgets/require.js": {},
            "local-widgets.js": {},
            "widgets/embed-amd.js": {"data-jupyter-widgets-cdn": "none:/"},
        }
    else:
        logger.info(
            "no book/vendor: pages load MathJax and widgets from public "
            "networks (`make book` with Node.js installed mends that)"
        )
    ready = katex.is_ready(root)
    config.html_math_renderer = "katex" if ready else "mathjax"
    if forked := fork():
        repository, site = forked
        config.html_theme_options["repository_url"] = repository
        config.html_baseurl = config.ogp_site_url = site


def seed(app) -> None:
    """Put every twin's outputs into the cache that myst-nb reads."""
    book = Book(Path(app.confdir))
    folder = Path(app.outdir).parent / ".jupyter_cache"
    shutil.rmtree(folder, ignore_errors=True)
    cache = get_cache(folder)
    try:
        for page in book.pages:
            _seed_page(cache, page)
    except ValueError as error:  # it names the file and what is wrong
        raise ExtensionError(str(error)) from None
    # a page that fits no twin would be executed: the build must not
    execution.single_nb_execution = _refuse
    app.config.nb_execution_cache_path = str(folder)
    app.env.mystnb_config.execution_cache_path = str(folder)


def _seed_page(cache, page: Page) -> None:
    source = page.read()
    if page.has_cells:
        if not page.twin.exists():
            raise ExtensionError(f"{page.source} has no twin: run `make sync`")
        stored = page.read_twin()
        source = twin.with_outputs(page, twin.page_cells(stored))
        for key in ("widgets", "language_info"):
            source.metadata[key] = stored.metadata.get(key, {})
    bundle = CacheBundleIn(
        source, str(page.source), data={"execution_seconds": 0.0}
    )
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def in_script(content: str) -> str:
    """Return what myst-nb writes into a <script>, so that it stays inside.

    It keeps to `</script>` alone. In JSON, a widget's state above all, each
    `<` may be written as its number; in a script only where it stands in a
    text, as those that end a script do.
    """
    try:
        json.loads(content)
    except ValueError:
        return ENDS.sub(r"\\x3C", content)
    return content.replace("<", r"\u003c")


def _refuse(notebook, cwd: str, **_) -> None:
    raise ExtensionError(f"a page in {cwd} fits no twin: run `make sync`")


def launch_published(app) -> None:
    """Let Colab and Binder open the published twins.

    The theme has one setting for what readers open and for what they edit;
    the address to edit was taken from it just before.
    """
    app.config.html_theme_options["repository_branch"] = launch.PUBLISHED


def tidy_scripts(app, pagename, templatename, context, doctree) -> None:
    """Drop scripts that stand twice: jupyter-book and thebe both add one."""
    scripts = context.get("script_files", [])
    seen, kept = set(), []
    for script in scripts:
        attributes = {k: v for k, v in script.attributes.items() if v}
        # no file name is None from one of them and "" from the other
        key = (str(script.filename or ""), str(sorted(attributes.items())))
        if key not in seen:
            seen.add(key)
            kept.append(script)
    scripts[:] = kept


def cost_role(name, rawtext, text, lineno, inliner, *_):
    """{cost}`part/page`: what the page costs to run, as it was measured."""
    book = Book(Path(inliner.document.settings.env.app.confdir))
    cost = costs.read(book).get(text)
    if cost is None:
        problem = inliner.reporter.error(
            f"{text!r} has no costs: run `make sync`",
            line=lineno,
        )
        return [inliner.problematic(rawtext, rawtext, problem)], [problem]
    # the same words on every page: no search should find them
    return [nodes.inline("", costs.sentence(cost), classes=["nosearch"])], []


class PageCosts(SphinxDirective):
    """```{page-costs}```: a table of every page and what it costs to run."""

    def run(self) -> list[nodes.Node]:
        book = Book(Path(self.env.app.confdir))
        found = costs.read(book)
        rows = [
            f"| {{doc}}`/{page.name}` | {costs.row(found[slug])} |"
            for page in book.pages
            if (slug := costs.slug(page)) in found
        ]
        head = "| page | time | memory | taken from the cache |"
        text = [head, "|---|--:|--:|---|", *rows]
        return self.parse_text_to_nodes("\n".join(text))


def offer_twins(app, error) -> None:
    """Let the download button give the executed notebook, not a bare one."""
    if error or app.builder.name != "html":
        return
    for page in Book(Path(app.confdir)).pages:
        target = Path(app.outdir, "_sources", f"{page.name}.ipynb")
        if page.has_cells and target.parent.is_dir():
            shutil.copyfile(page.twin, target)


def setup(app) -> dict:
    render.sanitize_script_content = in_script
    PygmentsBridge.html_formatter = LineFormatter
    app.set_html_assets_policy("always")
    for part in (katex, folds, launch, search):
        part.setup(app)
    app.add_role("cost", cost_role)
    app.add_directive("page-costs", PageCosts)
    app.connect("config-inited", configure, priority=400)
    app.connect("builder-inited", seed, priority=900)
    app.connect("builder-inited", launch_published, priority=900)
    app.connect("html-page-context", tidy_scripts, priority=998)
    app.connect("html-page-context", bundle.gather, priority=999)
    app.connect("build-finished", offer_twins)
    app.connect("build-finished", bundle.write, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
