"""One style sheet and one script for every page of the site.

The theme and its extensions bring twenty files, which a phone would ask for
one by one. They are joined as Sphinx copied them; rules that no page can use
are dropped, and so are the scripts of what this book does not have: Thebe,
tabs, an icon font and its script, the search index outside the search.
"""

import posixpath
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from sphinx.errors import ExtensionError

from bookbinder import fonts, icons, stylesheet
from bookbinder.vendor import is_vendored

# before the first paint, and again by the theme's own script: the reader's
# choice, or the system's
SCHEME_SCRIPT = """\
(function (root) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  let mode = "auto";
  try { mode = localStorage.getItem("mode") || mode; } catch {}
  root.mode = mode;
  root.theme = mode === "auto" ? (dark ? "dark" : "light") : mode;
})(document.documentElement.dataset);"""
# while the style sheet is on its way, and where there is no JavaScript
SCHEME_STYLE = """\
html { color-scheme: light dark; }
html[data-theme="light"] { color-scheme: light; }
html[data-theme="dark"] { color-scheme: dark; background: #121212; }
@media (prefers-color-scheme: dark) {
  html[data-theme="auto"] { background: #121212; }
}"""

# `styles/theme.css`, which the theme loads first, imports the first of them
THEME_STYLES = ("basic.css", "styles/pydata-sphinx-theme.css")
# kept whole: what they style may be drawn later, by an explorable
OURS = (
    "custom.css",
    "claims.css",
    "diagrams.css",
    "outputs.css",
    "landing.css",
    "host.css",
    "run.css",
    "print.css",
)
SCRIPTS = (
    "documentation_options.js",
    "doctools.js",
    "sphinx_highlight.js",
    "scripts/bootstrap.js",
    "scripts/pydata-sphinx-theme.js",
    "scripts/sphinx-book-theme.js",
    "pages.js",
)
DROPPED = (
    "clipboard.min.js",
    "copybutton.js",
    "design-tabs.js",
    "sphinx-thebe.js",
    "togglebutton.js",
)
UNUSED = ("scripts/fontawesome.js", "styles/theme.css")
# buttons that would do nothing
SCRIPTLESS = ".pst-js-only:not(img){display:none!important}\n"
# settings of what was dropped, written into each page
SETTINGS = re.compile(
    r"(let|var) toggle|const THEBE_JS_URL|DOCUMENTATION_OPTIONS\.(pagename|"
    "search_as_you_type)"
)
# an extension's style sheet that a page loads for itself
APART = ("katex/",)
ADDRESS = re.compile(
    r"""url\(\s*(["']?)(?!["']|data:|#|https?:)(.*?)\1\s*\)"""
)
STAMP = re.compile(r"(_static/(site\.css|site\.js|noscript\.css))\?v=\w+")
CLASSES = re.compile(r'\b(?:class|id)="([^"]*)"')
SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)


def gather(app, pagename, templatename, context, doctree) -> None:
    """Take out of a page what the site's two files hold, or nobody needs."""
    styles = context.get("css_files", [])
    joined = [one for one in styles if not name_of(one).startswith(APART)]
    app.joined_styles = [name_of(one) for one in joined]
    styles[:] = [one for one in styles if one not in joined]
    scripts = context.get("script_files", [])
    scripts[:] = [one for one in scripts if not _is_joined(one)]
    if body := context.get("body"):
        # a picture comes when the reader comes near
        context["body"] = body.replace("<img ", '<img loading="lazy" ')
    context["scheme_script"] = SCHEME_SCRIPT
    context["scheme_style"] = SCHEME_STYLE


def name_of(asset) -> str:
    """Return a style's or script's name in `_static`; "" without a file."""
    return str(asset.filename or "").removeprefix("_static/")


def _is_joined(script) -> bool:
    name = name_of(script)
    if name:
        return name in SCRIPTS or name in DROPPED
    return bool(SETTINGS.match(script.attributes.get("body") or ""))


