"""Draw one explorable in a browser, and write what is seen as SVG.

Colours of the book's palette stay variables; others stand in the picture
twice, light and dark.
"""

import gzip
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from handmade.cache import write_whole

from bookbinder import explorables
from bookbinder.book import Book, Page
from bookbinder.explorables import Explorable
from bookbinder.pictures import DRAWS, HOST, WIDTHS, fingerprint, path
from bookbinder.sitefiles import THEMES

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MOST = 40_000  # bytes of one picture, as it is sent
MARKED = re.compile("«([^»]*)»")
PALETTE = (
    "ink", "paper", "muted", "grid", "c1", "c2", "c3", "c4", "c5", "accent",
    "good", "bad", "good-tint", "bad-tint",
)  # fmt: skip
SHELL = """\
<!DOCTYPE html>
<html data-theme="{scheme}" style="--hm-top: 0px">
<head><meta charset="utf-8">{styles}
<script>addEventListener("error", (e) => console.error(e.message))</script>
<script src="{host}"></script></head>
<body><div class="bd-content"><div class="bd-article-container" style="
  flex: none; max-width: none; padding: 0; width: {width}px">
<article class="bd-article" style="padding: 0"><div class="cell_output">
{frame}</div></article></div></div></body></html>
"""
COLOURS = """(names) => Object.fromEntries(names.map((name) => {
  const pen = document.createElement("canvas").getContext("2d");
  pen.fillStyle = getComputedStyle(document.documentElement)
    .getPropertyValue(`--hm-${name}`).trim();
  return [name, pen.fillStyle];
}))"""


def draw(
    book: Book, page: Page, found: Explorable, chromium: "Browser"
) -> None:
    """Draw one explorable and store its pictures.

    Raises ValueError where it does not draw itself, or too large.
    """
    for width, pixels in WIDTHS.items():
        light, dark = (
            _shot(book, page, found, chromium, pixels, scheme)
            for scheme in ("light", "dark")
        )
        svg = _svg(page, found, width, light, dark)
        file = path(page, found, width)
        if (size := len(gzip.compress(svg.encode()))) > MOST:
            raise ValueError(
                f"{file}: got {size} bytes, want at most {MOST}, compressed"
            )
        write_whole(
            file,
            lambda to, svg=svg: to.write_text(
                svg, encoding="utf-8", newline="\n"
            ),
        )


def _shot(
    book: Book,
    page: Page,
    found: Explorable,
    chromium: "Browser",
    pixels: int,
    scheme: str,
) -> dict:
    """Return what one scheme shows: size, what is inside, the palette."""
    # the page is as wide as a phone only where its styles ask for one
    window = 390 if pixels < 500 else 1300
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        explorables.write(page, found, home)
        file = (home / page.name).with_suffix(".html")
        links = (
            f'<link rel="stylesheet" href="{style.as_uri()}">'
            for style in _styles(book)
        )
        file.write_text(
            SHELL.format(
                scheme=scheme,
                styles="".join(links),
                host=HOST.as_uri(),
                width=pixels,
                frame=explorables.placeholder(page, found, ""),
            ),
            encoding="utf-8",
        )
        tab = chromium.new_page(
            viewport={"width": window, "height": 1000}, color_scheme=scheme
        )
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on(
            "console",
            lambda told: told.type == "error" and faults.append(told.text),
        )
        try:
            tab.goto(file.as_uri())
            tab.wait_for_selector(
                '.hm-explorable:is([data-state="ready"], '
                '[data-state="failed"])'
            )
            tab.wait_for_timeout(100)  # what draws itself when it has a size
            if faults:
                raise ValueError(f"{page.source}: {found.name}: {faults[0]}")
            shot = tab.eval_on_selector(
                ".hm-explorable", DRAWS.read_text(encoding="utf-8")
            )
            shot["palette"] = tab.evaluate(COLOURS, list(PALETTE))
        finally:
            tab.close()
    return shot


def _styles(book: Book) -> list[Path]:
    """Return the style sheets of a built page, where they are installed."""
    names = ("basic.css", "styles/pydata-sphinx-theme.css",
             "styles/sphinx-book-theme.css")  # fmt: skip
    found = []
    for package, inside in THEMES.items():
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            folder = Path(spec.origin).parent / inside
            found += [folder / name for name in names]
    ours = book.root / "book" / "style"
    return [
        style
        for style in (*found, ours / "custom.css", ours / "host.css")
        if style.exists()
    ]


def _svg(
    page: Page, found: Explorable, width: str, light: dict, dark: dict
) -> str:
    """Join what both schemes show: a colour that differs is a variable."""
    here, there = MARKED.split(light["inside"]), MARKED.split(dark["inside"])
    if here[::2] != there[::2]:
        raise ValueError(
            f"{page.source}: {found.name}: got another drawing in the dark, "
            "want other colours alone"
        )
    key = f"{page.source.stem}-{found.name}-{width}"
    names = {
        (light["palette"][name], dark["palette"][name]): f"var(--hm-{name})"
        for name in reversed(PALETTE)
    }
    own: dict[tuple[str, str], str] = {}
    parts = [here[0]]
    for i in range(1, len(here), 2):
        pair = here[i], there[i]
        if here[i].startswith("data:"):
            # canvases are drawn anew on each page; here the light one stays
            parts.append(here[i])
        elif pair in names:
            parts.append(names[pair])
        else:
            own.setdefault(pair, f"var(--p{len(own)})")
            parts.append(own[pair])
        parts.append(here[i + 1])
    sides = [
        "".join(f"--p{n}:{pair[side]};" for n, pair in enumerate(own))
        for side in (0, 1)
    ]
    style = (
        f"#{key}{{{sides[0]}}}html[data-theme=dark] #{key}{{{sides[1]}}}"
        "@media (prefers-color-scheme:dark){"
        f"html:not([data-theme=light]) #{key}{{{sides[1]}}}}}"
    )
    wide, tall = round(light["width"]), round(light["height"])
    box = f"{light['x']:g} {light['y']:g} {wide} {tall}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'class="hm-picture hm-picture-{width}" id="{key}" '
        f'data-of="{fingerprint(page, found)}" width="{wide}" '
        f'height="{tall}" viewBox="{box}" role="img" '
        f'aria-label="its first state, which does not move" '
        'font-family="system-ui, sans-serif">\n'
        f"<style>{style}</style>\n{''.join(parts)}\n</svg>\n"
    )
