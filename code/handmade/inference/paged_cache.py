"""A key/value cache in pages: texts of unequal length share one pool.

B batch · T new tokens of a row · S keys of a row, cached ones included
G key/value heads · K head width · V vocabulary · N pages · P tokens a page

A row's block table names its pages in order: its token number s stands in
page table[s // P], at place s % P. Each pass gathers a row's keys out of the
pages; this copy is what an attention kernel that reads the block table
itself does without [kwon2023]. Left out: that kernel, and pages moved to the
host's memory when they run out.
"""

from collections.abc import Sequence

import torch

from handmade import checks
from handmade.contracts import Decoder, device_of
from handmade.inference.arguments import DECODER
from handmade.inference.page_pool import check_text


class PagedCache:
    """Keep the keys and values of all texts in pages, (N, G, P, K) a layer.

    ``select`` says whose rows the next pass is about. A layer's pages are
    made when it is first reached, in the dtype and on the device of its
    keys. The model is to be given positions and a mask of its own, as
    `paged_pass` does: rows of a batch end at different places.
    """

    def __init__(self, n_pages: int, page_size: int = 16) -> None:
        checks.whole("n_pages", n_pages)
        checks.whole("page_size", page_size)
        self.n_pages, self.page_size = n_pages, page_size
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.tables = torch.zeros(0, 0, dtype=torch.long)  # (B, pages)
        self.past = torch.zeros(0, dtype=torch.long)  # (B,) keys so far
        self.room = 0  # new keys for which every row has a place
        self.longest = 0  # the largest of past

    @property
    def length(self) -> int:
        """Count the keys of the longest of the rows that are selected."""
        return self.longest

    @property
    def kept(self) -> int:
        """Count the keys before the new ones of the longest row."""
        return self.longest

    @property
    def nbytes(self) -> int:
        """Count what the pages of all layers take, used or not."""
        return sum(x.nbytes for pair in self.layers for x in pair)

    def select(
        self,
        tables: Sequence[Sequence[int]],
        past: Sequence[int],
        device: torch.device | str | None = None,
    ) -> None:
        """Choose the rows of the next pass: their pages, and keys so far.

        ``device`` is that of the model. Raises ValueError on pages that do
        not exist, and on one that two rows would write to.
        """
        self._check_rows(tables, past)
        checks.device("device", device)
        width = max(map(len, tables))
        # a shorter row's table ends in page 0, which its mask hides
        filled = [[*table, *[0] * (width - len(table))] for table in tables]
        self.tables = torch.tensor(filled, dtype=torch.long, device=device)
        self.past = torch.tensor([*past], device=device)
        self.longest = max(past)
        self.room = min(
            len(table) * self.page_size - seen
            for table, seen in zip(tables, past, strict=True)
        )

    def begin(self, rows: int, *, masked: bool) -> None:
        """Announce a pass over the rows that were selected.

        Raises ValueError on other rows, and on an attention mask: padding
        has no place in a page.
        """
        checks.whole("rows", rows, at_least=0)
        checks.flag("masked", masked)
        if rows != len(self.past):
            raise ValueError(
                f"rows: got {rows}, want the {len(self.past)} selected"
            )
        if masked:
            raise ValueError(
                "masked: got an attention_mask, want positions and mask: "
                "rows in pages have no padding"
            )

    def update(
        self, layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a layer's new keys into their pages, gather all of each row.

        (B, G, T, K) -> (B, G, S, K), twice, S = kept + T

        Row b's key number s stands at s, wherever its page is. What lies
        behind a shorter row's keys is of other texts: the mask hides it.
        """
        self._check_update(layer, k, v)
        B, _, T, _ = k.shape
        P, S = self.page_size, self.kept + T
        if layer == len(self.layers):
            self.layers.append((_pages(self, k), _pages(self, v)))
        row_B1 = torch.arange(B, device=k.device)[:, None]
        at_BT = self.past[:, None] + torch.arange(T, device=k.device)
        page_BT = self.tables[row_B1, at_BT // P]
        place_BT = at_BT % P
        blocks = self.tables[:, : -(-S // P)]
        found = []
        for pages_NGPK, x in zip(self.layers[layer], (k, v), strict=True):
            pages_NGPK[page_BT, :, place_BT] = x.transpose(1, 2)
            gathered = pages_NGPK[blocks].transpose(1, 2).flatten(2, 3)
            found.append(gathered[:, :, :S])
        return found[0], found[1]

    def reorder(self, index: torch.Tensor) -> None:
        """Keep the selected rows named by ``index``, none of them twice.

        Raises ValueError on repeats: two rows would write into one page.
        """
        checks.ids("index", index, axes=1)
        rows = index.tolist()
        if index.ndim != 1 or len({*rows}) < len(rows):
            raise ValueError(
                f"index: got {rows}, want (N,), each row at most once: two "
                "copies would write into the same pages"
            )
        self.tables, self.past = self.tables[rows], self.past[rows]
        self.longest = max(self.past.tolist(), default=0)

    def _check_rows(
        self, tables: Sequence[Sequence[int]], past: Sequence[int]
    ) -> None:
        checks.several("tables", tables, "a list of pages a row")
        check_text("past", past)
        if not tables or len(tables) != len(past):
            raise ValueError(
                f"past: got {len(past)} numbers, want one for each of the "
                f"{len(tables)} tables, at least one"
            )
        written: set[int] = set()
        for table, seen in zip(tables, past, strict=True):
            check_text("tables", table)
            for page in table:
                exists = page < self.n_pages
                want = f"pages below {self.n_pages}"
                checks.need(exists, "tables", f"page {page}", want)
            new = set(table[seen // self.page_size :])
            if twice := written & new:
                raise ValueError(
                    f"tables: got page {min(twice)} at the end of two rows, "
                    "want pages of their own for what they will write"
                )
            written |= new

    def _check_update(
        self, layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> None:
        checks.whole("layer", layer, at_least=0)
        checks.floats("k", k, axes=4)
        checks.floats("v", v, axes=4)
        if layer > len(self.layers):
            raise ValueError(
                f"layer: got {layer}, want at most {len(self.layers)}: "
                "layers enter the cache in order"
            )
        if len(k) != len(self.past) or k.shape[:-1] != v.shape[:-1]:
            raise ValueError(
                f"v: got {tuple(v.shape)} beside keys {tuple(k.shape)}, want "
                f"the same of both, for {len(self.past)} rows"
            )
        if k.shape[2] > self.room:
            raise ValueError(
                f"k: got {k.shape[2]} new keys a row, want at most "
                f"{self.room}: that is what the pages of a row have left"
            )
        if layer < len(self.layers):
            for name, x, pages in zip(
                "kv", (k, v), self.layers[layer], strict=True
            ):
                got, want = _kind(x), _kind(pages)
                checks.need(got == want, name, got, want)


@torch.inference_mode()
def paged_pass(
    model: Decoder,
    cache: PagedCache,
    tables: Sequence[Sequence[int]],
    past: Sequence[int],
    ids: Sequence[Sequence[int]],
) -> torch.Tensor:
    """Run T new tokens of each row, each row at its own place.

    ids (B, T), after past (B,) tokens in the pages of tables -> (B, V), the
    logits of each row's next token. Raises ValueError on rows that have not
    equally many new tokens, and as ``PagedCache.select`` does.
    """
    ids_BT = _check_pass(model, cache, ids)
    cache.select(tables, past, ids_BT.device)
    past_B, T = cache.past, ids_BT.shape[1]
    positions = past_B[:, None] + torch.arange(T, device=past_B.device)
    keys_S = torch.arange(cache.kept + T, device=past_B.device)
    mask = keys_S <= positions[:, None, :, None]  # (B, 1, T, S)
    logits = model(
        ids_BT, positions=positions, mask=mask, cache=cache, logits_to_keep=1
    )
    return logits[:, -1]


def _pages(cache: PagedCache, x_BGTK: torch.Tensor) -> torch.Tensor:
    _, G, _, K = x_BGTK.shape
    return x_BGTK.new_zeros(cache.n_pages, G, cache.page_size, K)


def _kind(x: torch.Tensor) -> str:
    return f"{x.shape[1]} heads of width {x.shape[3]}, {x.dtype}"


def _check_pass(
    model: Decoder, cache: PagedCache, ids: Sequence[Sequence[int]]
) -> torch.Tensor:
    checks.function("model", model, DECODER)
    checks.kind("cache", cache, PagedCache, "a PagedCache")
    checks.several("ids", ids, "a list of new tokens a row")
    for row in ids:
        check_text("ids", row)
    if len({len(row) for row in ids}) != 1 or not ids[0]:
        raise ValueError(
            f"ids: got rows of {[len(row) for row in ids]} tokens, want at "
            "least one row, and equally many new tokens in each"
        )
    return torch.tensor(ids, device=device_of(model))
