"""The exercises of the page on speculative decoding.

n drafted tokens · S keys in a cache · K head width · V vocabulary
"""

from collections.abc import Callable

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake


def _laws(*shape: int, seed: int, dtype=torch.float64) -> tuple:
    """Two laws of this shape, the target's and the draft's."""
    both = randoms((2, *shape), seed=seed, size=1.5, dtype=dtype)[0]
    p, q = both.softmax(-1)
    return p, q


def _drafted(n: int, V: int, dtype=torch.float64) -> Callable:
    def make():
        g = torch.Generator().manual_seed(n + V)
        return (
            *_laws(n, V, seed=n, dtype=dtype),
            torch.randint(V, (n,), generator=g),
        )

    return make


def _greedy():
    p = torch.eye(5, dtype=torch.float64)[[1, 2, 3]]
    q = torch.eye(5, dtype=torch.float64)[[1, 4, 3]]
    return p, q, torch.tensor([1, 4, 3])


# -- keep-probability: fn(p (n, V), q (n, V), drafted (n,)) -> (n,)


def _at(law, drafted):
    return law.gather(1, drafted[:, None])[:, 0]


def keep(p, q, drafted):
    """The probability that each drafted token stays, (n,)."""
    return (_at(p, drafted) / _at(q, drafted)).clamp(max=1)


KEEP = Exercise(
    name="keep-probability",
    reference=keep,
    cases=(
        Case("one drafted token", _drafted(1, 4)),
        Case("five of them", _drafted(5, 7)),
        Case("greedy: certain of one token", _greedy),
        Case(
            "the same law twice",
            lambda: (*[_laws(3, 6, seed=1)[0]] * 2, torch.tensor([0, 5, 2])),
        ),
        Case("float32", _drafted(4, 30, torch.float32)),
    ),
    mistakes=(
        Mistake(
            "the ratio is turned over, q / p: what the target likes more "
            "than the draft does may be thrown away",
            lambda p, q, x: (_at(q, x) / _at(p, x)).clamp(max=1),
        ),
        Mistake(
            "the ratio is not cut at 1, so some probabilities exceed it",
            lambda p, q, x: _at(p, x) / _at(q, x),
        ),
        Mistake(
            "the token stays with probability p(x): that forgets that the "
            "draft already drew it with probability q(x)",
            lambda p, q, x: _at(p, x),
        ),
        Mistake(
            "the smaller of p(x) and q(x) is returned, which is the "
            "probability of drafting x and keeping it: divide by q(x)",
            lambda p, q, x: torch.minimum(_at(p, x), _at(q, x)),
        ),
        Mistake(
            "the share that is kept on average is returned, sum min(p, q), "
            "whatever was drafted",
            lambda p, q, x: torch.minimum(p, q).sum(1),
        ),
    ),
)

# -- replacement-law: fn(p (V,), q (V,)) -> (V,)


def replacement(p, q):
    """The law of the token that replaces a rejected one, (V,)."""
    left = (p - q).clamp(min=0)
    return left / left.sum() if left.sum() > 0 else p


def _pair(V: int, dtype=torch.float64) -> Callable:
    return lambda: _laws(V, seed=V, dtype=dtype)


def _same():
    p, _ = _laws(5, seed=2)
    return p, p.clone()


REPLACEMENT = Exercise(
    name="replacement-law",
    reference=replacement,
    cases=(
        Case("four tokens", _pair(4)),
        Case("twelve tokens", _pair(12)),
        Case(
            "certain drafts",
            lambda: (
                _laws(4, seed=9)[0],
                torch.eye(4, dtype=torch.float64)[2],
            ),
        ),
        Case("p = q, where nothing is left: return p", _same),
        Case("float32", _pair(40, torch.float32)),
    ),
    mistakes=(
        Mistake(
            "the difference is not cut at 0: negative numbers are no "
            "probabilities",
            lambda p, q: (p - q) / (p - q).sum(),
        ),
        Mistake(
            "the difference is not cut at 0 and not scaled",
            lambda p, q: p - q,
        ),
        Mistake(
            "the replacement is drawn from p itself: what the draft likes "
            "was given its share when it was kept, and gets it twice",
            lambda p, q: p,
        ),
        Mistake(
            "the difference is taken the wrong way round, q - p",
            lambda p, q: (q - p).clamp(min=0) / (q - p).clamp(min=0).sum(),
        ),
        Mistake(
            "what is left does not sum to 1: scale it",
            lambda p, q: (p - q).clamp(min=0),
        ),
        Mistake(
            "where nothing is left it divides 0 by 0 (p = q)",
            lambda p, q: (p - q).clamp(min=0) / (p - q).clamp(min=0).sum(),
        ),
        Mistake(
            "the absolute difference is taken: a token of which the draft "
            "has too much would be drawn again",
            lambda p, q: (p - q).abs() / (p - q).abs().sum(),
        ),
    ),
)

