"""The theme's icons, drawn by the style sheet: no script, no icon font.

Each is a mask through which the text's own colour shows, so it follows the
colour scheme. The drawings are Font Awesome Free's (CC BY 4.0), from npm.
"""

from pathlib import Path
from urllib.parse import quote

# our name, which is the drawing's -> other names that the theme calls it by
SOLID = {
    "angle-down": (),
    "angle-left": (),
    "angle-right": (),
    "arrow-up": (),
    "bars": (),
    "bell": (),
    "check": (),
    "circle-exclamation": (),
    "circle-half-stroke": (),
    "circle-info": (),
    "circle-xmark": (),
    "code": (),
    "copy": (),
    "download": (),
    "expand": (),
    "file": (),
    "file-pdf": (),
    "lightbulb": (),
    "list": (),
    "magnifying-glass": (),
    "moon": (),
    "pencil": ("pencil-alt",),
    "play": (),
    "rocket": (),
    "share": (),
    "sun": (),
    "triangle-exclamation": (),
    "xmark": (),
}
BRANDS = {"github": ()}
# kind of admonition -> the icon in its title
TITLES = {
    "admonition": "bell",
    "attention": "circle-exclamation",
    "caution": "triangle-exclamation",
    "danger": "triangle-exclamation",
    "error": "circle-xmark",
    "exercise": "pencil",
    "hint": "lightbulb",
    "important": "circle-exclamation",
    "note": "circle-info",
    "seealso": "share",
    "solution": "lightbulb",
    "tip": "lightbulb",
    "warning": "triangle-exclamation",
}
# that the list of contents can be opened, where it is closed
CLOSED = ".bd-sidebar-secondary.hide:not(:hover) .onthispage"
FOLDER = ".build/icons"
CREDIT = "/* icons: Font Awesome Free, https://fontawesome.com, CC BY 4.0 */\n"
BASE = """\
:is(.fas, .fab, .fa-solid, .fa-brands) {
  background: currentColor;
  display: inline-block;
  height: 1em;
  mask: var(--icon) center / contain no-repeat;
  vertical-align: -0.125em;
  width: 1.25em;
}
.fa-lg { font-size: 1.25em; }
.theme-switch.fa-lg { font-size: 1em; }
.admonition > .admonition-title.admonition-title::after,
CLOSED::after {
  background: currentColor;
  content: "" !important;
  mask: var(--icon) center / contain no-repeat;
  width: 1em;
}
CLOSED::after {
  display: inline-block;
  height: 0.75em;
  margin-left: 0.5em;
  padding: 0;
}
CLOSED { --icon: var(--icon-angle-down); }
""".replace("CLOSED", CLOSED)


def files() -> list[tuple[str, str]]:
    """Return what `vendor` copies: file of the package -> our folder."""
    package = "@fortawesome/fontawesome-free/svgs"
    return [
        (f"{package}/{kind}/{name}.svg", FOLDER)
        for kind, names in (("solid", SOLID), ("brands", BRANDS))
        for name in names
    ]


def style(vendored: Path) -> str:
    """Return the style sheet of all icons, read from `book/vendor`."""
    lines, wanted = [], SOLID | BRANDS
    for name, others in wanted.items():
        svg = (vendored / FOLDER / f"{name}.svg").read_text(encoding="utf-8")
        start, end = svg.find("<!--"), svg.find("-->") + len("-->")
        bare = svg[:start] + svg[end:] if start >= 0 else svg
        address = f'url("data:image/svg+xml,{quote(bare, safe=" =:/")}")'
        lines.append(f":root {{ --icon-{name}: {address}; }}")
        selector = ", ".join(f".fa-{one}" for one in (name, *others))
        lines.append(f":is({selector}) {{ --icon: var(--icon-{name}); }}")
    for kind, name in TITLES.items():
        selector = f".admonition.{kind} > .admonition-title"
        lines.append(f"{selector} {{ --icon: var(--icon-{name}); }}")
    return CREDIT + BASE + "\n".join(lines) + "\n"
