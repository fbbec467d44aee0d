"""The exercises of the page on tokens, in lists and floats."""

from handmade.exercises.by_hand.numbers import draw
from handmade.exercises.core import Case, Exercise, Mistake

# -- scalar-embed: fn(tok_emb, pos_emb, ids) -> x


def _embed(tok_emb, pos_emb, ids, *, place=lambda t, i: t):
    return [
        [a + b for a, b in zip(tok_emb[i], pos_emb[place(t, i)], strict=True)]
        for t, i in enumerate(ids)
    ]


def _embed_case(label: str, V: int, P: int, D: int, ids: list[int]) -> Case:
    return Case(
        label,
        lambda: (draw(V, D), draw(P, D, seed=2), list(ids)),
    )


EMBED = Exercise(
    name="scalar-embed",
    reference=_embed,
    cases=(
        _embed_case("three tokens", 5, 5, 4, [2, 0, 1]),
        _embed_case("a token that comes twice", 6, 7, 3, [4, 1, 4, 5]),
        _embed_case("one token", 3, 4, 2, [2]),
        _embed_case("as many tokens as places", 7, 3, 5, [0, 2, 1]),
    ),
    mistakes=(
        Mistake(
            "a place is looked up by the token's id, not by where it stands",
            lambda t, p, ids: _embed(t, p, ids, place=lambda t, i: i),
        ),
        Mistake(
            "places are counted from 1",
            lambda t, p, ids: _embed(t, p, ids, place=lambda t, i: t + 1),
        ),
        Mistake(
            "the places are not added",
            lambda t, p, ids: [t[i] for i in ids],
        ),
        Mistake(
            "all tokens get the first place",
            lambda t, p, ids: _embed(t, p, ids, place=lambda t, i: 0),
        ),
        Mistake(
            "the rows are put side by side (+ of two lists), not added",
            lambda t, p, ids: [t[i] + p[n] for n, i in enumerate(ids)],
        ),
    ),
)


# -- scalar-draw: fn(seed, n) -> n weights


def _drawn(seed, n, *, skip=1, modulus=2**31 - 1, middle=50):
    drawn = []
    for step in range(n + skip):
        if step >= skip:
            drawn.append((seed % 101 - middle) / 100)
        seed = 48271 * seed % modulus
    return drawn


def _after(seed, n):
    return _drawn(48271 * seed % (2**31 - 1), n, skip=0)


DRAW = Exercise(
    name="scalar-draw",
    reference=_after,
    cases=(
        Case("three weights after 1", lambda: (1, 3)),
        Case("twenty after 7", lambda: (7, 20)),
        Case("one after a large seed", lambda: (2_000_000_000, 1)),
    ),
    mistakes=(
        Mistake(
            "the first weight is made of the seed, before the first step",
            lambda seed, n: _drawn(seed, n, skip=0),
        ),
        Mistake(
            "the remainder is that of 2^31, not of 2^31 - 1",
            lambda seed, n: _drawn(seed, n, modulus=2**31),
        ),
        Mistake(
            "no 50 is subtracted, and so no weight is negative",
            lambda seed, n: _drawn(seed, n, middle=0),
        ),
    ),
)
