"""Serve many requests at once: each joins and leaves on its own.

V vocabulary

One `step` is one iteration of continuous batching [yu2022]: all requests
that run get one token, in one pass, and prompts that wait are read into the
room that is left. The keys stand in pages [kwon2023]; when those run out,
the youngest request gives its own back and is read anew later, its words
kept. A prompt is read alone, in chunks: in one pass with the rows that
decode these would be padded to the chunk's length, which engines with
kernels of their own avoid. Not thread-safe: one thread owns the engine.
"""

from collections import deque
from dataclasses import dataclass, field

import torch

from handmade import checks
from handmade.contracts import Decoder, limit
from handmade.inference.arguments import DECODER, check_int, check_options
from handmade.inference.generate import choose
from handmade.inference.outputs import check_finite
from handmade.inference.page_pool import PagePool, check_text
from handmade.inference.paged_cache import PagedCache, paged_pass


class QueueFull(RuntimeError):  # noqa: N818
    """So many requests wait that another one is refused."""


@dataclass(eq=False)
class Request:
    """What somebody wants continued, and what has come of it so far.

    ``temperature`` 0 is greedy; the filters are those of `generate`. A token
    of ``eos_ids`` ends the text and is the last of ``output``, as it is in
    what `generate` returns. Each request draws from a generator of its own,
    begun at ``seed`` (without one, at a number drawn from torch's global
    generator), so that its text does not depend on who runs beside it.
    ``finish_reason`` is None until the end: then "stop" (an end token),
    "length" (max_new_tokens) or "cancelled".
    """

    ids: list[int]
    max_new_tokens: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    eos_ids: tuple[int, ...] = ()
    seed: int | None = None
    output: list[int] = field(default_factory=list, init=False)
    finish_reason: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raise ValueError on what no engine could do."""
        _check_request(self)


@dataclass(eq=False)
class Running:
    """A request inside the engine: its text, and where its keys stand."""

    request: Request
    generator: torch.Generator
    tokens: list[int]  # the prompt and all that was drawn
    done: int = 0  # tokens whose keys are written
    table: list[int] = field(default_factory=list)  # its pages, in order


class Engine:
    """Continue many texts at once with one model and one pool of pages.

    `add` puts a request in the queue, `step` goes one token further with all
    that run, at most ``max_batch``. Requests are let in in order: the first
    that waits is never overtaken. ``chunk`` is how many tokens of prompts
    one step reads at most. ``tokens_run``, ``tokens_shared`` and
    ``preempted`` count what the model has read, what it was spared because
    the pages were there, and how often pages had run out.
    """

    def __init__(
        self,
        model: Decoder,
        *,
        n_pages: int,
        page_size: int = 16,
        max_batch: int = 8,
        max_waiting: int = 64,
        chunk: int = 256,
    ) -> None:
        _check_engine(model, max_batch, max_waiting, chunk)
        self.model, self.chunk = model, chunk
        self.max_batch, self.max_waiting = max_batch, max_waiting
        self.pool = PagePool(n_pages, page_size)
        self.cache = PagedCache(n_pages, page_size)
        self.waiting: deque[Running] = deque()
        self.running: list[Running] = []  # in the order they came in
        self.tokens_run = self.tokens_shared = self.preempted = 0

    @property
    def has_work(self) -> bool:
        """Tell whether a request runs or waits."""
        return bool(self.running or self.waiting)

    def add(self, request: Request) -> None:
        """Put a request at the end of the queue.

        Raises QueueFull where ``max_waiting`` wait already, and ValueError
        for a request that can never fit, or has been added before.
        """
        _check_fits(self, request)
        if len(self.waiting) >= self.max_waiting:
            raise QueueFull(
                f"queue: got a request while {len(self.waiting)} wait, want "
                f"fewer than max_waiting = {self.max_waiting}: try later"
            )
        seed = request.seed
        if seed is None:
            seed = int(torch.randint(2**63 - 1, ()))
        generator = torch.Generator().manual_seed(seed)
        self.waiting.append(Running(request, generator, [*request.ids]))

    @torch.inference_mode()
    def step(self) -> list[tuple[Request, int]]:
        """Go on by one iteration; return each token that came, and whose.

        First one token for each request that runs, then the prompts: the
        one that is being read, and those that may come in, as far as
        ``chunk`` goes. A request that ends has its ``finish_reason``.
        """
        self._make_room()
        ready = [row for row in self.running if _unread(row) == 1]
        tokens = self._run(ready, 1) if ready else []
        left = self.chunk
        while left and (row := self._being_read()) is not None:
            n = min(left, _unread(row))
            tokens += self._run([row], n)
            left -= n
        return tokens

    def cancel(self, request: Request) -> None:
        """Take a request out, its pages free at once.

        Nothing happens to one that has ended. Raises ValueError for one that
        was never added.
        """
        checks.kind("request", request, Request, "a Request")
        if request.finish_reason is not None:
            return
        for row in (*self.running, *self.waiting):
            if row.request is request:
                self._leave(row, "cancelled")
                return
        raise ValueError("request: got one never added, want one that was")

    def _make_room(self) -> None:
        """Give each row a page for its next token; the youngest pays."""
        for row in [*self.running]:
            while row in self.running and self._lacks(row):
                if self.pool.free:
                    row.table += self.pool.take(1)
                else:
                    self._preempt(self.running[-1])

    def _being_read(self) -> Running | None:
        """Return the row with a prompt to read: let the next one in."""
        if self.running and _unread(self.running[-1]) > 1:
            return self.running[-1]
        if not self.waiting or len(self.running) == self.max_batch:
            return None
        row = self.waiting[0]
        row.table = self.pool.find(row.tokens)
        if self._lacks(row) > len(self.pool.free):
            self.pool.give_back(row.table)
            row.table = []
            return None  # and nobody overtakes it
        row.done = len(row.table) * self.pool.page_size
        self.tokens_shared += row.done
        row.table += self.pool.take(self._lacks(row))
        self.running.append(self.waiting.popleft())
        return row

    def _run(self, rows: list[Running], n: int) -> list[tuple[Request, int]]:
        """Run the next n tokens of each row; choose where a text is read."""
        new = [row.tokens[row.done : row.done + n] for row in rows]
        logits = paged_pass(
            self.model, self.cache, [row.table for row in rows],
            [row.done for row in rows], new,
        )  # fmt: skip
        self.tokens_run += n * len(rows)
        tokens = []
        for row, z_V in zip(rows, logits.float(), strict=True):
            row.done += n
            self.pool.keep(row.tokens[: row.done], row.table)
            if not _unread(row):
                tokens.append((row.request, self._choose(row, z_V[None])))
        return tokens

    def _choose(self, row: Running, logits: torch.Tensor) -> int:
        """Draw a row's next token; let it leave if that was the last."""
        request = row.request
        check_finite(logits, step=len(request.output) + 1)
        token = int(
            choose(
                logits, torch.tensor([row.tokens]), None,
                request.temperature, None, row.generator,
                top_k=request.top_k, top_p=request.top_p, min_p=request.min_p,
            )
        )  # fmt: skip
        row.tokens.append(token)
        request.output.append(token)
        if token in request.eos_ids:
            self._leave(row, "stop")
        elif len(request.output) == request.max_new_tokens:
            self._leave(row, "length")
        return token

    def _lacks(self, row: Running) -> int:
        return self.pool.needed(len(row.tokens)) - len(row.table)

    def _preempt(self, row: Running) -> None:
        """Send a row back to the head of the queue, its words kept."""
        self.running.remove(row)
        self.pool.give_back(row.table)
        row.table, row.done = [], 0
        self.waiting.appendleft(row)
        self.preempted += 1

    def _leave(self, row: Running, why: str) -> None:
        row.request.finish_reason = why
        if row in self.running:
            self.running.remove(row)
        else:
            self.waiting.remove(row)
        self.pool.give_back(row.table)
        row.table = []


