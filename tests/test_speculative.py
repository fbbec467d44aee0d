"""Hold speculative decoding to what it promises: the target's own law.

Greedy, the ids are those of `generate`, whatever the draft. Drawn, the law
of the first three tokens is the target's, which on a tiny vocabulary can be
written down exactly; a chi-squared test compares. With the counts used here
a right implementation fails one time in ten thousand, and each of the wrong
ones that are planted gives a p-value of zero but for rounding.
"""

import itertools
import math

import pytest
import torch
from handmade.inference import speculative
from handmade.inference.drafters import (
    Drafter,
    ModelDraft,
    PromptLookup,
    law,
    read_on,
)
from handmade.inference.generate import choose, generate
from handmade.inference.rewind_cache import RewindCache, flush_right
from handmade.inference.speculative import speculative_generate, verify
from handmade.models.gpt2 import GPT2, GPT2Config
from handmade.models.llama import Llama
from handmade.weights.reference import random_reference
from scipy.stats import chisquare
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM

V = 4
FILTERS = (
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 3},
    {"temperature": 1.3, "top_p": 0.8},
    {"temperature": 1.6, "min_p": 0.3},
    {"temperature": 0.9, "top_k": 3, "top_p": 0.9, "min_p": 0.05},
)


def tiny(seed=0, layers=2, vocab=23, sharp=3.0, longest=64):
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        intermediate_size=40,
        max_position_embeddings=longest,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
    )
    hf = random_reference(LlamaForCausalLM, config, seed=seed).double()
    with torch.no_grad():
        hf.lm_head.weight.mul_(sharp)
    return hf


class Table:
    """Logits of the next token from the last two, (V, V, V)."""

    def __init__(self, seed, vocab=V, size=1.5):
        g = torch.Generator().manual_seed(seed)
        self.logits = size * torch.randn(vocab, vocab, vocab, generator=g)

    def __call__(
        self, ids, attention_mask=None, *, cache=None, logits_to_keep=None
    ):
        before = torch.cat((ids[:, :1], ids[:, :-1]), dim=1)
        return self.logits[before, ids][:, -logits_to_keep:]


class Liar(Drafter):
    """Draws under other filters than it says."""

    def __init__(self, model, **options):
        self.true = ModelDraft(model, use_cache=False, **options)
        self.said = {"temperature": 1.0}

    def propose(self, ids, attention_mask, n):
        W = ids.shape[1]
        drafted, _ = self.true.propose(ids, attention_mask, n)
        text = torch.cat((ids, drafted), dim=1)[:, :-1]
        logits = self.true.model(text, logits_to_keep=len(text[0]))
        return drafted, law(logits[:, W - 1 :], **self.said)


def exact(model, start, options, steps=3):
    """The law of the next ``steps`` tokens, (V ** steps,), in order."""
    texts = torch.tensor([start])
    probs = torch.ones(1, dtype=torch.float64)
    for _ in range(steps):
        logits = model(texts, logits_to_keep=1)[:, -1].float()
        p = law(logits, **options).double()
        size = p.shape[1]
        probs = (probs[:, None] * p).flatten()
        tail = torch.arange(size).repeat(len(texts))[:, None]
        texts = torch.cat((texts.repeat_interleave(size, 0), tail), 1)
    return probs / probs.sum()


def p_value(ids, probs, vocab=V):
    """Of the hypothesis that the rows (N, steps) have this law."""
    steps = ids.shape[1]
    powers = vocab ** torch.arange(steps - 1, -1, -1)
    counts = (ids * powers).sum(1).bincount(minlength=vocab**steps)
    assert not counts[probs == 0].any()
    want = probs * len(ids)
    rare = want < 5
    got = torch.cat((counts[~rare], counts[rare].sum()[None])).double()
    want = torch.cat((want[~rare], want[rare].sum()[None]))
    got, want = got[want > 0], want[want > 0]
    return chisquare(got, want * got.sum() / want.sum()).pvalue


def sampled(
    draft, n_draft, options, *, N=20_000, target=None, start=(1, 2, 1)
):
    target = Table(0) if target is None else target
    found = speculative_generate(
        target,
        draft,
        torch.tensor([start]).expand(N, -1),
        n_draft=n_draft,
        max_new_tokens=3,
        generator=torch.Generator().manual_seed(n_draft),
        use_cache=not isinstance(target, Table),
        **options,
    )
    return found.ids[:, len(start) :], found


