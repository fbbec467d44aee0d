"""The exercises on why attention: what a state holds, what has to wait.

B batch · T pairs or tokens read · K key width · V value width · D width
"""

import math

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- state-size: fn(n, kinds, bits) -> how many numbers of `bits` bits


def _state_size(n: int, kinds: int, bits: int) -> int:
    return math.ceil(n * math.log2(kinds) / bits)


STATE_SIZE_CASES = (
    Case("fits exactly", lambda: (8, 16, 4)),
    Case("has to round up", lambda: (5, 16, 8)),
    Case("kinds that are no power of two", lambda: (3, 10, 2)),
    Case("one kind: nothing to store", lambda: (7, 1, 8)),
    Case("a long text", lambda: (1000, 49152, 32)),
)

STATE_SIZE_MISTAKES = (
    Mistake(
        "each item is counted as one bit a kind, one-hot; a choice of k "
        "kinds takes log2(k) bits",
        lambda n, kinds, bits: math.ceil(n * kinds / bits),
    ),
    Mistake(
        "every item is rounded up to whole bits of its own; several can "
        "share one",
        lambda n, kinds, bits: math.ceil(
            n * math.ceil(math.log2(kinds)) / bits
        ),
    ),
    Mistake(
        "every item gets whole numbers of its own; several can share one",
        lambda n, kinds, bits: n * math.ceil(math.log2(kinds) / bits),
    ),
    Mistake(
        "the result is rounded down, and the last items do not fit",
        lambda n, kinds, bits: int(n * math.log2(kinds) / bits),
    ),
    Mistake(
        "the natural logarithm is taken; bits count in powers of two",
        lambda n, kinds, bits: math.ceil(n * math.log(kinds) / bits),
    ),
    Mistake(
        "the bits are counted, and not yet divided among the numbers",
        lambda n, kinds, bits: math.ceil(n * math.log2(kinds)),
    ),
)

STATE_SIZE = Exercise(
    name="state-size",
    reference=_state_size,
    cases=STATE_SIZE_CASES,
    mistakes=STATE_SIZE_MISTAKES,
)

# -- linear-memory: fn(keys (T, K), values (T, V), query (K)) -> (V,)


def _pairs(T: int, K: int, V: int, orthonormal: bool = False):
    def make() -> tuple:
        keys, values, query = randoms((T, K), (T, V), (K,))
        if orthonormal:
            keys = torch.linalg.qr(keys.mT).Q.mT
            query = keys[1]
        return keys, values, query

    return make


LINEAR_MEMORY_CASES = (
    Case("one pair", _pairs(1, 3, 4)),
    Case("keys at right angles", _pairs(3, 5, 4, orthonormal=True)),
    Case("more pairs than the keys are wide", _pairs(7, 3, 2)),
    Case("as many pairs as axes, square throughout", _pairs(4, 4, 4)),
)


def _linear_memory(keys, values, query):
    memory_VK = torch.zeros(values.shape[1], keys.shape[1], dtype=keys.dtype)
    for key, value in zip(keys, values, strict=True):
        memory_VK = memory_VK + torch.outer(value, key)
    return memory_VK @ query


LINEAR_MEMORY_MISTAKES = (
    Mistake(
        "each pair overwrites the memory, so only the last is kept",
        lambda k, v, q: torch.outer(v[-1], k[-1]) @ q,
    ),
    Mistake(
        "a softmax is taken over the matches: that is attention, and needs "
        "all keys at once",
        lambda k, v, q: (k @ q).softmax(-1) @ v,
    ),
    Mistake(
        "the memory is divided by the number of pairs",
        lambda k, v, q: _linear_memory(k, v, q) / len(k),
    ),
    Mistake(
        "the match is divided by the root of the width; there is no softmax "
        "here to protect",
        lambda k, v, q: _linear_memory(k, v, q) / math.sqrt(k.shape[1]),
    ),
    Mistake(
        "the memory is transposed, keys down and values across: the query "
        "then meets the values",
        lambda k, v, q: (k.mT @ v) @ q,
    ),
    Mistake(
        "keys and values are summed apart and multiplied afterwards: every "
        "key then brings every value",
        lambda k, v, q: torch.outer(v.sum(0), k.sum(0)) @ q,
    ),
)

