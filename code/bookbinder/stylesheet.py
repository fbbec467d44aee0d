"""Style sheets, read as rules: what nobody uses is dropped.

The theme's hold Bootstrap and an icon font whole; a page uses a fifth of it.
"""

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"""/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|url\([^"')]*\)"""
    r"""|[{};]|\\.|[^{};"'/\\u]+|.""",
    re.DOTALL,
)
# rules that hold rules
GROUPS = ("@media", "@supports", "@layer", "@container")
# what a selector may do without: `:not(.a)`, `:is(.a, .b)`, `[class="a"]`
OPTIONAL = re.compile(r":[\w-]+\([^()]*\)|\[[^\]]*\]")
NAME = re.compile(r"[.#]((?:[\w-]|\\.)+)")
COMMA = re.compile(r",(?![^(\[]*[)\]])")
SCHEME = re.compile(r"""\[data-theme=["']?(light|dark)["']?\]""")


@dataclass(frozen=True)
class Rule:
    """`prelude { body }`; a group's body is rules, a statement's None."""

    prelude: str
    body: "str | tuple[Rule, ...] | None"


def read(text: str) -> tuple[Rule, ...]:
    """Return the rules of a style sheet, without its comments."""
    tokens = (
        found[0]
        for found in TOKEN.finditer(text)
        if not found[0].startswith("/*")
    )
    return tuple(_rules(tokens))


def _rules(tokens: Iterator[str]) -> Iterator[Rule]:
    prelude = ""
    for token in tokens:
        if token == "}":
            return
        if token == ";":
            yield Rule(prelude.strip(), None)
        elif token == "{":
            head = " ".join(prelude.split())
            group = head.startswith(GROUPS)
            body = tuple(_rules(tokens)) if group else _body(tokens)
            yield Rule(head, body)
        else:
            prelude += token
            continue
        prelude = ""


def _body(tokens: Iterator[str]) -> str:
    text, depth = "", 1
    for token in tokens:
        depth += {"{": 1, "}": -1}.get(token, 0)
        if depth == 0:
            break
        text += token
    return " ".join(text.split())


def write(rules: Iterable[Rule]) -> str:
    """Return the rules as text."""
    text = ""
    for rule in rules:
        if rule.body is None:
            text += f"{rule.prelude};\n"
        elif isinstance(rule.body, str):
            text += f"{rule.prelude}{{{rule.body}}}\n"
        else:
            text += f"{rule.prelude}{{\n{write(rule.body)}}}\n"
    return text


def used(rules: Iterable[Rule], names: Container[str]) -> Iterator[Rule]:
    """Yield the rules that can apply where only these names stand.

    Names are classes and ids. A character set, which must stand first, goes.
    """
    for rule in rules:
        if isinstance(rule.body, tuple):
            if body := tuple(used(rule.body, names)):
                yield Rule(rule.prelude, body)
        elif rule.prelude.startswith("@"):
            if not rule.prelude.startswith("@charset"):
                yield rule
        else:
            kept = [
                one for one in _selectors(rule.prelude) if _fits(one, names)
            ]
            if kept and rule.body:
                yield Rule(",".join(kept), rule.body)


def _selectors(prelude: str) -> list[str]:
    return [selector.strip() for selector in COMMA.split(prelude)]


def _fits(selector: str, names: Container[str]) -> bool:
    while (wider := OPTIONAL.sub("", selector)) != selector:
        selector = wider
    return all(
        found.replace("\\", "") in names for found in NAME.findall(selector)
    )


def by_system(rules: Iterable[Rule]) -> Iterator[Rule]:
    """Yield what a page without JavaScript needs: the system's own scheme.

    There `data-theme` stays "auto", which no rule of the theme knows.
    """
    for rule in rules:
        if isinstance(rule.body, tuple):
            if body := tuple(by_system(rule.body)):
                yield Rule(rule.prelude, body)
            continue
        selectors = _selectors(rule.prelude)
        for scheme in ("light", "dark"):
            kept = [
                SCHEME.sub('[data-theme="auto"]', selector)
                for selector in selectors
                if scheme in SCHEME.findall(selector)
            ]
            if kept:
                inner = Rule(",".join(kept), rule.body)
                yield Rule(
                    f"@media (prefers-color-scheme: {scheme})", (inner,)
                )
