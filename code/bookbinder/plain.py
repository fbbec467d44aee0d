"""MyST markdown -> what a plain notebook shows.

Jupyter and Colab know CommonMark, tables and $math$, but no directive and no
role. Each one the book uses is rewritten; any other is an error, so nothing
raw ever reaches a notebook.
"""

import ast
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

FENCE = re.compile(r"^(`{3,}|:{3,})\s*(?:\{([\w:-]+)\})?\s*(.*)$")
# a role, or a span of code, in which braces are no role
ROLE = re.compile(
    r"\{([\w:.+-]+)\}(?P<tick>`+)(.+?)(?P=tick)(?!`)"
    r"|(?<!`)(?P<code>`+)(?!`).+?(?<!`)(?P=code)(?!`)",
    re.DOTALL,
)
INNER_FENCE = re.compile(r"^[\s>*+-]*(`{3,}|:{3,}|~{3,})\s*\{")
LABEL = re.compile(r"^\(([\w-]+)\)=\s*$")
MATH_LABEL = re.compile(r"\$\$\s*\(([\w-]+)\)\s*$", re.MULTILINE)
QUOTED = {
    "note": "Note",
    "tip": "Tip",
    "warning": "Warning",
    "important": "Important",
}


@dataclass(frozen=True)
class Links:
    """Where things are: what the rewriting of one page needs to know."""

    root: Path
    page: Path
    site: str
    labels: dict[str, tuple[str, str]]  # label -> (address, title)
    citations: dict[str, str]  # key -> "Vaswani et al., 2017"
    values: dict[str, str]  # glued name -> value
    costs: dict[str, str]  # part/page -> what it costs to run

    def address(self, target: str) -> str:
        return self.site + target


def plain(text: str, links: Links) -> str:
    """Rewrite one markdown cell. Raises ValueError for unknown markup."""
    return _blocks(text.split("\n"), links).strip("\n")


def _blocks(lines: list[str], links: Links) -> str:
    done, prose, i = [], [], 0

    def flush() -> None:
        if prose:
            done.append(_prose("\n".join(prose), links))
            prose.clear()

    while i < len(lines):
        fence = FENCE.match(lines[i])
        if not fence:
            if INNER_FENCE.match(lines[i]):
                raise ValueError(
                    f"{links.page}: {lines[i]!r}: write a directive at the "
                    "line's start, with backticks or colons"
                )
            prose.append(lines[i])
            i += 1
            continue
        mark, name, argument = fence.groups()
        end = _closing(lines, i, mark, links)
        flush()
        if name:
            body = lines[i + 1 : end]
            # a blank line on both sides, else prose would run into a quote
            block = _directive(name, argument, body, links)
            done.append(f"\n{block}\n" if block else "")
        elif argument.startswith("{"):
            raise ValueError(
                f"{links.page}: no rewriting for the directive {argument!r}"
            )
        else:  # a code block: nothing in it is markup
            done.append("\n".join(lines[i : end + 1]))
        i = end + 1
    flush()
    return _join(done)


def _join(parts: list[str]) -> str:
    """Join with line ends, and never more than one blank line at a seam."""
    text = ""
    for part in parts:
        if text.endswith("\n"):
            part = part.lstrip("\n")
        text += "\n" * bool(text) + part
    return text


def _closing(lines: list[str], start: int, mark: str, links: Links) -> int:
    for i in range(start + 1, len(lines)):
        line = lines[i].strip()
        if line and set(line) == {mark[0]} and len(line) >= len(mark):
            return i
    raise ValueError(f"{links.page}: {lines[start]!r} is never closed")


def _options(body: list[str]) -> tuple[dict, list[str]]:
    if body and body[0].strip() == "---":
        end = next(i for i in range(1, len(body)) if body[i].strip() == "---")
        return yaml.safe_load("\n".join(body[1:end])) or {}, body[end + 1 :]
    options, rest = {}, list(body)
    while rest and (found := re.match(r"^:([\w-]+):\s*(.*)$", rest[0])):
        options[found[1]] = found[2]
        rest.pop(0)
    return options, rest


