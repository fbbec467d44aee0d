"""Cells that run in the reader's browser: what they say, and what stops them.

One browser context for all, so that Python is fetched and compiled once.
"""

import contextlib
import functools
import http.server
import os
import threading

import pytest
from bookbinder import claims, live
from bookbinder.__main__ import Handler
from bookbinder.book import find_book
from site_helpers import WIDER, Visit

from conftest import Quiet

BOOK = find_book()
PAGES = {page.name: page for page in BOOK.pages}
PLANS = live.plans(BOOK)
SAID, CELL = ".hm-run-said", ".hm-live"
LIMIT = 240_000  # milliseconds: another may be using this machine
# what a cell shows, as [kind, text]; HTML as a browser writes it
SHOWN = """(all) => all.map((cell) =>
  [...cell.querySelectorAll(".cell_output .output, .cell_output figure svg")]
    .map((one) => one.matches("svg")
      ? ["svg", one.getAttribute("viewBox")]
      : one.matches(".text_html") ? ["html", one.innerHTML.trim()]
      : ["text", one.querySelector("pre").textContent.trimEnd()]))"""
WRITTEN = """(texts) => texts.map((text) => {
  const made = document.createElement("div");
  made.innerHTML = text;
  return made.innerHTML.trim();
})"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def context(browser):
    made = browser.new_context(
        viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
    )
    made.set_default_timeout(LIMIT)
    yield made
    made.close()


@contextlib.contextmanager
def reading(context, home, name, scheme="http"):
    """Open a page, and fail at the end if anything went wrong on it."""
    tab = context.new_page()
    reader = Visit(tab, home)
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    reader.asked = asked
    tab.goto(f"{home}/{name}.html")
    try:
        yield reader
    finally:
        tab.close()
    assert not reader.faults


def until(tab, words: str, selector: str = SAID) -> None:
    """Wait until the line says one of these words."""
    test = "([at, said]) => new RegExp(said).test(document.querySelector(at)\
        ?.textContent ?? '')"
    tab.wait_for_function(test, arg=[selector, words], timeout=LIMIT)


def run_page(tab) -> None:
    tab.locator(".hm-run-page button").first.click()
    until(tab, "Every cell ran|failed|could not")


def cell(tab, number: int):
    return tab.locator(CELL).nth(number - 1)


def type_and_run(tab, number: int, text: str) -> None:
    """Type a cell's text anew, and run it by the keyboard."""
    box = cell(tab, number).locator("textarea")
    box.fill(text)
    box.press("Shift+Enter")


def ended(tab, number: int) -> str:
    """Wait until a cell has run; return how that ended."""
    tab.wait_for_function(
        "([at, i]) => !['waiting', 'running', ''].includes("
        "document.querySelectorAll(at)[i].dataset.run)",
        arg=[CELL, number - 1],
        timeout=LIMIT,
    )
    return cell(tab, number).get_attribute("data-run")


def stored(page) -> list[list[tuple[str, str]]]:
    """Return of each cell what its twin shows: kind and text."""
    found = []
    for one in page.read_twin().cells:
        if one.cell_type != "code" or "remove-cell" in claims.tags(one):
            continue
        shown = []
        for output in one.outputs:
            data = output.get("data", {})
            if output.output_type == "stream":
                shown.append(("text", output.text.rstrip()))
            elif "text/html" in data:
                shown.append(("html", data["text/html"]))
            elif "image/svg+xml" in data:
                shown.append(("svg", ""))
            elif output.output_type == "execute_result":
                shown.append(("text", data["text/plain"].rstrip()))
        found.append(shown)
    return found


