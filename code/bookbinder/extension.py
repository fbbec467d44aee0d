"""The Sphinx extension: a build that executes nothing and calls nobody.

Outputs come from the executed twins, put into jupyter-cache before a page is
read: the page shows exactly what the regression verified. JavaScript, letters
and icons come from `book/vendor`, which the site serves itself, and formulas
are set at build.
"""

import json
import re
import shutil
from html import escape
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

from bookbinder import (
    bundle,
    claims,
    costs,
    explorables,
    facts,
    folds,
    inline_svg,
    katex,
    launch,
    live,
    minutes,
    model_map,
    pictures,
    roles,
    search,
    twin,
)
from bookbinder.book import Book, Page, fork
from bookbinder.codelines import LineFormatter
from bookbinder.index import glued, glued_sets
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
    config.html_css_files = [
        "custom.css", "outputs.css", "landing.css", "host.css", "run.css",
        "print.css",
    ]  # fmt: skip
    config.templates_path.append(str(TEMPLATES))
    config.html_js_files = ["pages.js"]
    if is_vendored(root):
        config.html_static_path.append("book/vendor")
    else:
        logger.info(
            "no book/vendor: pages load MathJax from public networks "
            "(`make book` with Node.js installed mends that)"
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
    claims.check(page)
    if page.has_cells:
        if not page.twin.exists():
            raise ExtensionError(f"{page.source} has no twin: run `make sync`")
        stored = page.read_twin()
        source = twin.with_outputs(page, twin.page_cells(stored))
        source.metadata["language_info"] = stored.metadata.language_info
        _frame_explorables(page, source, stored)
    bundle = CacheBundleIn(
        source, str(page.source), data={"execution_seconds": 0.0}
    )
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def _frame_explorables(page: Page, source, stored) -> None:
    """Show each explorable's picture, which our host makes move."""
    found = explorables.of_twin(stored, page.source)
    shown = explorables.views(source.cells)
    for explorable, output in zip(found, shown, strict=True):
        picture = pictures.inline(page, explorable)
        html = explorables.placeholder(page, explorable, picture)
        output.data = {"text/html": html}


def add_host(app, pagename, templatename, context, doctree) -> None:
    """Load our host where a page has something for it."""
    if 'class="hm-explorable"' in context.get("body", ""):
        app.add_js_file("host.js", loading_method="async")


def in_script(content: str) -> str:
    """Return what myst-nb writes into a <script>, so that it stays inside.

    It keeps to `</script>` alone. In JSON each `<` may be written as its
    number; in a script only where it stands in a text, as those that end a
    script do.
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


def set_role(name, rawtext, text, lineno, inliner, *_):
    """{set}`words <trait=value>`: a button that sets an explorable.

    Or {set}`name`, of a glued value that says what it sets.
    """
    env = inliner.document.settings.env
    page = Book(Path(env.app.confdir)).page(env.docname)
    try:
        words, values = roles.settings(text, *_told(env, page), page.source)
    except ValueError as error:
        problem = inliner.reporter.error(str(error), line=lineno)
        return [inliner.problematic(rawtext, rawtext, problem)], [problem]
    given = escape(json.dumps(values))
    html = (
        '<button type="button" class="hm-set" disabled '
        f'data-set="{given}">{escape(words)}</button>'
    )
    return [nodes.raw("", html, format="html")], []


def _told(env, page: Page) -> tuple[dict, dict, frozenset[str]]:
    """Return what a page's twin glues, what that sets, what can be set."""
    if "handmade_settings" not in env.temp_data:
        if not page.has_cells:
            raise ValueError(f"{page.source}: set: got no cell, want some")
        stored = page.read_twin()
        cells = twin.page_cells(stored)
        found = explorables.of_twin(stored, page.source)
        traits = frozenset().union(*(one.traits for one in found))
        told = glued(cells), glued_sets(cells), traits
        env.temp_data["handmade_settings"] = told
    return env.temp_data["handmade_settings"]


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
    """Let the download button give the executed notebook, not a bare one.

    And write what the page's explorables fetch.
    """
    if error or app.builder.name != "html":
        return
    for page in Book(Path(app.confdir)).pages:
        if not page.has_cells:
            continue
        target = Path(app.outdir, "_sources", f"{page.name}.ipynb")
        if target.parent.is_dir():
            shutil.copyfile(page.twin, target)
        for found in explorables.of_twin(page.read_twin(), page.source):
            explorables.write(page, found, Path(app.outdir))


def setup(app) -> dict:
    render.sanitize_script_content = in_script
    PygmentsBridge.html_formatter = LineFormatter
    app.set_html_assets_policy("always")
    for part in (
        model_map, claims, facts, inline_svg, katex, folds, launch, live,
        search,
    ):  # fmt: skip
        part.setup(app)
    app.add_role("minutes", minutes.role)
    app.add_role("set", set_role)
    app.add_directive("page-costs", PageCosts)
    app.connect("config-inited", configure, priority=400)
    app.connect("builder-inited", seed, priority=900)
    app.connect("builder-inited", launch_published, priority=900)
    app.connect("html-page-context", add_host)
    app.connect("html-page-context", tidy_scripts, priority=998)
    app.connect("html-page-context", bundle.gather, priority=999)
    app.connect("build-finished", offer_twins)
    app.connect("build-finished", bundle.write, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