# --- the law --------------------------------------------------------------


@pytest.mark.parametrize("options", FILTERS)
def test_the_law_is_what_generate_draws_from(options):
    logits = 3 * torch.randn(50, 17)
    ids = torch.zeros(50, 1, dtype=torch.long)
    gens = [torch.Generator().manual_seed(4) for _ in range(2)]
    rest = {k: v for k, v in options.items() if k != "temperature"}
    want = choose(
        logits, ids, None, options["temperature"], None, gens[0], **rest
    )
    probs = law(logits, **options)
    assert probs.multinomial(1, generator=gens[1])[:, 0].equal(want)
    assert law(logits).argmax(1).equal(logits.argmax(1))
    assert law(logits).sum(1).eq(1).all()
    assert law(logits).amax(1).eq(1).all()


@pytest.mark.parametrize("n_draft", [1, 2, 5])
@pytest.mark.parametrize("options", FILTERS)
def test_three_tokens_have_the_targets_law(options, n_draft):
    want = exact(Table(0), (1, 2, 1), options)
    for draft, N in ((Table(1), 8000), (PromptLookup(2), 2000)):
        ids, _ = sampled(draft, n_draft, options, N=N)
        assert p_value(ids, want) > 1e-4
        first = want.view(V, -1).sum(1)
        assert p_value(ids[:, :1], first) > 1e-4


def test_a_draft_may_use_other_filters_if_it_says_so():
    options = FILTERS[2]
    cold = ModelDraft(Table(1), use_cache=False, temperature=0.3, top_k=2)
    ids, _ = sampled(cold, 3, options)
    assert p_value(ids, exact(Table(0), (1, 2, 1), options)) > 1e-4


def test_a_draft_that_says_another_law_is_found_out():
    liar = Liar(Table(1), temperature=0.5)
    ids, _ = sampled(liar, 2, {"temperature": 1.0})
    assert p_value(ids, exact(Table(0), (1, 2, 1), FILTERS[0])) < 1e-30


def resample_from_p(p, q, drafted, *, generator=None):
    kept, _ = verify(p, q, drafted, generator=generator)
    again = p[torch.arange(len(p)), kept].multinomial(1, generator=generator)
    return kept, again[:, 0]


def inverted(p, q, drafted, *, generator=None):
    n, R = drafted.shape[1], len(p)
    if n == 0:
        return verify(p, q, drafted, generator=generator)
    p_x = p[:, :n].gather(2, drafted[:, :, None])[:, :, 0]
    q_x = q.gather(2, drafted[:, :, None])[:, :, 0]
    u = torch.rand(R, n, generator=generator)
    kept = (u * p_x < q_x).long().cumprod(1).sum(1)
    p_next = p[torch.arange(R), kept]
    return kept, p_next.multinomial(1, generator=generator)[:, 0]


def no_bonus(p, q, drafted, *, generator=None):
    """All kept: the last token is drawn from the draft's place before."""
    kept, token = verify(p, q, drafted, generator=generator)
    if drafted.shape[1] == 0:
        return kept, token
    last = p[:, -2].multinomial(1, generator=generator)[:, 0]
    return kept, token.where(kept < drafted.shape[1], last)


@pytest.mark.parametrize("wrong", [resample_from_p, inverted, no_bonus])
def test_a_wrong_rule_is_found_out(wrong, monkeypatch):
    monkeypatch.setattr(speculative, "verify", wrong)
    # the third place is only ever drawn by the rule if two are drafted
    ids, _ = sampled(Table(1), 2, FILTERS[0])
    assert p_value(ids, exact(Table(0), (1, 2, 1), FILTERS[0])) < 1e-30


@pytest.mark.parametrize("options", FILTERS[:3])
def test_rows_that_part_keep_their_law(options):
    """A real model, both caches rewound, rows of one batch out of step."""
    target, draft = (
        Llama.from_hf(tiny(seed, layers, vocab=V, sharp=0.3)).float()
        for seed, layers in ((0, 2), (1, 1))
    )
    ids, found = sampled(draft, 2, options, target=target, N=6000)
    with torch.no_grad():
        want = exact(target, (1, 2, 1), options)
    assert len(found.passes.unique()) > 1  # they did part
    assert p_value(ids, want) > 1e-4


