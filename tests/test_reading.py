"""How a page reads: on a phone, in the dark, by keyboard, on a slow line."""

import gzip
import re
from urllib.parse import urlsplit

import pytest
from bookbinder.book import find_book
from site_helpers import visit
from test_site import PHONE, every_page, nothing

pytestmark = pytest.mark.slow
PAGE = "book/blocks/attention.html"
KILOBYTES, REQUESTS = 350, 20
FONT_BYTES = 100_000
WIDGET = re.compile(
    rb"<script type=.application/vnd\.jupyter.*?</script>", re.S
)
# what belongs to explorables has a budget of its own
EXPLORABLES = re.compile(
    r"/_static/(widgets/|local-widgets|host|explorables)|/book/.*\.js"
)
GONE = ("thebe", "mathjax", "fontawesome", "searchindex", "togglebutton")

# code, output and formulas that are cut where nothing tells it
CUT = """() => {
  const faults = [];
  const told = (node) => `${node.className}: ${node.textContent.slice(0, 60)}`;
  for (const node of document.querySelectorAll("main pre, main pre .line")) {
    if (node.scrollWidth > node.clientWidth + 1) faults.push(told(node));
  }
  for (const node of document.querySelectorAll("main div.math")) {
    const formula = node.querySelector(".formula");
    const number = node.querySelector(".eqno");
    if (number && formula.getBoundingClientRect().right >
        number.getBoundingClientRect().left + 1) faults.push(told(node));
  }
  const scrollers = ".formula, .pst-scrollable-table-container";
  for (const node of document.querySelectorAll(`main :is(${scrollers})`)) {
    const goesOn = node.scrollWidth > node.clientWidth + 1;
    const { overflowX, maskImage } = getComputedStyle(node);
    const cue = maskImage.includes("gradient");
    if (goesOn !== cue || overflowX !== "auto") {
      faults.push(`no cue, or a false one: ${told(node)}`);
    }
  }
  for (const node of document.querySelectorAll("main img, main figure svg")) {
    if (node.getBoundingClientRect().width > innerWidth) {
      faults.push(node.outerHTML.slice(0, 80));
    }
  }
  return faults.slice(0, 6);
}"""

# lines that go on below themselves: each has a rule beside what is carried
CARRIED = """() => {
  const height = (node, pseudo) =>
    parseFloat(getComputedStyle(node, pseudo).height);
  const lines = [...document.querySelectorAll("main pre .line")];
  const long = lines.filter((line) => line.offsetHeight >
    1.5 * parseFloat(getComputedStyle(line).lineHeight));
  const bare = long.filter((line) => !(height(line, "::before") > 8));
  return [long.length, bare.length];
}"""


@every_page
def test_nothing_is_cut_on_a_phone(page, browser, address):
    with visit(browser, address, width=PHONE) as reader:
        reader.open(f"{page.name}.html")
        nothing(reader.page.evaluate(CUT), "cut without a cue")
        _, bare = reader.page.evaluate(CARRIED)
        assert bare == 0, "lines carried over without a rule"


def test_long_lines_of_code_go_on_below_themselves(browser, address):
    with visit(browser, address, width=PHONE) as reader:
        reader.open(PAGE)
        carried, _ = reader.page.evaluate(CARRIED)
        assert carried > 20


def test_what_is_selected_is_the_code(browser, address):
    with visit(browser, address) as reader:
        reader.open(PAGE)
        selected, wanted = reader.page.evaluate("""() => {
          const code = document.querySelector("main pre");
          getSelection().selectAllChildren(code);
          return [getSelection().toString(), code.textContent];
        }""")
        assert selected.strip() == wanted.strip()
        assert wanted.count("\n") > 5


