"""The picture that a link to the book shows elsewhere: 1200 by 630 pixels.

`python -m bookbinder card` draws it again, from `templates/card.html`, the
logo and the site's own letters.
"""

from pathlib import Path

from bookbinder.browser import chromium
from bookbinder.vendor import is_vendored

TEMPLATE = Path(__file__).parent / "templates" / "card.html"
CARD = "book/figures/card.png"
SIZE = {"width": 1200, "height": 630}


def draw(root: Path) -> str:
    """Write the card; return one line that says where it is.

    Raises ValueError without Chromium, or without the site's letters.
    """
    if not is_vendored(root):
        raise ValueError("book/vendor: got none, want it: run `make vendor`")
    logo = (root / "book/figures/logo.svg").read_text(encoding="utf-8")
    fonts = (root / "book/vendor/fonts").as_uri()
    html = TEMPLATE.read_text(encoding="utf-8")
    html = html.replace("FONTS", fonts).replace("LOGO", logo)
    # a page without an address may load no file
    page_file = root / "_build" / "card.html"
    page_file.parent.mkdir(exist_ok=True)
    page_file.write_text(html, encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page(viewport=SIZE)
        page.goto(page_file.as_uri())
        page.evaluate("document.fonts.ready")
        page.screenshot(path=root / CARD)
    return f"the social card: {CARD}"
