"""The exercises of the page on T5.

B texts · S tokens read · T tokens written · H heads
"""

import math

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.models.t5 import T5Config, shift_right
from handmade.models.t5_positions import relative_bucket

# -- relative-bucket: fn(distance, n_buckets, max_distance) -> buckets


def _bucket(distance, n_buckets, max_distance):
    return relative_bucket(distance, n_buckets, max_distance, both_ways=False)


def _bucket_with(
    *,
    sign: int = -1,
    absolute: bool = False,
    rounded: bool = False,
    last: bool = True,
    reach: bool = True,
    exact: float = 0.5,
):
    """Sort into buckets with one step replaced by another."""

    def fn(distance, n_buckets, max_distance):
        far = distance.abs() if absolute else (sign * distance).clamp(min=0)
        near = int(n_buckets * exact)
        top = max_distance / near if reach else max_distance
        share = (far.clamp(min=near).double() / near).log() / math.log(top)
        wide = share * (n_buckets - near)
        wide = near + (wide.round() if rounded else wide).long()
        wide = wide.clamp(max=n_buckets - 1) if last else wide
        return torch.where(far < near, far, wide)

    return fn


def _distances(label: str, *args: int, low: int, high: int = 0) -> Case:
    return Case(label, lambda: (torch.arange(low, high), *args))


RELATIVE_BUCKET = Exercise(
    name="relative-bucket",
    reference=_bucket,
    cases=(
        _distances("near tokens", 32, 128, low=-15, high=1),
        _distances("tokens as far as 127", 32, 128, low=-127),
        _distances("tokens beyond all buckets", 32, 128, low=-400, high=-300),
        _distances("tokens ahead", 32, 128, low=-3, high=40),
        _distances("fewer buckets", 8, 20, low=-30, high=2),
        Case(
            "queries down, keys across",
            lambda: (torch.arange(9) - torch.arange(9)[:, None], 8, 20),
        ),
    ),
    mistakes=(
        Mistake(
            "the sign is turned: distance is the key's place less the "
            "query's, so what lies before the query is negative",
            _bucket_with(sign=1),
        ),
        Mistake(
            "tokens ahead are counted like those behind: for a decoder they "
            "all fall into bucket 0",
            _bucket_with(absolute=True),
        ),
        Mistake(
            "the logarithm is rounded to the nearest whole number, not down",
            _bucket_with(rounded=True),
        ),
        Mistake(
            "there is no last bucket: what is farther than max_distance needs "
            "n_buckets - 1",
            _bucket_with(last=False),
        ),
        Mistake(
            "the logarithm is divided by ln(max), not by ln(max / e)",
            _bucket_with(reach=False),
        ),
        Mistake(
            "a quarter of the buckets hold one distance each, not half: that "
            "is how an encoder shares them between its two sides",
            _bucket_with(exact=0.25),
        ),
        Mistake(
            "every distance has a bucket of its own, up to the last",
            lambda d, n, most: (-d).clamp(0, n - 1),
        ),
    ),
)

# -- shift-right: fn(labels (B, T), start_id, pad_id) -> (B, T)


def _shifted(labels, start, pad, *, hidden=True):
    first = torch.full_like(labels[:, :1], start)
    out = torch.cat((first, labels[:, :-1]), dim=1)
    return out.masked_fill(out == -100, pad) if hidden else out


LABELS = [[7, 8, 9, 1], [6, 1, -100, -100], [5, 4, 1, -100]]

SHIFT_RIGHT = Exercise(
    name="shift-right",
    reference=shift_right,
    cases=(
        Case("one text", lambda: (torch.tensor([[7, 8, 9, 1]]), 0, 0)),
        Case("several, padded", lambda: (torch.tensor(LABELS), 0, 0)),
        Case(
            "a start token and a padding token that differ",
            lambda: (torch.tensor(LABELS), 3, 2),
        ),
        Case("one word", lambda: (torch.tensor([[1], [7]]), 3, 2)),
    ),
    mistakes=(
        Mistake(
            "a label of -100 is left in: it is no token, no row of a table",
            lambda labels, start, pad: _shifted(
                labels, start, pad, hidden=False
            ),
        ),
        Mistake(
            "the labels are shifted to the left: each place would read the "
            "answer after its own",
            lambda labels, start, pad: torch.cat(
                (labels[:, 1:], torch.full_like(labels[:, :1], start)), dim=1
            ).masked_fill(labels == -100, pad),
        ),
        Mistake(
            "nothing is shifted: each place reads the word that it must say",
            lambda labels, start, pad: labels.masked_fill(labels == -100, pad),
        ),
        Mistake(
            "the last label comes round to the front, where start_id belongs",
            lambda labels, start, pad: labels.roll(1, 1).masked_fill(
                labels.roll(1, 1) == -100, pad
            ),
        ),
        Mistake(
            "the text starts with pad_id, whatever start_id is",
            lambda labels, start, pad: _shifted(labels, pad, pad),
        ),
        Mistake(
            "a label of -100 becomes start_id, not pad_id",
            lambda labels, start, pad: _shifted(labels, start, start),
        ),
    ),
)

