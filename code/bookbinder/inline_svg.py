"""SVG that a cell put out stands in the page itself, not behind an <img>.

There the page's colours reach it (`var(--hm-ink, #24292f)`), its links work
and what it says in words is found by a search. In return it must be harmless:
what could run, ask another host or style the page around it is refused, by
name. The names (ids) in it are made unique in the page, its style is kept to
it, and its alternative text comes from the cell's metadata, as an image's
does, or from a <desc> of its own.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer
from sphinx.errors import ExtensionError

MIME = "image/svg+xml"
SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}href"
XML = "{http://www.w3.org/XML/1998/namespace}"
# all that draws; nothing that runs, moves or holds HTML
DRAWS = frozenset({
    "svg", "g", "defs", "symbol", "use", "a", "title", "desc", "style",
    "path", "rect", "circle", "ellipse", "line", "polyline", "polygon",
    "text", "tspan", "textPath", "image", "clipPath", "mask", "pattern",
    "marker", "linearGradient", "radialGradient", "stop",
})  # fmt: skip
# what an editor or a plotting library notes about the file
NOTES = frozenset({"metadata", "namedview"})
PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[\w+/=\s]*")
LEADS = re.compile(r"https?://|mailto:|[^:]*(?:[#?/].*)?$", re.IGNORECASE)
# a style sheet that ends early closes its url( by itself
URL = re.compile(r"""url\(\s*['"]?([^)'"]*)['"]?\s*\)?""", re.IGNORECASE)
RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
REFERS = ("aria-labelledby", "aria-describedby", "aria-controls")
OPTIONS = frozenset({"alt", "classes", "width"})


def inline(
    text: str, name: str, *, alt: str = "", classes: str = "", width: str = ""
) -> str:
    """Return a drawing as it may stand in a page, under a name of its own.

    ``name`` is its id, and stands before every id in it. Raises ValueError
    for what is no SVG, could do harm, or says nothing to those who do not
    see it.
    """
    root = _parse(text)
    _drop_notes(root)
    elements = list(_elements(root))
    ids = {id: f"{name}-{id}" for one in elements if (id := one.get("id"))}
    if own := root.get("id"):
        ids[own] = name
    for element in elements:
        _check(element)
        _rename(element, ids)
        if element.tag == "style":
            element.text = _scoped(_pointed(element.text or "", ids), name)
    _describe(root, name, alt)
    _size(root)
    root.set("id", name)
    root.set("class", " ".join(["hm-svg", *classes.split()]))
    if width:
        root.set("style", f"width: {width}")
    root.tail = None
    return ET.tostring(root, encoding="unicode")


def _parse(text: str) -> ET.Element:
    if "<!ENTITY" in text:
        raise ValueError("svg: got an <!ENTITY>, want none")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ValueError(f"svg: got no XML ({error}), want SVG") from None
    if root.tag != f"{SVG}svg":
        raise ValueError(f"svg: got a root <{root.tag}>, want <svg> of SVG")
    return root


def _drop_notes(element: ET.Element) -> None:
    for child in list(element):
        if child.tag.rpartition("}")[2] in NOTES:
            element.remove(child)
        else:
            _drop_notes(child)


def _elements(root: ET.Element) -> Iterator[ET.Element]:
    """Yield each element, its own and its attributes' names without SVG's."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        if XLINK in element.attrib:
            element.set("href", element.attrib.pop(XLINK))
        for name in list(element.attrib):
            if name.startswith("{"):
                value = element.attrib.pop(name)
                if name.startswith(XML):  # xml:space, as HTML reads it
                    element.set(f"xml:{name.removeprefix(XML)}", value)
        yield element


def _check(element: ET.Element) -> None:
    tag = element.tag
    if tag not in DRAWS:
        raise ValueError(f"svg: got <{tag}>, want elements that only draw")
    for name, value in element.attrib.items():
        if name.lower().startswith("on"):
            raise ValueError(f"svg: got {name}= on <{tag}>, want no script")
        if name == "href" and not _harmless(tag, value.strip()):
            want = {
                "a": "a page or an address",
                "image": "a picture as data:image/…;base64",
            }.get(tag, "a #name in the drawing")
            raise ValueError(
                f"svg: got href={value[:40]!r} on <{tag}>, want {want}"
            )
        _check_css(value if name == "style" else "", value)
    if tag == "style":
        _check_css(element.text or "", element.text or "")


