"""MyST in, plain notebook markdown out: nothing raw, nothing lost."""

import re
from pathlib import Path

import pytest
from bookbinder import formulas, myst
from bookbinder.plain import Links, plain
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt


def links_of(root: Path) -> Links:
    """Return what the tests' one page may refer to."""
    folder = root / "book" / "part"
    return Links(
        root=root,
        page=folder / "page.md",
        site="https://site/",
        labels={
            "there": ("book/other.html#there", "Elsewhere"),
            "v1.5 (old)": ("book/other.html#v1-5-old", "Version 1.5"),
            "eq-one": ("book/part/page.html#equation-eq-one", "(1)"),
            "eq-two": ("book/part/page.html#equation-eq-two", "(2)"),
            "book/part/next": ("book/part/next.html", "The next page"),
        },
        citations={"a2001": "Ada, 2001", "b2002": "Bab, 2002"},
        values={"share": "0.5", "bars": "a|b"},
        macros={"softmax": r"\operatorname{softmax}", "two": r"\one\one"}
        | {"one": "1"},
        extensions=("amsmath", "colon_fence", "dollarmath"),
    )


@pytest.fixture
def links(tmp_path) -> Links:
    folder = tmp_path / "book" / "part"
    folder.mkdir(parents=True)
    (folder / "next.md").touch()
    (folder / "data.v2.csv").touch()
    return links_of(tmp_path)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("{set}`share`", "0.5"),
        ("{set}`large $x$ <theta=1e6 pairs=4>`", "large $x$"),
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
            "[(1)](https://site/book/part/page.html#equation-eq-one)",
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
        ("{minutes}`part/page part/b`", "the site says how long"),
        (
            "{ref}`then <v1.5 (old)>`",
            "[then](https://site/book/other.html#v1-5-old)",
        ),
        ("{ref}`There`", "[Elsewhere](https://site/book/other.html#there)"),
        ("{glue:text}``share``", "0.5"),
        ("**{glue:text}`share`** *{glue:text}`bars`*", "**0.5** *a|b*"),
        ("[{glue:text}`share`](https://a.b/c)", "[0.5](https://a.b/c)"),
        ("# At {glue:text}`share` #", "# At 0.5 #"),
        ("{glue:text}`share`\n===", "0.5\n==="),
        (
            "> - a {ref}`two\n>   lines <there>` b",
            "> - a [two\n>   lines](https://site/book/other.html#there) b",
        ),
        (
            "| a | {glue:text}`share` |\n|---|---|\n"
            "| `x \\| y` | {glue:text}`bars` and {ref}`there` |",
            "| a | 0.5 |\n|---|---|\n| `x \\| y` | a\\|b and "
            "[Elsewhere](https://site/book/other.html#there) |",
        ),
        (
            "1. | 1 | {glue:text}`share` |\n   |---|---|",
            "1. | 1 | 0.5 |\n   |---|---|",
        ),
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
        "~~~\n% kept\n(a)=\n{ref}`there`\n~~~",
        "~~~~python\n~~~\n% kept\n```{note}\n~~~~",
        "- a\n\n  ~~~\n  % kept\n  ~~~\n\n> ~~~\n> % kept\n> ~~~",
        "    % kept in code by its margin\n    (a)=\n    {ref}`x`",
        "<!--\n% kept\n(a)=\n-->",
        "`` `{ref}`x` ``",
        "50 % of it\n\na (b)= c",
        "\\{ref}",
        '[a](https://x.org/v1.5/a_(b).html "t"), <https://x.org/a.b>',
        "[a](data.v2.csv), ![a.b](../f.g/h.svg)",
        "[a][b.c]\n\n[b.c]: https://x.org/a.b",
        "a  \nhard\\\nbreak\t&amp; <b>x</b>",
        "- [ ] a\n* * *\n1) b",
        "---\nno: front matter\n---",
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
        ("```{tip}\n* a\n```", "> **Tip.**\n>\n> * a"),
        ("```{tip} a *b*\nc\n```", "> **Tip.** a *b*\n> c"),
        ("~~~{tip}\na\n~~~", "> **Tip.** a"),
        (
            ":::::{tip}\n:::{tip}\na\n:::\n:::::",
            "> **Tip.**\n>\n> > **Tip.** a",
        ),
        (
            "1. a\n\n   ```{tip}\n   b\n   ```\n2. c",
            "1. a\n\n   > **Tip.** b\n\n2. c",
        ),
        ("> ```{tip}\n> b\n> ```", "> > **Tip.** b"),
        ("- :::{tip}\n  b\n  :::\n- c", "- > **Tip.** b\n\n- c"),
        (
            "> - ~~~{tip}\n>   b\n>\n>   c\n>   ~~~\n> d",
            "> - > **Tip.** b\n>   >\n>   > c\n>\n> d",
        ),
        (":::{warning}\nStop.\n:::", "> **Warning.** Stop."),
        (
            "````{important}\n```python\nx = 1\n```\n````",
            "> **Important.**\n>\n> ```python\n> x = 1\n> ```",
        ),
        ("```{admonition} Why\nSo.\n```", "> **Why**\n>\n> So."),
        (
            ":::{admonition} {glue:text}`share`\n:class: tip\nSo.\n:::",
            "> **0.5**\n>\n> So.",
        ),
        (
            "```{dropdown} More\n:open:\n\n{cite:t}`a2001`\n```",
            "<details open><summary>More</summary>\n\n"
            "[Ada, 2001](https://site/book/back/references.html)"
            "\n\n</details>",
        ),
        (
            ":::{dropdown} A `b<c` of $x < 1$, {cite:t}`a2001`\nd\n:::",
            "<details><summary>A <code>b&lt;c</code> of $x &lt; 1$, "
            '<a href="https://site/book/back/references.html">Ada, 2001</a>'
            "</summary>\n\nd\n\n</details>",
        ),
        (
            "```{figure} ../a.svg\n---\nalt: A line\nname: fig-a\n---\n"
            "It rises.\n```",
            "![A line](../a.svg)\n\n*It rises.*",
        ),
        ("```{math}\n:label: eq-two\nx = 1\n```", "$$\nx = 1 \\tag{2}\n$$"),
        ("$$\nx = 1\n$$ (eq-one)", "$$\nx = 1 \\tag{1}\n$$"),
        ("$$x = 1$$ (eq-one)\n\na", "$$x = 1 \\tag{1}$$\n\na"),
        ("$$\nx\n= 1$$ (eq-one)", "$$\nx\n= 1 \\tag{1}$$"),
        ("> $$\n> x\n> $$ (eq-one)", "> $$\n> x \\tag{1}\n> $$"),
        (
            "$$\na &= b \\\\\n&= c\n$$",
            "$$\\begin{aligned}\na &= b \\\\\n&= c\\end{aligned}\n$$",
        ),
        (
            "```{math}\na \\\\ \\two\n```",
            "$$\n\\begin{aligned}\na \\\\ 11\n\\end{aligned}\n$$",
        ),
        (
            "```{math}\n:nowrap:\n\\begin{align}x\\end{align}\n```",
            "\\begin{align}x\\end{align}",
        ),
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
        ("- (there)=\n  b", '- <a id="there"></a>\n\n  b'),
        # as on the page, a comment ends a paragraph
        ("a\n% a note to authors\n%another\nb", "a\n\nb"),
        ("a\n\n% note\n\nb", "a\n\nb"),
        ("% {abbr}`note`", ""),
        ("1. a\n   % note\n   b", "1. a\n\n   b"),
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
    ("source", "says"),
    [
        ("{abbr}`BPE`", "the role 'abbr'"),
        ("{sub-ref}`x`", "the role 'sub-ref'"),
        ("{py:func}`x`", "the role 'py:func'"),
        ("```{tab-set}\n```", "the directive 'tab-set'"),
        ("```{foo.bar}\n```", "the directive"),
        (":::{card} T\n:::", "the directive 'card'"),
        ("- ~~~{card} T\n  ~~~", "the directive 'card'"),
        ("| a |\n|---|\n| {abbr}`x` |", "the role 'abbr'"),
        ("# {abbr}`x`", "the role 'abbr'"),
        ("![{abbr}`x`](a.svg)", "a role in '![{abbr}`x`](a.svg)'"),
        ("```{code-cell}\n1\n```", "the directive 'code-cell'"),
        ("```{eval-rst}\n```", "the directive 'eval-rst'"),
        ("```{note}\nnever", "never closed"),
        ("> ```python\n> never\n\nmore", "never closed"),
        (":::{note}\nnever\n::", "never closed"),
        # a backtick in the line that opens it: no fence of backticks
        ("```{admonition} `a`\nSo.\n```", "never closed"),
        (":::tip\na div\n:::", "':::tip'"),
        ("a[^1]\n\n[^1]: b", "footnote"),
        ("a\n\n+++\n\nb", "myst_block_break"),
        ("[a](nowhere.md)", "the label 'book/part/nowhere'"),
        ("[a](no.where)", "the label 'no.where'"),
        ("[a](#no.where)", "the label 'no.where'"),
        ("[a](../../../up.md)", "'../../../up'"),
        ("{doc}`../../../up`", "'../../../up'"),
        ("<project:next.md>", "'project:next.md'"),
        ("[a](inv:x#y)", "'inv:x#y'"),
        ("$$\nx\n$$ (eq-six)", "the label 'eq-six'"),
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


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("[a](next.md)", "[a](https://site/book/part/next.html)"),
        ("[a](./next.md)", "[a](https://site/book/part/next.html)"),
        ("[a](/book/part/next.md)", "[a](https://site/book/part/next.html)"),
        ("[](next.md)", "[The next page](https://site/book/part/next.html)"),
        (
            '[*a*](next.md#there "t")',
            '[*a*](https://site/book/other.html#there "t")',
        ),
        (
            "[a](#there 'a \"b\"')",
            '[a](https://site/book/other.html#there "a \\"b\\"")',
        ),
        (
            "see `b` [a](next.md), *[](next.md)* and <https://x.org>",
            "see `b` [a](https://site/book/part/next.html), "
            "*[The next page](https://site/book/part/next.html)* "
            "and <https://x.org>",
        ),
        (
            "- one [a\n  b](next.md) two\n- c [d](#there)",
            "- one [a\n  b](https://site/book/part/next.html) two\n"
            "- c [d](https://site/book/other.html#there)",
        ),
        ("[a](#there)", "[a](https://site/book/other.html#there)"),
        ("[a](there)", "[a](https://site/book/other.html#there)"),
        (
            "[a](<#v1.5 (old)>)",
            "[a](https://site/book/other.html#v1-5-old)",
        ),
        (
            "[a {glue:text}`share`](#there)",
            "[a 0.5](https://site/book/other.html#there)",
        ),
        (
            "[a][b]\n\n[b]: next.md",
            "[a](https://site/book/part/next.html)\n\n[b]: next.md",
        ),
    ],
)
def test_links_into_the_book_lead_into_the_site(source, wanted, links):
    assert plain(source, links) == wanted


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("$\\softmax x$", "$\\operatorname{softmax} x$"),
        ("$\\two$, `$\\two$`", "$11$, `$\\two$`"),
        ("```\n$\\two$\n```", "```\n$\\two$\n```"),
        ("$$\n\\softmax(\\two)\n$$", "$$\n\\operatorname{softmax}(11)\n$$"),
        ("$\\twofold \\\\two$", "$\\twofold \\\\two$"),
        (
            "\\begin{align}\n\\two \\\\\n\\two\n\\end{align}\n\\two",
            "\\begin{align}\n11 \\\\\n11\n\\end{align}\n\\two",
        ),
        ("> $$\n> \\two\n> $$", "> $$\n> 11\n> $$"),
    ],
)
def test_the_sites_macros_are_written_out(source, wanted, links):
    assert plain(source, links) == wanted


