"""Every twin of the book: plain, tidy, stable; and how one is made."""

import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from bookbinder import fingerprint, imports, sync, twin
from bookbinder.book import Book, Page, find_book, fork
from handmade.widgets import base
from nbformat import v4
from test_sync import FIRST, HEAD, SECOND, cell, make_book

BOOK = find_book(Path(__file__).parents[1])
PAGES = [page for page in BOOK.pages if page.has_cells]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.source.stem)

CODE = re.compile(
    r"^(?P<fence>[ >]*`{3,})[^`\n]*\n.*?^(?P=fence)`*\s*$|(`+)[^`].*?\2",
    re.MULTILINE | re.DOTALL,
)
RAW = (
    re.compile(r"^[\s>*+-]*(`{3,}|:{3,}|~{3,})\s*\{", re.MULTILINE),
    re.compile(r"^:{3,}\s*$", re.MULTILINE),
    re.compile(r"^\s*\([\w-]+\)=\s*$", re.MULTILINE),
    re.compile(r"\$\$\s*\([\w-]+\)\s*$", re.MULTILINE),
    re.compile(r"^%", re.MULTILINE),
    re.compile(r"\]\((?!https?://|\.{0,2}/?[\w./-]+\.\w+\))"),
)
ROLE = re.compile(r"\{[\w:.+-]+\}`")


@each_page
def test_no_directive_and_no_role_is_left(page: Page):
    for found in page.read_twin().cells:
        if found.cell_type == "markdown":
            text = found.source
            without_code = CODE.sub("", text)
            for pattern in RAW:
                assert not pattern.search(without_code), (found.id, pattern)
            # a role's tail looks like code: search the whole text for it,
            # less the blocks and the spans that only quote braces
            blocks = re.sub(r"(?ms)^[ >]*(`{3,}).*?^[ >]*\1", "", text)
            spans = re.sub(r"(?<![`}])`[^`]*`", "", blocks)
            assert not ROLE.search(spans), found.id


def test_the_search_for_raw_markup_finds_it():
    for raw in ("```{note}\na\n```", ":::{tip}", "(a)=", "$$ (eq)", "% x"):
        left = CODE.sub("", raw) if not raw.startswith("```") else raw
        assert any(p.search(left) for p in RAW), raw
    assert ROLE.search("see {ref}`x`")
    assert RAW[-1].search("[a](#label)")


@each_page
def test_ids_are_stable_and_unique(page: Page):
    stem = page.source.stem
    ids = [found.id for found in page.read_twin().cells]
    assert len(set(ids)) == len(ids)
    assert ids[0] == f"{stem}-setup"
    for name in ids[1:]:
        assert re.fullmatch(rf"{stem}-\d{{3}}(-caption|-claim)?", name)


@each_page
def test_nothing_of_this_machine_or_this_hour_is_in_it(page: Page):
    text = page.twin.read_text(encoding="utf-8")
    assert not re.search(r"iopub|execution_started|\"execution\":", text)
    places = {str(BOOK.root), str(Path.home()), "ipykernel_"}
    places.add(str(Path(tempfile.gettempdir())) + "/")
    for place in places - {"/"}:
        assert place not in text, place
    for found in page.read_twin().cells:
        for output in found.get("outputs", ()):
            assert output.get("name") != "stderr", (found.id, output.text)


@each_page
def test_code_cells_are_the_pages_own_after_the_setup(page: Page):
    stored = page.read_twin()
    setup = twin.code_cells(stored)[0]
    assert setup.metadata.tags == ["remove-cell"]
    assert f"git+{BOOK.repository}@{BOOK.branch}#" in setup.source
    assert "torch" not in setup.source
    ours = [found.source for found in page.cells("code")]
    assert [c.source for c in twin.page_cells(stored)] == ours
    counts = [c.execution_count for c in twin.page_cells(stored)]
    assert counts == list(range(1, len(counts) + 1))