def test_the_share_kept_is_one_less_the_distance():
    """alpha = sum min(p, q) = 1 - TV(p, q): counted, and exactly."""
    g = torch.Generator().manual_seed(3)
    p, q = torch.rand(2, 7, generator=g, dtype=torch.float64)
    p, q = p / p.sum(), q / q.sum()
    alpha = torch.minimum(p, q).sum()
    assert_close(alpha, 1 - (p - q).abs().sum() / 2)
    N, n = 40_000, 4
    drafted = q.expand(N, -1).multinomial(n, replacement=True, generator=g)
    kept, _ = verify(
        p.expand(N, n + 1, -1), q.expand(N, n, -1), drafted, generator=g
    )
    want = (1 - alpha ** (n + 1)) / (1 - alpha)
    assert abs((kept + 1).double().mean() - want) < 0.03
    assert abs((kept > 0).double().mean() - alpha) < 0.01


# --- edges of the rule ----------------------------------------------------


def test_the_same_law_keeps_everything():
    p = torch.rand(300, 4, 9).softmax(-1)
    drafted = p[:, :3].flatten(0, 1).multinomial(1).view(300, 3)
    kept, token = verify(p, p[:, :3], drafted)
    assert kept.eq(3).all()
    assert (token >= 0).all()
    assert (token < 9).all()


def test_nothing_left_is_no_division_by_zero():
    """p below q by a hair at the drafted token, and nowhere above it."""
    q = torch.tensor([0.5, 0.5])
    p = torch.stack((q.clone(), q))
    p[0, 0] = 0.0  # the drafted token is impossible, and q has the rest too
    kept, token = verify(p[None], q[None, None], torch.tensor([[0]]))
    assert kept.tolist() == [0]
    assert token.tolist() == [1]


def test_what_a_filter_cut_is_never_kept():
    p = torch.tensor([0.0, 0.3, 0.7]).expand(500, 2, 3)
    q = torch.tensor([1.0, 0.0, 0.0]).expand(500, 1, 3)
    drafted = torch.zeros(500, 1, dtype=torch.long)
    for said in (q, None):
        kept, token = verify(p, said, drafted)
        assert not kept.any()
        assert token.ne(0).all()


# --- greedy: generate's ids -----------------------------------------------


@pytest.mark.parametrize("n_draft", [0, 1, 4])
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("eos_id", [None, 12, [12, 5, 7]])
def test_greedy_is_generate(n_draft, use_cache, eos_id):
    ended = inside = 0
    for seed in range(3):
        target = Llama.from_hf(tiny(seed))
        drafts = (Llama.from_hf(tiny(seed + 9, 1)), target, PromptLookup(2))
        g = torch.Generator().manual_seed(seed)
        B = (1, 3, 5)[seed]
        ids = torch.randint(1, 23, (B, 5), generator=g)
        mask = torch.ones_like(ids)
        for row in range(1, B):
            mask[row, : row % 5] = 0
        options = {
            "max_new_tokens": 12,
            "attention_mask": mask,
            "eos_id": eos_id,
            "pad_id": 1,
            "use_cache": use_cache,
        }
        want = generate(target, ids, **options)
        for draft in drafts:
            found = speculative_generate(
                target, draft, ids, n_draft=n_draft, **options
            )
            assert found.ids.tolist() == want.tolist()
            assert (found.kept <= found.judged).all()
            if draft is target:
                assert found.kept.equal(found.judged)
                inside += int((found.passes < 12).sum())
        ends = torch.tensor([-1 if eos_id is None else eos_id]).flatten()
        ended += int(torch.isin(want[:, 5:-1], ends).sum())
    assert (ended > 0) == (eos_id is not None)
    assert inside or n_draft == 0


def test_a_cache_that_is_not_rewound_is_found_out(monkeypatch):
    """The greedy test sees the fault: planted, it gives other ids."""

    def forget_wrong_end(self, drop):
        keep = self.length - int(drop.min())
        self.layers = [
            (k[:, :, -keep:], v[:, :, -keep:]) for k, v in self.layers
        ]

    target, draft = Llama.from_hf(tiny()), Llama.from_hf(tiny(9, 1))
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    options = {"max_new_tokens": 20}
    want = generate(target, ids, **options)
    monkeypatch.setattr(RewindCache, "rewind", forget_wrong_end)
    got = speculative_generate(target, draft, ids, n_draft=3, **options).ids
    assert got.tolist() != want.tolist()


