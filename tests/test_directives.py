"""Directives: arguments and options are read as on the page, or refused."""

import re

import pytest
from bookbinder import directives, excerpts
from bookbinder.plain import Links, plain
from sphinx.directives.code import LiteralInclude
from test_plain import links_of

MODULE = '''\
import functools


@functools.cache
def double(x):
    """Return 2x, as ```x + x```."""
    return 2 * x


class Pair:
    left = 1

    def swap(self):
        # turn
        return self
'''
NAME = "../../code/pair.py"


@pytest.fixture
def links(tmp_path) -> Links:
    (tmp_path / "book" / "part").mkdir(parents=True)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "pair.py").write_text(MODULE)
    return links_of(tmp_path)


def include(links: Links, *options: str, name: str = NAME) -> str:
    lines = [f"```{{literalinclude}} {name}", *options, "```"]
    return plain("\n".join(lines), links)


def code(links: Links, *options: str) -> list[str]:
    """Return the lines of the block of code that an include becomes."""
    first, *lines, last = include(links, *options).split("\n")
    assert (first, last) in (("```python", "```"), ("````python", "````"))
    return lines


LINES = MODULE.rstrip("\n").split("\n")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], LINES),
        ([":pyobject: double"], LINES[3:7]),
        ([":pyobject: Pair"], LINES[9:15]),
        # as on the page, where a method keeps its margin
        ([":pyobject: Pair.swap"], LINES[12:15]),
        (
            [":pyobject: Pair.swap", ":dedent:"],
            ["def swap(self):", "    # turn", "    return self"],
        ),
        ([":pyobject: Pair.swap", ":dedent: 4", ":lines: 1"], [LINES[12][4:]]),
        ([":lines: 1, 4-5"], [LINES[0], *LINES[3:5]]),
        ([":lines: 14-"], LINES[13:15]),
        ([":start-after: class Pair", ":lines: 1"], [LINES[10]]),
        ([":start-at: class Pair", ":end-before: def swap"], LINES[9:12]),
        ([":start-at: class Pair", ":end-at: def swap"], LINES[9:13]),
        (
            [":pyobject: double", ":end-at: def", ":append: '    ...'"],
            [*LINES[3:5], "    ..."],
        ),
        ([":lines: 1", ":prepend: '# pair.py'"], ["# pair.py", LINES[0]]),
        ([":linenos:", ":emphasize-lines: 1-2", ":lines: 1"], LINES[:1]),
        ([":lineno-match:", ":lines: 1", ":name: a", ":class: b"], LINES[:1]),
        (["---", "pyobject: double", "---"], LINES[3:7]),
    ],
    ids=str,
)
def test_the_excerpt_is_the_one_of_the_page(options, wanted, links):
    while wanted[-1] == "":
        wanted = wanted[:-1]
    assert code(links, *options) == wanted


def test_a_block_of_code_outlasts_the_backticks_in_it(links):
    shown = include(links, ":pyobject: double")
    assert shown.startswith("````python\n")
    assert shown.endswith("\n````")


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ([":language: text"], "```text\n"),
        ([":caption: The {glue:text}`share`"], "*The 0.5*\n\n```python\n"),
        ([":caption:"], f"*{NAME}*\n\n```python\n"),
    ],
)
def test_language_and_caption_are_shown(options, head, links):
    assert include(links, ":lines: 1", *options).startswith(head)


def test_a_changed_module_is_read_again(links):
    assert code(links, ":pyobject: Pair")[1] == "    left = 1"
    path = links.root / "code" / "pair.py"
    path.write_text(MODULE.replace("left = 1", "left = 2"))
    assert code(links, ":pyobject: Pair")[1] == "    left = 2"
    assert include(links, name="/code/pair.py").count("left = 2") == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([":pyobject: Pair.turn"], "has no 'Pair.turn'"),
        ([":lines: 90"], "out of range"),
        ([":lines: x"], "invalid line number spec"),
        ([":start-at: nowhere"], "start-at pattern not found"),
        ([":end-before: nowhere"], "end-before pattern not found"),
        ([":start-at: a", ":start-after: b"], "Cannot use both"),
        ([":pyobject: Pair.swap", ":dedent: 9"], "non-whitespace stripped"),
        ([":diff: pair.py"], "'diff' of 'literalinclude': got 'pair.py'"),
        ([":colour: red"], "Unknown option keys: ['colour']"),
        ([":dedent: much"], "Invalid option value for 'dedent'"),
        (["more"], "Has content, but none permitted"),
    ],
    ids=str,
)
def test_what_the_page_would_not_show_is_refused(options, says, links):
    with pytest.raises(ValueError, match=r"page\.md") as error:
        include(links, *options)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "../../../outside.py",
        "/../outside.py",
        "/etc/passwd",
        "../../link.py",
        "missing.py",
        "..",
    ],
)
def test_only_files_of_the_repository_are_included(name, links, tmp_path):
    outside = tmp_path.parent / "outside.py"
    outside.write_text("secret = 1\n")
    (tmp_path / "link.py").symlink_to(outside)
    with pytest.raises(ValueError, match=r"page\.md: literalinclude: got"):
        include(links, name=name)
    outside.unlink()


