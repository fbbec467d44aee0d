"""A load of requests that arrive at random, played against a server.

B batch · T prompt tokens

A server is anything with the engine's `add`, `step` and `has_work`. Its
steps are really made and their time measured; the clock of the play adds
them up and jumps to the next arrival where there is nothing to do, so that
nobody sleeps. Left out: threads and the network, which every server needs
alike.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn.functional import pad

from handmade import checks
from handmade.contracts import Decoder, device_of
from handmade.inference.arguments import DECODER
from handmade.inference.cache import KVCache
from handmade.inference.engine import Request
from handmade.inference.generate import decode_one_token, prefill


class Server(Protocol):
    """What takes requests and goes on with them step by step."""

    @property
    def has_work(self) -> bool:
        """Tell whether a request runs or waits."""

    def add(self, request: Request) -> None:
        """Put a request at the end of the queue."""

    def step(self) -> list[tuple[Request, int]]:
        """Go on by one iteration; return each token, and whose it is."""


@dataclass(frozen=True)
class Played:
    """How long everybody waited, in seconds, and how long it took."""

    first: list[float]  # from each arrival to the first token
    last: list[float]  # and to the last
    seconds: float  # from the first arrival to the last token
    tokens: int


def play(
    server: Server,
    requests: Sequence[Request],
    arrivals: Sequence[float],
    now: Callable[[], float] = time.process_time,
) -> Played:
    """Let each request arrive at its time; return how long each one waits.

    ``arrivals`` ascend, in seconds; ``now`` is what a step is timed with.
    """
    _check_play(server, requests, arrivals, now)
    clock, came = 0.0, 0
    first: dict[Request, float] = {}
    last: dict[Request, float] = {}
    while came < len(requests) or server.has_work:
        if not server.has_work:
            clock = max(clock, arrivals[came])  # nothing to do until then
        while came < len(requests) and arrivals[came] <= clock:
            server.add(requests[came])
            came += 1
        begun = now()
        tokens = server.step()
        clock += now() - begun
        for request, _ in tokens:
            first.setdefault(request, clock)
            last[request] = clock
    pairs = list(zip(requests, arrivals, strict=True))
    return Played(
        [first[request] - at for request, at in pairs],
        [last[request] - at for request, at in pairs],
        clock - arrivals[0],
        sum(len(request.output) for request in requests),
    )


def poisson(n: int, rate: float, generator: torch.Generator) -> list[float]:
    """Draw n arrivals, ``rate`` a second on average, independent of others.

    The gaps between them are exponential with mean 1 / rate.
    """
    checks.whole("n", n)
    checks.positive("rate", rate)
    checks.generator("generator", generator)
    gaps = torch.empty(n, dtype=torch.float64)
    return gaps.exponential_(rate, generator=generator).cumsum(0).tolist()


class StaticBatch:
    """Serve as `generate` does: a padded batch, run to its longest row.

    Whoever waits when a batch ends is in the next one, at most ``max_batch``.
    Each token is handed out when it comes, and a row that is done costs its
    neighbours nothing but its place. Greedy only, without end tokens.
    """

    def __init__(self, model: Decoder, max_batch: int = 8) -> None:
        checks.function("model", model, DECODER)
        checks.whole("max_batch", max_batch)
        self.model, self.max_batch = model, max_batch
        self.waiting: deque[Request] = deque()
        self.rows: list[Request] = []
        self.passes = 0
        self.cache = KVCache()
        self.token_B = self.mask_BT = torch.zeros(0)

    @property
    def has_work(self) -> bool:
        """Tell whether a request runs or waits."""
        return bool(self.rows or self.waiting)

    def add(self, request: Request) -> None:
        """Put a request at the end of the queue."""
        checks.kind("request", request, Request, "a Request")
        plain = request.temperature == 0 and not request.eos_ids
        got = "one that samples or has end tokens"
        checks.need(plain, "request", got, "temperature 0 and no eos_ids")
        self.waiting.append(request)

    @torch.inference_mode()
    def step(self) -> list[tuple[Request, int]]:
        """Read the next batch, or give each of its rows one more token."""
        if not self.has_work:
            return []
        if self.rows:
            self.mask_BT = pad(self.mask_BT, (0, 1), value=1)
            logits = decode_one_token(
                self.model, self.token_B[:, None], self.cache, self.mask_BT
            )
        else:
            logits = self._begin()
        self.passes += 1
        self.token_B = logits.argmax(-1)
        tokens = []
        for request, token in zip(
            self.rows, self.token_B.tolist(), strict=True
        ):
            if request.finish_reason is None:
                request.output.append(token)
                tokens.append((request, token))
                if len(request.output) == request.max_new_tokens:
                    request.finish_reason = "length"
        if all(request.finish_reason for request in self.rows):
            self.rows = []
        return tokens

    def _begin(self) -> torch.Tensor:
        """Pad those who wait on the left, and read them together."""
        count = min(self.max_batch, len(self.waiting))
        self.rows = [self.waiting.popleft() for _ in range(count)]
        T = max(len(request.ids) for request in self.rows)
        fill = [T - len(request.ids) for request in self.rows]
        pairs = list(zip(self.rows, fill, strict=True))
        rows, masks = (
            [[0] * n + request.ids for request, n in pairs],
            [[0] * n + [1] * (T - n) for n in fill],
        )
        device = device_of(self.model)
        self.mask_BT = torch.tensor(masks, device=device)
        self.cache = KVCache()
        ids_BT = torch.tensor(rows, device=device)
        return prefill(self.model, ids_BT, self.cache, self.mask_BT)


def _check_play(
    server: object,
    requests: Sequence[Request],
    arrivals: Sequence[float],
    now: object,
) -> None:
    serves = hasattr(server, "step") and hasattr(server, "add")
    got = f"a {type(server).__name__}"
    checks.need(serves, "server", got, "one with add, step and has_work")
    checks.several("requests", requests, "a list of requests")
    for request in requests:
        checks.kind("requests", request, Request, "requests")
    checks.several("arrivals", arrivals, "a list of seconds")
    for at in arrivals:
        checks.number("arrivals", at, at_least=0)
    fits = len(arrivals) == len(requests) > 0
    want = f"one for each of the {len(requests)} requests, at least one"
    checks.need(fits, "arrivals", f"{len(arrivals)} times", want)
    ascend = list(arrivals) == sorted(arrivals)
    checks.need(ascend, "arrivals", "some out of order", "them ascending")
    checks.function("now", now, "a function that tells the time")