def _unread(row: Running) -> int:
    """Count the tokens that the model has not run yet."""
    return len(row.tokens) - row.done


def _check_engine(
    model: Decoder, max_batch: int, max_waiting: int, chunk: int
) -> None:
    checks.function("model", model, DECODER)
    window = limit(model, "window")  # it counts from the longest row's end
    if window is not None:
        raise ValueError(
            f"model: got a sliding window of {window}, want one whose layers "
            "attend to all of the past"
        )
    checks.whole("max_batch", max_batch)
    checks.whole("max_waiting", max_waiting)
    checks.whole("chunk", chunk)


def _check_request(request: Request) -> None:
    check_text("ids", request.ids)
    checks.need(bool(request.ids), "ids", "none", "at least one token")
    checks.whole("max_new_tokens", request.max_new_tokens)
    check_text("eos_ids", request.eos_ids)
    check_options(
        request.temperature, None,
        top_k=request.top_k, top_p=request.top_p, min_p=request.min_p,
    )  # fmt: skip
    if request.seed is not None:
        check_int("seed", request.seed, 0)


def _check_fits(engine: Engine, request: Request) -> None:
    checks.kind("request", request, Request, "a Request")
    if request.output or request.finish_reason is not None:
        raise ValueError("request: got one that has run, want a new one")
    for row in (*engine.running, *engine.waiting):
        if row.request is request:
            raise ValueError("request: got one added before, want a new one")
    vocab_size = limit(engine.model, "vocab_size")
    if vocab_size is not None and max(request.ids) >= vocab_size:
        raise ValueError(
            f"ids: got {max(request.ids)}, want 0 to {vocab_size - 1}"
        )
    T, new = len(request.ids), request.max_new_tokens
    longest = limit(engine.model, "max_seq_len")
    if longest is not None and T + new > longest:
        raise ValueError(
            f"max_new_tokens: got {new} after a prompt of {T} tokens, want "
            f"no more than the model's max_seq_len = {longest} together"
        )
    # the last token is never run, so it needs no place
    needed, n_pages = engine.pool.needed(T + new - 1), engine.pool.n_pages
    if needed > n_pages:
        raise ValueError(
            f"max_new_tokens: got {new} after a prompt of {T} tokens, which "
            f"need {needed} pages, want at most the {n_pages} there are"
        )