def test_no_drafts_is_generate_from_the_same_seed():
    target = Llama.from_hf(tiny(sharp=1.0))
    ids = torch.randint(23, (3, 4))
    runs = []
    for run in (generate, None):
        g = torch.Generator().manual_seed(5)
        options = {"max_new_tokens": 9, "temperature": 0.8, "top_p": 0.9}
        if run is None:
            runs.append(speculative_generate(
                target, PromptLookup(), ids, n_draft=0, generator=g,
                **options).ids)  # fmt: skip
        else:
            runs.append(run(target, ids, generator=g, **options))
    assert runs[0].tolist() == runs[1].tolist()


@pytest.mark.parametrize("B", [1, 4])
def test_the_last_position_of_a_model_is_used_and_no_other(B):
    """Learned positions: one past the table would raise."""
    config = GPT2Config(
        vocab_size=13, d_model=12, n_layers=2, n_heads=3, max_seq_len=16
    )
    torch.manual_seed(0)
    target, draft = GPT2(config).eval(), GPT2(config).eval()
    with torch.no_grad():
        for model in (target, draft):
            for p in model.parameters():
                p.normal_(std=0.7)
    ids = torch.randint(13, (B, 6))
    want = generate(target, ids, max_new_tokens=10)
    for guesser in (draft, target, PromptLookup(1)):
        found = speculative_generate(
            target, guesser, ids, n_draft=7, max_new_tokens=10
        )
        assert found.ids.tolist() == want.tolist()


def test_no_new_tokens_is_the_prompt():
    ids = torch.tensor([[3, 4]])
    found = speculative_generate(
        Table(0), Table(1), ids % V, n_draft=2, max_new_tokens=0,
        use_cache=False,
    )  # fmt: skip
    assert found.ids.tolist() == (ids % V).tolist()
    assert found.passes.tolist() == found.judged.tolist() == [0]


def test_a_used_draft_begins_anew():
    target = Llama.from_hf(tiny())
    draft = ModelDraft(Llama.from_hf(tiny(9, 1)))
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        ids = torch.randint(23, (2, 4 + seed), generator=g)
        found = speculative_generate(
            target, draft, ids, n_draft=3, max_new_tokens=8
        )
        want = generate(target, ids, max_new_tokens=8)
        assert found.ids.tolist() == want.tolist()


def test_greedy_is_transformers_assisted():
    hf, small = tiny(4), tiny(13, 1)
    ids = torch.randint(23, (1, 6), generator=torch.Generator().manual_seed(1))
    quiet = {"pad_token_id": 0, "eos_token_id": None, "do_sample": False}
    options = {"max_new_tokens": 20}
    for theirs, ours in (
        ({"assistant_model": small}, Llama.from_hf(small)),
        ({"prompt_lookup_num_tokens": 4}, PromptLookup(2)),
    ):
        want = hf.generate(ids, **theirs, **quiet, **options)
        got = speculative_generate(
            Llama.from_hf(hf), ours, ids, n_draft=4, **options
        )
        assert got.ids.tolist() == want.tolist()


# --- drafters and the cache -----------------------------------------------


@pytest.mark.parametrize(
    ("text", "n", "want"),
    [
        ([1, 2, 3, 9, 1, 2, 3], 2, [9, 1]),  # three words match
        ([7, 3, 5, 8, 3, 6, 7, 3], 2, [5, 8]),  # two, though one is nearer
        ([3, 5, 3, 6, 3], 2, [6, 3]),  # of two places the latest
        ([4, 4, 4], 5, [4]),  # what followed ends with the text
        ([1, 2, 3], 4, []),
        ([1], 4, []),
        ([1, 2, 1, 2], 0, []),
    ],
)
def test_lookup(text, n, want):
    assert PromptLookup(3).lookup(text, n) == want


def test_lookup_of_a_batch_skips_padding():
    ids = torch.tensor([[5, 5, 5, 1, 5], [1, 2, 9, 1, 2]])
    mask = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]])
    drafted, q = PromptLookup(2).propose(ids, mask, 2)
    assert drafted.tolist() == [[5, 5], [9, 1]]
    assert q is None
    drafted, _ = PromptLookup(2).propose(ids, None, 3)
    assert drafted[0].tolist() == [1, 5, 5]


