"""The host of the explorables: a page that moves without a kernel.

Each control is worked as a reader does, by mouse and by keyboard, on a page
served over http and on one opened as a file; and every explorable of the
book draws what it draws under ipywidgets' own html-manager.
"""

import contextlib
import functools
import gzip
import http.server
import json
import os
import re
import threading

import ipywidgets as ipw
import pytest
import traitlets
from bookbinder import explorables, pictures
from bookbinder.book import find_book
from bookbinder.browser import chromium
from handmade.widgets.base import Explorable, Explorer
from host_pages import (
    DRAWING,
    MANAGER,
    our_page,
    states_of,
    their_page,
    twin_of,
)

from conftest import Quiet, lack

BOOK = find_book()
DRAWN = '.hm-explorable[data-state="ready"]'

SCRIPT = """
export default {
  initialize({ model }) { model.set("begun", model.get("begun") + 1); },
  render({ model, el }) {
    const names = ["whole", "real", "log", "pair", "pick", "menu", "toggle",
      "tick", "line", "words", "begun"];
    const text = document.createElement("pre");
    const draw = () => {
      const shown = names.map((name) => [name, model.get(name)]);
      text.textContent = JSON.stringify(Object.fromEntries(shown));
    };
    for (const name of names) model.on(`change:${name}`, draw);
    const bytes = new Uint8Array(model.get("data").buffer);
    el.append(text, `bytes ${bytes.join()}`);
    draw();
  },
};
"""


class Probe(Explorable):
    """Shows all its traits: one for each kind of control."""

    _esm = SCRIPT
    _css = "pre { color: rgb(1, 2, 3) }"
    whole = traitlets.Int(3).tag(sync=True)
    real = traitlets.Float(0.5).tag(sync=True)
    log = traitlets.Float(100.0).tag(sync=True)
    pair = traitlets.List([2, 6]).tag(sync=True)
    pick = traitlets.Int(1).tag(sync=True)
    menu = traitlets.Int(0).tag(sync=True)
    toggle = traitlets.Int(0).tag(sync=True)
    tick = traitlets.Bool(False).tag(sync=True)
    line = traitlets.Unicode("a").tag(sync=True)
    words = traitlets.Unicode("b").tag(sync=True)
    begun = traitlets.Int(0).tag(sync=True)
    data = traitlets.Bytes(b"\x00\xff\x07").tag(sync=True)


def probe() -> Explorer:
    """One of each control, joined to one drawing."""
    choices = ["x", "y", "z"]
    drawing = Probe()
    controls = {
        "whole": ipw.IntSlider(3, 0, 9, description="whole"),
        "real": ipw.FloatSlider(
            0.5, min=0, max=2, step=0.25, description="real"
        ),
        "log": ipw.FloatLogSlider(
            100, base=10, min=0, max=6, step=0.5, description="log",
            readout_format=",.0f",
        ),
        "pair": ipw.IntRangeSlider(
            value=(2, 6), min=0, max=9, description="pair"
        ),
        "pick": ipw.SelectionSlider(
            options=choices, index=1, description="pick"
        ),
        "menu": ipw.Dropdown(options=choices, index=0, description="menu"),
        "toggle": ipw.ToggleButtons(options=choices, description="toggle"),
        "tick": ipw.Checkbox(False, description="tick"),
        "line": ipw.Text("a", description="line"),
        "words": ipw.Textarea("b", description="words"),
    }  # fmt: skip
    for name, control in controls.items():
        chosen = name in ("pick", "menu", "toggle")
        trait = "index" if chosen else "value"
        ipw.jslink((control, trait), (drawing, name))
    told = ipw.Label("told", description="says")
    ipw.jsdlink((controls["line"], "value"), (told, "value"))
    rows = list(controls.values())
    return Explorer([*rows[:3], ipw.HBox(rows[3:]), told, drawing])


@pytest.fixture(scope="module")
def browser():
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(chromium())
        except ValueError as error:
            lack(str(error))
        yield found


