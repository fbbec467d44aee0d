"""One model behind the endpoint: what is asked becomes a job.

A tokenizer, an engine, and what a chat needs: a template that turns messages
into one text, and the special tokens that no message may hold.
"""

import secrets
from collections.abc import Callable, Collection
from typing import Any, Protocol

from handmade import checks
from handmade.contracts import limit
from handmade.inference.engine import Engine, Request
from handmade.inference.serve_fields import Refusal
from handmade.inference.serve_protocol import Asked
from handmade.inference.serve_text import TextStream
from handmade.inference.serve_worker import Job, Worker

MAX_BODY = 1 << 20  # bytes: a long prompt, not a flood
DEFAULT_TOKENS = 16  # of a completion, as OpenAI has it
Render = Callable[[list[dict[str, str]]], str]


class TextCodec(Protocol):
    """What is asked of a tokenizer: that of the `tokenizers` library."""

    def encode(self, sequence: str, *, add_special_tokens: bool) -> Any:
        """Return an object with ``ids``."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        """Return the text of ids."""


class Service:
    """One model behind the endpoint: its name, its text and its engine.

    ``chat`` turns messages into a prompt; without it the model is not one
    to talk with, and chat is refused. ``special`` are tokens that a message
    may not hold: they would end its turn, and begin another.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        tokenizer: TextCodec,
        *,
        eos_ids: Collection[int] = (),
        chat: Render | None = None,
        special: Collection[str] = (),
        max_body: int = MAX_BODY,
    ) -> None:
        _check_service(
            name, engine, tokenizer, eos_ids, chat, special, max_body
        )
        self.name, self.tokenizer = name, tokenizer
        self.worker = Worker(engine)
        self.eos_ids, self.special = tuple(eos_ids), tuple(special)
        self.chat, self.max_body = chat, max_body
        pool = engine.pool
        # the last token is never run, so it needs no place
        places = pool.n_pages * pool.page_size + 1
        longest = limit(engine.model, "max_seq_len")
        self.room = places if longest is None else min(places, longest)

    def ids_of(self, asked: Asked) -> list[int]:
        """Return the ids of a prompt, or of a conversation."""
        if asked.kind == "chat":
            return self._encode(self._rendered(asked.text), special=False)
        if isinstance(asked.text, str):
            ids = self._encode(asked.text, special=True)
        else:
            ids = asked.text
            size = limit(self.worker.engine.model, "vocab_size") or 2**63
            if not 0 <= min(ids) <= max(ids) < size:
                want = f"prompt: got ids beyond 0 to {size - 1}, want them in"
                raise Refusal(want, param="prompt")
        if not ids:
            message = 'prompt: got "", want at least one token'
            raise Refusal(message, param="prompt")
        return ids

    def job(self, asked: Asked, ids: list[int]) -> Job:
        """Return the job that a body asks for, refused where it is long."""
        left = self.room - len(ids)
        new = asked.max_tokens
        if new is None:
            new = left if asked.kind == "chat" else min(DEFAULT_TOKENS, left)
        if not 0 < new <= left:
            raise Refusal(
                f"max_tokens: got {asked.max_tokens or 'none'} after a prompt "
                f"of {len(ids)} tokens, want at most {self.room} together",
                param="max_tokens",
                code="context_length_exceeded",
            )
        seed = asked.seed
        request = Request(
            ids,
            new,
            temperature=asked.temperature,
            top_k=asked.top_k,
            top_p=asked.top_p,
            min_p=asked.min_p,
            eos_ids=self.eos_ids,
            seed=secrets.randbits(63) if seed is None else seed,
        )
        return Job(request, TextStream(self._decode, asked.stop))

    def _encode(self, text: str, *, special: bool) -> list[int]:
        found = self.tokenizer.encode(text, add_special_tokens=special)
        return list(found.ids)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _rendered(self, messages: list[dict[str, str]]) -> str:
        if self.chat is None:
            raise Refusal(
                f"model: got {self.name}, want one with a chat template: "
                "this one only completes, at /v1/completions",
                param="model",
            )
        for i, message in enumerate(messages):
            for token in self.special:
                if token in message["content"]:
                    name = f"messages[{i}].content"
                    said = f"{name}: got {token}, want no special token"
                    raise Refusal(said, param=name)
        try:
            return self.chat(messages)
        except Exception as error:  # a template may raise anything
            said = f"messages: got {error}, want what the template takes"
            raise Refusal(said, param="messages") from error


def _check_service(
    name: str,
    engine: Engine,
    tokenizer: TextCodec,
    eos_ids: Collection[int],
    chat: Render | None,
    special: Collection[str],
    max_body: int,
) -> None:
    checks.text("name", name)
    checks.kind("engine", engine, Engine, "an Engine")
    for method in ("encode", "decode"):
        can = callable(getattr(tokenizer, method, None))
        got = f"a {type(tokenizer).__name__}"
        checks.need(can, "tokenizer", got, f"one that can {method}")
    checks.several("eos_ids", eos_ids, "ids")
    for token in eos_ids:
        checks.whole("eos_ids", token, at_least=0)
    if chat is not None:
        checks.function("chat", chat, "a function from messages to text")
    checks.several("special", special, "the texts of tokens")
    for text in special:
        checks.text("special", text)
    checks.whole("max_body", max_body)