def test_a_file_that_is_no_utf8_is_refused(links):
    (links.root / "code" / "latin.py").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ValueError, match=r"page\.md.*latin\.py"):
        include(links, name="../../code/latin.py")


def options_of(name: str) -> dict:
    return directives.TABLE[name].build.option_spec or {}


EVERY = [(n, o) for n in directives.TABLE for o in sorted(options_of(n))]
# an argument, and a value for each option that takes none of the usual
ARGUMENTS = {"literalinclude": NAME, "figure": "../a.svg", "solution": "a"}
ARGUMENTS |= {"solution-start": "a", "admonition": "T"}
VALUES = {
    "align": "left",
    "color": "primary",
    "icon": "alert",
    "chevron": "right-down",
    "animate": "fade-in",
    "margin": "1",
    "lines": "1",
    "emphasize-lines": "1",
    "pyobject": "double",
    "encoding": "utf-8",
    "start-at": "def",
    "start-after": "def",
    "end-at": "def",
    "end-before": "def",
    "label": "there",
    "name": "there",
    "figclass": "x",
    "loading": "lazy",
    "list": "bullet",
    "enumtype": "arabic",
    "dedent": "0",
}


@pytest.mark.parametrize(("name", "option"), EVERY)
def test_every_option_is_shown_says_nothing_or_is_refused(name, option, links):
    value = VALUES.get(option, "x" if "class" in option else "1")
    body = "a" if directives.TABLE[name].build.has_content else ""
    argument = ARGUMENTS.get(name, "")
    text = f"```{{{name}}} {argument}\n{{}}\n{body}\n```"
    row = directives.TABLE[name]
    shown = plain(text.replace("{}\n", ""), links)
    with_option = text.replace("{}", f":{option}: {value}")
    if option in row.inert:
        assert plain(with_option, links) == shown
    elif option in row.shown:
        plain(with_option, links)
    else:
        with pytest.raises(ValueError, match=re.escape(repr(option))):
            plain(with_option, links)


def test_rows_name_only_options_that_the_build_knows():
    for name, row in directives.TABLE.items():
        known = set(options_of(name))
        assert row.shown <= known, name
        assert row.inert - directives.INERT <= known, name
    assert set(LiteralInclude.option_spec) > excerpts.CUTS


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("```{admonition}\na\n```", "1 argument(s) required"),
        ("```{note}\n:colour: red\n\na\n```", "['colour']"),
        ("```{dropdown} T\n:color: mauve\n\na\n```", "'color'"),
        ("```{exercise} T\n:hidden:\n\na\n```", "'hidden' of 'exercise'"),
        ("```{figure} a.svg\n:width: 9px\n\na\n```", "'width' of 'figure'"),
        ("```{bibliography}\n:filter: a\n```", "'filter' of 'bibliography'"),
        ("```{solution} a b\nc\n```", "maximum 1 argument"),
        ("```{note}\n---\n'a\n---\nb\n```", "Invalid options"),
    ],
)
def test_a_directive_that_the_build_refuses_is_refused(source, says, links):
    with pytest.raises(ValueError, match=r"page\.md") as error:
        plain(source, links)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("```{exercise}\nDo.\n```", "> **Exercise**\n>\n> Do."),
        (
            "```{exercise-start} T\n:label: a\n:nonumber:\n```",
            "**Exercise: T**",
        ),
        (
            "```{figure} a.svg\nOne *b*\nc.\n\n- two\n```",
            "![](a.svg)\n\n*One *b*\nc.*\n\n- two",
        ),
        ("```{figure} a.svg\n```", "![](a.svg)"),
        ("```{dropdown}\na\n```", None),
    ],
)
def test_optional_parts_may_be_left_out(source, wanted, links):
    shown = plain(source, links)
    if wanted is None:
        wanted = "<details><summary>Details</summary>\n\na\n\n</details>"
    assert shown == wanted
