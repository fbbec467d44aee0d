"""Which page of a paged cache is whose, and which text stands in it.

P tokens a page

A text holds as many pages as it needs, wherever they are, and its block
table names them in order [kwon2023]. Texts that begin alike share their full
pages, which nobody writes again. There are no tensors here: the pages
themselves are in `handmade.inference.paged_cache`. Left out: copy-on-write,
which only shared pages that are half full would need.
"""

from collections.abc import Sequence
from hashlib import sha256
from itertools import islice

from handmade import checks


class PagePool:
    """Know which page is whose, and which text stands in it.

    ``holders`` counts the texts that hold a page; a page without one is
    free. A free page keeps what it has until it is taken anew, the one that
    is free for longest first, and until then `find` may bring it back.
    """

    def __init__(self, n_pages: int, page_size: int = 16) -> None:
        checks.whole("n_pages", n_pages)
        checks.whole("page_size", page_size)
        self.n_pages, self.page_size = n_pages, page_size
        self.holders = [0] * n_pages
        self.free = dict.fromkeys(range(n_pages))  # free for longest first
        self.page_of: dict[bytes, int] = {}  # the name of a text -> its page
        self.name_of: dict[int, bytes] = {}

    def needed(self, tokens: int) -> int:
        """Count the pages that so many tokens fill, the last one in part."""
        checks.whole("tokens", tokens, at_least=0)
        return -(-tokens // self.page_size)

    def take(self, count: int) -> list[int]:
        """Take free pages for a text. Raises ValueError where they lack."""
        self._check_count(count)
        pages = list(islice(self.free, count))
        for page in pages:
            del self.free[page]
            self.page_of.pop(self.name_of.pop(page, b""), None)
            self.holders[page] = 1
        return pages

    def find(self, ids: Sequence[int]) -> list[int]:
        """Hold the pages in which the beginning of a text stands already.

        Only full pages are found, and never the text's last token: somebody
        has to run it to learn what comes next.
        """
        check_text("ids", ids)
        pages = []
        for name in page_names(ids[:-1], self.page_size):
            if name not in self.page_of:
                break
            page = self.page_of[name]
            self.free.pop(page, None)
            self.holders[page] += 1
            pages.append(page)
        return pages

    def keep(self, ids: Sequence[int], table: Sequence[int]) -> None:
        """Enter a text's full pages by name, so that others find them.

        ``ids`` are the tokens whose keys are written. A text that already
        stands elsewhere keeps its first place.
        """
        self._check_pages(table)
        self._check_text(ids, table)
        full = len(ids) // self.page_size
        if full == 0 or table[full - 1] in self.name_of:
            return  # nothing new since the last time
        for page, name in zip(
            table, page_names(ids, self.page_size), strict=False
        ):
            if name not in self.page_of and page not in self.name_of:
                self.page_of[name], self.name_of[page] = page, name

    def give_back(self, table: Sequence[int]) -> None:
        """Let a text's pages go; a page that nobody holds is free.

        The end goes first, so that beginnings, which others may share, are
        the last to be overwritten.
        """
        self._check_pages(table)
        for page in reversed(table):
            self.holders[page] -= 1
            if not self.holders[page]:
                self.free[page] = None

    def _check_count(self, count: int) -> None:
        checks.whole("count", count, at_least=0)
        if count > len(self.free):
            raise ValueError(
                f"count: got {count}, want at most the {len(self.free)} "
                "pages that are free"
            )

    def _check_text(self, ids: Sequence[int], table: Sequence[int]) -> None:
        checks.kind("ids", ids, (list, tuple), "a list of tokens")
        want = f"{self.needed(len(ids))} or more for {len(ids)} tokens"
        fits = len(table) >= self.needed(len(ids))
        checks.need(fits, "table", f"{len(table)} pages", want)

    def _check_pages(self, table: Sequence[int]) -> None:
        check_text("table", table)
        for page in table:
            held = 0 <= page < self.n_pages and self.holders[page] > 0
            checks.need(held, "table", f"page {page}", "pages that are held")


def page_names(ids: Sequence[int], page_size: int) -> list[bytes]:
    """Name each full page by its tokens and all that come before them.

    name_n = sha256(name_(n-1), the page's tokens): keys depend on the whole
    past, so equal names mean equal keys. A short hash, such as Python's own,
    would let somebody find a text whose name is that of yours.
    """
    check_text("ids", ids)
    checks.whole("page_size", page_size)
    names, name = [], b""
    for end in range(page_size, len(ids) + 1, page_size):
        page = ",".join(map(str, ids[end - page_size : end]))
        name = sha256(name + page.encode()).digest()
        names.append(name)
    return names


def check_text(name: str, ids: Sequence[int]) -> None:
    """Raise ValueError unless it is a list of whole numbers, 0 or more."""
    want = "a list of whole numbers, 0 or more"
    checks.kind(name, ids, (list, tuple), want)
    wrong = [i for i in ids if type(i) is not int or i < 0]
    if wrong:
        raise ValueError(f"{name}: got {wrong[0]!r}, want {want}")