@every_page
def test_a_page_is_light(page, browser, address):
    """Bytes and requests, before explorables; no times."""
    with visit(browser, address) as reader:
        answers = []
        reader.page.on("response", lambda answer: answers.append(answer))
        reader.open(f"{page.name}.html")
        kept = [a for a in answers if not EXPLORABLES.search(a.url)]
        names = [urlsplit(a.url).path for a in kept]
        size, letters = 0, 0
        for answer, name in zip(kept, names, strict=True):
            body = WIDGET.sub(b"", answer.body())
            packed = not name.endswith((".woff2", ".png"))
            size += len(gzip.compress(body)) if packed else len(body)
            if "/_static/fonts/" in name:
                letters += len(body)
        nothing(
            [
                n
                for n in names
                if n.lower().count("/_static/")
                and any(word in n.lower() for word in GONE)
            ],
            "not used, but sent",
        )
        # a picture comes when it is near; a figure in the page asks nothing
        pictures = [n for n in names if "/_images/" in n]
        assert len(names) - len(pictures) <= REQUESTS, names
        assert size <= KILOBYTES * 1024, f"{size / 1024:.0f} KB: {names}"
        assert letters <= FONT_BYTES


def test_the_letters_fit_their_budget():
    folder = find_book().root / "book" / "vendor" / "fonts"
    sizes = [path.stat().st_size for path in folder.glob("*.woff2")]
    assert 0 < sum(sizes) <= FONT_BYTES


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_a_script_the_systems_scheme_holds(browser, address, scheme):
    context = browser.new_context(
        java_script_enabled=False, color_scheme=scheme
    )
    try:
        page = context.new_page()
        page.goto(f"{address}/{PAGE}")
        assert page.locator(".logo__image:visible").count() == 1
        assert not page.locator(".theme-switch-button").is_visible()
        box = page.locator("main article").bounding_box()
        assert box["width"] > 300
        data = page.screenshot(
            clip={"x": box["x"] + box["width"] - 12, "y": 5, "width": 4,
                  "height": 4},
        )  # fmt: skip
        assert (brightness(data) < 60) is (scheme == "dark")
    finally:
        context.close()


def brightness(png: bytes) -> float:
    """Return how bright a picture is, from 0 to 255."""
    import io

    from PIL import Image, ImageStat

    return ImageStat.Stat(Image.open(io.BytesIO(png)).convert("L")).mean[0]


@pytest.mark.parametrize("chosen", [None, "dark", "light"])
def test_the_scheme_is_set_before_any_style_sheet(browser, address, chosen):
    context = browser.new_context(
        color_scheme="light" if chosen == "dark" else "dark"
    )
    try:
        page = context.new_page()
        if chosen:
            page.add_init_script(f"localStorage.setItem('mode', '{chosen}')")
        page.route("**/*.css*", lambda route: None)  # none ever comes
        page.route("**/*.js*", lambda route: None)
        page.goto(f"{address}/{PAGE}", wait_until="commit")
        page.wait_for_function(
            "document.querySelector('meta[name=color-scheme]')"
        )
        theme, back, scheme = page.evaluate("""() => {
          const style = getComputedStyle(document.documentElement);
          return [document.documentElement.dataset.theme,
            style.backgroundColor, style.colorScheme];
        }""")
        assert theme == (chosen or "dark")
        assert scheme == theme
        assert back == ("rgb(18, 18, 18)" if theme == "dark" else
                        "rgba(0, 0, 0, 0)")  # fmt: skip
    finally:
        context.close()


def test_a_keyboard_reaches_the_text_at_once(browser, address):
    with visit(browser, address, width=1300) as reader:
        reader.page.goto(f"{address}/{PAGE}")
        reader.page.wait_for_load_state()
        reader.page.keyboard.press("Tab")
        focus = "document.activeElement.outerHTML.slice(0, 200)"
        assert "#main-content" in reader.page.evaluate(focus)
        # it slides into sight
        reader.page.wait_for_function(
            "document.activeElement.getBoundingClientRect().top >= 0"
        )
        stops = reader.page.evaluate("""() =>
          [...document.querySelectorAll("article .math *, .math, .copybtn")]
            .filter((node) => node.tabIndex >= 0 && node.tagName !== "A")
            .map((node) => node.outerHTML.slice(0, 80))""")
        nothing(stops, "a formula or a copy button stops the keyboard")


def test_a_solution_opens_by_its_whole_title(browser, address):
    with visit(browser, address) as reader:
        page = reader.page
        page.goto(f"{address}/{PAGE}")
        fold = page.locator("details.solution").first
        title = fold.locator("summary")
        assert "Solution to Exercise 1" in title.inner_text()
        is_open = "node => node.open"
        assert not fold.evaluate(is_open)
        width = title.bounding_box()["width"]
        for x, wanted in ((3, True), (width - 3, False), (width / 2, True)):
            title.click(position={"x": x, "y": 8})
            assert fold.evaluate(is_open) is wanted
        title.focus()
        page.keyboard.press("Enter")
        assert not fold.evaluate(is_open)
        ring = title.evaluate("node => getComputedStyle(node).outlineStyle")
        assert ring == "solid"


