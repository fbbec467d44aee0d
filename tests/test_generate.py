"""Hold our decoding loops to transformers' generate, ids and scores.

The models are tiny and random, so every run takes another path: other
vocabularies, end tokens that come early, late or never, rows that finish at
different steps, padding on the left. Where the model is Hugging Face's own
behind our signature (`Behind`), logits are the same bits and the comparison
is exact; where it is our Llama with our cache, both run in float64.
"""

import itertools
import random

import pytest
import torch
from handmade.inference.beam import beam_search
from handmade.inference.cache import KVCache
from handmade.inference.generate import decode_one_token, generate, prefill
from handmade.models.llama import Llama
from handmade.weights.reference import random_reference
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM


def tiny(vocab=23, seed=0, dtype=torch.float32, sharp=1.0):
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        intermediate_size=40,
        max_position_embeddings=128,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
        # theirs, eager, float64 and left padding give nan together
        attn_implementation="sdpa",
    )
    hf = random_reference(LlamaForCausalLM, config, seed=seed).to(dtype)
    # random weights give near-uniform logits: a gain lets rows disagree
    with torch.no_grad():
        hf.lm_head.weight.mul_(sharp)
    return hf


class Behind:
    """A Hugging Face model behind our signature, without a cache."""

    def __init__(self, hf):
        self.hf = hf

    def __call__(self, ids, attention_mask=None, cache=None):
        if attention_mask is None:
            attention_mask = torch.ones_like(ids)
        positions = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        return self.hf(
            ids, attention_mask=attention_mask, position_ids=positions
        ).logits


def prompts(vocab, rows, length, seed, padded):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, vocab, (rows, length), generator=g)
    mask = torch.ones_like(ids)
    if padded:
        for row in range(1, rows):
            n = int(torch.randint(0, length, (1,), generator=g))
            mask[row, :n] = 0
            ids[row, :n] = 1
    return ids, mask


def theirs(hf, ids, mask, **options):
    return hf.generate(
        ids,
        attention_mask=mask,
        pad_token_id=options.pop("pad_id", 1),
        eos_token_id=options.pop("eos_id", None),
        **options,
    )


# --- generate -------------------------------------------------------------


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("eos_id", [None, 3, [3, 5, 8]])
def test_greedy_equals_theirs(use_cache, padded, eos_id):
    ended = 0
    for seed in range(6):
        hf = tiny(seed=seed, dtype=torch.float64, sharp=3)
        ids, mask = prompts(23, 3, 5, seed, padded)
        want = theirs(
            hf, ids, mask, eos_id=eos_id, max_new_tokens=20, do_sample=False
        )
        got = generate(
            Llama.from_hf(hf),
            ids,
            attention_mask=mask,
            eos_id=eos_id,
            pad_id=1,
            max_new_tokens=20,
            use_cache=use_cache,
        )
        assert got.tolist() == want.tolist()
        ends = torch.tensor([-1 if eos_id is None else eos_id]).flatten()
        ended += int(torch.isin(got[:, 5:-1], ends).sum())
    # the test means something only if some rows really end early
    assert (ended > 0) == (eos_id is not None)