LINKS = links_of(Path("/nowhere"))
RENDER = MarkdownIt("commonmark").enable("table").render
# lines that are markup, unless they stand in code
LINES = st.sampled_from(
    ["", "% a", "(a)=", "{abbr}`x`", "```{tip}", "~~~", ":::{card}", "a", "$$"]
)
MARKERS = ["", "> ", "- ", "1. ", "> - ", "- > ", "10) > "]


def inside(marker: str, text: str) -> str:
    """Put text into the lists and quotes that a marker opens."""
    first, *others = text.split("\n")
    margin = re.sub(r"[^\s>]", " ", marker)
    return "\n".join([marker + first, *(margin + line for line in others)])


@given(
    lines=st.lists(LINES),
    mark=st.sampled_from("`~"),
    marker=st.sampled_from(MARKERS),
)
def test_code_stays_whatever_is_in_it_and_wherever_it_is(lines, mark, marker):
    fence = mark * 4
    source = inside(marker, "\n".join([f"{fence}text", *lines, fence]))
    assert plain(source, LINKS) == source


@given(
    before=st.sampled_from(
        ["a ", "*a* ", "`a` ", "$a$ ", "\\` ", "[a](https://b.c) "]
    ),
    after=st.sampled_from([" b", "`b`", ". b", "\nb", "$b$", " \\* b", ")"]),
    marker=st.sampled_from([*MARKERS, "# ", "> ## ", "| a |\n|---|\n| "]),
)
def test_a_role_is_found_wherever_it_stands(before, after, marker):
    if "#" in marker or "|" in marker:
        after = after.replace("\n", " ")
    text = f"{before}{{glue:text}}`share`{after}"
    source = marker + text if "|" in marker else inside(marker, text)
    assert plain(source, LINKS) == source.replace("{glue:text}`share`", "0.5")


