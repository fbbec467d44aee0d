"""Hold handmade.inference.sampling to transformers' own processors.

The oracle is bitwise: same input, same cut tokens, same values. Ties are
drawn on purpose (logits rounded to a coarse grid), since they are where two
implementations of "the k largest" come apart.
"""

import json
import math

import pytest
import torch
from handmade.inference import sampling
from handmade.widgets import next_token
from script_helpers import run_script
from torch.testing import assert_close
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

SIZES = [(1, 1), (1, 2), (3, 7), (5, 129), (2, 4099)]
DTYPES = [torch.float32, torch.float64]
KINDS = ["smooth", "ties", "constant", "peaked"]


@pytest.fixture(params=SIZES, ids=str)
def size(request):
    return request.param


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


@pytest.fixture(params=KINDS)
def logits(request, size, dtype):
    return draw(request.param, size, dtype)


def draw(kind, size, dtype, seed=0):
    g = torch.Generator().manual_seed(seed + size[0] * 1000 + size[1])
    z = torch.randn(size, generator=g, dtype=dtype) * 4
    if kind == "ties":
        return z.round()
    if kind == "constant":
        return torch.full(size, -1.5, dtype=dtype)
    if kind == "peaked":
        z[:, 0] += 60
    return z


def same(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("t", [0.05, 0.7, 1.0, 1.3, 10.0])
def test_temperature(logits, t):
    same(
        sampling.temperature(logits, t),
        TemperatureLogitsWarper(t)(None, logits),
    )


@pytest.mark.parametrize("k", [1, 2, 5, 50, 10_000])
def test_top_k(logits, k):
    same(sampling.top_k(logits, k), TopKLogitsWarper(k)(None, logits))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 0.95, 0.999, 1.0])
def test_top_p(logits, p):
    same(sampling.top_p(logits, p), TopPLogitsWarper(p)(None, logits))


@pytest.mark.parametrize("p", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_min_p(logits, p):
    same(sampling.min_p(logits, p), MinPLogitsWarper(p)(None, logits))


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.3, 5.0])
@pytest.mark.parametrize("length", [1, 4, 33])
def test_repetition_penalty(logits, penalty, length):
    B, V = logits.shape
    g = torch.Generator().manual_seed(length)
    ids = torch.randint(V, (B, length), generator=g)
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    same(sampling.repetition_penalty(logits, ids, penalty), theirs)


def test_all_in_the_order_of_generate(dtype):
    logits = draw("smooth", (4, 997), dtype)
    ids = torch.randint(997, (4, 9))
    z = RepetitionPenaltyLogitsProcessor(1.2)(ids, logits.clone())
    for theirs in (
        TemperatureLogitsWarper(0.8),
        TopKLogitsWarper(40),
        TopPLogitsWarper(0.9),
        MinPLogitsWarper(0.05),
    ):
        z = theirs(ids, z)
    ours = sampling.repetition_penalty(logits, ids, 1.2)
    ours = sampling.top_k(sampling.temperature(ours, 0.8), 40)
    same(sampling.min_p(sampling.top_p(ours, 0.9), 0.05), z)