FILTERS = [
    {"temperature": 0.7},
    {"temperature": 1.5, "top_k": 5},
    {"temperature": 1.0, "top_p": 0.8},
    {"temperature": 2.0, "min_p": 0.2},
    {"temperature": 0.9, "repetition_penalty": 1.4},
    {
        "temperature": 1.3,
        "top_k": 9,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.2,
    },
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("use_cache", [True, False])
def test_sampled_ids_equal_theirs_from_the_same_seed(filters, use_cache):
    for seed in range(4):
        hf = tiny(seed=seed, dtype=torch.float64)
        ids, mask = prompts(23, 3, 4, seed, padded=False)
        off = {"top_k": 0, "top_p": 1.0}
        torch.manual_seed(seed)
        want = theirs(
            hf,
            ids,
            mask,
            eos_id=7,
            max_new_tokens=16,
            do_sample=True,
            **(off | filters),
        )
        got = generate(
            Llama.from_hf(hf),
            ids,
            eos_id=7,
            pad_id=1,
            max_new_tokens=16,
            generator=torch.Generator().manual_seed(seed),
            use_cache=use_cache,
            **filters,
        )
        assert got.tolist() == want.tolist()


def test_greedy_with_repetition_penalty_equals_theirs():
    hf = tiny(seed=3, dtype=torch.float64, sharp=3)
    ids, mask = prompts(23, 3, 4, 0, padded=False)
    want = theirs(
        hf, ids, mask, max_new_tokens=20, do_sample=False,
        repetition_penalty=1.3,
    )  # fmt: skip
    got = generate(
        Llama.from_hf(hf), ids, max_new_tokens=20, repetition_penalty=1.3
    )
    assert got.tolist() == want.tolist()
    plain = generate(Llama.from_hf(hf), ids, max_new_tokens=20)
    assert got.tolist() != plain.tolist()


def test_a_padded_row_gives_what_the_row_alone_gives():
    # also with the penalty, which must not count padding as seen
    model = Llama.from_hf(tiny(seed=5, dtype=torch.float64, sharp=3))
    alone = torch.tensor([[4, 9, 2]])
    ids = torch.tensor([[1, 1, 1, 4, 9, 2], [3, 8, 1, 7, 5, 5]])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1], [1] * 6])
    options = {"max_new_tokens": 25, "repetition_penalty": 1.5}
    batch = generate(model, ids, attention_mask=mask, **options)
    single = generate(model, alone, **options)
    assert batch[0, 3:].tolist() == single[0].tolist()


def test_the_prompt_is_kept_and_not_written_to():
    model = Llama.from_hf(tiny())
    ids, _ = prompts(23, 2, 5, 0, padded=False)
    before = ids.clone()
    out = generate(model, ids, max_new_tokens=4)
    assert out.shape == (2, 9)
    assert out[:, :5].tolist() == before.tolist() == ids.tolist()
    assert generate(model, ids, max_new_tokens=0).tolist() == ids.tolist()


def test_prefill_and_decode_are_the_loop():
    model = Llama.from_hf(tiny(dtype=torch.float64))
    ids, _ = prompts(23, 2, 5, 0, padded=False)
    cache = KVCache()
    with torch.inference_mode():
        logits = prefill(model, ids, cache)
        assert logits.dtype == torch.float32
        assert cache.length == 5
        token = logits.argmax(-1, keepdim=True)
        logits = decode_one_token(model, token, cache)
        whole = model(torch.cat((ids, token), 1))[:, -1]
    assert cache.length == 6
    assert_close(logits, whole.float(), rtol=1e-6, atol=1e-6)


def test_one_call_of_the_model_a_token():
    shapes = []
    model = Llama.from_hf(tiny())

    def spy(ids, attention_mask=None, cache=None):
        shapes.append(tuple(ids.shape))
        return model(ids, attention_mask=attention_mask, cache=cache)

    generate(spy, torch.ones(2, 6, dtype=torch.int64), max_new_tokens=4)
    assert shapes == [(2, 6), (2, 1), (2, 1), (2, 1)]


def test_a_finished_row_stays_finished():
    # logits that count 0, 1, 2, ... : row 0 meets the end at 4, row 1 at 4
    # three steps later, and what row 0 says meanwhile must not be seen
    def counting(ids, attention_mask=None, cache=None):
        return torch.nn.functional.one_hot((ids + 1) % 10, 10).double()

    ids = torch.tensor([[2], [0]])
    out = generate(counting, ids, max_new_tokens=9, eos_id=4, pad_id=9)
    assert out.tolist() == [[2, 3, 4, 9, 9], [0, 1, 2, 3, 4]]
    out = generate(counting, ids, max_new_tokens=9, eos_id=[4, 3])
    assert out.tolist() == [[2, 3, 4, 4], [0, 1, 2, 3]]


# --- beam search ----------------------------------------------------------