# -- expected-tokens: fn(alpha, n) -> tokens a pass


def expected_tokens(alpha, n):
    """1 + alpha + ... + alpha^n, a tensor."""
    return torch.tensor(
        sum(alpha**i for i in range(n + 1)), dtype=torch.double
    )


def _number(fn: Callable) -> Callable:
    return lambda alpha, n: torch.tensor(fn(alpha, n), dtype=torch.double)


def _settings(alpha: float, n: int) -> Callable:
    return lambda: (alpha, n)


EXPECTED = Exercise(
    name="expected-tokens",
    reference=expected_tokens,
    cases=(
        Case("alpha = 0.5, n = 3", _settings(0.5, 3)),
        Case("alpha = 0.8, n = 7", _settings(0.8, 7)),
        Case("no drafts", _settings(0.6, 0)),
        Case("nothing is ever kept", _settings(0.0, 4)),
        Case("everything is kept", _settings(1.0, 4)),
    ),
    mistakes=(
        Mistake(
            "the token after the kept ones is forgotten: each pass gives "
            "one more than it keeps",
            _number(lambda a, n: sum(a**i for i in range(1, n + 1))),
        ),
        Mistake(
            "the answer is n · alpha + 1: a token counts only if all before "
            "it were kept",
            _number(lambda a, n: 1 + n * a),
        ),
        Mistake(
            "the answer is n · alpha: a token counts only if all before it "
            "were kept, and the one that the target adds is forgotten",
            _number(lambda a, n: n * a),
        ),
        Mistake(
            "the sum ends one term early: the bonus after n kept drafts is "
            "missing",
            _number(lambda a, n: sum(a**i for i in range(n))),
        ),
        Mistake(
            "the answer is 1 / (1 - alpha): that is for drafts without an end",
            _number(lambda a, n: 1 / (1 - a) if a < 1 else float("inf")),
        ),
        Mistake(
            "the closed form divides by 1 - alpha, which is 0 where "
            "everything is kept",
            _number(
                lambda a, n: (
                    (1 - a ** (n + 1)) / (1 - a) if a < 1 else float("nan")
                )
            ),
        ),
    ),
)

# -- rewind: fn(k (S + 1 + n, K), n, kept) -> keys that stay


def rewind(k, n, kept):
    """The keys of all that was read and stays, (S + 1 + kept, K)."""
    return k[: len(k) - (n - kept)]


def _read(S: int, n: int, kept: int) -> Callable:
    return lambda: (*randoms((S + 1 + n, 3), seed=S), n, kept)


REWIND = Exercise(
    name="rewind",
    reference=rewind,
    cases=(
        Case("two of four kept", _read(5, 4, 2)),
        Case("none kept", _read(5, 3, 0)),
        Case("all kept", _read(4, 3, 3)),
        Case("nothing drafted", _read(6, 0, 0)),
    ),
    mistakes=(
        Mistake(
            "the cache is not rolled back: the rejected tokens stay in it, "
            "and every later token attends to them",
            lambda k, n, kept: k,
        ),
        Mistake(
            "all drafted tokens are taken back, the kept ones too: they "
            "would have to be read again",
            lambda k, n, kept: k[: len(k) - n],
        ),
        Mistake(
            "one too many is taken back: the new token is not in the cache "
            "yet, so nothing has to go for it",
            lambda k, n, kept: k[: len(k) - (n - kept) - 1],
        ),
        Mistake(
            "as many are taken back as were kept, instead of as were rejected",
            lambda k, n, kept: k[: len(k) - kept],
        ),
        Mistake(
            "the beginning of the text is dropped instead of its end",
            lambda k, n, kept: k[n - kept :],
        ),
        Mistake(
            "only the tokens of this pass are kept, and the past is lost",
            lambda k, n, kept: k[len(k) - n - 1 : len(k) - (n - kept)],
        ),
    ),
)