def test_flush_right():
    x = torch.arange(8).view(2, 4)
    assert flush_right(x, torch.tensor([1, 1])).tolist() == [
        [0, 1, 2],
        [4, 5, 6],
    ]
    assert flush_right(x, torch.tensor([0, 2])).tolist() == [
        [0, 1, 2, 3],
        [4, 4, 4, 5],
    ]
    deep = x[:, None, :, None].expand(2, 3, 4, 5)
    got = flush_right(deep, torch.tensor([0, 2]), 2)
    assert got.shape == (2, 3, 4, 5)
    assert got[1, 2, :, 4].tolist() == [
        4,
        4,
        4,
        5,
    ]


def test_a_rewound_cache_is_one_that_never_read_it():
    model = Llama.from_hf(tiny())
    ids = torch.randint(23, (2, 7))
    with torch.no_grad():
        cache = RewindCache()
        read_on(model, ids, None, cache, 1)
        cache.rewind(torch.tensor([1, 3]))
        assert cache.length == 6
        text = flush_right(ids, torch.tensor([1, 3]))
        mask = torch.ones_like(text)
        mask[1, :2] = 0
        new = torch.cat((text, text[:, :1]), dim=1)
        mask = torch.cat((mask, mask[:, -1:]), dim=1)
        got = read_on(model, new, mask, cache, 1)[:, 0]
        for row, n in enumerate((6, 4)):
            alone = torch.cat((ids[row, :n], text[row, :1]))
            assert_close(got[row], model(alone[None])[0, -1].float())


def test_probabilities_say_what_refuses_them():
    p = torch.full((1, 3, 4), 0.25)
    cases = (
        (p, p[:, :2, :3], torch.tensor([[0, 1]]), "q: got"),
        (p, p, torch.tensor([[0, 1]]), "q: got"),
        (p[:, :2], p[:, :2], torch.tensor([[0, 1]]), "p: got"),
        (p, p[:, :2], torch.tensor([[0, 4]]), "drafted: got 0 to 4"),
    )
    for p_, q, drafted, says in cases:
        with pytest.raises(ValueError, match=says):
            verify(p_, q, drafted)


def test_a_draft_that_does_not_fit_is_refused():
    target, ids = Llama.from_hf(tiny()), torch.tensor([[3, 4, 5]])
    options = {"n_draft": 2, "max_new_tokens": 8}
    other = Llama.from_hf(tiny(vocab=22))
    with pytest.raises(ValueError, match="draft: got one with vocab_size"):
        speculative_generate(target, other, ids, **options)
    short = Llama.from_hf(tiny(longest=10))
    with pytest.raises(ValueError, match="max_seq_len = 10, want 11"):
        speculative_generate(target, short, ids, **options)
    with pytest.raises(ValueError, match="max_new_tokens: got 62"):
        speculative_generate(target, target, ids, n_draft=2, max_new_tokens=62)
    tables = Table(0), Table(1, vocab=5)
    with pytest.raises(ValueError, match="q: got shape"):
        speculative_generate(*tables, ids % V, use_cache=False,
                             temperature=1.0, **options)  # fmt: skip


class Bold(Drafter):
    def __init__(self, drafted):
        self.drafted = torch.tensor(drafted)

    def propose(self, ids, attention_mask, n):
        return self.drafted, None


@pytest.mark.parametrize("drafted", [[[1, 2, 3]], [[99]], [[1], [2]], [[0.5]]])
def test_a_drafter_that_guesses_what_it_may_not_is_refused(drafted):
    target, ids = Llama.from_hf(tiny()), torch.tensor([[3, 4, 5]])
    with pytest.raises(ValueError, match="drafted: got"):
        speculative_generate(
            target, Bold(drafted), ids, n_draft=2, max_new_tokens=8
        )


def test_a_model_that_ignores_its_cache_is_refused():
    ids = torch.tensor([[1, 2]])
    with pytest.raises(ValueError, match="does not use its cache"):
        speculative_generate(
            Table(0), Table(1), ids, n_draft=2, max_new_tokens=4
        )


def test_every_number_of_drafts_and_tokens():
    """Runs that end inside a guess, at it, and one past it."""
    target = Llama.from_hf(tiny(2))
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    for n, new in itertools.product(range(5), range(1, 7)):
        found = speculative_generate(
            target, target, ids, n_draft=n, max_new_tokens=new
        )
        want = generate(target, ids, max_new_tokens=new)
        assert found.ids.tolist() == want.tolist()
        assert found.passes.tolist() == [math.ceil(new / (n + 1))] * 2
