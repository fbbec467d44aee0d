"""A reader sees the idea: proofs are folded, numbers stand for verdicts."""

import pytest
from bookbinder import pages
from bookbinder.book import Page, find_book
from bookbinder.idea import Names
from shown import problems, typed_results

BOOK = find_book()
PAGES = [page for page in BOOK.pages if page.has_cells]
SHARE = 0.75  # of the visible lines carry an idea


def of_page(page: Page) -> list[str]:
    """Return all that is shown on a page and should not be."""
    reading = pages.read(BOOK, page)
    found = [
        f"{problem}\n    in: {cell.source.strip()[:60]!r} …"
        for cell in reading.shown
        for problem in problems(cell.source, reading.names)
    ]
    for cell in page.cells("code"):
        found += typed_results(cell.source)
    share = pages.measure(BOOK, page).idea_share
    if share < SHARE:
        found.append(f"{share:.0%} of its lines are idea, want {SHARE:.0%}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.source.stem)
def test_what_a_reader_sees_is_the_idea(page):
    found = of_page(page)
    assert not found, "\n".join(found)


IMPORTS = """\
from handmade.exercises import ExerciseError, check
from handmade.notebook import glue
from handmade.widgets.mask_editor import edit_masks
"""


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("x = softmax(y)\nprint(x.sum())", 0),
        ("assert x", 1),
        ("for x in y:\n    assert x\n    glue('a', x)", 2),
        ("torch.testing.assert_close(x, y)", 1),
        ("def test(f):\n    assert f(1) == 2", 0),
        ("edit_masks(ids)", 1),
        ("try:\n    check('a', f)\nexcept ExerciseError as e:\n    pass", 1),
        ("try:\n    f()\nexcept ValueError as e:\n    print(e)", 0),
        ("print('they are equal')", 1),
        ("print('the same in', n, 'of', m)", 0),
        ("print(f'at the same width {gap:.1e}')", 0),
        ("print('equal:', torch.allclose(x, y))", 1),
        ("print(a == b)", 1),
        ("print(f'{(a == b).all()}')", 1),
        ("print((a == b).sum())", 0),
        ("print((a > b).all().item())", 1),
        ("print('gap', bool(gap < 1))", 1),
        ("print(a is b, not c)", 1),
        ("same = [torch.equal(a, b) for a in c]\nprint(f'is {same}')", 1),
        ("a.equal(b)", 1),
        ("gap  # measured: 0.5 to 0.7", 1),
        ("gap  # three seeds: 0.41 to 0.87", 1),
    ],
)
def test_what_belongs_in_a_fold_is_found(source, count):
    names = Names.of([IMPORTS])
    assert len(list(problems(source, names))) == count
