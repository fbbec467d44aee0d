"""Whether what a built site is made of, besides its pages, is whole.

A script that was cut still loads, a font that is gone is replaced in silence:
each file is held to what is known of it. Copied from `book/vendor` or from a
theme, it is the same bytes; named in a page or style with its checksum, it has
that; a font says how long it is; the search index names every page; the
notebook offered for download is the twin. Of a script or a style that was made
for the site, at least no bracket or comment may be open at its end.
"""

import importlib.util
import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from handmade.cache import sha256
from pygments.lexers import CssLexer, JavascriptLexer
from pygments.token import Comment, String

from bookbinder import explorables, vendor

# package -> where it keeps what Sphinx copies into `_static` as it is
THEMES = {
    "sphinx": "themes/basic/static",
    "pydata_sphinx_theme": "theme/pydata_sphinx_theme/static",
    "sphinx_book_theme": "theme/sphinx_book_theme/static",
    "sphinx_exercise": "assets/html",
}
# by the theme, after Sphinx took its checksum
REWRITTEN = {"pygments.css"}
INDEX = re.compile(r"Search\.setIndex\((.*)\)", re.DOTALL)
URL = re.compile(r"""url\(\s*(["']?)(.*?)\1\s*\)""", re.DOTALL)
BRACKETS = {"(": ")", "[": "]", "{": "}"}
MOST_CODE = 200_000  # bytes; what is larger is copied, and known by its hash
# signatures of the two web font formats; both give their length next but one
FONTS = (b"wOFF", b"wOF2")


def check_files(site: Path, root: Path, pages: Iterable[str]) -> list[str]:
    """Return what is wrong with a site's files; `root` is the book's."""
    return [
        *_search_index(site, pages),
        *_vendored(site, root),
        *_themes(site),
        *_styles(site),
        *_code(site),
        *_fonts(site),
        *_twins(site, root, pages),
    ]


def _search_index(site: Path, pages: Iterable[str]) -> Iterator[str]:
    name = "searchindex.js"
    if not (site / name).is_file():
        yield f"{name}: missing"
        return
    text = (site / name).read_text(encoding="utf-8", errors="replace")
    found = INDEX.fullmatch(text.strip())
    try:
        indexed = set(json.loads(found[1] if found else "")["docnames"])
    except (ValueError, KeyError, TypeError):
        yield f"{name}: cut, or no search index"
        return
    for page in pages:
        if page not in indexed:
            yield f"{name}: does not know {page}"


def _vendored(site: Path, root: Path) -> Iterator[str]:
    for name, wanted in vendor.recorded(root).items():
        if name.startswith("."):
            continue  # for the build alone
        yield from _same(site / "_static" / name, wanted, f"_static/{name}")


def _same(file: Path, wanted: str, name: str) -> Iterator[str]:
    if not file.is_file():
        yield f"{name}: missing"
    elif sha256(file) != wanted:
        yield f"{name}: cut or changed, not what was copied"


def _themes(site: Path) -> Iterator[str]:
    sources = {}
    for package, inside in THEMES.items():
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            continue  # a site is checked where it was not built
        folder = Path(found.origin).parent / inside
        # a theme's own file stands for that of the theme it builds on
        for source in filter(Path.is_file, sorted(folder.rglob("*"))):
            sources[source.relative_to(folder).as_posix()] = source
    for name, source in sources.items():
        file = site / "_static" / name
        if file.is_file():
            yield from _same(file, sha256(source), f"_static/{name}")


def _styles(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*.css")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for _, address in URL.findall(text):
            parts = urlsplit(address)
            if parts.scheme == "data" or not (parts.path or parts.netloc):
                continue
            file = path.parent / unquote(parts.path)
            name = path.relative_to(site).as_posix()
            if parts.scheme or parts.netloc:
                yield f"{name}: takes {address} from another host"
            elif not file.is_file() or file.stat().st_size == 0:
                yield f"{name}: asks for {address}, which is missing or empty"


def _code(site: Path) -> Iterator[str]:
    for path in sorted([*site.rglob("*.js"), *site.rglob("*.css")]):
        if path.stat().st_size <= MOST_CODE and not _closed(path):
            name = path.relative_to(site).as_posix()
            yield f"{name}: cut, something in it is still open"


def _closed(path: Path) -> bool:
    """Whether each bracket and comment of a script or style is shut."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lexer = CssLexer() if path.suffix == ".css" else JavascriptLexer()
    code = "".join(
        token
        for kind, token in lexer.get_tokens(text)
        if kind not in Comment and kind not in String
    )
    waiting = [""]
    for sign in code:
        if sign in BRACKETS:
            waiting.append(BRACKETS[sign])
        elif sign in BRACKETS.values() and waiting.pop() != sign:
            return False
    return waiting == [""] and "/*" not in code


def _fonts(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*.woff*")):
        start = path.read_bytes()[:12]
        size = path.stat().st_size
        if len(start) < 12 or start[:4] not in FONTS:
            said = None
        else:
            (said,) = struct.unpack(">I", start[8:])
        if said != size:
            yield f"{path.relative_to(site).as_posix()}: a cut font"


def _twins(site: Path, root: Path, pages: Iterable[str]) -> Iterator[str]:
    for page in pages:
        twin = root / f"{page}.ipynb"
        name = f"_sources/{page}.ipynb"
        offered = site / name
        if not twin.is_file():
            continue  # a page without cells; `sync --check` knows
        if not offered.is_file():
            yield f"{name}: the twin is missing"
        elif offered.read_bytes() != twin.read_bytes():
            yield f"{name}: not the twin beside the page"


def wrong_checksum(address: str, file: Path) -> bool:
    """Whether an address tells a checksum, but of other bytes.

    Sphinx writes `name.js?v=` and the CRC-32 of the file, carriage returns
    left out; an explorable's file has the hash of its content in its name.
    """
    if named := explorables.DIGEST.search(file.name):
        text = file.read_text(encoding="utf-8", errors="replace")
        return explorables.digest_of(text) != named[1]
    wanted = parse_qs(urlsplit(address).query).get("v", [""])[0]
    if file.name in REWRITTEN or not re.fullmatch(r"[0-9a-f]{8}", wanted):
        return False
    content = file.read_bytes().translate(None, b"\r")
    return f"{zlib.crc32(content):08x}" != wanted
