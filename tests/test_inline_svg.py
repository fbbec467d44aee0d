"""SVG in the page: it keeps its links and colours, and can do no harm."""

import re
import shutil
import xml.etree.ElementTree as ET

import pytest
from bookbinder import sync, twin
from bookbinder.inline_svg import inline
from nbformat import v4
from test_extension import REFERENCES, build
from test_sync import ROOT, make_book

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"'
DESC = "<desc>two dots &amp; a line</desc>"


def svg(body: str, attributes: str = "") -> str:
    return f"{HEAD} {attributes}>{DESC}{body}</svg>"


def test_its_words_become_its_name():
    root = ET.fromstring(inline(svg('<path d="M0 0"/>'), "svg1"))
    assert root.get("role") == "img"
    assert root.get("id") == "svg1"
    (desc,) = root.iter("desc")
    assert root.get("aria-labelledby") == desc.get("id") == "svg1-desc"
    assert desc.text == "two dots & a line"
    told = ET.fromstring(inline(svg(""), "svg1", alt="a < b & c"))
    assert [one.text for one in told.iter("desc")] == ["a < b & c"]


def test_a_title_of_the_whole_does_not_pop_up_and_those_of_parts_stay():
    part = "<g><title>0.5</title><path d='M0 0'/></g>"
    root = ET.fromstring(inline(svg(f"<title>Dots.</title>{part}"), "a"))
    assert [one.text for one in root.iter("title")] == ["0.5"]
    assert root[0].text == "two dots & a line Dots."


def test_a_drawing_with_links_is_more_than_a_picture():
    link = '<a href="../blocks/norms.html#why"><path d="M0 0"/></a>'
    root = ET.fromstring(inline(svg(link), "svg1"))
    assert root.get("role") == "group"
    (found,) = root.iter("a")
    assert found.get("href") == "../blocks/norms.html#why"


def test_every_id_and_what_points_at_it_is_renamed():
    body = (
        '<defs><marker id="tip"/><clipPath id="c"/></defs>'
        '<g clip-path="url(#c)" style="mask: url(\'#c\')">'
        '<path marker-end="url(#tip)" aria-labelledby="tip c"/></g>'
        "<style>path { fill: url(#tip) }</style>"
        '<use xmlns:x="http://www.w3.org/1999/xlink" x:href="#tip"/>'
        '<use href="#all"/>'
    )
    one, two = (inline(svg(body, 'id="all"'), f"svg{i}") for i in (1, 2))
    for text, name in ((one, "svg1"), (two, "svg2")):
        ids = re.findall(r' id="([^"]*)"', text)
        assert sorted(ids) == [
            name,
            f"{name}-c",
            f"{name}-desc",
            f"{name}-tip",
        ]
        assert text.count(f"url(#{name}-c)") == 2
        assert text.count(f"url(#{name}-tip)") == 2
        assert f'href="#{name}-tip"' in text
        assert f'href="#{name}"' in text
        assert f'aria-labelledby="{name}-tip {name}-c"' in text
        assert "xmlns:" not in text


def test_its_style_reaches_nothing_else_in_the_page():
    css = "/* all */ * { stroke-linejoin: round }\n.a, path.b { fill: red }"
    text = inline(svg(f"<style>{css}</style>"), "svg4")
    (style,) = ET.fromstring(text).iter("style")
    assert style.text == (
        "#svg4 * { stroke-linejoin: round }"
        "#svg4 .a, #svg4 path.b { fill: red }"
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("<script>alert(1)</script>", "<script>"),
        ('<path onload="alert(1)"/>', "onload="),
        ('<path ONCLICK="alert(1)"/>', "ONCLICK="),
        ("<foreignObject><b/></foreignObject>", "<foreignObject>"),
        ('<b xmlns="http://www.w3.org/1999/xhtml"/>', "xhtml}b>"),
        ('<animate attributeName="href"/>', "<animate>"),
        ('<set attributeName="href"/>', "<set>"),
        ('<a href="javascript:alert(1)"/>', "'javascript:alert"),
        ('<a href=" java&#10;script:alert(1)"/>', "want a page"),
        ('<a href="data:text/html,x"/>', "data:text/html"),
        ('<use href="other.svg#a"/>', "other.svg#a"),
        ('<image href="https://a.b/c.png"/>', "https://a.b/c.png"),
        ('<image href="data:image/svg+xml;base64,AA"/>', "data:image/svg"),
        ('<path fill="url(https://a.b/c)"/>', "url(https://a.b/c)"),
        ('<path style="fill: url( \'//a.b/c"/>', "'//' in a style"),
        ('<path style="fill: u\\72l(x)"/>', "in a style"),
        ("<style>@import 'a.css';</style>", "'@' in a style"),
        ("<style>a { } body</style>", "want rules"),
        ("<style>#toc { fill: red }</style>", "want rules"),
    ],
)
def test_what_could_do_harm_is_refused_by_name(body, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        inline(svg(body), "svg1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<svg", "no XML"),
        ("<p/>", "a root <p>"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "ENTITY"),
        (f"{HEAD}/>", "no text for those who do not see"),
        (f"{HEAD}><desc> </desc></svg>", "no text for those who do not see"),
        (svg("").replace("viewBox", "box"), "no viewBox"),
    ],
)
def test_what_is_no_drawing_is_refused(text, told):
    with pytest.raises(ValueError, match=told):
        inline(text, "svg1")


