"""What cells show, in a real browser, as wide as a phone's column."""

from pathlib import Path

import pytest
import torch
from handmade.strip import Step, Strip
from handmade.tables import table
from test_plots import FIGURES

pytestmark = pytest.mark.slow
STYLE = Path(__file__).parents[1] / "book/style"
COLUMN = 342  # pixels, of 390
OUTSIDE = """() => {
  const box = document.querySelector('svg').getBoundingClientRect();
  return [...document.querySelectorAll('svg text')].filter((text) => {
    const at = text.getBoundingClientRect();
    return at.left < box.left - 1 || at.right > box.right + 1
      || at.top < box.top - 1 || at.bottom > box.bottom + 1;
  }).map((text) => text.textContent);
}"""


@pytest.fixture(scope="module")
def show(browser):
    """Show some HTML in the page's style; return the page."""
    css = "".join(
        (STYLE / name).read_text(encoding="utf-8")
        for name in ("custom.css", "outputs.css")
    )
    page = browser.new_page(viewport={"width": 390, "height": 800})

    def fill(html, theme="light"):
        page.set_content(
            f'<!doctype html><html data-theme="{theme}"><style>{css}'
            f"body {{ margin: 0 24px; width: {COLUMN}px }}</style>"
            f"<body>{html}</body></html>"
        )
        return page

    yield fill
    page.close()


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_figures_text_is_whole_and_12_pixels_high(figure, show):
    page = show(figure.svg)
    wide = page.evaluate(
        "document.querySelector('svg').getBoundingClientRect().width"
    )
    assert wide == COLUMN
    assert 12 * wide / 340 >= 12
    assert page.evaluate(OUTSIDE) == []


def test_a_figure_takes_the_pages_colours(show):
    colour = "getComputedStyle(document.querySelector('svg text')).fill"
    light = show(FIGURES["line"].svg).evaluate(colour)
    dark = show(FIGURES["line"].svg, "dark").evaluate(colour)
    assert (light, dark) == ("rgb(36, 41, 47)", "rgb(230, 230, 230)")


def test_a_wide_table_scrolls_in_itself_and_keeps_its_first_column(show):
    wide = table(
        [[f"name {i}", *range(10**6, 10**6 + 9)] for i in range(3)],
        ["name", *(f"column {i}" for i in range(9))],
        caption="a long caption " * 9,
    )
    page = show(wide.html())
    before, after, width, caption = page.evaluate("""() => {
      const box = document.querySelector('.hm-table > div');
      const first = document.querySelector('tbody th');
      const before = first.getBoundingClientRect().left;
      box.scrollLeft = 300;
      return [before, first.getBoundingClientRect().left,
              document.documentElement.scrollWidth,
              document.querySelector('figcaption').scrollWidth];
    }""")
    assert before == after == 24
    assert width == 390
    assert caption <= COLUMN


def test_a_stations_numbers_fit_their_cells(show):
    value = torch.tensor([-31415.9, -99.9, -9.99, -1e-9, 1e9, 0, 12.3, -1e-30])
    page = show(Strip([Step("x", value, "y"), Step("z", value, "")]).html())
    cut, size, width = page.evaluate("""() => {
      const cells = [...document.querySelectorAll('span[title]')];
      return [cells.filter((c) => c.scrollWidth > c.clientWidth + 1).length,
              parseFloat(getComputedStyle(cells[0]).fontSize),
              document.documentElement.scrollWidth];
    }""")
    assert (cut, width) == (0, 390)
    assert size >= 12
