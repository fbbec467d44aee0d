"""A table in one call: numbers right, names left, nothing cut.

In a page it takes the page's colours, and where it is wider than a phone it
scrolls and keeps its first column. Printed, it is text in columns. Left out:
merged cells, sorting, and whatever a page would have to fiddle with.
"""

from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from handmade.plot_svg import FALLBACKS, escaped

SHORT = 24  # letters that stay on one line
PADDING = "padding:.3em .75em"
SIGNS = {"good": "✓", "bad": "✗"}


def table(
    rows: Sequence[Any],
    columns: Sequence[str] | Mapping[str, str] | None = None,
    *,
    caption: str = "",
    good: Collection[Any] = (),
    bad: Collection[Any] = (),
    words: tuple[str, str] = ("ok", "FAILS"),
) -> "Table":
    """Make a table of rows: dicts, or sequences in the columns' order.

    ``columns`` are the headings, or a dict from heading to the format of its
    numbers, such as ".2f"; left out, they are the keys of the first row.
    ``good`` and ``bad`` mark rows by their number, and cells by (number,
    heading): a row gets one of the two ``words`` at its end, a cell a sign.
    A text in `backticks` is code. A missing value (None) is a dash.

    Raises ValueError for rows that are not alike and marks of no row.
    """
    rows = _listed("rows", rows)
    if columns is None:
        if not isinstance(rows[0], Mapping):
            raise ValueError("columns: got none, want the headings")
        columns = list(rows[0])
    headings = _listed("columns", columns)
    for name in headings:
        _check_text("columns", name)
    _check_text("caption", caption)
    said = _listed("words", words)
    for word in said:
        _check_text("words", word)
    if len(said) != len(SIGNS):
        raise ValueError(f"words: got {len(said)}, want {len(SIGNS)}")
    formats = columns if isinstance(columns, Mapping) else {}
    for name, code in formats.items():
        _check_format(name, code)
    values = [_values(i, row, list(columns)) for i, row in enumerate(rows)]
    marks = {
        _place(mark, headings, len(rows), kind): kind
        for kind, marked in (("good", good), ("bad", bad))
        for mark in _listed(kind, marked, empty=True)
    }
    codes = [formats.get(name, "") for name in columns]
    cells = [
        [_shown(*pair) for pair in zip(row, codes, strict=True)]
        for row in values
    ]
    right = [all(map(_is_number, each)) for each in zip(*values, strict=True)]
    says = dict(zip(SIGNS, said, strict=True))
    return Table(headings, cells, right, marks, says, caption)


class Table:
    """Headings and cells as text; a notebook shows them as an HTML table.

    ``marks`` are kinds ("good", "bad") by (row, column), column -1 being the
    whole row.
    """

    def __init__(
        self,
        headings: list[str],
        cells: list[list[str]],
        right: list[bool],
        marks: Mapping[tuple[int, int], str],
        words: Mapping[str, str],
        caption: str,
    ) -> None:
        self.headings, self.cells, self.right = headings, cells, right
        self.marks, self.words, self.caption = marks, words, caption

    def __str__(self) -> str:
        rows = [self.headings, *self._signed()]
        right = self.right
        if any(column == -1 for _, column in self.marks):
            ends = [""] + [
                self.words.get(self.marks.get((i, -1), ""), "")
                for i in range(len(self.cells))
            ]
            rows = [[*row, end] for row, end in zip(rows, ends, strict=True)]
            right = [*right, False]
        rows = [[_plain(text) for text in row] for row in rows]
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                text.rjust(n) if at_right else text.ljust(n)
                for text, n, at_right in zip(row, wide, right, strict=True)
            ).rstrip()
            for row in rows
        ]
        caption = [_plain(self.caption)] * bool(self.caption)
        return "\n".join([*caption, *lines])

    __repr__ = __str__

    def html(self) -> str:
        """Return the table as HTML that stands by itself."""
        marked_rows = any(column == -1 for _, column in self.marks)
        head = "".join(
            f'<th scope="col" style="{_side(right)}">{_marked_up(name)}</th>'
            for name, right in zip(self.headings, self.right, strict=True)
        )
        body = "".join(
            f"<tr{_tinted(self.marks.get((i, -1), ''))}>"
            + "".join(self._cell(i, j, text) for j, text in enumerate(row))
            + self._end(i) * marked_rows
            + "</tr>"
            for i, row in enumerate(self._signed())
        )
        caption = f"<figcaption>{_marked_up(self.caption)}</figcaption>"
        return (
            '<figure class="hm-table" style="margin:0">'
            f"{caption if self.caption else ''}"
            '<div class="scrolls" style="overflow-x:auto">'
            '<table style="border-collapse:collapse;'
            'font-variant-numeric:tabular-nums">'
            f"<thead><tr>{head}{'<td></td>' * marked_rows}</tr></thead>"
            f"<tbody>{body}</tbody></table></div></figure>"
        )

    def _cell(self, i: int, j: int, text: str) -> str:
        """Return one cell: the first of a row is the row's name."""
        style = _aligned(
            self.right[j],
            short=len(text) <= SHORT,
            weight="" if j else "400",
            kind=self.marks.get((i, j), ""),
        )
        tag, scope = ("td", "") if j else ("th", ' scope="row"')
        return f"<{tag}{scope}{style}>{_marked_up(text)}</{tag}>"

    def _end(self, i: int) -> str:
        """Return the cell that says in a word what the row's colour says."""
        kind = self.marks.get((i, -1), "")
        if not kind:
            return "<td></td>"
        text = f"{SIGNS[kind]} {self.words[kind]}"
        style = _aligned(False, kind=kind)
        return f"<td{style}>{_marked_up(text)}</td>"

    def _signed(self) -> list[list[str]]:
        """Return the cells, those that are marked with their sign."""
        return [
            [
                f"{SIGNS[self.marks[i, j]]} {text}"
                if (i, j) in self.marks
                else text
                for j, text in enumerate(row)
            ]
            for i, row in enumerate(self.cells)
        ]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": str(self)}