def _directive(name: str, argument: str, body: list[str], links: Links) -> str:
    options, body = _options(body)
    title = _prose(argument, links)
    if name == "literalinclude":
        return _include(argument, options, links)
    if name == "figure":
        caption = _blocks(body, links).strip()
        return f"![{options.get('alt', '')}]({argument})\n\n*{caption}*"
    if name == "math":
        return "$$\n" + "\n".join(body).strip() + "\n$$"
    if name in ("exercise-end", "solution-end"):
        return ""
    if name == "page-costs":  # no twin changes when another page is slower
        return f"[The table is in the book]({_page_address(links)}).\n"
    inner = _blocks(body, links).strip("\n")
    if name in QUOTED:
        # what is no paragraph starts on a line of its own
        gap = " " if re.match(r"[\w*(\[“]", inner) else "\n\n"
        return _quote(f"**{QUOTED[name]}.**{gap}{inner}")
    if name == "admonition":
        return _quote(f"**{title}**\n\n{inner}")
    if name == "exercise":
        return _quote(f"**Exercise: {title}**\n\n{inner}")
    if name == "exercise-start":
        return f"**Exercise: {title}**\n\n{inner}"
    if name == "solution-start":
        return f"**Solution** (try it yourself first)\n\n{inner}"
    if name in ("dropdown", "solution"):
        summary = title if name == "dropdown" else "Solution"
        return (
            f"<details><summary>{summary}</summary>\n\n{inner}\n\n</details>"
        )
    if name == "bibliography":
        return "\n".join(
            f"- {links.citations[key]}" for key in sorted(links.citations)
        )
    raise ValueError(f"{links.page}: no rewriting for the directive {name!r}")


def _page_address(links: Links) -> str:
    page = links.page.relative_to(links.root).with_suffix(".html")
    return links.address(page.as_posix())


def _quote(text: str) -> str:
    return textwrap.indent(text, "> ", lambda line: True).replace(
        "> \n", ">\n"
    )


def _include(argument: str, options: dict, links: Links) -> str:
    path = (links.page.parent / argument.strip()).resolve()
    source = path.read_text(encoding="utf-8")
    if wanted := options.get("pyobject"):
        source = pyobject(source, wanted, path)
    language = options.get("language", "python")
    return f"```{language}\n{source.rstrip()}\n```"


def pyobject(source: str, name: str, path: Path) -> str:
    """Return the text of the class, function or `Class.method` `name`."""
    scope = ast.parse(source).body
    node = None
    for part in name.split("."):
        node = next(
            (n for n in scope if getattr(n, "name", None) == part), None
        )
        if node is None:
            raise ValueError(f"{path} has no {name!r}")
        scope = getattr(node, "body", [])
    first = min(d.lineno for d in [node, *node.decorator_list])
    lines = source.split("\n")[first - 1 : node.end_lineno]
    return textwrap.dedent("\n".join(lines))


def _prose(text: str, links: Links) -> str:
    lines = []
    for line in text.split("\n"):
        if label := LABEL.match(line):
            lines.append(f'<a id="{label[1]}"></a>\n')
        elif not line.startswith("%"):  # a comment
            lines.append(line)
    text = MATH_LABEL.sub("$$", "\n".join(lines))
    return ROLE.sub(
        lambda found: (
            _role(found[1], found[3], links) if found[1] else found[0]
        ),
        text,
    )


def _role(name: str, content: str, links: Links) -> str:
    roles: dict[str, Callable[[str, Links], str]] = {
        "ref": _ref,
        "doc": _doc,
        "eq": _ref,
        "cite:p": lambda keys, links: f"({_cite(keys, links)})",
        "cite:t": _cite,
        "glue:text": _value,
        "cost": _cost,
    }
    if name not in roles:
        raise ValueError(f"{links.page}: no rewriting for the role {name!r}")
    return roles[name](content, links)


def _split(content: str) -> tuple[str | None, str]:
    """`text <target>` -> (text, target); `target` -> (None, target)."""
    found = re.match(r"^(.*?)\s*<([^>]+)>$", content, re.DOTALL)
    return (found[1], found[2]) if found else (None, content.strip())


def _ref(content: str, links: Links) -> str:
    text, target = _split(content)
    if target not in links.labels:
        raise ValueError(f"{links.page}: no page has the label {target!r}")
    address, title = links.labels[target]
    return f"[{text or title}]({links.address(address)})"


def _doc(content: str, links: Links) -> str:
    text, target = _split(content)
    folder = links.root if target.startswith("/") else links.page.parent
    path = (folder / target.lstrip("/")).resolve()
    label = path.relative_to(links.root).as_posix()
    return _ref(f"{text} <{label}>" if text else label, links)


def _cite(content: str, links: Links) -> str:
    cited = []
    for key in content.split(","):
        if key.strip() not in links.citations:
            raise ValueError(f"{links.page}: no reference {key.strip()!r}")
        cited.append(links.citations[key.strip()])
    address = links.address("book/back/references.html")
    return f"[{'; '.join(cited)}]({address})"


def _value(content: str, links: Links) -> str:
    if content not in links.values:
        raise ValueError(f"{links.page}: no cell glues {content!r}")
    return links.values[content]


def _cost(content: str, links: Links) -> str:
    # a new page is bound before it is measured
    return links.costs.get(content, "not measured yet")
