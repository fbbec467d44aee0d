"""Where a page can be run: Colab at an exercise, Binder where it fits."""

import json
from types import SimpleNamespace

import pytest
from bookbinder import launch, sync, twin
from bookbinder.book import find_book
from nbformat import v4
from test_sync import SECOND, make_book

BOOK = find_book()
EXERCISES = """(first)=
# First

```{exercise} With a title
:label: one
Do it.
```

+++

```{exercise-start}
:label: two
```

Do more.

```{code-cell}
1
```

```{exercise-end}
```
"""


@pytest.fixture
def book(tmp_path):
    return make_book(tmp_path, first=EXERCISES, second=SECOND)


def test_an_exercise_leads_to_its_cell_in_the_twin(book):
    page = book.page("first")
    found = launch.exercise_cells(page)
    assert found.keys() == {"one", "two"}
    made = sync.assemble(book, page, twin.Run(page.cells("code"), {}, {}))
    ids = {cell.metadata["id"]: cell for cell in made.cells}
    assert "With a title" in ids[found["one"]].source
    assert "Do more" in ids[found["two"]].source
    assert all(cell.metadata["id"] == cell.id for cell in made.cells)


def test_every_exercise_of_the_book_has_a_cell():
    for page in BOOK.pages:
        cells = launch.exercise_cells(page)
        assert len(set(cells.values())) == len(cells), page.name
        assert page.text.count("{exercise-start}") <= len(cells), page.name


def shown(book, page: str, gigabytes: float) -> list[dict]:
    notebook = v4.new_notebook()
    notebook.metadata["handmade"] = {
        "cost": {"seconds": 1, "gigabytes": gigabytes}
    }
    book.page(page).twin.write_text(json.dumps(notebook), encoding="utf-8")
    buttons = [
        {"text": name, "url": name, "icon": "a picture"}
        for name in ("Binder", "Colab")
    ]
    group = {"label": "launch-buttons", "buttons": buttons}
    context = {"header_buttons": [group, {"label": "other"}]}
    app = SimpleNamespace(book=book)
    launch.offer_binder(app, f"book/{page}", "page.html", context, None)
    return group["buttons"]


@pytest.mark.parametrize(("gigabytes", "fits"), [(0.4, True), (2.4, False)])
def test_binder_is_offered_where_its_memory_suffices(book, gigabytes, fits):
    found = shown(book, "first", gigabytes)
    assert [b["text"] for b in found] == ["Binder"] * fits + ["Colab"]
    assert all("icon" not in button for button in found)


def test_each_page_numbers_its_exercises_from_one():
    pages = {
        "a": {"figure": {"f": (7,)}, "exercise": {"y": (30,), "x": (29,)}},
        "b": {"exercise": {"z": (31,)}},
    }
    env = SimpleNamespace(toc_fignumbers=pages)
    launch.number_exercises(None, env)
    assert pages["a"]["exercise"] == {"x": (1,), "y": (2,)}
    assert pages["b"]["exercise"] == {"z": (1,)}
    assert pages["a"]["figure"] == {"f": (7,)}
