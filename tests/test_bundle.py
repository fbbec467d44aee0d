"""The site's one style sheet and one script: what they hold and leave out."""

import zlib
from types import SimpleNamespace

import pytest
from bookbinder import bundle, sitefiles
from sphinx.errors import ExtensionError

PAGE = """<p class="kept" id="here">x</p>
<link href="_static/site.css?v=0"><script src="_static/site.js?v=abc">"""


def asset(name: str | None = None, body: str = "") -> SimpleNamespace:
    return SimpleNamespace(filename=name, attributes={"body": body})


def test_a_page_keeps_what_is_its_own():
    context = {
        "css_files": [
            asset("_static/custom.css"),
            asset("_static/katex/katex.min.css"),
        ],
        "script_files": [
            asset("_static/doctools.js"),
            asset("_static/sphinx-thebe.js"),
            asset("_static/host.js"),
            asset(body="let toggleHintShow = 'Click to show';"),
            asset(body="DOCUMENTATION_OPTIONS.pagename = 'a';"),
            asset(body="window.MathJax = {}"),
        ],
        "body": '<img src="a.png">',
    }
    app = SimpleNamespace()
    bundle.gather(app, "a", "page.html", context, None)
    assert app.joined_styles == ["custom.css"]
    left = [bundle.name_of(one) for one in context["css_files"]]
    assert left == ["katex/katex.min.css"]
    scripts = context["script_files"]
    assert [one.filename or one.attributes["body"] for one in scripts] == [
        "_static/host.js",
        "window.MathJax = {}",
    ]
    assert context["body"] == '<img loading="lazy" src="a.png">'


@pytest.fixture
def app(tmp_path):
    """A small site, as Sphinx leaves it to be bundled."""
    static = tmp_path / "html" / "_static"
    for name in (*bundle.SCRIPTS, *bundle.DROPPED, *bundle.UNUSED):
        path = static / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"use('{name}', 'set-later')\n//# sourceMappingURL=x")
    (static / "styles").mkdir(exist_ok=True)
    (static / "basic.css").write_text(".kept { top: 0 } .gone { top: 0 }")
    (static / "styles/pydata-sphinx-theme.css").write_text(
        ".set-later { background: url(../images/a.svg) }\r\n"
        "html[data-theme=dark] #here { top: 1px }"
        '.kept i { background: url("data:image/svg+xml;a") }'
    )
    (static / "custom.css").write_text(".drawn-later { top: 2px }")
    (static / "scripts" / "a.js.map").write_text("{}")
    (tmp_path / "html" / "a.html").write_text(PAGE)
    return SimpleNamespace(
        builder=SimpleNamespace(name="html"),
        confdir=str(tmp_path),
        outdir=str(tmp_path / "html"),
        joined_styles=["custom.css"],
    )


def test_the_two_files_hold_what_a_page_can_use(app, tmp_path):
    bundle.write(app, None)
    site = tmp_path / "html"
    style = (site / "_static/site.css").read_text()
    assert ".kept{" in style
    assert ".gone" not in style
    assert ".drawn-later{" in style
    assert "url(images/a.svg)" in style
    assert 'url("data:image/svg+xml;a")' in style
    script = (site / "_static/site.js").read_text()
    places = [script.index(f"use('{name}'") for name in bundle.SCRIPTS]
    assert places == sorted(places)
    assert "sourceMappingURL" not in script
    assert "thebe" not in script
    plain = (site / "_static/noscript.css").read_text()
    assert 'html[data-theme="auto"] #here' in plain
    assert ".pst-js-only" in plain
    left = {p.name for p in (site / "_static").rglob("*") if p.is_file()}
    assert left == {"site.css", "site.js", "noscript.css"}


def test_a_page_names_the_files_that_it_was_built_with(app, tmp_path):
    bundle.write(app, None)
    site = tmp_path / "html"
    text = (site / "a.html").read_text()
    for name in ("site.css", "site.js"):
        file = site / "_static" / name
        stamp = f"{zlib.crc32(file.read_bytes()):08x}"
        assert f"_static/{name}?v={stamp}" in text
        address = f"_static/{name}?v={stamp}"
        assert not sitefiles.wrong_checksum(address, file)


def test_where_no_page_was_written_all_stays(app, tmp_path):
    bundle.write(app, None)
    before = (tmp_path / "html/_static/site.js").read_bytes()
    del app.joined_styles
    bundle.write(app, None)
    assert (tmp_path / "html/_static/site.js").read_bytes() == before


def test_a_script_that_the_theme_lost_is_named(app, tmp_path):
    (tmp_path / "html/_static/doctools.js").unlink()
    with pytest.raises(ExtensionError, match=r"got no doctools\.js"):
        bundle.write(app, None)