@each_page
def test_a_figure_says_what_it_shows(page: Page):
    for found in twin.page_cells(page.read_twin()):
        data = [output.get("data", {}) for output in found.outputs]
        if any("image/png" in d or "image/svg+xml" in d for d in data):
            mystnb = found.metadata.get("mystnb", {})
            assert mystnb.get("image", {}).get("alt"), found.id
            assert mystnb.get("figure", {}).get("caption"), found.id


def test_no_twin_and_no_ledger_is_stale():
    assert sync.stale(BOOK) == {}


def test_every_twin_has_its_page():
    wanted = {page.twin for page in PAGES}
    assert set((BOOK.root / "book").rglob("*.ipynb")) == wanted


def bound(
    tmp_path, text: str, outputs=()
) -> tuple[Page, nbformat.NotebookNode]:
    """Bind a page without running it: outputs are given."""
    book = make_book(tmp_path, first=text, second=SECOND)
    page = book.pages[0]
    cells = page.cells("code")
    for found, given in zip(cells, outputs, strict=False):
        found.outputs = given
    kept = fingerprint.of_page(book, cells, {})
    return page, sync.assemble(book, page, twin.Run(cells, kept=kept))


def test_solutions_are_folded_also_when_one_ends_where_the_next_starts(
    tmp_path,
):
    start = "\n```{{solution-start}} {}\n```\n"
    end = "\n```{solution-end}\n```\n"
    _, made = bound(
        tmp_path,
        "(first)=\n# First\n"
        + cell("open = 0")
        + start.format("a")
        + cell("a = 1")
        + end
        + "\nMore.\n"
        + start.format("b")
        + cell("b = 2")
        + cell("b2 = 2")
        + end
        + cell("open = 3"),
    )
    folded = {
        found.source: found.metadata.get("jupyter", {}).get("source_hidden")
        for found in twin.page_cells(made)
    }
    assert folded == {
        "open = 0": None,
        "a = 1": True,
        "b = 2": True,
        "b2 = 2": True,
        "open = 3": None,
    }


def test_captions_follow_their_figures(tmp_path):
    header = (
        "---\nmystnb:\n  figure:\n    caption: As {cite:t}`a2001` says\n---"
    )
    _, made = bound(tmp_path, f"# First\n{cell(header + chr(10) + '1')}")
    assert made.cells[-1].source.startswith("*As [Lovelace, 2001](https")
    assert made.cells[-1].id == f"{made.cells[-2].id}-caption"


def test_streams_that_a_kernel_cut_in_pieces_are_one():
    def said(text, name="stdout"):
        return v4.new_output("stream", name=name, text=text)

    made = v4.new_code_cell("1")
    made.metadata["execution"] = {"iopub.status.busy": "2026-01-01"}
    shown = v4.new_output("display_data", {"text/plain": "x"})
    made.outputs = [
        said("a"),
        said("b"),
        shown,
        said("c"),
        said("d", "stderr"),
    ]
    twin.tidy(made)
    assert [o.get("text") for o in made.outputs] == ["ab", None, "c", "d"]
    assert "execution" not in made.metadata


def test_widget_ids_stay_when_a_twin_is_made_of_its_twin():
    names = [f"{7919 * i % 997:032x}" for i in range(1, 30)]
    made = v4.new_notebook()
    made.metadata["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {
            "state": {
                name: {"model_name": str(i)} for i, name in enumerate(names)
            }
        }
    }
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": names[3]}}
    made.cells = [
        v4.new_code_cell("1", outputs=[v4.new_output("display_data", view)])
    ]
    made.cells[0].id = "page-001"
    once = nbformat.writes(twin.stable_widget_ids(made, "page"))
    assert not any(name in once for name in names)
    again = twin.stable_widget_ids(nbformat.reads(once, as_version=4), "page")
    assert nbformat.writes(again) == once
    (view,) = again.cells[0].outputs
    shown = view.data["application/vnd.jupyter.widget-view+json"]["model_id"]
    (widgets,) = again.metadata["widgets"].values()
    assert widgets["state"][shown]["model_name"] == "3"


