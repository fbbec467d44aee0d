"""Code as lines that wrap: each an element that knows its indentation."""

import re

import pytest
from bookbinder.codelines import LineFormatter, indent
from pygments import highlight
from pygments.lexers import PythonLexer

CODE = 'def f(x):\n    """one,\n    two"""\n\n    return x < 3\n'
LINE = re.compile(r'^(?:.*<pre><span></span>)?<span class="line".*</span>$')


def shown(code: str) -> str:
    return highlight(code, PythonLexer(), LineFormatter())


def test_each_line_is_an_element_and_its_end_is_not():
    found = shown(CODE).splitlines()
    assert len(found) == len(CODE.splitlines()) + 1
    assert all(map(LINE.match, found[:-1]))
    depths = [re.findall(r"--i:(\d+)", line) for line in found[:-1]]
    assert depths == [[], ["4"], ["4"], [], ["4"]]


def test_what_is_copied_is_the_code():
    text = re.sub("<[^>]*>", "", shown(CODE)).replace("&lt;", "<")
    assert text.replace("&quot;", '"').strip() == CODE.strip()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", 0),
        ("x", 0),
        ("  x ", 2),
        ('<span class="w">    </span><span>x</span>', 4),
        ('<span class="sd">    two</span>', 4),
    ],
)
def test_indentation_is_counted_without_tags(line, wanted):
    assert indent(line) == wanted
