"""The fields of a request's body, each read or refused by its name.

An error says what came and what is wanted, in the form in which OpenAI's
clients read it. ``null`` is what a client sends for a field not given.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

ROLES = ("system", "user", "assistant")
Given = Mapping[str, Any]


class Refusal(Exception):  # noqa: N818
    """An answer that is an error: what to say, and under which status."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status = message, status
        self.param, self.code, self.headers = param, code, headers

    @property
    def body(self) -> dict[str, Any]:
        """Return the error as OpenAI's clients read it."""
        server = self.status >= 500
        kind = "server_error" if server else "invalid_request_error"
        found = {
            "message": self.message,
            "type": "rate_limit_error" if self.status == 429 else kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": found}


def insist(holds: bool, name: str, got: object, want: str) -> None:
    """Refuse unless it holds: ``name: got ..., want ...``."""
    if not holds:
        message = f"{name}: got {_shown(got)}, want {want}"
        raise Refusal(message, param=name)


def read_object(body: bytes) -> dict[str, Any]:
    """Return the object that a body holds; no key in it comes twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key twice")
        return found

    def no(constant: str) -> Any:
        raise ValueError(f"{constant}")

    try:
        given = json.loads(body, object_pairs_hook=once, parse_constant=no)
        # half of a surrogate pair is JSON, but no text
        json.dumps(given, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refusal(f"body: got {error}, want JSON") from None
    insist(isinstance(given, dict), "body", given, "a JSON object")
    return dict(given)


def same_json(value: object, want: object) -> bool:
    """Whether two values are one in JSON, where true is not 1."""
    return type(value) is type(want) and value == want


def read_model(given: Given) -> str:
    """Return which model is asked for."""
    name = given.get("model")
    insist(isinstance(name, str), "model", name, "the name of a model")
    return str(name)


def read_flag(name: str, given: Given) -> bool:
    """Return a field that is true or false, and false when not given."""
    value = given.get(name)
    fits = value is None or isinstance(value, bool)
    insist(fits, name, value, "true or false")
    return bool(value)


def read_number(name: str, given: Given, most: float) -> float | None:
    """Return a field that is a number from 0 to ``most``."""
    value = given.get(name)
    if value is None:
        return None
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    fits = plain and 0 <= value <= most and math.isfinite(value)
    insist(fits, name, value, f"a number from 0 to {most}")
    return float(value)


def read_whole(
    name: str, given: Given, least: int, most: int = 2**63 - 1
) -> int | None:
    """Return a field that is a whole number from ``least`` to ``most``."""
    value = given.get(name)
    if value is None:
        return None
    plain = isinstance(value, int) and not isinstance(value, bool)
    fits = plain and least <= value <= most
    insist(fits, name, value, f"a whole number from {least} to {most}")
    return int(value)


def read_max_tokens(given: Given) -> int | None:
    """Return how many tokens are asked for, by either of two names."""
    old, new = "max_tokens", "max_completion_tokens"
    first, second = read_whole(old, given, 1), read_whole(new, given, 1)
    fits = None in (first, second) or first == second
    insist(fits, new, second, f"one number: {old} is {first}")
    return second if first is None else first


def read_stops(given: Given) -> tuple[str, ...]:
    """Return the strings that end the text, at most four."""
    value = given.get("stop")
    found = [value] if isinstance(value, str) else value
    found = [] if found is None else found
    fits = isinstance(found, list) and len(found) <= 4
    fits = fits and all(isinstance(stop, str) and stop for stop in found)
    insist(fits, "stop", value, "a string, or up to four, none of them empty")
    return tuple(found)


def read_include_usage(given: Given, stream: bool) -> bool:
    """Return whether a stream ends with the count of its tokens."""
    name, options = "stream_options", given.get("stream_options")
    if options is None:
        return False
    insist(isinstance(options, dict), name, options, "an object")
    insist(stream, name, options, "null: stream is not true")
    for key, value in options.items():
        # obfuscation hides how long a token is on the wire: we have none
        inert = key == "include_obfuscation" and value in (False, None)
        known = key == "include_usage" or inert
        insist(known, f"{name}.{key}", value, "include_usage alone")
    return read_flag("include_usage", options)


def read_prompt(given: Given) -> str | list[int]:
    """Return the one prompt to complete, a text or its ids."""
    found = given.get("prompt")
    if isinstance(found, list) and len(found) == 1:
        (only,) = found  # a list of one prompt is that prompt
        found = found if isinstance(only, int) else only
    fits = isinstance(found, str)
    if isinstance(found, list):
        fits = bool(found) and all(type(each) is int for each in found)
    want = "one prompt, a string or ids"
    insist(fits, "prompt", given.get("prompt"), want)
    return found  # type: ignore[return-value]


def read_messages(given: Given) -> list[dict[str, str]]:
    """Return a conversation, each turn's role and text."""
    found = given.get("messages")
    fits = isinstance(found, list) and bool(found)
    insist(fits, "messages", found, "a list of messages")
    assert found is not None
    return [_turn(f"messages[{i}]", m) for i, m in enumerate(found)]


def _turn(name: str, message: Any) -> dict[str, str]:
    insist(isinstance(message, dict), name, message, "an object")
    role, content = message.get("role"), message.get("content")
    insist(role in ROLES, f"{name}.role", role, f"one of {', '.join(ROLES)}")
    for key, value in message.items():
        # an answer that comes back has keys that say nothing
        known = key in ("role", "content") or value in (None, [])
        insist(known, f"{name}.{key}", value, "role and content alone")
    if isinstance(content, list):
        content = "".join(_part(f"{name}.content", part) for part in content)
    insist(isinstance(content, str), f"{name}.content", content, "text")
    return {"role": role, "content": content}


def _part(name: str, part: Any) -> str:
    fits = isinstance(part, dict) and part.keys() == {"type", "text"}
    fits = fits and part["type"] == "text" and isinstance(part["text"], str)
    insist(fits, name, part, "text, or parts that are")
    return str(part["text"])


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:70]} ..."