def test_outputs_of_other_cells_are_refused(tmp_path):
    page, made = bound(tmp_path, FIRST.replace("{glue:text}`sum`", "42"))
    cells = twin.page_cells(made)
    cells[0].source += "\nprint(1)"
    with pytest.raises(ValueError, match=r"first\.ipynb does not fit"):
        twin.with_outputs(page, cells)


def test_why_a_page_must_run(tmp_path):
    page, made = bound(tmp_path, FIRST.replace("{glue:text}`sum`", "42"))
    book = Book(tmp_path)
    assert twin.must_run(book, page) == "it has no twin"
    assert twin.write(page, made) is True
    assert twin.write(page, made) is False
    assert twin.must_run(book, page) is None
    page.twin.write_text("{")
    assert "is not a notebook" in twin.must_run(book, page)


@pytest.mark.parametrize(
    "code",
    [
        "%pip list",
        "if True:\n    %pip list",
        "%%time\nx = 1",
        "x = (7\n  % 4)",
        "!ls",
        "x = = 1",
        "",
    ],
)
def test_magics_and_broken_cells_hide_no_import(code):
    found = imports.hashes([code, "from handmade import notebook"])
    wanted = {"handmade", "handmade.devices", "handmade.notebook"}
    assert set(found) == wanted


def test_imports_are_followed_and_exercises_found_by_name():
    found = imports.hashes(["import handmade.widgets.next_token as w"])
    for part in ("next_token", "base"):
        assert f"handmade.widgets.{part}" in found
    source = 'from handmade.exercises import check\ncheck("causal-mask", f)'
    found = imports.hashes([source])
    assert "handmade.exercises.blocks.attention" in found
    assert "handmade.blocks.masks" in found
    assert "handmade.exercises.inference.sampling" not in found


def test_a_widgets_new_script_is_shown_and_runs_nothing(monkeypatch):
    code = ["import handmade.widgets.next_token"]
    before = imports.hashes(code)
    page = BOOK.page("inference/sampling")
    stored = page.read_twin()
    assert sync.stale_page(BOOK, page) is None

    def with_a_change(name: str) -> tuple[str, str]:
        script, style = base.assets(name)
        return script + "// new", style + "/* new */"

    monkeypatch.setattr(twin, "assets", with_a_change)
    assert imports.hashes(code) == before
    assert twin.must_run(BOOK, page) is None
    assert sync.stale_page(BOOK, page) == "what it shows changed"
    made = sync.assemble(BOOK, page, twin.stored_run(stored))
    (kind,) = made.metadata.widgets.values()
    scripts = [
        model.state["_esm"]
        for model in kind.state.values()
        if "_esm" in model.state
    ]
    assert scripts
    assert all(script.endswith("// new") for script in scripts)
    assert made.cells == stored.cells


def test_the_fork_is_the_one_that_ci_builds(monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    assert fork() is None
    monkeypatch.setenv("GITHUB_REPOSITORY", "ada/engine")
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    assert fork() == (
        "https://github.com/ada/engine",
        "https://ada.github.io/engine/",
    )


def test_pages_are_found_by_every_name_a_reader_types(tmp_path, monkeypatch):
    book = make_book(tmp_path, first=HEAD, second=SECOND)
    page = book.pages[1]
    for name in (
        "book/second",
        "second",
        "book/second.md",
        "book/second.ipynb",
        str(page.source),
    ):
        assert book.page(name) == page
    with pytest.raises(ValueError, match="got 'third'"):
        book.page("third")


def test_labels_must_be_unique_and_kernel_names_are_none(tmp_path):
    from bookbinder.index import all_labels

    code = cell("class A:\n    name: str\n# A comment")
    book = make_book(tmp_path, first=FIRST + code, second=SECOND + code)
    assert set(all_labels(book)) == {
        "book/first",
        "book/second",
        "first",
        "second",
    }
    book = make_book(tmp_path, first=FIRST, second=FIRST)
    with pytest.raises(ValueError, match="the label 'first' twice"):
        all_labels(book)
