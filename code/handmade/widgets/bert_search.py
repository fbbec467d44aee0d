"""Explorable: lines found by what they mean, and by which vector.

Q queries · N lines

The cell computes the cosines of all lines; what travels is what may be
shown: of each query the best lines of every way to pool, and the one that a
human marked, each with its rank by all of them (``bert_search.js``).

    bert_search(
        lines, queries,
        {"mean": mean_QD @ mean_ND.mT, "CLS": cls_QD @ cls_ND.mT},
        right=[812, 40],           # of each query, its line's place
        without_mask={"mean": ..., "CLS": ...},
    )
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import ipywidgets as ipw
import torch
import traitlets

from handmade import checks
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    check_tensor,
    check_whole,
    explorer,
)

WORD = re.compile(r"([^\W_]+(?:['’][^\W_]+)*)")
# a word in more lines than these tells little about any of them
SHARE, FEW = 0.01, 3
# what a piece of a line is: no word of the query, one of those that tell
# little, one that the two share
PLAIN, FREQUENT, SHARED = 0, 1, 2
MOST = 12  # lines shown
SLACK = 1e-3  # of a cosine computed in half precision


class BertSearch(Explorable):
    """The best lines of a query, with bars, and where the right one stands.

    A word in the text may set the `query` and the `pooling` (their places,
    from 0), and whether padding was hidden (`unmasked`, true where not).
    """

    _esm, _css = assets("bert_search")
    sets = ("query", "pooling", "unmasked")
    queries = traitlets.List().tag(sync=True)
    poolings = traitlets.List().tag(sync=True)
    found = traitlets.List().tag(sync=True)  # what `pack` says, by query
    count = traitlets.Int(0).tag(sync=True)  # of the lines searched
    top = traitlets.Int(6).tag(sync=True)
    query = traitlets.Int(0).tag(sync=True)
    pooling = traitlets.Int(0).tag(sync=True)
    unmasked = traitlets.Bool(False).tag(sync=True)


def bert_search(
    lines: Sequence[str],
    queries: Sequence[str],
    cosines: Mapping[str, torch.Tensor],
    right: Sequence[int],
    *,
    without_mask: Mapping[str, torch.Tensor] | None = None,
    top: int = 6,
    query: int = 0,
) -> Explorer:
    """Return the explorable with its controls, joined in the front end.

    ``cosines`` maps the name of a way to pool, such as "mean", to the
    cosines (Q, N) of queries and lines; ``right`` has for each query the
    place in ``lines`` that a human marked. ``without_mask``, of the same
    names and shapes, adds a switch: the same search with padding in it.
    ``top`` lines are shown, or all if there are fewer, ``query`` first.
    Raises ValueError where shapes do not fit, and for what is no cosine.
    """
    lines = check_labels("lines", lines)
    queries = check_labels("queries", queries)
    states = _check_cosines(len(queries), len(lines), cosines, without_mask)
    _check_right(right, len(queries), len(lines))
    top = check_whole("top", top, 1, MOST)
    query = check_whole("query", query, 0, len(queries) - 1)
    drawing = BertSearch(
        queries=queries,
        poolings=[*cosines],
        found=pack(lines, queries, states, right, top),
        count=len(lines),
        top=top,
        query=query,
    )
    controls = {
        "query": ipw.Dropdown(
            options=[(asked, i) for i, asked in enumerate(queries)],
            index=query,
            description="query",
            **TRACK,
        )
    }
    if without_mask is not None:
        controls["unmasked"] = ipw.Checkbox(
            False, description="padding without a mask", **TRACK
        )
    return explorer(drawing, **controls)


def pack(
    lines: Sequence[str],
    queries: Sequence[str],
    states: Sequence[torch.Tensor],
    right: Sequence[int],
    top: int,
) -> list[dict]:
    """Return for each query the lines that any of its rankings may show.

    ``states`` are cosines (P, Q, N) of P poolings, with a mask and without.
    ``ranks`` and ``cosines`` of the lines are nested as state, pooling,
    line; ``right`` is a place among them.
    """
    frequent = frequent_words(lines, queries)
    # stable: of equal lines the first one comes first
    orders = [
        torch.argsort(x, dim=-1, descending=True, stable=True) for x in states
    ]
    ranks = [order.argsort(-1) + 1 for order in orders]
    found = []
    for q, (asked, place) in enumerate(zip(queries, right, strict=True)):
        # one more than the best: it stands where the right one is of them
        best = torch.cat(
            [order[:, q, : top + 1].flatten() for order in orders]
        )
        shown = sorted({*best.tolist(), place})
        found.append(
            {
                "lines": [
                    [*marked_words(lines[i], asked, frequent)] for i in shown
                ],
                "right": shown.index(place),
                "ranks": [r[:, q, shown].tolist() for r in ranks],
                "cosines": [
                    [
                        [round(cosine, 4) for cosine in row]
                        for row in x[:, q, shown].tolist()
                    ]
                    for x in states
                ],
            }
        )
    return found


def marked_words(
    line: str, query: str, frequent: set[str]
) -> Iterator[tuple[str, int]]:
    """Cut a line into words and what is between, and tell what they are."""
    asked = {_word(word) for word in WORD.findall(query)}
    plain = ""
    for i, part in enumerate(WORD.split(line)):
        word = _word(part)
        if i % 2 == 0 or word not in asked:
            plain += part
            continue
        if plain:
            yield plain, PLAIN
        plain = ""
        yield part, FREQUENT if word in frequent else SHARED
    if plain:
        yield plain, PLAIN


def frequent_words(lines: Sequence[str], queries: Sequence[str]) -> set[str]:
    """Return those of the queries' words that stand in many of the lines."""
    counts = {_word(word): 0 for q in queries for word in WORD.findall(q)}
    for line in lines:
        for word in {_word(word) for word in WORD.findall(line)}:
            if word in counts:
                counts[word] += 1
    many = max(FEW, SHARE * len(lines))
    return {word for word, count in counts.items() if count > many}


def _word(text: str) -> str:
    return text.casefold().replace("’", "'")


def _check_cosines(
    Q: int,
    N: int,
    cosines: Mapping[str, torch.Tensor],
    without_mask: Mapping[str, torch.Tensor] | None,
) -> list[torch.Tensor]:
    """Return them stacked, (P, Q, N), masked first."""
    given = {"cosines": cosines}
    if without_mask is not None:
        given["without_mask"] = without_mask
    states = []
    for name, each in given.items():
        want = f"a dict from a pooling's name to cosines ({Q}, {N})"
        checks.mapping(name, each, want)
        check_labels(name, each)
        same = [*each] == [*cosines]
        checks.need(same, name, [*each], f"the names of cosines {[*cosines]}")
        found = [check_tensor(name, x, Q, N).double() for x in each.values()]
        low, high = (x.item() for x in torch.stack(found).aminmax())
        fine = low >= -1 - SLACK and high <= 1 + SLACK
        got = f"{low:.3g} to {high:.3g}"
        checks.need(fine, name, got, "cosines, from -1 to 1")
        states.append(torch.stack(found).clamp(-1, 1))
    return states


def _check_right(right: Sequence[int], Q: int, N: int) -> None:
    want = f"{Q} places of lines, one a query"
    checks.several("right", right, want)
    checks.need(len(right) == Q, "right", f"{len(right)}", want)
    for place in right:
        check_whole("right", place, 0, N - 1)