def write(app, error) -> None:
    """Write the site's style sheets and script, and stamp the pages."""
    if error or not hasattr(app, "joined_styles"):
        return  # no page was written
    site = Path(app.outdir)
    static = site / "_static"
    script = join_scripts(static)
    (static / "site.js").write_text(script, encoding="utf-8")
    pages = sorted(site.rglob("*.html"))
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    names = _names(texts.values(), static)
    root = Path(app.confdir)
    vendored = root / "book" / "vendor" if is_vendored(root) else None
    rules = join_styles(static, app.joined_styles, names, vendored)
    (static / "site.css").write_text(stylesheet.write(rules), "utf-8")
    plain = stylesheet.write(stylesheet.by_system(rules)) + SCRIPTLESS
    (static / "noscript.css").write_text(plain, encoding="utf-8")
    stamps = {
        # as Sphinx stamps a file
        name: f"{zlib.crc32(data.translate(None, bytes([13]))):08x}"
        for name in ("site.css", "site.js", "noscript.css")
        for data in [(static / name).read_bytes()]
    }
    for page, text in texts.items():
        stamped = STAMP.sub(lambda at: f"{at[1]}?v={stamps[at[2]]}", text)
        if stamped != text:
            page.write_text(stamped, encoding="utf-8")
    clear(static, app.joined_styles, vendored is not None)


def clear(static: Path, styles: Iterable[str], icons_drawn: bool) -> None:
    """Drop what was joined, and what no page asks for, from the site."""
    names = [*SCRIPTS, *DROPPED, *THEME_STYLES, *styles, *UNUSED]
    for path in [*(static / name for name in names), *static.rglob("*.map")]:
        path.unlink(missing_ok=True)
    if icons_drawn:
        shutil.rmtree(static / "vendor" / "fontawesome", ignore_errors=True)


def join_scripts(static: Path) -> str:
    """Return the scripts in the order in which they need each other."""
    parts = []
    for name in SCRIPTS:
        path = static / name
        if not path.is_file():
            raise ExtensionError(f"_static: got no {name}, want the theme's")
        text = SOURCE_MAP.sub("", path.read_text(encoding="utf-8"))
        parts.append(text.strip())
    return "\n;\n".join(parts) + "\n"


def join_styles(
    static: Path,
    names: Iterable[str],
    used: set[str],
    vendored: Path | None,
) -> list[stylesheet.Rule]:
    """Return the rules of all styles that these classes and ids can meet.

    With fonts and drawn icons where they were vendored; the theme's icon
    font stays where not.
    """
    rules: list[stylesheet.Rule] = []
    for name in (*THEME_STYLES, *names):
        text = (static / name).read_text(encoding="utf-8")
        here = stylesheet.read(_moved(text, posixpath.dirname(name)))
        if name in OURS:
            rules += here
        else:
            rules += stylesheet.used(here, used)
        if vendored and name == THEME_STYLES[-1]:
            rules = [rule for rule in rules if not _icon_font(rule)]
            rules += stylesheet.read(fonts.style())
    if vendored:
        rules += stylesheet.read(icons.style(vendored))
    return rules


def _moved(text: str, folder: str) -> str:
    """Let addresses lead from `_static`, where the joined sheet stands."""

    def moved(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[2]))
        return f"url({found[1]}{path}{found[1]})"

    return ADDRESS.sub(moved, text)


def _icon_font(rule: stylesheet.Rule) -> bool:
    return rule.prelude.startswith((".fa", "@font-face")) or (
        rule.prelude == ":host,:root" and "--fa-" in str(rule.body)
    )


def _names(pages: Iterable[str], static: Path) -> set[str]:
    """Return every class and id of the pages, and what a script may set."""

    def words() -> Iterator[str]:
        for page in pages:
            for found in CLASSES.findall(page):
                yield from found.split()
        for path in static.glob("*.js"):
            yield from re.findall(r"[\w-]+", path.read_text(encoding="utf-8"))

    return set(words())