@pytest.mark.parametrize("name", PLANS)
def test_runs_top_to_bottom_with_the_stored_outputs(name, context, address):
    page = PAGES[name]
    plan = PLANS[name]
    needed = [need for need in plan.needs if need is not None]
    with reading(context, address, name) as reader:
        tab = reader.page
        assert not [url for url in reader.asked if "pyodide" in url]
        before = tab.eval_on_selector_all(CELL, SHOWN)
        run_page(tab)
        assert tab.inner_text(SAID).startswith("Every cell ran")
        after = tab.eval_on_selector_all(CELL, SHOWN)
        how = tab.eval_on_selector_all(
            CELL, "all => all.map((one) => one.dataset.run)"
        )
        assert how == ["needs" if need else "done" for need in needed]
        compared = 0
        both = zip(page.cells("code"), stored(page), strict=True)
        live_ones = [
            pair
            for pair, need in zip(both, plan.needs, strict=True)
            if need is not None
        ]
        cells = zip(live_ones, needed, before, after, strict=True)
        for (one, wanted), need, built, shown in cells:
            if need:  # it keeps what the build showed, an explorable too
                assert shown == built
                continue
            if "nbval-ignore-output" in claims.tags(one):
                # kinds alone: a figure, rounding errors
                assert [kind for kind, _ in shown] == [k for k, _ in built]
                continue
            texts = [text for kind, text in wanted if kind == "html"]
            texts = iter(tab.evaluate(WRITTEN, texts))
            wanted = [
                [kind, next(texts) if kind == "html" else text]
                for kind, text in wanted
            ]
            assert shown == wanted, one.source
            compared += len(shown)
        assert compared >= (4 if plan.whole else 2)
        assert any("python_stdlib.zip" in url for url in reader.asked)


@pytest.fixture(scope="module")
def attention(context, address):
    """The page on attention, run, and left as it is between tests."""
    with reading(context, address, "book/by-hand/attention") as reader:
        run_page(reader.page)
        yield reader


ATTEMPT = 13  # of the exercise on attention
LATE = """def mine(q, k, v):
    out, root = [], math.sqrt(len(q[0]))
    for t in range(len(q)):
        p = [math.exp(scalar.dot(q[t], key) / root) for key in k]
        p = [share / sum(p) for share in p]
        p = [share if s <= t else 0.0 for s, share in enumerate(p)]
        out.append([scalar.dot(p, axis) for axis in scalar.transpose(v)])
    return out

check.show("scalar-attention", mine)"""


def test_a_wrong_answer_is_diagnosed(attention):
    tab = attention.page
    type_and_run(tab, ATTEMPT, LATE)
    assert ended(tab, ATTEMPT) == "done"
    said = cell(tab, ATTEMPT).locator(".cell_output").inner_text()
    assert "not right yet" in said
    assert "the mask is applied after the softmax" in said
    # and raised, where the page asks for a right one
    type_and_run(tab, ATTEMPT, LATE.replace("check.show", "check"))
    assert ended(tab, ATTEMPT) == "failed"
    said = cell(tab, ATTEMPT).locator(".cell_output").inner_text()
    assert "ExerciseError" in said
    assert "after the softmax" in " ".join(said.split())


def test_an_error_names_the_readers_line_and_reset_undoes_it(attention):
    tab = attention.page
    (before,) = tab.eval_on_selector_all(f"{CELL} >> nth=3", SHOWN)
    type_and_run(tab, 4, "a = 1\nprint('so far')\nmath.sqrt(-a)")
    assert ended(tab, 4) == "failed"
    ((_, printed), (_, raised)) = tab.eval_on_selector_all(
        f"{CELL} >> nth=3", SHOWN
    )[0]
    assert printed == "so far"
    assert "cell 4, line 3\n    math.sqrt(-a)\nValueError" in raised
    assert "in_browser" not in raised
    until(tab, "Cell 4 failed.")
    cell(tab, 4).locator("text=Reset").click()
    assert tab.eval_on_selector_all(f"{CELL} >> nth=3", SHOWN) == [before]
    assert (
        "root = math.sqrt(8)" in cell(tab, 4).locator("textarea").input_value()
    )


def test_what_is_not_there_is_named(attention):
    tab = attention.page
    for text, needed in (
        ("import numpy as np", "NumPy"),
        ("plots.bars(['a'], [1])", "NumPy"),
        ("from handmade.scalar_twin import ScalarTwin; ScalarTwin({})",
         "PyTorch"),
    ):  # fmt: skip
        type_and_run(tab, 4, text)
        assert ended(tab, 4) == "needs"
        note = cell(tab, 4).locator(".hm-run-note").inner_text()
        assert note == f"It needs {needed}, which is not in your browser."
    cell(tab, 4).locator("text=Reset").click()


