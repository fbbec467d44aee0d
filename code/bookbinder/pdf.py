"""The book on paper: every page printed by Chromium, and bound into one PDF.

`python -m bookbinder pdf` reads the built site. The outline (parts, pages,
sections) and the page numbers are set when the sheets are bound; a link from
page to page leads to the sheet where the other begins.
"""

import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urldefrag

from bookbinder.book import Book, Page, toc_parts
from bookbinder.browser import chromium

PAPER = {
    "format": "A4",
    "print_background": True,
    "margin": {"top": "18mm", "bottom": "20mm", "left": "16mm",
               "right": "16mm"},
}  # fmt: skip
# the sheets of numbers alone are laid over those of text
NUMBER = (
    '<div style="color: #666; font: 9px sans-serif; text-align: center; '
    'width: 100%"><span class="pageNumber"></span></div>'
)
# as they stand on the sheets; Chromium's outline repeats words with an anchor
HEADINGS = """() => [
    ...document.querySelectorAll("article :is(h1, h2, h3, h4)")
  ].filter((heading) => heading.checkVisibility())
  .map((heading) => {
    const copy = heading.cloneNode(true);
    copy.querySelectorAll(".headerlink, .katex-html").forEach(
      (node) => node.remove());
    return copy.textContent.trim();
  })"""
# letters and pictures, those too that wait for a reader
WHOLE = """async () => {
  const images = [...document.images];
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map((image) => image.decode().catch(() => {})));
  await document.fonts.ready;
}"""
SHEET = '<div style="break-after: page">&nbsp;</div>'


def write(book: Book, names: list[str], output: Path | None = None) -> str:
    """Print the pages, all or those named; return a line that says where.

    Raises ValueError without a built site, Chromium, Playwright or pypdf.
    """
    try:
        from pypdf import PdfReader, PdfWriter
    except ImportError:
        raise ValueError(
            "pypdf: got no such package, want one: `pip install pypdf`"
        ) from None
    site = book.root / "_build" / "html"
    pages = [book.page(name) for name in names] or list(book.pages)
    for page in pages:
        if not (site / f"{page.name}.html").is_file():
            raise ValueError(
                f"{page.name}: got no built page, want one: run `make book`"
            )
    output = output or book.root / "_build" / "handmade-transformers.pdf"
    writer = PdfWriter()
    with chromium() as browser:
        context = browser.new_context(color_scheme="light")
        tab = context.new_page()
        sheets, titles = {}, {}
        for page in pages:
            content, titles[page.name] = printed(tab, site, page)
            sheets[page.name] = PdfReader(io.BytesIO(content))
        parts = toc_parts(book.root / "_toc.yml")
        starts = bind(writer, sheets, titles, parts)
        relink(writer, starts, site.as_uri(), book.site)
        tab.set_content(SHEET * (len(writer.pages) - 1) + "&nbsp;")
        numbers = PdfReader(
            io.BytesIO(
                tab.pdf(
                    **PAPER,
                    display_header_footer=True,
                    header_template="<span></span>",
                    footer_template=NUMBER,
                )
            )
        )
    for sheet, number in zip(writer.pages, numbers.pages, strict=False):
        sheet.merge_page(number)
        sheet.compress_content_streams()
    writer.add_metadata({
        "/Title": book.settings["title"],
        "/Author": book.settings["author"],
    })  # fmt: skip
    writer.compress_identical_objects()
    output.parent.mkdir(parents=True, exist_ok=True)
    writer.write(output)
    return f"the book on {len(writer.pages)} sheets: {output}"


def printed(tab, site: Path, page: Page) -> tuple[bytes, list[str]]:
    """Return a page of the site as a PDF, and its headings."""
    tab.goto((site / f"{page.name}.html").as_uri())
    tab.emulate_media(media="print")
    tab.evaluate(WHOLE)
    titles = tab.evaluate(HEADINGS)
    return tab.pdf(**PAPER, outline=True, tagged=True), titles


def bind(
    writer, sheets: Mapping, titles: Mapping, parts: list
) -> dict[str, int]:
    """Append the pages part by part, with their outline.

    Returns page -> number of its first sheet, from 0.
    """
    starts: dict[str, int] = {}
    for caption, names in parts:
        above = None
        for name in filter(sheets.__contains__, names):
            reader, start = sheets[name], len(writer.pages)
            explicit(reader)
            writer.append(reader, import_outline=False)
            if caption and above is None:
                above = writer.add_outline_item(
                    title=caption, page_number=start
                )
            starts[name] = start
            _outline(writer, reader, start, above, titles[name])
    return starts


def _outline(writer, reader, start: int, above, titles: list[str]) -> None:
    """Copy a page's outline below an entry, by the titles of its headings.

    Raises ValueError where Chromium found other headings.
    """
    left = list(titles)

    def copy(entries: list, above) -> None:
        last = above
        for entry in entries:
            if isinstance(entry, list):
                copy(entry, last)
                continue
            if not left or not entry.title.startswith(left[0][:1]):
                raise ValueError(
                    f"outline: got {entry.title!r}, want one of {titles}"
                )
            number = start + reader.get_destination_page_number(entry)
            last = writer.add_outline_item(
                title=left.pop(0), page_number=number, parent=above
            )

    copy(reader.outline, above)


def explicit(reader) -> None:
    """Let links inside a page name their sheet: two pages share names."""
    from pypdf.generic import NameObject

    known = reader.named_destinations
    for link in _links(reader.pages):
        target = link.get("/Dest")
        if target in known:
            link[NameObject("/Dest")] = known[target].dest_array


def relink(writer, starts: dict[str, int], site: str, online: str) -> None:
    """Let a link to another page lead to its sheet, or to the book online."""
    from pypdf.generic import ArrayObject, NameObject, TextStringObject

    for link in _links(writer.pages):
        action = link.get("/A", {})
        address = str(action.get("/URI", ""))
        if not address.startswith(f"{site}/"):
            continue
        path, _ = urldefrag(address.removeprefix(f"{site}/"))
        start = starts.get(path.removesuffix(".html"))
        if start is None:
            action[NameObject("/URI")] = TextStringObject(
                online + address.removeprefix(f"{site}/")
            )
        else:
            del link["/A"]
            sheet = writer.pages[start].indirect_reference
            link[NameObject("/Dest")] = ArrayObject(
                [sheet, NameObject("/Fit")]
            )


def _links(pages) -> Iterator:
    """Yield every link of a PDF's pages."""
    notes = (page.get("/Annots") or () for page in pages)
    for note in itertools.chain.from_iterable(notes):
        found = note.get_object()
        if found.get("/Subtype") == "/Link":
            yield found
