"""`python -m bookbinder why PAGE`: what it depends on, and what changed."""

from bookbinder import fingerprint, imports, sync
from bookbinder.book import Book, Page

SAME = " "
HEADINGS = {
    "code": "modules, and who imports them",
    "files": "what it opened while it ran",
    "versions": "versions",
}


def explain(book: Book, page: Page) -> str:
    """Return all that the page's outputs depend on, each marked.

    `*` changed, `+` new, `-` gone since the twin was executed.
    """
    if not page.has_cells:
        return f"{page.name}: no code cell, nothing to execute"
    stored: dict = {}
    if page.twin.exists():
        stored = page.read_twin().metadata.get("handmade", {})
    cells = page.cells("code")
    wanted = fingerprint.of_page(book, cells, stored.get("files", {}))
    importers = imports.reached([cell.source for cell in cells])
    mark = SAME if stored.get("cells") == wanted["cells"] else "*"
    lines = [
        f"{page.name}: {sync.stale_page(book, page) or 'up to date'}",
        f"{mark} {len(cells)} code cells",
    ]
    for kind, heading in HEADINGS.items():
        old, new = stored.get(kind, {}), wanted[kind]
        lines.append(f"  {heading}:" if old | new else f"  {heading}: none")
        for name in sorted(old | new):
            note = ""
            if kind == "code" and name in importers:
                note = f"  <- {importers[name] or 'a cell'}"
            elif kind == "versions":
                note = f"  {old.get(name, 'none')} -> {new.get(name, 'none')}"
            lines.append(f"{_mark(old, new, name)}   {name}{note}")
    return "\n".join(lines)


def _mark(old: dict, new: dict, name: str) -> str:
    if name not in old:
        return "+"
    if name not in new:
        return "-"
    return SAME if old[name] == new[name] else "*"