@contextlib.contextmanager
def served(folder):
    handler = functools.partial(Quiet, directory=os.fspath(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def opened(browser, address: str, **how):
    """A tab at an address; nothing may go wrong on it."""
    context = browser.new_context(
        viewport={"width": 900, "height": 800}, **how
    )
    context.set_default_timeout(10_000)
    tab = context.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on(
        "console",
        lambda told: told.type == "error" and faults.append(told.text),
    )
    try:
        tab.goto(address)
        yield tab
    finally:
        context.close()
    assert not faults


@pytest.fixture(params=["http", "file"])
def page(request, browser, tmp_path):
    """The probe under our host, over http and from a folder."""
    path = our_page(tmp_path, twin_of(*states_of(probe())))
    with contextlib.ExitStack() as stack:
        if request.param == "http":
            home = stack.enter_context(served(tmp_path))
        else:
            home = tmp_path.as_uri()
        tab = stack.enter_context(opened(browser, f"{home}/{path.name}"))
        tab.wait_for_selector(DRAWN)
        yield tab


def shown(tab) -> dict:
    return json.loads(tab.inner_text(".hm-drawing pre"))


def control(tab, name: str, tag: str = "input"):
    row = tab.locator(".hm-control").filter(
        has=tab.get_by_text(name, exact=True)
    )
    return row.locator(tag)


def test_every_control_moves_the_drawing_by_keyboard(page):
    before = shown(page)
    assert before["begun"] == 1
    steps = {
        "whole": ("ArrowRight", 4),
        "real": ("ArrowRight", 0.75),
        "log": ("ArrowRight", 10**2.5),
        "pick": ("ArrowRight", 2),
        "tick": ("Space", True),
    }
    for name, (key, wanted) in steps.items():
        handle = control(page, name).first
        handle.focus()
        page.keyboard.press(key)
        assert shown(page)[name] == pytest.approx(wanted), name
        assert handle.evaluate("e => e === document.activeElement")
    low, high = control(page, "pair", "input[type=range]").all()
    low.press("ArrowLeft")
    high.press("ArrowRight")
    assert shown(page)["pair"] == [1, 7]
    control(page, "menu", "select").select_option("z")
    control(page, "toggle", "button").nth(1).press("Enter")
    control(page, "line").fill("one line")
    control(page, "words", "textarea").fill("two\nlines")
    after = shown(page)
    assert [after[k] for k in ("menu", "toggle", "line", "words")] == [
        2, 1, "one line", "two\nlines",
    ]  # fmt: skip
    assert control(page, "says", "output").inner_text() == "one line"
    assert "bytes 0,255,7" in page.inner_text(".hm-drawing")
    colour = "e => getComputedStyle(e).color"
    assert page.eval_on_selector("pre", colour) == "rgb(1, 2, 3)"


def test_every_control_moves_the_drawing_by_mouse(page):
    def drag(handle, share: float) -> None:
        box = handle.bounding_box()
        value, low, high = (
            float(handle.evaluate(f"e => e.{key}"))
            for key in ("value", "min", "max")
        )
        # a handle's middle is half of its 24 pixels inside the track
        start = (
            box["x"] + 12 + (box["width"] - 24) * (value - low) / (high - low)
        )
        middle = box["y"] + box["height"] / 2
        page.mouse.move(start, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * share, middle, steps=4)
        page.mouse.up()

    drag(control(page, "whole").first, 0.999)
    drag(control(page, "real").first, 0.001)
    drag(control(page, "log").first, 0.999)
    low, high = control(page, "pair", "input[type=range]").all()
    drag(low, 0.999)  # it stops at the other
    assert shown(page)["pair"] == [6, 6]
    drag(low, 0.001)
    drag(high, 0.999)
    control(page, "tick").click()
    control(page, "toggle", "button").nth(2).click()
    after = shown(page)
    assert [after[k] for k in ("whole", "real", "log", "pair", "tick")] == [
        9, 0, 1e6, [0, 9], True,
    ]  # fmt: skip
    assert after["toggle"] == 2
    # both at the right end: the left one still comes back
    drag(low, 0.999)
    assert shown(page)["pair"] == [9, 9]
    drag(low, 0.5)
    assert shown(page)["pair"][0] < 9


@pytest.mark.parametrize(
    ("name", "typed", "value", "said"),
    [
        ("whole", "7", 7, "7"),
        ("whole", "99", 9, "9"),
        ("whole", "no number", 3, "3"),
        ("real", "1.3", 1.3, "1.30"),
        ("log", "10,000", 10_000, "10,000"),
        ("log", "0", 1, "1"),
        ("pair", "8 1", [1, 8], "1 – 8"),
        ("pair", "5", [2, 6], "2 – 6"),
    ],
)
def test_a_value_can_be_typed(browser, tmp_path, name, typed, value, said):
    path = our_page(tmp_path, twin_of(*states_of(probe())))
    with opened(browser, path.as_uri()) as tab:
        tab.wait_for_selector(DRAWN)
        box = control(tab, name, ".hm-value")
        box.fill(typed)
        box.press("Enter")
        assert shown(tab)[name] == pytest.approx(value)
        assert box.input_value() == said


def test_controls_are_named_and_large_enough(page):
    for name in ("whole", "real", "log", "pick"):
        handle = control(page, name).first
        assert handle.get_attribute("aria-label") == name
        assert handle.get_attribute("aria-valuetext")
        assert handle.bounding_box()["height"] >= 24
    names = [
        end.get_attribute("aria-label")
        for end in control(page, "pair", "input[type=range]").all()
    ]
    assert names == ["pair, from", "pair, to"]
    lefts = {
        round(row.bounding_box()["x"])
        for row in page.locator(".hm-controls:first-child .hm-track").all()
    }
    assert len(lefts) == 1


def test_nothing_is_fetched_before_the_reader_is_near(browser, tmp_path):
    """And then each script once, though two explorables want it."""
    states, root = states_of(probe())
    twin = twin_of(states, root, root)
    gap = '<div style="height: 5000px"></div>'
    path = our_page(tmp_path, twin, before=gap)
    with (
        served(tmp_path) as home,
        opened(browser, "about:blank") as tab,
    ):
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"{home}/{path.name}")
        tab.wait_for_timeout(300)
        names = [url.rpartition("/")[2] for url in asked]
        assert names == ["page.html", "host.js"]
        assert tab.locator(".hm-explorable").first.inner_text() == "a picture"
        tab.evaluate("scrollTo(0, 4000)")
        tab.wait_for_function(
            f"document.querySelectorAll('{DRAWN}').length === 2"
        )
        names = [url.rpartition("/")[2] for url in asked[2:]]
        scripts = [n for n in names if n.endswith(".js")]
        assert len(scripts) == len(set(scripts)) == 3
        # the two are apart: what moves one leaves the other
        tab.locator(".hm-track input").first.press("ArrowRight")
        one, two = (
            json.loads(text)
            for text in tab.locator(".hm-drawing pre").all_inner_texts()
        )
        assert (one["whole"], two["whole"]) == (4, 3)


def test_without_javascript_the_picture_stays(browser, tmp_path):
    words = '<button class="hm-set" disabled>words</button>'
    path = our_page(tmp_path, twin_of(*states_of(probe())), before=words)
    with opened(browser, path.as_uri(), java_script_enabled=False) as tab:
        said = tab.inner_text(".hm-explorable")
        assert "a picture" in said
        assert "need JavaScript" in said
        assert tab.is_disabled(".hm-set")


def test_what_fails_leaves_the_picture_and_says_so(browser, tmp_path):
    class Broken(Explorable):
        _esm = "export default { render() { throw new Error('broken') } }"

    path = our_page(tmp_path, twin_of(*states_of(Explorer([Broken()]))))
    context = browser.new_context()
    tab = context.new_page()
    told: list[str] = []
    tab.on("console", lambda message: told.append(message.text))
    tab.goto(path.as_uri())
    tab.wait_for_selector('.hm-explorable[data-state="failed"]')
    assert "a picture" in tab.inner_text(".hm-explorable")
    assert any("broken" in text for text in told)
    context.close()


SET = '<button class="hm-set" disabled data-set="{}">these words</button>'


def words(**values) -> str:
    return SET.format(json.dumps(values).replace('"', "&quot;"))


@pytest.mark.parametrize("place", ["before", "after"])
def test_words_set_an_explorable(browser, tmp_path, place):
    """By traits and by the names of controls; the focus stays."""
    given = words(whole=8, pair=[0, 1], says="no", pick=2)
    gap = '<div style="height: 3000px"></div>'
    sides = {
        "before": {"before": f"<p>{given}</p>{gap}"},
        "after": {"after": f"{gap}<p>{given}</p>"},
    }
    path = our_page(tmp_path, twin_of(*states_of(probe())), **sides[place])
    with opened(browser, path.as_uri()) as tab:
        button = tab.locator(".hm-set")
        button.scroll_into_view_if_needed()
        button.press("Enter")
        tab.wait_for_selector(DRAWN)
        tab.wait_for_function(
            "document.querySelector('.hm-drawing pre').textContent"
            ".includes('\"whole\":8')"
        )
        after = shown(tab)
        assert (after["pair"], after["pick"]) == ([0, 1], 2)
        assert control(tab, "whole").first.input_value() == "8"
        assert control(tab, "says", "output").inner_text() == "no"
        # it was out of sight: now it is not
        at = tab.locator(".hm-explorable").bounding_box()
        assert at["y"] < 800
        assert at["y"] + at["height"] > 0
        assert button.evaluate("e => e === document.activeElement")


def test_words_beside_it_do_not_move_the_page(browser, tmp_path):
    """The next explorable is meant, not the one before."""
    states, root = states_of(probe())
    two = twin_of(states, root, root)
    path = our_page(tmp_path, two, before=f"<p>{words(menu=1)}</p>")
    with opened(browser, path.as_uri()) as tab:
        tab.wait_for_selector(DRAWN)
        tab.click(".hm-set")
        assert tab.evaluate("scrollY") == 0
        texts = tab.locator(".hm-drawing pre").all_inner_texts()
        assert [json.loads(text)["menu"] for text in texts] == [1, 0]


def test_a_frame_never_shrinks_under_the_reader(browser, tmp_path):
    path = our_page(tmp_path, twin_of(*states_of(probe())))
    with opened(browser, path.as_uri()) as tab:
        tab.wait_for_selector(DRAWN)
        frame = tab.locator(".hm-explorable")
        drawing = tab.locator(".hm-drawing")
        tall = "(e, h) => { e.style.height = h }"
        drawing.evaluate(tall, "900px")
        tab.wait_for_timeout(100)
        high = frame.bounding_box()["height"]
        drawing.evaluate(tall, "100px")
        tab.wait_for_timeout(100)
        assert frame.bounding_box()["height"] == high > 900


@pytest.mark.parametrize(
    ("widget", "said"),
    [
        (ipw.Button, r"got a Button, .*, want one of \["),
        (ipw.HTML, "got a HTML"),
        (ipw.Output, "got a Output"),
        (
            lambda: ipw.FloatSlider(readout_format=".2s"),
            r"readout_format: got '\.2s'",
        ),
    ],
)
def test_what_the_host_cannot_draw_is_refused_by_name(widget, said):
    twin = twin_of(*states_of(ipw.VBox([widget()])))
    with pytest.raises(ValueError, match=f"^a page: .*{said}"):
        explorables.of_twin(twin, "a page")


def test_a_view_without_its_state_is_refused():
    states, _ = states_of(probe())
    with pytest.raises(ValueError, match="got no state of gone"):
        explorables.of_twin(twin_of(states, "gone"), "a page")


def test_files_are_named_by_their_content():
    """The ids of a run, which are random, are no content."""
    page = find_book().pages[0]
    names = set()
    for _ in range(2):
        twin = twin_of(*states_of(probe()))
        (found,) = explorables.of_twin(twin, page.source)
        names.add((*found.scripts, found.data_file(page)[0]))
        for name, text in [*found.scripts.items(), found.data_file(page)]:
            digest = explorables.DIGEST.search(name)[1]
            assert explorables.digest_of(text) == digest
            assert explorables.digest_of(text.replace("1", "2")) != digest
    assert len(names) == 1
    changed = probe()
    changed.children[0].max = 12
    (found,) = explorables.of_twin(twin_of(*states_of(changed)), page.source)
    (script, data) = next(iter(names))
    assert [*found.scripts] == [script]
    assert found.data_file(page)[0] != data


def test_the_host_is_small():
    size = len(gzip.compress(pictures.HOST.read_bytes(), mtime=0))
    assert size < 6_000


def of_the_book() -> list:
    found = []
    for page in BOOK.pages:
        if page.has_cells:
            twin = page.read_twin()
            roots = [
                output.data[explorables.VIEW]["model_id"]
                for output in explorables.views(twin.cells)
            ]
            found += [
                pytest.param(page, root, id=f"{page.source.stem}-{number}")
                for number, root in enumerate(roots, 1)
            ]
    return found


# of either page: a control's row, and the drawing
OURS = (".hm-control", ".hm-drawing")
THEIRS = (".widget-inline-hbox", DRAWING)
HANDLES = 'input[type="range"], .noUi-handle'
LOOK = """el => el.innerHTML + [...el.querySelectorAll("canvas")]
  .map((canvas) => canvas.toDataURL()).join()"""


def drawing(tab, selector: str) -> str:
    tab.wait_for_timeout(80)
    text = tab.locator(selector).first.evaluate(LOOK)
    return re.sub(r"[\s;]+(?=\")", "", text)


def work(tab, rows: str, selector: str, step: tuple) -> None:
    """Work one part of an explorable, whichever host draws it."""
    kind, place, *more = step
    if kind == "slide":
        number, key = more
        handle = tab.locator(rows).nth(place).locator(HANDLES).nth(number)
        handle.focus()
        tab.keyboard.press(key)
    elif kind == "select":
        tab.locator(rows).nth(place).locator("select").select_option(
            index=more[0]
        )
    elif kind == "fill":
        box = tab.locator(rows).nth(place).locator("textarea")
        box.fill("Some other text, 12 words")
    elif kind == "press":
        button = tab.locator(selector).first.locator("button").nth(place)
        if button.count() and button.is_enabled():
            button.focus()
            tab.keyboard.press("Enter")
    else:
        part = tab.locator(f"{selector} [tabindex='0']").nth(place)
        if part.count():
            part.focus()
            tab.keyboard.press(more[0])


def steps_for(tab) -> list[tuple]:
    """Return what there is to do on our page."""
    steps: list[tuple] = []
    for place, row in enumerate(tab.locator(".hm-control").all()):
        for number in range(row.locator('input[type="range"]').count()):
            steps += [
                ("slide", place, number, key)
                for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Home")
            ]
        if row.locator("select").count():
            last = row.locator("option").count() - 1
            steps += [("select", place, last), ("select", place, 0)]
        if row.locator("textarea").count():
            steps.append(("fill", place))
    buttons = tab.locator(".hm-drawing button").count()
    steps += [("press", place) for place in range(min(buttons, 6))]
    keys = ("ArrowRight", "ArrowDown", "Enter")
    return steps + [("key", place, key) for place in (0, 1) for key in keys]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "root"), of_the_book())
def test_both_hosts_draw_the_same(browser, tmp_path, page, root):
    """The same script, the same steps: the same drawing at each."""
    if not MANAGER.exists():
        lack("no html-manager: install Node.js, then `make vendor`")
    twin = page.read_twin()
    states = twin.metadata.widgets[explorables.STATE]
    ours = our_page(tmp_path, twin_of(states, root))
    theirs = their_page(tmp_path, states, root)
    with (
        served(tmp_path) as home,
        opened(browser, ours.as_uri()) as mine,
        opened(browser, f"{home}/{theirs.name}") as other,
    ):
        mine.wait_for_selector(DRAWN)
        other.wait_for_selector(f"{THEIRS[1]} > *")
        first = drawing(mine, OURS[1])
        assert first == drawing(other, THEIRS[1])
        looks = {first}
        steps = steps_for(mine)
        for number, step in enumerate(steps):
            work(mine, *OURS, step)
            work(other, *THEIRS, step)
            look = drawing(mine, OURS[1])
            assert look == drawing(other, THEIRS[1]), steps[: number + 1]
            looks.add(look)
        assert len(looks) > len(steps) / 4
