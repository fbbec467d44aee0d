"""The Sphinx extension: a build that executes nothing and calls nobody.

Outputs come from the executed twins, put into jupyter-cache before a page is
read: the page shows exactly what the regression verified. JavaScript, fonts
and MathJax come from `book/vendor`, which the site serves itself.
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
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from bookbinder import (
    claims,
    costs,
    facts,
    inline_svg,
    minutes,
    model_map,
    twin,
)
from bookbinder.book import Book, Page, fork
from bookbinder.vendor import is_vendored

SITE = Path(__file__).parent / "site"
# the branch of the twins that install their own commit: see publish.yml
PUBLISHED = "published"
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
    config.html_static_path = ["book/style", str(SITE)]
    config.html_css_files = ["custom.css", "outputs.css", "landing.css"]
    config.html_js_files = ["pages.js"]
    if is_vendored(root):
        config.html_static_path.append("book/vendor")
        config.mathjax_path = "mathjax/tex-mml-chtml.js"
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
    claims.check(page)
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
    app.config.html_theme_options["repository_branch"] = PUBLISHED


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
    model_map.setup(app)
    app.set_html_assets_policy("always")
    claims.setup(app)
    facts.setup(app)
    inline_svg.setup(app)
    app.add_role("minutes", minutes.role)
    app.add_directive("page-costs", PageCosts)
    app.connect("config-inited", configure, priority=400)
    app.connect("builder-inited", seed, priority=900)
    app.connect("builder-inited", launch_published, priority=900)
    app.connect("html-page-context", tidy_scripts, priority=999)
    app.connect("build-finished", offer_twins)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