@given(
    marker=st.sampled_from(MARKERS),
    outer=st.sampled_from(["`````", "~~~~~", ":::::"]),
    inner=st.sampled_from(["```", "~~~", ":::"]),
    body=st.lists(st.sampled_from(["a", "", "- b", "> c", "d"]), min_size=1),
    around=st.booleans(),
)
def test_a_directive_is_the_same_in_every_container(
    marker, outer, inner, body, around
):
    lines = [f"{inner}{{admonition}} T", "x", *body, inner]
    if around:
        lines = [f"{outer}{{admonition}} U", "y", *lines, outer]
    text = "\n".join(lines)
    shown = plain(inside(marker, text), LINKS)
    assert RENDER(shown) == RENDER(inside(marker, plain(text, LINKS)))
    assert shown.count("**") == 2 + 2 * around


# what markdown is made of, in any order: much of it is no markup then
PIECES = st.sampled_from([
    "a", "b ", " ", "\t", "\n", "\n\n", "> ", "- ", "1. ", "    ", "`", "```",
    "~~~", ":::", "$", "$$", "|", "\\", "[", "]", "(", ")", "{tip}", "# ", "%",
    "=", "===\n", "+", "<", "!", "_", "^", "&amp;", "<b>", "<div>\n", "\x0b",
    "\xa0", "\u2028", "\r", "\0", "| a |\n|---|\n", "\n---\n", "(eq-one)",
    "{glue:text}`share`", "\\begin{align}", "\\\\",
])  # fmt: skip
REWRITTEN = {"myst_target", "myst_line_comment", "math_block_label"}


def only_roles(text: str) -> bool:
    """Say whether nothing but roles has to be rewritten."""
    tokens = myst.parse(text, LINKS.extensions)
    spans = {span.type for t in tokens for span in t.children or ()}
    return (
        not REWRITTEN & {token.type for token in tokens}
        and not any(map(myst.directive, tokens))
        and "link_open" not in spans
        and not any(formulas.needs_rows(t.content) for t in tokens)
    )


@given(st.lists(PIECES, max_size=25).map("".join))
def test_any_text_is_shown_or_refused_by_its_pages_name(text):
    shown, refused = "", str(LINKS.page)
    try:
        shown = plain(text, LINKS)
    except ValueError as error:
        refused = str(error)
    assert str(LINKS.page) in refused
    if shown and only_roles(text):
        back = shown.replace("0.5", "{glue:text}`share`")
        assert back == myst.normalized(text).strip("\n")