def test_exercises_count_from_one_and_lead_to_colab(browser, address):
    with visit(browser, address) as reader:
        reader.page.goto(f"{address}/{PAGE}")
        titles = reader.page.locator(".exercise .caption-number")
        found = [text.split()[-1] for text in titles.all_inner_texts()]
        assert found == [str(i + 1) for i in range(len(found))]
        links = reader.page.locator(".exercise .in-colab a")
        assert links.count() == len(found)
        address_of = links.first.get_attribute("href")
        twin = find_book().page("blocks/attention").read_twin()
        cell = address_of.split("#scrollTo=")[1]
        assert cell in [one.id for one in twin.cells]


def test_copy_button_gives_the_code(browser, address):
    with visit(browser, address) as reader:
        reader.page.context.grant_permissions(
            ["clipboard-read", "clipboard-write"]
        )
        reader.page.goto(f"{address}/{PAGE}")
        # the page begins with a closed fold
        code = reader.page.locator("main .highlight:visible pre").first
        code.hover()
        button = code.locator("+ .copybtn")
        button.click()
        reader.page.wait_for_function(
            "button => button.dataset.tooltip === 'Copied!'",
            arg=button.element_handle(),
        )
        copied = reader.page.evaluate("navigator.clipboard.readText()")
        assert copied == code.evaluate("node => node.textContent").rstrip()
        nothing(reader.faults, "went wrong")


def test_the_search_opens_by_its_keys_and_finds(browser, address):
    with visit(browser, address) as reader:
        page = reader.page
        page.goto(f"{address}/{PAGE}")
        page.wait_for_load_state()
        page.keyboard.press("Control+k")
        page.wait_for_selector("#pst-search-dialog[open]")
        page.keyboard.type("padding")
        page.keyboard.press("Enter")
        page.wait_for_selector("#search-results li a")
        page.wait_for_selector("#search-results .context")
        text = page.locator("#search-results").inner_text()
        # no LaTeX; a regular expression in a cell may have its \\w
        assert not re.search(r"\\[a-z]{2}", text)
        nothing(reader.faults, "went wrong")


def test_menus_and_the_sidebar_open(browser, address):
    with visit(browser, address) as reader:
        page = reader.page
        page.goto(f"{address}/{PAGE}")
        page.wait_for_load_state()
        page.click(".dropdown-launch-buttons button")
        colab = page.locator(".dropdown-launch-buttons a", has_text="Colab")
        colab.wait_for(state="visible")
        assert "/blob/published/book/blocks/" in colab.get_attribute("href")
        page.keyboard.press("Escape")
        bar = page.locator("#pst-primary-sidebar")
        assert bar.is_visible()
        page.click(".primary-toggle")
        bar.wait_for(state="hidden")
        nothing(reader.faults, "went wrong")


def test_icons_are_drawn(browser, address):
    """As masks of the page's own, in the colour of the text."""
    with visit(browser, address) as reader:
        reader.page.goto(f"{address}/{PAGE}")
        empty = reader.page.evaluate("""() =>
          [...document.querySelectorAll("i[class*='fa-'], i.fas, i.fab")]
            .filter((icon) =>
              !getComputedStyle(icon).maskImage.includes("svg"))
            .map((icon) => icon.className)""")
        nothing(empty, "an icon without a drawing")


def test_paper_is_light_and_bare(browser, address):
    with visit(browser, address, scheme="dark") as reader:
        page = reader.page
        reader.open(PAGE)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert (
            page.evaluate("document.documentElement.dataset.theme") == "light"
        )
        page.emulate_media(media="print")
        for gone in (".bd-sidebar-primary", ".bd-header-article", ".copybtn"):
            assert not page.locator(gone).first.is_visible(), gone
        assert page.locator("article h1").first.is_visible()
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert (
            page.evaluate("document.documentElement.dataset.theme") == "dark"
        )