def beam_cases(n):
    """Yield n random settings: model, prompt, options of the search."""
    for case in range(n):
        r = random.Random(case)
        vocab = r.choice([7, 11, 23, 61])
        beams = r.choice([2, 3, 4, 6])
        ends = r.choice([None, 2, 5, [2, 5], [3, 4, 6]])
        yield {
            "case": case,
            "vocab": vocab,
            "sharp": r.choice([0.3, 1.0, 3.0]),
            "rows": r.choice([1, 2, 3]),
            "length": r.choice([1, 3, 6]),
            "padded": r.random() < 0.5,
            "num_beams": beams,
            "num_return_sequences": r.randint(1, beams),
            "eos_id": ends,
            "max_new_tokens": r.choice([1, 2, 5, 12]),
            "length_penalty": r.choice([1.0, 0.0, -0.7, 0.5, 2.0]),
            "early_stopping": r.choice([False, True, "never"]),
        }


def both_searches(c, ours, use_cache=True):
    c = dict(c)
    seed, vocab, sharp = (c.pop(k) for k in ("case", "vocab", "sharp"))
    hf = tiny(vocab, seed=seed, dtype=torch.float64, sharp=sharp)
    shape = [c.pop(k) for k in ("rows", "length")]
    ids, mask = prompts(vocab, *shape, seed, c.pop("padded"))
    want = theirs(
        hf,
        ids,
        mask,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        use_cache=use_cache,
        **c,
    )
    c |= {"attention_mask": mask, "pad_id": 1, "use_cache": use_cache}
    got = beam_search(ours(hf), ids, **c)
    return got, want


@pytest.mark.parametrize("c", [*beam_cases(80)], ids=lambda c: str(c["case"]))
def test_beam_search_equals_theirs_exactly(c):
    # no cache on either side: the model sees the same tensors, bit for bit
    got, want = both_searches(c, Behind, use_cache=False)
    assert got.ids.tolist() == want.sequences.tolist()
    assert_close(got.scores, want.sequences_scores, rtol=0, atol=0)


@pytest.mark.parametrize("c", [*beam_cases(40)], ids=lambda c: str(c["case"]))
def test_beam_search_with_our_model_and_cache(c):
    got, want = both_searches(c, Llama.from_hf)
    assert got.ids.tolist() == want.sequences.tolist()
    assert_close(got.scores, want.sequences_scores, rtol=1e-6, atol=1e-6)


def test_the_cases_reach_what_they_should():
    """Ends that come early, and results of several lengths, must occur."""
    seen = {"short": 0, "uneven": 0}
    for c in beam_cases(40):
        got, _ = both_searches(c, Behind, use_cache=False)
        seen["short"] += got.ids.shape[1] < c["length"] + c["max_new_tokens"]
        seen["uneven"] += bool((got.ids[:, -1] == 1).any())
    assert seen["short"] >= 5
    assert seen["uneven"] >= 5


@pytest.mark.parametrize("padded", [False, True])
def test_cache_and_no_cache_find_the_same(padded):
    hf = tiny(seed=2, dtype=torch.float64)
    ids, mask = prompts(23, 3, 5, 1, padded)
    options = {
        "num_beams": 4,
        "max_new_tokens": 12,
        "eos_id": 6,
        "num_return_sequences": 3,
        "attention_mask": mask,
    }
    model = Llama.from_hf(hf)
    with_cache = beam_search(model, ids, **options)
    without = beam_search(model, ids, use_cache=False, **options)
    assert with_cache.ids.tolist() == without.ids.tolist()
    assert_close(with_cache.scores, without.scores, rtol=1e-6, atol=1e-6)


def test_one_beam_without_an_end_is_greedy():
    model = Llama.from_hf(tiny(seed=1, dtype=torch.float64))
    ids, _ = prompts(23, 2, 4, 0, padded=False)
    found = beam_search(model, ids, num_beams=1, max_new_tokens=9)
    greedy = generate(model, ids, max_new_tokens=9)
    assert found.ids.tolist() == greedy.tolist()


def test_enough_beams_find_the_best_of_all():
    # vocabulary 5, three tokens: 125 sequences, all scored, none forgotten
    model = Llama.from_hf(tiny(vocab=5, seed=4, dtype=torch.float64))
    ids = torch.tensor([[1, 3]])
    every = torch.tensor(list(itertools.product(range(5), repeat=3)))
    with torch.inference_mode():
        logps = model(torch.cat((ids.expand(125, 2), every), 1)).log_softmax(
            -1
        )
    logps = logps[:, 1:-1].gather(2, every[:, :, None]).sum((1, 2)) / 3
    found = beam_search(
        model, ids, num_beams=25, max_new_tokens=3, num_return_sequences=25
    )
    best = logps.topk(25)
    assert found.ids[:, 2:].tolist() == every[best.indices].tolist()
    assert_close(found.scores, best.values.float(), rtol=1e-5, atol=1e-5)


