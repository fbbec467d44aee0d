"""What a client may ask and what it hears, in OpenAI's words.

A body is read whole or refused. Its keys stand in three lists, as those of a
config do: those that are implemented, those that must have the value they
have when nobody names them, and those that change nothing. Any other is
refused by name, with HTTP 400 and an error in OpenAI's form.

``top_k`` and ``min_p`` are no fields of OpenAI's; they are called as vLLM
calls them, and reach either by the client's ``extra_body``.

Left out: several answers to one prompt, log-probabilities, penalties, tools.
"""

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

from handmade.inference import serve_fields as fields

SHARED = {
    "model", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed",
    "stop", "stream", "stream_options",
}  # fmt: skip
# kind of request -> the fields that are implemented
IMPLEMENTED = {
    "completion": SHARED | {"prompt"},
    "chat": SHARED | {"messages", "max_completion_tokens"},
}
NO_PENALTY = (0, 0.0, None)
# kind of request -> the fields that must have one of these values
REQUIRED: dict[str, dict[str, tuple[Any, ...]]] = {
    "completion": {
        "n": (1, None),
        "best_of": (1, None),
        "echo": (False, None),
        "frequency_penalty": NO_PENALTY,
        "presence_penalty": NO_PENALTY,
        "logit_bias": ({}, None),
        "logprobs": (None,),
        "suffix": (None,),
    },
    "chat": {
        "n": (1, None),
        "frequency_penalty": NO_PENALTY,
        "presence_penalty": NO_PENALTY,
        "logit_bias": ({}, None),
        "logprobs": (False, None),
        "top_logprobs": (None,),
        "tools": ([], None),
        "tool_choice": ("none", None),
        "parallel_tool_calls": (True, False, None),
        "functions": ([], None),
        "function_call": ("none", None),
        "response_format": ({"type": "text"}, None),
        "modalities": (["text"], None),
        "audio": (None,),
        "prediction": (None,),
        "reasoning_effort": (None,),
        "verbosity": (None,),
        "service_tier": ("auto", "default", None),
        "store": (False, None),
        "metadata": ({}, None),
        "web_search_options": (None,),
    },
}
# they say who asks
INERT = {"user", "safety_identifier", "prompt_cache_key"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a body asks for; ``text`` is a prompt, its ids, or messages."""

    kind: str
    model: str
    text: Any
    max_tokens: int | None
    temperature: float
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool


def read_body(kind: str, body: bytes) -> Asked:
    """Read a body of a kind, "completion" or "chat", or refuse it."""
    given = fields.read_object(body)
    _check_keys(kind, given)
    stream = fields.read_flag("stream", given)
    temperature = fields.read_number("temperature", given, 2)
    top_p, min_p = (
        fields.read_number(k, given, 1) for k in ("top_p", "min_p")
    )
    top_k = fields.read_whole("top_k", given, 1)
    if temperature == 0:
        # a filter keeps the likeliest token, and that is what greedy takes
        top_p = top_k = min_p = None
    text = fields.read_messages if kind == "chat" else fields.read_prompt
    return Asked(
        kind=kind,
        model=fields.read_model(given),
        text=text(given),
        max_tokens=fields.read_max_tokens(given),
        temperature=1.0 if temperature is None else temperature,
        top_p=None if top_p == 1 else top_p,
        top_k=top_k,
        min_p=None if min_p == 0 else min_p,
        seed=fields.read_whole("seed", given, 0),
        stop=fields.read_stops(given),
        stream=stream,
        include_usage=fields.read_include_usage(given, stream),
    )


def _check_keys(kind: str, given: dict[str, Any]) -> None:
    for key, value in given.items():
        wants = REQUIRED[kind].get(key)
        if wants is None:
            known = key in IMPLEMENTED[kind] | INERT
            fields.insist(
                known, key, value, "no such field: it is not implemented"
            )
        else:
            fits = any(fields.same_json(value, want) for want in wants)
            listed = " or ".join(map(json.dumps, wants))
            fields.insist(
                fits, key, value, f"{listed}: all that is implemented"
            )


class Answer:
    """The bodies of one answer: it whole, or its chunks."""

    def __init__(self, asked: Asked, prompt_tokens: int) -> None:
        self.asked, self.prompt_tokens = asked, prompt_tokens
        self.chat = asked.kind == "chat"
        self.id = f"{'chatcmpl' if self.chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def whole(self, text: str, reason: str, tokens: int) -> dict[str, Any]:
        """Return the answer to a request that does not stream."""
        said: dict[str, Any] = {"text": text}
        if self.chat:
            message = {"role": "assistant", "content": text, "refusal": None}
            said = {"message": message}
        return {**self._body([_choice(said, reason)]), **self._usage(tokens)}

    def chunk(
        self, text: str, reason: str | None = None, *, first: bool = False
    ) -> dict[str, Any]:
        """Return one piece of a stream; the last one has a reason."""
        said: dict[str, Any] = {"text": text}
        if self.chat:
            delta = {"content": text} if text or first else {}
            if first:
                delta["role"] = "assistant"
            said = {"delta": delta}
        body = self._body([_choice(said, reason)], ".chunk")
        return {**body, "usage": None} if self.asked.include_usage else body

    def count(self, tokens: int) -> dict[str, Any]:
        """Return the piece that a stream with include_usage ends with."""
        return {**self._body([], ".chunk"), **self._usage(tokens)}

    def _body(self, choices: list[Any], chunk: str = "") -> dict[str, Any]:
        kind = "chat.completion" + chunk if self.chat else "text_completion"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.asked.model,
            "choices": choices,
        }

    def _usage(self, tokens: int) -> dict[str, Any]:
        counts = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        }
        return {"usage": counts}


def _choice(said: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, **said, "finish_reason": reason, "logprobs": None}