DRAWN = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"
  "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="144pt" height="72pt"
 viewBox="0 0 144 72" xmlns="http://www.w3.org/2000/svg" version="1.1">
 <metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>
 </metadata>
 <defs><style type="text/css">*{stroke-linejoin: round}</style></defs>
 <g id="figure_1" clip-path="url(#p1)"><image id="image1" width="9" height="9"
   xlink:href="data:image/png;base64,
iVBORw0KGgo="/></g>
 <defs><path id="m1" d="M 0 0 L 0 3"/><clipPath id="p1"><rect/></clipPath>
 </defs>
 <g id="tick_1"><use xlink:href="#m1" x="3" y="60"/>
 <text>a &lt; b &amp; c</text></g>
</svg>"""


def test_a_plotting_librarys_drawing_comes_through():
    """It has a doctype, a style for all, links to its own parts, pictures."""
    shown = inline(DRAWN, "svg1", alt="four cells")
    root = ET.fromstring(shown)
    assert root.get("viewBox") == "0 0 144 72"
    assert "a < b & c" in "".join(root.itertext())
    assert "metadata" not in shown
    (picture,) = root.iter("image")
    assert picture.get("href").startswith("data:image/png;base64,")
    ids = re.findall(r' id="([^"]*)"', shown)
    assert len(ids) == len(set(ids)) > 4
    pointed = re.findall(r'(?:href="|url\()#([^")]*)', shown)
    assert pointed
    assert set(pointed) <= set(ids)


PAGE = """(first)=
# First

```{code-cell} ipython3
---
mystnb:
  image:
    alt: "two dots <&>"
  figure:
    caption: Dots, at $x^2$.
    name: fig-dots
---
1
```

As {ref}`fig-dots` shows.

```{code-cell} ipython3
2
```
"""


def bound(tmp_path, second: str):
    """A book of one page whose two cells have put out SVG."""
    book = make_book(tmp_path, first=PAGE, refs=REFERENCES)
    for name in ("style", "figures"):
        shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
    page = book.page("first")
    cells = page.cells("code")
    drawn = '<defs><marker id="tip"/></defs><path marker-end="url(#tip)"/>'
    first = f"{HEAD}>{drawn}</svg>"
    for cell, text in zip(cells, (first, second), strict=True):
        data = {"image/svg+xml": text, "text/plain": "a drawing"}
        cell.outputs = [v4.new_output("display_data", data)]
        cell.execution_count = 1
    cost = {"cost": {"seconds": 7, "gigabytes": 1.25}, "files": {}}
    twin.write(page, sync.assemble(book, page, twin.Run(cells, {}, cost)))
    return book


def test_a_page_holds_its_drawings(tmp_path):
    link = '<a href="#first"><path marker-end="url(#tip)"/></a>'
    second = svg(f'<defs><marker id="tip"/></defs>{link}')
    done = build(bound(tmp_path, second))
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "_build/html/book/first.html").read_text()
    article = page[page.index("<article") : page.index("</article")]
    assert "<img" not in article
    (style,) = (tmp_path / "_build/html").rglob("site.css")
    assert "hm-svg" in style.read_text(encoding="utf-8")
    figure = re.search(r"<figure.*?</figure>", article, re.DOTALL)[0]
    assert 'id="fig-dots"' in figure
    assert 'class="hm-svg"' in figure
    assert "two dots &lt;&amp;&gt;</desc>" in figure
    assert re.search(r"<figcaption>.*Dots, at", figure, re.DOTALL)
    assert re.search(r'href="#fig-dots"[^>]*>.*?Dots', article)
    ids = re.findall(r' id="([^"]*)"', article)
    assert len(ids) == len(set(ids))
    assert {"svg1-tip", "svg2-tip"} <= set(ids)


def test_a_page_with_a_script_in_a_drawing_is_not_built(tmp_path):
    done = build(bound(tmp_path, svg('<path onload="alert(1)"/>')))
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert re.search(r"first\.md: cell 4: svg: got onload= on <path>", told)