def _listed(name: str, values: Any, *, empty: bool = False) -> list[Any]:
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise ValueError(f"{name}: got {values!r:.60}, want several")
    found = list(values)
    if not (found or empty):
        raise ValueError(f"{name}: got none, want at least one")
    return found


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name}: got {value!r:.60}, want a str")


def _values(i: int, row: Any, columns: list[str]) -> list[Any]:
    """Return a row's values in the columns' order."""
    if isinstance(row, Mapping):
        if missing := [name for name in columns if name not in row]:
            raise ValueError(f"rows: got row {i} without {missing[0]!r}")
        return [_number(row[name]) for name in columns]
    found = [_number(value) for value in _listed(f"rows: row {i}", row)]
    if len(found) != len(columns):
        raise ValueError(
            f"rows: got {len(found)} values in row {i}, want {len(columns)}"
        )
    return found


def _number(value: Any) -> Any:
    """Take the number out of a tensor or an array that holds one."""
    one = hasattr(value, "item") and getattr(value, "ndim", 1) == 0
    return value.item() if one else value


def _is_number(value: Any) -> bool:
    return value is None or (
        isinstance(value, Real) and not isinstance(value, bool)
    )


def _shown(value: Any, code: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not _is_number(value):
        return str(value)
    default = ",d" if isinstance(value, Integral) else ".4g"
    text = format(value, code or default)
    return "−" + text[1:] if text.startswith("-") else text


def _check_format(name: str, code: str) -> None:
    try:
        format(1, code)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'columns: got {code!r} for {name!r}, want a format such as ".2f"'
        ) from error


def _place(
    mark: Any, headings: list[str], rows: int, kind: str
) -> tuple[int, int]:
    """Return where a mark is: a row, or a row and a column."""
    pair = isinstance(mark, tuple) and len(mark) == 2
    row, name = mark if pair else (mark, None)
    known = isinstance(row, Integral) and int(row) in range(rows)
    if not known or (name is not None and name not in headings):
        raise ValueError(
            f"{kind}: got {mark!r}, want a row below {rows}, or such a row "
            f"and one of {headings}"
        )
    return int(row), -1 if name is None else headings.index(name)


def _side(right: bool) -> str:
    return f"text-align:{'right' if right else 'left'};{PADDING}"


def _aligned(
    right: bool, *, short: bool = True, weight: str = "", kind: str = ""
) -> str:
    """Return the style of a cell."""
    rules = [_side(right)]
    rules += ["white-space:nowrap" if short else "min-width:11rem"]
    rules += [f"font-weight:{weight}"] * bool(weight)
    if kind:
        colour = f"var(--hm-{kind},{FALLBACKS[kind]})"
        rules += [f"color:{colour}", "font-weight:600"]
    return f' style="{";".join(rules)}"'


def _tinted(kind: str) -> str:
    tint = "background:var(--hm-bad-tint,transparent)"
    return f' style="{tint}"' if kind == "bad" else ""


def _plain(text: str) -> str:
    """Write a text on one line, code without its marks."""
    line = " ".join(text.split())
    return line[1:-1] if _is_code(line) else line


def _is_code(text: str) -> bool:
    return len(text) > 2 and text[0] == text[-1] == "`"


def _marked_up(text: str) -> str:
    """Write a text as HTML, on one line, code as such."""
    line = escaped(" ".join(text.split()))
    return f"<code>{line[1:-1]}</code>" if _is_code(line) else line
