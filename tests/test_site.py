"""The built site, as a reader meets it: in a real browser, without a kernel.

Every page is opened over http and as a file, in both colour schemes, on a
wide screen and on a phone.
"""

import pytest
from bookbinder import claims
from bookbinder.book import find_book
from site_helpers import NO_ALT, WIDER, visit

PAGES = find_book().pages
PHONE = 390
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