def _harmless(tag: str, target: str) -> bool:
    if tag == "a":
        return LEADS.match(target) is not None
    if tag == "image":
        return PICTURE.fullmatch(target) is not None
    return target.startswith("#")


def _check_css(css: str, value: str) -> None:
    for sign in ("@", "\\", "//"):
        if sign in css:
            raise ValueError(f"svg: got {sign!r} in a style, want plain rules")
    for found in URL.finditer(value):
        if not found[1].startswith("#"):
            raise ValueError(
                f"svg: got url({found[1][:40]}), want a #name in the drawing"
            )


def _rename(element: ET.Element, ids: dict[str, str]) -> None:
    """Use the drawing's new ids wherever the old ones stand."""
    for key, value in element.attrib.items():
        if key == "id":
            value = ids[value]
        elif key == "href" and value.startswith("#"):
            value = f"#{ids.get(value[1:], value[1:])}"
        elif key in REFERS:
            value = " ".join(ids.get(id, id) for id in value.split())
        else:
            value = _pointed(value, ids)
        element.set(key, value)


def _pointed(css: str, ids: dict[str, str]) -> str:
    def new(found: re.Match[str]) -> str:
        id = found[1].strip()[1:]
        return f"url(#{ids.get(id, id)})"

    return URL.sub(new, css)


def _scoped(css: str, name: str) -> str:
    """Let a style sheet reach the drawing alone: it stands in a page."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    selected = "".join(selectors for selectors, _ in RULE.findall(css))
    if RULE.sub("", css).strip() or "#" in selected:
        raise ValueError(
            f"svg: got the style {css.strip()[:40]!r}, want rules for "
            "elements and classes"
        )

    def scope(found: re.Match[str]) -> str:
        selectors = (f"#{name} {one.strip()}" for one in found[1].split(","))
        return f"{', '.join(selectors)} {{{found[2]}}}"

    return RULE.sub(scope, css)


def _describe(root: ET.Element, name: str, alt: str) -> None:
    """Say in words what is drawn: one <desc>, the name of the drawing.

    A <title> of the whole would pop up wherever the mouse rests; the titles
    of its parts stay. With links in it, a drawing is more than a picture.
    """
    own = [child for child in root if child.tag in ("title", "desc")]
    said = alt or " ".join(_words(child) for child in own)
    if not said.strip():
        raise ValueError(
            "svg: got no text for those who do not see it, want image: alt: "
            "in the cell's metadata, or a <desc>"
        )
    for child in own:
        root.remove(child)
    desc = ET.Element("desc", id=f"{name}-desc")
    desc.text = " ".join(said.split())
    root.insert(0, desc)
    for key in ("aria-label", "aria-describedby"):
        root.attrib.pop(key, None)
    linked = root.find(".//a") is not None
    root.set("role", "group" if linked else "img")
    root.set("aria-labelledby", f"{name}-desc")


def _words(element: ET.Element) -> str:
    return "".join(element.itertext()).strip()


def _size(root: ET.Element) -> None:
    """See that the drawing can shrink: that takes a viewBox."""
    if "viewBox" in root.attrib:
        return
    try:
        width, height = (float(root.get(k, "")) for k in ("width", "height"))
    except ValueError:
        raise ValueError("svg: got no viewBox, want one") from None
    root.set("viewBox", f"0 0 {width:g} {height:g}")


def render_image(
    self: NbElementRenderer, data: MimeData
) -> list[nodes.Element]:
    """Show a cell's picture as myst-nb does; SVG in the page itself."""
    if data.mime_type != MIME:
        return RENDER_IMAGE(self, data)
    document = self.renderer.document
    options = self.renderer.get_cell_level_config(
        "render_image_options", data.cell_metadata, line=data.line
    )
    number = document.settings.env.new_serialno("svg") + 1
    try:
        for option in options.keys() - OPTIONS:
            raise ValueError(
                f"image: got {option!r}, want one of {sorted(OPTIONS)}"
            )
        text = inline(data.string, f"svg{number}", **options)
    except ValueError as error:
        cell = (data.cell_index or 0) + 1
        where = f"{document['source']}: cell {cell}"
        raise ExtensionError(f"{where}: {error}") from None
    return [nodes.raw("", text, format="html")]


# myst-nb's own, however often a build is set up in one process
RENDER_IMAGE = NbElementRenderer.render_image


def setup(app) -> None:
    """Put every page's SVG in line, with the style it needs."""
    NbElementRenderer.render_image = render_image
    app.add_css_file("diagrams.css")
