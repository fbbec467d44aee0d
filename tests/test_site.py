"""The built site, as a reader meets it: in a real browser, without a kernel.

Every page is opened over http and as a file, in both colour schemes, on a
wide screen and on a phone.
"""

import pytest
from bookbinder import claims
from bookbinder.book import find_book
from bookbinder.explorables import views
from site_helpers import DRAWING, DRAWN, FRAME, NO_ALT, WIDER, visit

PAGES = find_book().pages
PHONE = 390
# of each explorable: pixels from the page's head, and what it fetches
PLACES = """(frames) => frames.map((frame) => [
  frame.getBoundingClientRect().top + scrollY,
  frame.dataset.files.split(" ").map((file) =>
    new URL(file, location.href).href),
])"""
every_page = pytest.mark.parametrize(
    "page", PAGES, ids=[page.name for page in PAGES]
)
pytestmark = pytest.mark.slow


def nothing(found: list[str], what: str) -> None:
    """Fail with all that was found, one a line."""
    assert not found, f"{what}:\n" + "\n".join(found)


@every_page
def test_built_after_the_page(page, site):
    built = site / f"{page.name}.html"
    assert built.exists(), "not in the built site: run `make book` first"
    sources = [path for path in (page.source, page.twin) if path.exists()]
    newest = max(path.stat().st_mtime for path in sources)
    assert built.stat().st_mtime >= newest, "older: run `make book` first"


@every_page
def test_opens_over_http(page, browser, address):
    with visit(browser, address) as reader:
        reader.open(f"{page.name}.html")
        # pictures further down may be loaded only when they are seen
        reader.page.keyboard.press("End")
        nothing(reader.page.evaluate(NO_ALT), "no text alternative")
        nothing(reader.dead_controls(), "controls that change nothing")
        nothing(reader.faults, "went wrong")


@every_page
def test_opens_as_a_file(page, browser, site):
    with visit(browser, site.as_uri(), scheme="dark") as reader:
        reader.open(f"{page.name}.html")
        nothing(reader.dead_controls(), "controls that change nothing")
        nothing(reader.faults, "went wrong")


@every_page
def test_fits_a_phone(page, browser, address):
    with visit(browser, address, width=PHONE) as reader:
        reader.open(f"{page.name}.html")
        for scheme in ("light", "dark"):
            reader.scheme(scheme)
            wider = reader.page.evaluate(WIDER)
            nothing(wider, f"wider than {PHONE} pixels, {scheme}")
        nothing(reader.faults, "went wrong")


@every_page
def test_has_no_barriers(page, browser, address, axe):
    with visit(browser, address) as reader:
        reader.open(f"{page.name}.html")
        nothing(reader.barriers(axe), "serious barriers")
        # nothing but the colours depends on the scheme
        reader.scheme("dark")
        found = reader.barriers(axe, ("color-contrast",))
        nothing(found, "serious barriers, dark")


with_explorables = pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name)
        for page in PAGES
        if page.has_cells and any(views(page.read_twin().cells))
    ],
)


@with_explorables
def test_explorables_cost_nothing_before_they_are_near(page, browser, address):
    """No file but the host, which is small; then each file once."""
    with visit(browser, address) as reader:
        tab = reader.page
        asked: list[str] = []
        tab.on("request", lambda one: asked.append(one.url.split("?")[0]))
        tab.goto(f"{address}/{page.name}.html")
        tab.wait_for_load_state("networkidle")
        frames = tab.eval_on_selector_all(FRAME, PLACES)
        # a screen of 900 pixels, and one below it
        near = {file for top, files in frames if top < 1800 for file in files}
        every = {file for _, files in frames for file in files}
        assert {url for url in asked if "explorable" in url} == near
        assert sum("/host.js" in url for url in asked) == 1
        for name in ("require.js", "embed-amd.js", "anywidget.js"):
            assert not any(name in url for url in asked)
        tab.evaluate(DRAWN, [FRAME, DRAWING])
        fetched = [url for url in asked if "explorable" in url]
        assert sorted(fetched) == sorted(every)
        nothing(reader.faults, "went wrong")