def test_a_loop_that_never_ends_is_stopped(attention):
    """Without shared memory Python is started anew, and says so."""
    tab = attention.page
    assert not tab.evaluate("crossOriginIsolated")
    type_and_run(tab, 4, "while True:\n    pass")
    cell(tab, 4).locator("text=Stop").click()
    assert ended(tab, 4) == "stopped"
    until(tab, "is gone: run all, or a cell from above")
    # what a later cell needs is no longer there, and comes by a run from above
    cell(tab, 4).locator("text=Reset").click()
    cell(tab, 5).get_by_role("button", name="Run: cell 5").click()
    assert ended(tab, 5) == "failed"
    note = cell(tab, 5).locator(".hm-run-note").inner_text()
    assert "Cells above have not run" in note
    cell(tab, 5).get_by_role("button", name="Run from above").click()
    until(tab, "The cells up to number 5 ran")
    assert ended(tab, 5) == "done"


def test_typing_by_keyboard_and_no_trap(attention):
    tab = attention.page
    box = cell(tab, 4).locator("textarea")
    box.fill("")
    box.type("def f(x):\nreturn x")
    assert box.input_value() == "def f(x):\n    return x"
    box.press("Control+]")
    assert box.input_value() == "def f(x):\n        return x"
    box.press("Control+[")
    box.press("Tab")
    assert tab.evaluate("document.activeElement.tagName") == "BUTTON"
    # the coloured text below is what was typed
    assert cell(tab, 4).locator("pre").first.inner_text().rstrip() == (
        "def f(x):\n    return x"
    )
    cell(tab, 4).locator("text=Reset").click()


def test_a_live_page_has_no_barriers_and_fits_a_phone(attention, axe):
    tab = attention.page
    for scheme in ("light", "dark"):
        attention.scheme(scheme)
        assert not attention.barriers(axe)
    tab.set_viewport_size({"width": 390, "height": 844})
    assert not tab.evaluate(WIDER)
    tab.set_viewport_size({"width": 1280, "height": 900})


def test_the_page_is_as_it_was_after_reset(attention):
    tab = attention.page
    type_and_run(tab, 5, "print('mine')")
    assert ended(tab, 5) == "done"
    tab.click("text=Reset page")
    until(tab, "Python is new")
    page = PAGES["book/by-hand/attention"]
    shown = tab.eval_on_selector_all(f"{CELL} >> nth=4", SHOWN)
    assert shown == [[list(one) for one in stored(page)[4]]]


class Silent(Handler, Quiet):
    """The handler of `make serve`, which says nothing in a test."""


def test_where_memory_is_shared_an_interrupt_keeps_what_is_there(
    context, site
):
    """As under `make serve`, whose headers allow it."""
    handler = functools.partial(Silent, directory=os.fspath(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}"
        with reading(context, home, "book/by-hand/projections") as reader:
            tab = reader.page
            assert tab.evaluate("crossOriginIsolated")
            run_page(tab)
            type_and_run(tab, 2, "kept = 5\nwhile True:\n    kept += 0")
            tab.wait_for_timeout(300)
            tab.get_by_role("button", name="Stop", exact=True).click()
            assert ended(tab, 2) == "stopped"
            type_and_run(tab, 2, "print(kept)")
            assert ended(tab, 2) == "done"
            assert tab.eval_on_selector_all(f"{CELL} >> nth=1", SHOWN) == [
                [["text", "5"]]
            ]
        server.shutdown()


def test_a_file_that_does_not_come_is_told(context, address):
    tab = context.new_page()
    tab.route("**/python_stdlib.zip", lambda route: route.abort())
    tab.goto(f"{address}/book/by-hand/tokens.html")
    tab.click("text=Run this page")
    until(tab, "could not be fetched .*Are you offline")
    assert not tab.locator("textarea").count()
    tab.unroute("**/python_stdlib.zip")
    tab.click("text=Try again")
    until(tab, "Every cell ran")
    tab.close()


def test_from_a_folder_it_says_what_to_do(context, site):
    tab = context.new_page()
    tab.goto(f"{site.as_uri()}/book/by-hand/tokens.html")
    assert "make serve" in tab.inner_text(SAID)
    assert not tab.locator(".hm-run-page button").count()
    tab.close()
