"""MyST as the site's own parser reads it, with the place of everything.

markdown-it says on which lines a block stands, but not where in its text a
role, a formula or a link does: those rules are wrapped to note it.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

Rule = Callable[[StateInline, bool], bool]

PLACED = ("myst_role", "math_inline", "autolink", "image", "footnote_ref")
# whose syntax is rewritten for the notebooks
EXTENSIONS = frozenset({"amsmath", "colon_fence", "dollarmath"})
NEWLINE = re.compile("\r\n?")
DIRECTIVE = re.compile(r"\{(.*)\}")


def extensions(settings: Mapping) -> tuple[str, ...]:
    """Return the MyST extensions that `_config.yml` names.

    Raises ValueError for a setting of the parser that is not read here.
    """
    given = settings.get("parse") or {}
    unread = {k: v for k, v in given.items() if k != "myst_enable_extensions"}
    config = settings.get("sphinx", {}).get("config") or {}
    unread |= {k: v for k, v in config.items() if k.startswith("myst_")}
    if unread:
        raise ValueError(
            f"_config.yml: got {unread}, want no setting of MyST but "
            "parse.myst_enable_extensions"
        )
    names = tuple(sorted(given.get("myst_enable_extensions") or ()))
    if not set(names) <= EXTENSIONS:
        raise ValueError(
            f"_config.yml: parse.myst_enable_extensions: got {names}, "
            f"want none but {sorted(EXTENSIONS)}"
        )
    return names


def config(names: tuple[str, ...]) -> MdParserConfig:
    return MdParserConfig(enable_extensions=set(names))


@cache
def parser(names: tuple[str, ...]) -> MarkdownIt:
    """Return the parser of one markdown cell."""
    md = create_md_parser(config(names), RendererHTML)
    # it stood at the head of the page; in a cell `---` is a rule
    md.disable("front_matter")
    rules = {rule.name: rule.fn for rule in md.inline.ruler.__rules__}
    for name in PLACED:
        if name in rules:
            md.inline.ruler.at(name, _placed(rules[name]))
    md.inline.ruler.at("link", _placed_link(rules["link"]))
    md.add_render_rule("math_inline", _dollars)
    return md


@cache
def parse(text: str, names: tuple[str, ...]) -> list[Token]:
    """Parse a text once: labels are looked for, then it is rewritten."""
    return parser(names).parse(text)


def normalized(text: str) -> str:
    """Return the text that the parser counts lines and columns in."""
    return NEWLINE.sub("\n", text).replace("\0", "\ufffd")


def _placed(rule: Rule) -> Rule:
    """Let a rule note where its token stands in the text."""

    def noting(state: StateInline, silent: bool) -> bool:
        start, first = state.pos, len(state.tokens) + bool(state.pending)
        found = rule(state, silent)
        if found and not silent:
            state.tokens[first].meta["span"] = (start, state.pos)
        return found

    return noting


def _placed_link(rule: Rule) -> Rule:
    """Let a link note where it stands, and where its text ends."""
    placed = _placed(rule)

    def noting(state: StateInline, silent: bool) -> bool:
        start, first = state.pos, len(state.tokens) + bool(state.pending)
        found = placed(state, silent)
        if found and not silent:
            end = state.md.helpers.parseLinkLabel(state, start, True)
            state.tokens[first].meta["label_end"] = end
        return found

    return noting


def _dollars(self, tokens: list[Token], i: int, options, env) -> str:
    return f"${escapeHtml(tokens[i].content)}$"


def directive(token: Token) -> tuple[str, str] | None:
    """Return (name, argument) of a fence that is a directive, as MyST does."""
    if token.type not in ("fence", "colon_fence"):
        return None
    name, *argument = token.info.split(maxsplit=1) or [""]
    if found := DIRECTIVE.fullmatch(name):
        return found[1], "".join(argument).strip()
    return None


def content(token: Token) -> str:
    """Return a directive's content; a nested `:::` is not its option."""
    nested = token.type == "colon_fence" and token.content.startswith(":::")
    return "\n" * nested + token.content


def is_closed(token: Token, lines: list[str]) -> bool:
    """Say whether a fence ends with its mark, not with the text."""
    assert token.map is not None
    start, end = token.map
    mark = token.markup[0]
    last = rf"[\s>]*{re.escape(mark)}{{{len(token.markup)},}}\s*"
    return end - start > 1 and bool(re.fullmatch(last, lines[end - 1]))


def plain_text(inline: Token) -> str:
    """Return what a reader reads of a title: no markup."""
    kept = ("text", "code_inline", "math_inline", "myst_role")
    return "".join(
        " " if token.type == "softbreak" else token.content
        for token in inline.children or ()
        if token.type in (*kept, "softbreak")
    )