# -- cached-bias: fn(table (N, H), T, S, bucket) -> (1, H, T, S)


def _near(distance):
    return (-distance).clamp(0, 7)


def _bias(table, T, S, bucket, *, first: int | None = None, sign: int = 1):
    queries = torch.arange(T) + (S - T if first is None else first)
    distance = sign * (torch.arange(S) - queries[:, None])
    return table[bucket(distance)].permute(2, 0, 1)[None]


def _table_case(label: str, T: int, S: int, H: int = 3) -> Case:
    return Case(label, lambda: (*randoms((8, H)), T, S, _near))


CACHED_BIAS = Exercise(
    name="cached-bias",
    reference=_bias,
    cases=(
        _table_case("a whole text", 5, 5),
        _table_case("the first token", 1, 1),
        _table_case("one new token after a cache", 1, 6),
        _table_case("three new tokens after a cache", 3, 7),
        _table_case("as many heads as tokens", 4, 4, H=4),
        _table_case("tokens farther than all buckets", 2, 13),
    ),
    mistakes=(
        Mistake(
            "the first query stands at place 0: right for a whole text, but "
            "after a cache the queries are the last T of S",
            lambda table, T, S, bucket: _bias(table, T, S, bucket, first=0),
        ),
        Mistake(
            "the queries stand one place too late",
            lambda table, T, S, bucket: _bias(
                table, T, S, bucket, first=S - T + 1
            ),
        ),
        Mistake(
            "the distance is the query's place less the key's",
            lambda table, T, S, bucket: _bias(table, T, S, bucket, sign=-1),
        ),
        Mistake(
            "the heads are the last axis, as they are in the table",
            lambda table, T, S, bucket: _bias(table, T, S, bucket).movedim(
                1, -1
            ),
        ),
        Mistake(
            "the axis for the batch is missing",
            lambda table, T, S, bucket: _bias(table, T, S, bucket)[0],
        ),
    ),
)

# -- count-two-caches: fn(config, B, S, T) -> int


def _two_caches(
    c: T5Config,
    B: int,
    S: int,
    T: int,
    *,
    layers: int = 0,
    width: int = 0,
    kinds: int = 2,
    own: int = 1,
    read: int = 1,
) -> int:
    numbers = kinds * (layers or c.n_decoder_layers)
    numbers *= B * (width or c.n_heads * c.d_head)
    return numbers * (own * T + read * S)


def _sizes_case(label: str, B: int, S: int, T: int, **changes: int) -> Case:
    sizes = {
        "vocab_size": 50,
        "d_model": 24,
        "n_layers": 3,
        "n_decoder_layers": 2,
        "n_heads": 5,
        "d_head": 4,
        "d_ff": 40,
    }
    return Case(label, lambda: (T5Config(**{**sizes, **changes}), B, S, T))


COUNT_TWO_CACHES = Exercise(
    name="count-two-caches",
    reference=_two_caches,
    cases=(
        _sizes_case("a short text into a shorter one", 1, 7, 3),
        _sizes_case("a batch", 3, 7, 4),
        _sizes_case("a long text, one word of answer", 2, 90, 1),
        _sizes_case("more decoder layers", 2, 6, 5, n_decoder_layers=7),
        Case(
            "T5-small, a page into a line",
            lambda: (T5Config.from_name("t5-small"), 1, 500, 20),
        ),
    ),
    mistakes=(
        Mistake(
            "the encoder's layers are counted: it keeps nothing",
            lambda c, B, S, T: _two_caches(c, B, S, T, layers=c.n_layers),
        ),
        Mistake(
            "the layers of both stacks are counted: the encoder keeps nothing",
            lambda c, B, S, T: _two_caches(
                c, B, S, T, layers=c.n_layers + c.n_decoder_layers
            ),
        ),
        Mistake(
            "keys are counted, and values are not",
            lambda c, B, S, T: _two_caches(c, B, S, T, kinds=1),
        ),
        Mistake(
            "the text that was read is missing",
            lambda c, B, S, T: _two_caches(c, B, S, T, read=0),
        ),
        Mistake(
            "the decoder's own keys and values are missing",
            lambda c, B, S, T: _two_caches(c, B, S, T, own=0),
        ),
        Mistake(
            "a key is taken to be d_model wide: it is n_heads * d_head",
            lambda c, B, S, T: _two_caches(c, B, S, T, width=c.d_model),
        ),
        Mistake(
            "the batch is missing",
            lambda c, B, S, T: _two_caches(c, 1, S, T),
        ),
    ),
)
