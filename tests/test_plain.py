"""MyST in, plain notebook markdown out: nothing raw, nothing lost."""

import pytest
from bookbinder.plain import Links, plain, pyobject

MODULE = '''\
import functools


@functools.cache
def double(x):
    """Return 2x."""
    return 2 * x


class Pair:
    left = 1

    def swap(self):
        # turn
        return self
'''


@pytest.fixture
def links(tmp_path) -> Links:
    folder = tmp_path / "book" / "part"
    folder.mkdir(parents=True)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "pair.py").write_text(MODULE)
    return Links(
        root=tmp_path,
        page=folder / "page.md",
        site="https://site/",
        labels={
            "there": ("book/other.html#there", "Elsewhere"),
            "eq-one": ("book/part/page.html#equation-eq-one", "the equation"),
            "book/part/next": ("book/part/next.html", "The next page"),
        },
        citations={"a2001": "Ada, 2001", "b2002": "Bab, 2002"},
        values={"share": "0.5"},
        costs={"part/page": "12 s"},
    )


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("{ref}`there`", "[Elsewhere](https://site/book/other.html#there)"),
        ("{ref}`go <there>`", "[go](https://site/book/other.html#there)"),
        (
            "{ref}`two\nlines <there>`",
            "[two\nlines](https://site/book/other.html#there)",
        ),
        ("{doc}`next`", "[The next page](https://site/book/part/next.html)"),
        (
            "{doc}`on </book/part/next>`",
            "[on](https://site/book/part/next.html)",
        ),
        (
            "{eq}`eq-one`",
            "[the equation](https://site/book/part/page.html#equation-eq-one)",
        ),
        (
            "{cite:p}`a2001, b2002`",
            "([Ada, 2001; Bab, 2002](https://site/book/back/references.html))",
        ),
        (
            "{cite:t}`a2001` says",
            "[Ada, 2001](https://site/book/back/references.html) says",
        ),
        ("{glue:text}`share` of it", "0.5 of it"),
        ("{cost}`part/page`", "12 s"),
        ("{ref}`a <there>`, {glue:text}`share`", None),
    ],
)
def test_roles(source, wanted, links):
    found = plain(source, links)
    assert "{" not in found
    if wanted:
        assert found == wanted


@pytest.mark.parametrize(
    "source",
    [
        "`{x}` and `y`",
        "the pattern `blocks.{i}` and `y`",
        "write `` {ref}`there` `` so",
        "```python\nx = {ref}`there`\n```",
        "```\n(a)=\n% kept\n:::{note}\n```",
        "$x_{i}$ and $\\frac{a}{b}$ `code`",
        "a {not a role} `x`",
        "plain *text*, [link](https://x.org), `code`",
        "| a | b |\n|---|--:|\n| 1 | 2 |",
    ],
)
def test_code_and_mathematics_stay_as_they_are(source, links):
    assert plain(source, links) == source


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("```{note}\nSee $x$.\n```", "> **Note.** See $x$."),
        ("```{tip}\na\n\nb\n```", "> **Tip.** a\n>\n> b"),
        ("a\n```{tip}\nb\n```\nc", "a\n\n> **Tip.** b\n\nc"),
        ("a\n\n```{tip}\nb\n```\n\nc", "a\n\n> **Tip.** b\n\nc"),
        ("```{tip}\n- a\n```", "> **Tip.**\n>\n> - a"),
        (":::{warning}\nStop.\n:::", "> **Warning.** Stop."),
        (
            "````{important}\n```python\nx = 1\n```\n````",
            "> **Important.**\n>\n> ```python\n> x = 1\n> ```",
        ),
        ("```{admonition} Why\nSo.\n```", "> **Why**\n>\n> So."),
        (
            "```{admonition} {glue:text}`share`\n:class: tip\nSo.\n```",
            "> **0.5**\n>\n> So.",
        ),
        (
            "```{dropdown} More\n:open:\n\n{cite:t}`a2001`\n```",
            "<details><summary>More</summary>\n\n"
            "[Ada, 2001](https://site/book/back/references.html)"
            "\n\n</details>",
        ),
        (
            "```{figure} ../a.svg\n---\nalt: A line\nname: fig-a\n---\n"
            "It rises.\n```",
            "![A line](../a.svg)\n\n*It rises.*",
        ),
        ("```{math}\n:label: eq-two\nx = 1\n```", "$$\nx = 1\n$$"),
        ("$$\nx = 1\n$$ (eq-one)", "$$\nx = 1\n$$"),
        ("$$x = 1$$ (eq-one)", "$$x = 1$$"),
        (
            "```{exercise} Halve\n:label: ex-halve\nDo.\n```",
            "> **Exercise: Halve**\n>\n> Do.",
        ),
        ("```{solution-end}\n```", ""),
        (
            "```{solution} ex-halve\n:class: dropdown\nx\n```",
            "<details><summary>Solution</summary>\n\nx\n\n</details>",
        ),
        ("(there)=\n# Title", '<a id="there"></a>\n\n# Title'),
        ("a\n% a note to authors\n%another\nb", "a\nb"),
        (
            "```{bibliography}\n:all:\n```",
            "- Ada, 2001\n- Bab, 2002",
        ),
    ],
)
def test_blocks(source, wanted, links):
    assert plain(source, links) == wanted


def test_directives_nest(links):
    source = "````{note}\na\n```{tip}\nb {glue:text}`share`\n```\nc\n````"
    wanted = "> **Note.** a\n>\n> > **Tip.** b 0.5\n>\n> c"
    assert plain(source, links) == wanted


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("double", "@functools.cache", "    return 2 * x"),
        ("Pair", "class Pair:", "        return self"),
        ("Pair.swap", "def swap(self):", "    return self"),
    ],
)
def test_packaged_source_is_shown_as_it_stands(name, first, last, links):
    directive = (
        "```{literalinclude} ../../code/pair.py\n"
        f":language: python\n:pyobject: {name}\n```"
    )
    lines = plain(directive, links).split("\n")
    assert (lines[0], lines[-1]) == ("```python", "```")
    assert (lines[1], lines[-2]) == (first, last)


def test_a_name_the_module_lacks_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no 'Pair\.turn'"):
        pyobject(MODULE, "Pair.turn", tmp_path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{abbr}`BPE`", "the role 'abbr'"),
        ("{sub-ref}`x`", "the role 'sub-ref'"),
        ("{py:func}`x`", "the role 'py:func'"),
        ("```{tab-set}\n```", "the directive 'tab-set'"),
        ("```{foo.bar}\n```", "the directive"),
        (":::{card} T\n:::", "the directive 'card'"),
        ("1. a\n\n   ```{note}\n   b\n   ```", "at the line's start"),
        ("> ```{note}\n> b\n> ```", "at the line's start"),
        ("- :::{note}\n  b\n  :::", "at the line's start"),
        ("~~~{note}\nb\n~~~", "at the line's start"),
        ("```{note}\nnever", "never closed"),
        ("```{note}\n{abbr}`inside`\n```", "the role 'abbr'"),
        ("{ref}`nowhere`", "the label 'nowhere'"),
        ("{doc}`nowhere`", "the label 'book/part/nowhere'"),
        ("{cite:p}`c2003`", "no reference 'c2003'"),
        ("{glue:text}`other`", "no cell glues 'other'"),
    ],
)
def test_what_cannot_be_shown_stops_the_binder(source, says, links):
    with pytest.raises(ValueError, match=r"page\.md") as error:
        plain(source, links)
    assert says in str(error.value)
