"""Style sheets as rules: read, written, and left without what is unused."""

import pytest
from bookbinder import stylesheet

SHEET = """
@charset "utf-8";
/* a comment with } in it */
a, .gone, .kept:not(.gone) > p { color: red; content: "}; {" }
.menu .item\\/2 { background: url("data:image/svg+xml;utf8,<a b='}'>") }
@media print { .gone { top: 0 } .menu { top: 1px } }
@media screen { .gone { top: 0 } }
@font-face { font-family: A; src: url(a.woff2) }
:is(.gone, .kept) #top { x: 1 }
"""


def kept(sheet: str, *names: str) -> str:
    rules = stylesheet.used(stylesheet.read(sheet), set(names))
    return stylesheet.write(rules)


def test_what_is_written_is_what_was_read():
    rules = stylesheet.read(SHEET)
    assert stylesheet.read(stylesheet.write(rules)) == rules
    assert len(rules) == 7
    assert rules[1].body == 'color: red; content: "}; {"'
    assert [rule.prelude for rule in rules[3].body] == [".gone", ".menu"]


def test_what_no_page_names_is_dropped():
    text = kept(SHEET, "kept", "menu", "item/2")
    assert "a,.kept:not(.gone) > p{" in text
    assert ".menu .item" in text
    assert "@media print{\n.menu{top: 1px}\n}" in text
    assert "@media screen" not in text
    assert "@font-face" in text
    assert "@charset" not in text
    assert "#top" not in text
    assert ":is(.gone, .kept) #top" in kept(SHEET, "top")


def test_without_a_script_the_system_chooses_the_scheme():
    sheet = """
    html[data-theme="dark"] a, b, html[data-theme=light] c { x: 1 }
    @media print { html[data-theme='dark'] { y: 1 } }
    html[data-theme] { z: 1 }
    """
    text = stylesheet.write(stylesheet.by_system(stylesheet.read(sheet)))
    auto = 'html[data-theme="auto"]'
    assert text == (
        f"@media (prefers-color-scheme: light){{\n{auto} c{{x: 1}}\n}}\n"
        f"@media (prefers-color-scheme: dark){{\n{auto} a{{x: 1}}\n}}\n"
        "@media print{\n@media (prefers-color-scheme: dark){\n"
        f"{auto}{{y: 1}}\n}}\n}}\n"
    )


@pytest.mark.parametrize("end", ["", "}", "a {", "@media x {"])
def test_a_cut_sheet_is_read_as_far_as_it_goes(end):
    assert stylesheet.read("a { b: c }" + end)[0].body == "b: c"