# --- wrong arguments ------------------------------------------------------

IDS = torch.ones(2, 3, dtype=torch.int64)
BAD = [
    ({"ids": IDS[:, :0]}, "at least one token"),
    ({"ids": IDS[:0]}, "at least one token"),
    ({"ids": IDS[0]}, r"ids must be \(B, T\)"),
    ({"ids": IDS.float()}, "ids must be an integer tensor"),
    ({"ids": [[1, 2]]}, "ids must be an integer tensor, got list"),
    ({"max_new_tokens": -1}, "max_new_tokens must be .* got -1"),
    ({"max_new_tokens": 2.0}, "max_new_tokens must be .* got 2.0"),
    ({"max_new_tokens": True}, "max_new_tokens must be .* got True"),
    ({"eos_id": -1}, "eos_id must be .* got -1"),
    ({"eos_id": [2, 1.5]}, "eos_id must be .* got 1.5"),
    ({"pad_id": "x"}, "pad_id must be .* got 'x'"),
    (
        {"attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])},
        "pad on the left",
    ),
    (
        {"attention_mask": torch.tensor([[1, 0, 1], [1, 1, 1]])},
        "padding between real tokens",
    ),
    (
        {"attention_mask": torch.tensor([[0, 0, 0], [1, 1, 1]])},
        "pad on the left",
    ),
    ({"attention_mask": torch.full((2, 3), 2)}, "only 0 and 1"),
    ({"attention_mask": torch.ones(2, 4)}, "must have the shape of ids"),
]
BAD_SAMPLING = [
    ({"temperature": -1.0}, "temperature must be"),
    ({"temperature": float("nan")}, "temperature must be"),
    ({"temperature": "0"}, "temperature must be"),
    ({"temperature": 1.0, "top_k": 0}, "top_k must be"),
    ({"temperature": 1.0, "top_p": 1.5}, "top_p must be"),
    ({"temperature": 1.0, "min_p": -0.5}, "min_p must be"),
    ({"repetition_penalty": 0.0}, "repetition_penalty must be"),
    ({"top_k": 5}, "top_k has no effect on greedy"),
    ({"top_p": 0.5}, "top_p has no effect on greedy"),
    ({"min_p": 0.5}, "min_p has no effect on greedy"),
]
BAD_BEAMS = [
    ({"num_beams": 0}, "num_beams must be .* got 0"),
    ({"num_beams": 2.0}, "num_beams must be"),
    ({"max_new_tokens": 0}, "max_new_tokens must be an int >= 1"),
    ({"num_return_sequences": 3}, "must be at most num_beams=2"),
    ({"num_return_sequences": 0}, "num_return_sequences must be"),
    ({"length_penalty": float("inf")}, "length_penalty must be"),
    ({"early_stopping": "maybe"}, "early_stopping must be"),
    ({"num_beams": 9, "eos_id": [1, 2, 3, 4, 5, 6, 7]}, "vocabulary of 7"),
]


def never(ids, attention_mask=None, cache=None):
    raise AssertionError("the model must not run before the checks")


def seven(ids, attention_mask=None, cache=None):
    return torch.zeros(*ids.shape, 7)


@pytest.mark.parametrize(("wrong", "message"), BAD + BAD_SAMPLING)
def test_generate_says_what_is_wrong(wrong, message):
    options = {"ids": IDS, "max_new_tokens": 3} | wrong
    with pytest.raises(ValueError, match=message):
        generate(never, **options)


@pytest.mark.parametrize(("wrong", "message"), BAD + BAD_BEAMS)
def test_beam_search_says_what_is_wrong(wrong, message):
    options = {"ids": IDS, "max_new_tokens": 3, "num_beams": 2} | wrong
    with pytest.raises(ValueError, match=message):
        beam_search(seven, use_cache=False, **options)