@with_explorables
def test_without_javascript_there_are_pictures(page, browser, address):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{address}/{page.name}.html")
    frames = tab.locator(FRAME).all()
    for width, height, kind in ((1300, 900, "wide"), (PHONE, 844, "phone")):
        tab.set_viewport_size({"width": width, "height": height})
        for frame in frames:
            shown = [
                picture
                for picture in frame.locator(".hm-picture").all()
                if picture.is_visible()
            ]
            (picture,) = shown
            assert kind in picture.get_attribute("class")
            assert picture.bounding_box()["width"] > 0.8 * min(700, width)
    context.close()


@with_explorables
def test_a_picture_holds_the_place_of_its_explorable(page, browser, address):
    """On a screen and on a phone: nothing jumps when it begins to move."""
    for width in (1300, PHONE):
        with visit(browser, address, width=width) as reader:
            tab = reader.page
            # no file ever comes, so that the pictures stay
            tab.route("**/*explorable*", lambda route: None)
            tab.goto(
                f"{address}/{page.name}.html", wait_until="domcontentloaded"
            )
            tall = "all => all.map((e) => e.offsetHeight)"
            before = tab.eval_on_selector_all(FRAME, tall)
            tab.unroute("**/*explorable*")
            reader.open(f"{page.name}.html")
            after = tab.eval_on_selector_all(FRAME, tall)
            for small, large in zip(before, after, strict=True):
                # letters of another machine may need a line more
                assert abs(small - large) < 40, (width, before, after)


def test_search_finds_a_page(browser, address, axe):
    with visit(browser, address) as reader:
        reader.open("search.html?q=attention")
        result = reader.page.wait_for_selector("#search-results li a")
        nothing(reader.barriers(axe), "serious barriers")
        result.click()
        reader.page.wait_for_load_state()
        names = [page.name for page in PAGES]
        path = reader.page.url.removeprefix(f"{address}/").split(".html")[0]
        assert path in names
        nothing(reader.faults, "went wrong")


def test_front_door_leads_to_the_first_page(browser, address):
    with visit(browser, address) as reader:
        reader.page.goto(f"{address}/")
        reader.page.wait_for_url(f"**/{PAGES[0].name}.html")
        nothing(reader.faults, "went wrong")


def test_reader_chooses_the_scheme(browser, address):
    theme = "() => document.documentElement.dataset.theme"
    with visit(browser, address, scheme="light") as reader:
        reader.open(f"{PAGES[0].name}.html")
        seen = {reader.page.evaluate(theme)}
        for _ in range(3):  # light, dark, the system's own
            reader.page.click(".theme-switch-button")
            seen.add(reader.page.evaluate(theme))
        assert seen == {"light", "dark"}
        while reader.page.evaluate(theme) != "dark":
            reader.page.click(".theme-switch-button")
        reader.open(f"{PAGES[-1].name}.html")
        assert reader.page.evaluate(theme) == "dark", "not remembered"
        nothing(reader.faults, "went wrong")


def test_a_claim_opens_by_key_and_by_click_and_prints_as_a_line(
    browser, address
):
    tagged = (
        page.name
        for page in PAGES
        if any(claims.CLAIM in claims.tags(c) for c in page.cells("code"))
    )
    with visit(browser, address) as reader:
        # closed: what `open` would unfold
        reader.page.goto(f"{address}/{next(tagged)}.html")
        fold = reader.page.locator("details.claim").first
        code = fold.locator("pre").first
        line = fold.locator("summary")
        assert not code.is_visible()
        assert "claim checked" in line.text_content()
        line.focus()
        for press in (
            lambda: reader.page.keyboard.press("Enter"),
            line.click,
        ):
            was = code.is_visible()
            press()
            assert code.is_visible() != was
        reader.page.emulate_media(media="print")
        assert not code.is_visible()
        assert line.is_visible()
        nothing(reader.faults, "went wrong")