def test_padding_is_not_a_repetition():
    # the padded row must come out as the row alone does
    logits = draw("smooth", (2, 11), torch.float64)
    ids = torch.tensor([[0, 0, 3, 5], [1, 2, 3, 0]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    ours = sampling.repetition_penalty(logits, ids, 1.5, attention_mask=mask)
    alone = RepetitionPenaltyLogitsProcessor(1.5)
    same(ours[:1], alone(ids[:1, 2:], logits[:1].clone()))
    same(ours[1:], alone(ids[1:], logits[1:].clone()))
    # token 0 really is what the mask saves in row 0
    bare = sampling.repetition_penalty(logits, ids, 1.5)
    assert bare[0, 0] != logits[0, 0]
    assert ours[0, 0] == logits[0, 0]


def test_repetition_penalty_twice_seen_counts_once():
    logits = torch.tensor([[2.0, -2.0, 0.0]])
    ids = torch.tensor([[0, 0, 1, 1, 2]])
    ours = sampling.repetition_penalty(logits, ids, 2.0)
    assert ours.tolist() == [[1.0, -4.0, 0.0]]


@pytest.mark.parametrize("narrow", [torch.uint8, torch.int8, torch.int16])
def test_narrow_ids_count_as_they_are(narrow):
    # V = 300 does not fit a byte: where padding lands must not wrap to 44
    logits = draw("smooth", (1, 300), torch.float64)
    ids, mask = torch.tensor([[0, 7]]), torch.tensor([[0, 1]])
    want = sampling.repetition_penalty(logits, ids, 2.0, attention_mask=mask)
    got = sampling.repetition_penalty(
        logits, ids.to(narrow), 2.0, attention_mask=mask
    )
    same(got, want)
    assert (want != logits).nonzero().tolist() == [[0, 7]]


def test_no_id_seen_changes_nothing():
    logits = draw("smooth", (2, 5), torch.float32)
    empty = torch.zeros(2, 0, dtype=torch.int64)
    same(sampling.repetition_penalty(logits, empty, 3.0), logits)


def test_the_token_that_crosses_p_is_kept():
    # probabilities 0.5, 0.3, 0.2: 0.5 < 0.6, so the second is needed too
    logits = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64).log()
    kept = sampling.top_p(logits, 0.6).isfinite()
    assert kept.tolist() == [[False, True, True]]


def test_nothing_is_changed_in_place(dtype):
    logits = draw("smooth", (3, 17), dtype)
    before = logits.clone()
    ids = torch.zeros(3, 2, dtype=torch.int64)
    sampling.temperature(logits, 0.5)
    sampling.top_k(logits, 3)
    sampling.top_p(logits, 0.3)
    sampling.min_p(logits, 0.3)
    sampling.repetition_penalty(logits, ids, 2.0)
    sampling.greedy(logits)
    sampling.sample(logits)
    same(logits, before)


def test_filters_take_any_leading_shape():
    # (2, 3, V) must equal its six rows; -inf already there stays cut
    z = draw("smooth", (6, 19), torch.float64)
    z[:, 4] = float("-inf")
    for call in (
        lambda z: sampling.temperature(z, 0.5),
        lambda z: sampling.top_k(z, 3),
        lambda z: sampling.top_p(z, 0.7),
        lambda z: sampling.min_p(z, 0.2),
    ):
        same(call(z.view(2, 3, 19)).view(6, 19), call(z))
        assert call(z)[:, 4].isneginf().all()


def test_greedy_is_the_first_largest():
    z = torch.tensor([[1.0, 3.0, 3.0], [5.0, 0.0, 0.0]])
    assert sampling.greedy(z).tolist() == [1, 0]


def test_sample_follows_its_generator():
    z = draw("smooth", (4, 50), torch.float32)
    first = sampling.sample(z, generator=torch.Generator().manual_seed(1))
    again = sampling.sample(z, generator=torch.Generator().manual_seed(1))
    assert first.tolist() == again.tolist()
    torch.manual_seed(5)
    ours = sampling.sample(z)
    torch.manual_seed(5)
    assert ours.tolist() == torch.multinomial(z.softmax(-1), 1)[:, 0].tolist()


def test_sample_draws_the_softmax():
    # 40,000 draws of p = (.5, .3, .2, 0): standard error 0.0025, we allow 5
    p = torch.tensor([[0.5, 0.3, 0.2, 0.0]])
    z = p.log().expand(40_000, 4)
    drawn = sampling.sample(z, generator=torch.Generator().manual_seed(0))
    share = torch.bincount(drawn, minlength=4) / len(drawn)
    assert share[3] == 0
    assert_close(share, p[0], rtol=0, atol=0.0125)


Z = torch.zeros(2, 5)
IDS = torch.zeros(2, 3, dtype=torch.int64)
BAD = [
    (lambda: sampling.temperature(Z, 0), "t: got 0, want .* greedy"),
    (lambda: sampling.temperature(Z, -1.0), "t: got -1.0"),
    (lambda: sampling.temperature(Z, float("nan")), "t: got nan"),
    (lambda: sampling.temperature(Z, float("inf")), "t: got inf"),
    (lambda: sampling.temperature(Z, True), "t: got True"),
    (lambda: sampling.temperature(Z, "1"), "t: got '1'"),
    (lambda: sampling.temperature([[0.0]], 1.0), "logits: got list"),
    (lambda: sampling.temperature(IDS, 1.0), "logits: got torch.int64"),
    (lambda: sampling.top_k(Z, 0), "k: got 0, want an int >= 1"),
    (lambda: sampling.top_k(Z, 2.0), "k: got 2.0"),
    (lambda: sampling.top_k(Z, True), "k: got True"),
    (lambda: sampling.top_k(torch.zeros(2, 0), 1), "V > 0"),
    (lambda: sampling.top_k(torch.tensor(1.0), 1), "V > 0"),
    (lambda: sampling.top_p(Z, 1.1), r"p: got 1.1, want a number in \[0, 1\]"),
    (lambda: sampling.top_p(Z, -0.1), "p: got -0.1"),
    (lambda: sampling.top_p(Z, None), "p: got None"),
    (lambda: sampling.min_p(Z, 90), "p: got 90"),
    (lambda: sampling.min_p(Z, float("nan")), "p: got nan"),
    (lambda: sampling.repetition_penalty(Z, IDS, 0), "penalty: got 0"),
    (lambda: sampling.repetition_penalty(Z, IDS[0], 2.0), r"want \(B, T\)"),
    (lambda: sampling.repetition_penalty(Z, IDS[:1], 2.0), "ids: got 1 rows"),
    (lambda: sampling.repetition_penalty(Z, IDS + 5, 2.0), r"\[0, 5\)"),
    (lambda: sampling.repetition_penalty(Z, IDS - 1, 2.0), "got -1 to -1"),
    (lambda: sampling.repetition_penalty(Z, Z, 2.0), "ids: got torch.float32"),
    (lambda: sampling.repetition_penalty(Z, IDS > 0, 2.0), "got torch.bool"),
    (lambda: sampling.repetition_penalty(Z[0], IDS, 2.0), r"want \(B, V\)"),
    (
        lambda: sampling.repetition_penalty(
            Z, IDS, 2.0, attention_mask=torch.ones(2, 4).long()
        ),
        r"attention_mask: got shape \(2, 4\)",
    ),
    (
        lambda: sampling.repetition_penalty(
            Z, IDS, 2.0, attention_mask=[[1, 1, 1]]
        ),
        "attention_mask: got a list, want a tensor",
    ),
    (lambda: sampling.sample(Z, generator=3), "generator: got a int"),
    (lambda: sampling.sample(Z[0]), r"want \(B, V\)"),
    (lambda: sampling.sample(Z - float("inf")), "finite maximum"),
    (lambda: sampling.sample(Z * float("nan")), "finite maximum"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_wrong_arguments_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- the explorable's JavaScript ------------------------------------------

SETTINGS = [
    {"temperature": t, "topK": k, "topP": p, "minP": m}
    for t in (0.1, 0.7, 1.0, 3.0)
    for k, p, m in [
        (0, 1, 0),
        (1, 1, 0),
        (5, 1, 0),
        (200, 1, 0),
        (0, 0.01, 0),
        (0, 0.5, 0),
        (0, 0.9, 0),
        (0, 0.99, 0),
        (0, 1, 0.01),
        (0, 1, 0.5),
        (40, 0.95, 0.05),
        (200, 0.6, 0.02),
    ]
]
SCRIPT = """
const answers = rows.map((row) => {
  const data = row.logits ? row : {
    logits: Float64Array.from(floats(row.top)),
    tail: { high: row.high, step: row.step,
      counts: Array.from(bytes(row.tail)),
      faint: row.faint, faintAt: row.faint_at },
    never: row.never,
  };
  return settings.map((s) => {
    const d = distribution(data, s);
    return { p: d.groups.slice(0, 256).map((g) => g.p), kept: d.kept,
      entropy: d.entropy, mass: d.mass, vocabulary: d.vocabulary,
      drawn: draws.map((u) => drawRank(d.groups, u)),
      own: d.groups.slice(0, 256).map((g) => g.own) };
  });
});
const random = generator(1);
const seeded = Array.from({ length: 5000 }, random);
return { answers, seeded };
"""


def run_js(rows, settings, draws=()):
    given = {"rows": rows, "settings": settings, "draws": list(draws)}
    return run_script("next_token", SCRIPT, **given)


def by_hand(z, s):
    """The same setting through sampling.py, in float64, likeliest first."""
    z = sampling.temperature(z.double(), s["temperature"])
    before = z.softmax(-1)
    if s["topK"]:
        z = sampling.top_k(z, s["topK"])
    if s["topP"] < 1:
        z = sampling.top_p(z, s["topP"])
    if s["minP"]:
        z = sampling.min_p(z, s["minP"])
    p = z.softmax(-1)
    return p, before


@pytest.mark.parametrize("V", [1, 2, 17, 256])
def test_the_script_equals_sampling_py(V):
    g = torch.Generator().manual_seed(V)
    z = torch.randn(3, V, generator=g, dtype=torch.float64) * 3
    z[2] = (z[2] / 3).round()  # ties: top-k keeps what equals the k-th
    z = z.sort(descending=True).values
    settings = SETTINGS
    rows = [{"logits": row.tolist()} for row in z]
    answers = run_js(rows, settings, [0.0, 0.3, 0.9999])["answers"]
    compared = 0
    for row, of_row in zip(z, answers, strict=True):
        for s, got in zip(settings, of_row, strict=True):
            if s["topP"] < 1 and row.unique().numel() < V:
                continue  # which of two equal tokens top-p keeps is open
            p, before = by_hand(row[None], s)
            assert_close(torch.tensor([got["p"]]).double(), p)
            assert got["kept"] == int((p > 0).sum())
            entropy = -torch.special.xlogy(p, p).sum() / math.log(2)
            assert math.isclose(got["entropy"], entropy, abs_tol=1e-9)
            assert math.isclose(got["mass"], before[p > 0].sum())
            cdf = p[0].cumsum(0)
            drawn = [int((cdf <= u).sum()) for u in (0.0, 0.3, 0.9999)]
            assert got["drawn"] == drawn
            # beside it, always, the model's own
            own = torch.tensor(got["own"]).double()
            assert_close(own, row.softmax(-1))
            compared += 1
    assert compared >= len(SETTINGS) * 2


def test_the_packed_tail_is_right_to_the_digits_shown():
    # two shapes of a real vocabulary: a confident model and a flat one
    g = torch.Generator().manual_seed(0)
    z = torch.randn(2, 49_152, generator=g) * torch.tensor([[3.5], [1.8]])
    z[0, :5] += torch.tensor([14.0, 12.0, 11.0, 9.0, 8.0])
    rows = [next_token.pack(row, str) for row in z]
    assert sum(len(json.dumps(row)) for row in rows) < 120_000
    for row, of_row in zip(z, run_js(rows, SETTINGS)["answers"], strict=True):
        ordered = row.sort(descending=True).values[None]
        for s, got in zip(SETTINGS, of_row, strict=True):
            p, before = by_hand(ordered, s)
            assert got["vocabulary"] == 49_152
            # shown: percentages to 0.1, bits to 0.01, counts to 3 digits
            off = torch.tensor(got["p"]).double() - p[0, :256]
            assert off.abs().max() < 1e-4
            entropy = -torch.special.xlogy(p, p).sum() / math.log(2)
            assert abs(got["entropy"] - entropy) < 1e-3
            # a token at the threshold may fall on either side
            assert abs(got["mass"] - before[p > 0].sum()) < 3e-4
            kept = int((p > 0).sum())
            allowed = 0 if kept <= 256 else 0.001 * kept
            assert abs(got["kept"] - kept) <= allowed


def far_tails() -> dict[str, torch.Tensor]:
    """Logits as masks, filters and broken models leave them."""
    g = torch.Generator().manual_seed(0)
    plain = torch.randn(49_152, generator=g) * 3.5
    z = {name: plain.clone() for name in ("-inf", "-1e9", "few", "two")}
    z["-inf"][1000:] = -torch.inf
    z["-1e9"][1000:] = -1e9
    z["few"][7:] = -torch.inf
    z["two"][:20_000] -= 500.0  # two humps, one of them hopeless
    z["steep"] = plain * 100
    z["float16 minimum"] = plain.clone()
    z["float16 minimum"][300:] = torch.finfo(torch.float16).min
    z["one"] = torch.full((49_152,), -torch.inf)
    z["one"][123] = 2.0
    return z


@pytest.mark.parametrize("name", far_tails())
def test_a_tail_however_far_is_small_and_right(name):
    z = far_tails()[name]
    row = next_token.pack(z, str)
    assert len(json.dumps(row)) < 120_000
    assert len(row["tokens"]) == min(256, int((z > z.max() - 2238).sum()))
    (answers,) = run_js([row], SETTINGS)["answers"]
    ordered = z.sort(descending=True).values[None]
    for s, got in zip(SETTINGS, answers, strict=True):
        p, before = by_hand(ordered, s)
        assert got["vocabulary"] == 49_152
        shown = torch.zeros(256).double()
        shown[: len(got["p"])] = torch.tensor(got["p"]).double()
        assert (shown - p[0, :256]).abs().max() < 1e-4
        entropy = -torch.special.xlogy(p, p).sum() / math.log(2)
        assert abs(got["entropy"] - entropy) < 1e-3
        assert abs(got["mass"] - before[p > 0].sum()) < 3e-4


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (torch.nan, "nan"),
        (torch.inf, "inf"),
        (1e39, "inf"),  # beyond float32
    ],
)
def test_what_is_no_distribution_is_refused(value, named):
    z = torch.randn(2, 500, dtype=torch.float64)
    z[1, 7] = value
    with pytest.raises(ValueError, match=f"^logits: got {named} among"):
        next_token.next_token(["a", "b"], z, str)
    z[1] = -torch.inf
    with pytest.raises(ValueError, match=r"^logits: got -inf among"):
        next_token.next_token(["a", "b"], z, str)


def test_a_token_of_the_tail_is_named_by_its_nearest():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(20_000, generator=g) * 3
    ids = z.argsort(descending=True)
    row = next_token.pack(z, lambda i: f"token {i}")
    names = dict(row["names"])
    assert len(names) > 400
    assert (min(names), max(names)) == (256, 19_999)
    for rank, name in names.items():
        assert name == f"token {ids[rank]}"
    given = {"tokens": row["tokens"], "names": row["names"]}
    ranks = [0, 255, 256, 300, 5000, 19_998]
    named = run_script(
        "next_token",
        "return ranks.map((rank) => nameOf(data, rank));",
        data=given,
        ranks=ranks,
    )
    for rank, name in zip(ranks, named, strict=True):
        near = rank
        if rank > 255:
            near = min(names, key=lambda at: abs(at - rank))
            assert abs(near - rank) <= 0.01 * rank
        assert name == f"token {ids[near]}"
    few = next_token.pack(z[:40], str)
    assert len(few["tokens"]) == 40
    assert few["names"] == []


def test_the_script_draws_evenly():
    seeded = torch.tensor(run_js([], [])["seeded"])
    assert ((seeded >= 0) & (seeded < 1)).all()
    # 5,000 in ten bins: expected 500 each, standard deviation 21
    share = torch.histc(seeded, 10, 0, 1)
    assert (share - 500).abs().max() < 5 * 21


def test_the_explorable_refuses_what_it_cannot_show():
    with pytest.raises(ValueError, match="one row a prompt"):
        next_token.next_token(["a"], torch.zeros(2, 5), str)
    with pytest.raises(ValueError, match="a byte can count"):
        next_token.pack(torch.zeros(1000), str)
    view = next_token.next_token(["a", "b"], torch.randn(2, 500), str)
    widget, *controls = view.children
    assert len(controls) == 5
    assert repr(widget) == "NextToken()"