LINEAR_MEMORY = Exercise(
    name="linear-memory",
    reference=_linear_memory,
    cases=LINEAR_MEMORY_CASES,
    mistakes=LINEAR_MEMORY_MISTAKES,
)

# -- last-state: fn(states (B, T, D), lengths (B,)) -> (B, D)


def _states(B: int, T: int, D: int, lengths: list[int]):
    def make() -> tuple:
        states = randoms((B, T, D), dtype=torch.float32)
        return *states, torch.tensor(lengths)

    return make


LAST_STATE_CASES = (
    Case("no padding", _states(2, 4, 3, [4, 4])),
    Case("padding behind", _states(3, 6, 2, [6, 2, 4])),
    Case("all of them padded", _states(2, 5, 3, [3, 1])),
    Case("as many sequences as tokens", _states(4, 4, 4, [1, 2, 3, 4])),
)


def _last_state(states, lengths):
    return states[torch.arange(len(states)), lengths - 1]


def _off_by_one(states, lengths):
    at = lengths.clamp(max=states.shape[1] - 1)
    return states[torch.arange(len(states)), at]


def _mean_of_real(states, lengths):
    real = torch.arange(states.shape[1]) < lengths[:, None]
    return (states * real[..., None]).sum(1) / lengths[:, None]


LAST_STATE_MISTAKES = (
    Mistake(
        "the last column is taken: in a padded row, that state has read on "
        "into the padding",
        lambda states, lengths: states[:, -1],
    ),
    Mistake(
        "the state at index `length` is taken, one past the last token",
        _off_by_one,
    ),
    Mistake(
        "the longest row's end is taken for every row",
        lambda states, lengths: states[:, lengths.max() - 1],
    ),
    Mistake(
        "the states are averaged over the real tokens; the last one was "
        "asked for",
        _mean_of_real,
    ),
)

LAST_STATE = Exercise(
    name="last-state",
    reference=_last_state,
    cases=LAST_STATE_CASES,
    mistakes=LAST_STATE_MISTAKES,
)

# -- longest-chain: fn(needs) -> int, needs[i] lists earlier steps


def _longest_chain(needs: list[list[int]]) -> int:
    chain: list[int] = []
    for before in needs:
        chain.append(1 + max((chain[i] for i in before), default=0))
    return max(chain, default=0)


def _count_links(needs):
    return max(_longest_chain(needs) - 1, 0)


def _chain_of_the_last(needs):
    chain = []
    for before in needs:
        chain.append(1 + max((chain[i] for i in before), default=0))
    return chain[-1] if chain else 0


def _chain(needs, pick) -> int:
    chain = []
    for before in needs:
        chain.append(1 + pick([chain[i] for i in before]))
    return max(chain, default=0)


LONGEST_CHAIN_CASES = (
    Case("a recurrence", lambda: ([[], [0], [1], [2], [3]],)),
    Case("all side by side", lambda: ([[], [], [], []],)),
    Case("projections, scores, sum", lambda: ([[], [], [], [0, 1], [2, 3]],)),
    Case("a short cut beside it", lambda: ([[], [0], [1], [0, 2], [0]],)),
    Case("two branches of unequal length", lambda: ([[], [], [1], [0, 2]],)),
    Case("the slowest named first", lambda: ([[], [0], [], [1, 2]],)),
    Case("nothing to do", lambda: ([],)),
)

LONGEST_CHAIN_MISTAKES = (
    Mistake(
        "all steps are counted; those side by side run at the same time",
        lambda needs: len(needs),
    ),
    Mistake(
        "the waits between steps are counted, one fewer than the steps",
        _count_links,
    ),
    Mistake(
        "the chain that ends at the last step is returned; a longer one may "
        "have ended before",
        _chain_of_the_last,
    ),
    Mistake(
        "the branches that meet are added up; a step waits for the slowest "
        "of them only",
        lambda needs: _chain(needs, sum),
    ),
    Mistake(
        "only the first of the steps waited for is followed",
        lambda needs: _chain(needs, lambda c: c[0] if c else 0),
    ),
    Mistake(
        "the shortest branch is followed; a step cannot start before the "
        "slowest is done",
        lambda needs: _chain(needs, lambda c: min(c, default=0)),
    ),
)

LONGEST_CHAIN = Exercise(
    name="longest-chain",
    reference=_longest_chain,
    cases=LONGEST_CHAIN_CASES,
    mistakes=LONGEST_CHAIN_MISTAKES,
)
