"""Each claim of the book holds something.

That each raises where it is negated is found while the book runs again:
`pytest --nbval --negate book`, and tests/test_nbval.py tests that.
"""

import ast

import pytest
from bookbinder import claims
from bookbinder.book import Page, find_book
from negation import NEGATED, is_empty, needed_later, negated, proofs

PAGES = [
    page
    for page in find_book().pages
    if any(claims.CLAIM in claims.tags(c) for c in page.cells("code"))
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.source.stem)


def claimed(page: Page) -> dict[int, str]:
    """Return number -> source of the cells that are claims."""
    return {
        number: cell.source
        for number, cell in enumerate(page.cells("code"))
        if claims.CLAIM in claims.tags(cell)
    }


@each_page
def test_a_claim_holds_an_assert_or_a_parity(page):
    for number, source in claimed(page).items():
        found = proofs(source)
        assert found, f"code cell {number + 1} holds nothing:\n{source}"
        for proof in found:
            said = f"code cell {number + 1}: {ast.unparse(proof)}"
            assert not is_empty(proof), f"always true: {said}"


@each_page
def test_no_other_cell_needs_what_a_claim_defines(page):
    sources = [cell.source for cell in page.cells("code")]
    for number in claimed(page):
        needed = needed_later(sources, number)
        assert not needed, f"code cell {number + 1} defines {needed}"


# -- the instrument itself


def run(source: str, capsys) -> list[int]:
    exec(negated(source), {})
    (said,) = NEGATED.findall(capsys.readouterr().out)
    return ast.literal_eval(said)


CLOSE = "from torch import ones\nfrom torch.testing import assert_close\n"


@pytest.mark.parametrize(
    ("source", "raised"),
    [
        ("x = 1\nassert x == 1\nassert x", [0, 1]),
        ("for x in (1, 2):\n    assert x\nassert x > 1", [0, 1]),
        ("for x in ():\n    assert x\nassert not ()", [1]),
        ("if 0:\n    assert 1 < 2", []),
        ("assert 0", []),
        (CLOSE + "assert_close(ones(1), ones(1))", [0]),
        (CLOSE + "if 0:\n    assert_close(ones(1), ones(1))", []),
        ("def parity(x): print(x)\n_ = parity(1)\nprint(parity(2))", [0, 1]),
    ],
)
def test_what_never_ran_or_never_held_is_seen(source, raised, capsys):
    assert run(source, capsys) == raised


def test_what_raises_by_itself_still_does(capsys):
    with pytest.raises(AssertionError):
        run(CLOSE + "assert_close(ones(1), 2 * ones(1))", capsys)


@pytest.mark.parametrize(
    ("source", "empty"),
    [
        ("assert x", False),
        ("assert True", True),
        ("assert 1 < 2", True),
        ("assert (x, 'says')", True),
        ("assert_close(x, x)", True),
        ("assert_close(f(x), x)", False),
    ],
)
def test_what_holds_whatever_happens_is_seen(source, empty):
    (proof,) = proofs(source)
    assert is_empty(proof) is empty


@pytest.mark.parametrize(
    ("sources", "needed"),
    [
        (["x = 1", "print(x)"], {"x"}),
        (["x = 1", "x = 2", "print(x)"], set()),
        (["for x in y:\n    z = x", "for x in y:\n    print(x)"], set()),
        (["import m", "def f():\n    return m.g()"], {"m"}),
        (["x = 1", "print(x)\nx = 2"], {"x"}),
        (["x = [i for i in y]", "[x for x in y]"], set()),
        (["x = 1", "x = = 2"], set()),
    ],
)
def test_what_a_cell_leaves_to_others_is_seen(sources, needed):
    assert needed_later(sources, 0) == needed
