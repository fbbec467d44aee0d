"""TeX macros of `_config.yml`, for notebooks that do not know them."""

import re

import pytest
from bookbinder import formulas, macros
from bookbinder.book import find_book
from bookbinder.index import labels_of


def test_mathjax_gives_a_text_or_a_text_and_a_number():
    given = {"a": r"\alpha", "b": [r"\beta"], "c": ["x", 0]}
    assert macros.read({"tex": {"macros": given}}) == {
        "a": r"\alpha",
        "b": r"\beta",
        "c": "x",
    }
    assert macros.read({}) == macros.read({"tex": {}}) == {}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("norm", [r"\|#1\|", 1]),
        ("norm", [r"\|#1\|", 1, "x"]),
        ("norm", 3),
        ("norm", []),
        ("n2", "x"),
    ],
)
def test_a_macro_with_arguments_is_refused_by_name(name, given):
    if given == []:
        given = [None]
    with pytest.raises(ValueError, match=rf"_config\.yml.*'{name}': got"):
        macros.read({"tex": {"macros": {name: given}}})


@pytest.mark.parametrize(
    ("tex", "wanted"),
    [
        (r"\a+\a", "1+1"),
        (r"\ab \a b", r"\ab 1 b"),
        (r"\a_2^\a", "1_2^1"),
        (r"\\a \\\a", r"\\a \\1"),
        (r"\{\a\}", r"\{1\}"),
        (r"\twice", "1 1"),
        ("a", "a"),
    ],
)
def test_macros_are_written_out(tex, wanted):
    assert macros.expand(tex, {"a": "1", "twice": r"\a \a"}) == wanted


@pytest.mark.parametrize(
    "given", [{"a": r"\a"}, {"a": r"\b", "b": r"\a"}, {"a": r"\a\a"}]
)
def test_macros_that_never_end_are_refused(given):
    if given == {"a": r"\a"}:  # its own name is its text: nothing to do
        assert macros.expand(r"\a", given) == r"\a"
        return
    with pytest.raises(ValueError, match="names itself"):
        macros.expand(r"\a", given)


@pytest.mark.parametrize(
    ("tex", "wanted"),
    [
        (r"a \\ b", True),
        ("a & b", True),
        (r"a \& b", False),
        (r"\begin{aligned}a & b \\ c\end{aligned}", False),
        (r"\begin{a}\begin{b}x \\ y\end{b} & z\end{a}", False),
        (r"\begin{a}x\end{a} \\ \begin{a}y & z\end{a}", True),
        (r"\begin{align*}a & b\end{align*} + c", False),
    ],
)
def test_rows_outside_an_environment_are_seen(tex, wanted):
    assert formulas.needs_rows(tex) is wanted


def test_no_twin_needs_the_sites_macros_and_each_keeps_its_numbers():
    book = find_book()
    known = macros.read(book.settings["sphinx"]["config"]["mathjax3_config"])
    assert known
    for page in book.pages:
        if not page.has_cells:
            continue
        text = "\n".join(
            cell.source
            for cell in page.read_twin().cells
            if cell.cell_type == "markdown"
        )
        named = {found[1] for found in macros.CONTROL.finditer(text)}
        assert not named & known.keys(), page.name
        numbers = [
            title.strip("()")
            for address, title in labels_of(page).values()
            if "#equation-" in address
        ]
        assert re.findall(r"\\tag\{(\d+)\}", text) == numbers, page.name
