"""Hold our decoding loops to transformers' generate, ids and scores.

The models are tiny and random, so every run takes another path: other
vocabularies, end tokens that come early, late or never, rows that finish at
different steps, padding on the left. Where the model is Hugging Face's own
behind our signature (`Behind`), logits are the same bits and the comparison
is exact; where it is our Llama with our cache, both run in float64.
"""

import itertools
import random

import numpy as np
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

    def __call__(
        self, ids, attention_mask=None, *, cache=None, logits_to_keep=None
    ):
        if attention_mask is None:
            attention_mask = torch.ones_like(ids)
        positions = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        return self.hf(
            ids,
            attention_mask=attention_mask,
            position_ids=positions,
            logits_to_keep=logits_to_keep or 0,
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


class Recorder:
    """A model that notes how it was called and what it gave."""

    def __init__(self, model):
        self.model, self.calls = model, []

    def __call__(self, ids, attention_mask=None, **options):
        logits = self.model(ids, attention_mask, **options)
        self.calls.append((tuple(ids.shape), tuple(logits.shape)))
        return logits


def test_one_call_of_the_model_a_token():
    # of a long prompt only the last row of logits is ever made
    spy = Recorder(Llama.from_hf(tiny()))
    generate(spy, torch.ones(2, 60, dtype=torch.int64), max_new_tokens=4)
    step = ((2, 1), (2, 1, 23))
    assert spy.calls == [((2, 60), (2, 1, 23)), step, step, step]
    spy.calls.clear()
    ids = torch.ones(2, 60, dtype=torch.int64)
    beam_search(spy, ids, num_beams=3, max_new_tokens=3)
    step = ((6, 1), (6, 1, 23))
    assert spy.calls == [((2, 60), (2, 1, 23)), step, step]


def test_a_finished_row_stays_finished():
    # logits that count 0, 1, 2, ... : row 0 meets the end at 4, row 1 at 4
    # three steps later, and what row 0 says meanwhile must not be seen
    def counting(ids, attention_mask=None, **options):
        one_hot = torch.nn.functional.one_hot((ids + 1) % 10, 10)
        return one_hot.double()[:, -1:]

    ids = torch.tensor([[2], [0]])
    options = {"max_new_tokens": 9, "use_cache": False}
    out = generate(counting, ids, eos_id=4, pad_id=9, **options)
    assert out.tolist() == [[2, 3, 4, 9, 9], [0, 1, 2, 3, 4]]
    for eos in ([4, 3], (3, 4), torch.tensor([4, 3]), np.array([4, 3])):
        out = generate(counting, ids, eos_id=eos, pad_id=4, **options)
        assert out.tolist() == [[2, 3, 4, 4], [0, 1, 2, 3]]
    for eos in (4, torch.tensor(4), np.int32(4), np.array(4), {4}):
        out = generate(counting, ids, eos_id=eos, **options)
        assert out.tolist() == [[2, 3, 4, 4, 4], [0, 1, 2, 3, 4]]


# --- a cache of the caller's ----------------------------------------------


@pytest.mark.parametrize("turns", [(5, 3, 4), (1, 1, 1), (2, 7, 0)])
def test_a_conversation_goes_on_as_if_read_afresh(turns):
    model = Llama.from_hf(tiny(seed=2, dtype=torch.float64, sharp=3))
    g = torch.Generator().manual_seed(0)
    text, cache = torch.randint(23, (2, 4), generator=g), KVCache()
    for new in turns:
        want = generate(model, text, max_new_tokens=new)
        spy, before = Recorder(model), cache.length
        text = generate(spy, text, max_new_tokens=new, cache=cache)
        assert text.tolist() == want.tolist()
        # what the cache has seen is not run again
        ran = sum(shape[1] for shape, _ in spy.calls)
        assert ran == cache.length - before
        question = torch.randint(23, (2, 3), generator=g)
        text = torch.cat((text, question), 1)


def test_beams_go_on_from_a_cache():
    model = Llama.from_hf(tiny(seed=3, dtype=torch.float64))
    ids, mask = prompts(23, 3, 7, 1, padded=True)
    options = {"num_beams": 4, "max_new_tokens": 6, "num_return_sequences": 2}
    options["attention_mask"] = mask
    want, cache = beam_search(model, ids, **options), KVCache()
    prefill(model, ids[:, :5], cache, mask[:, :5])
    spy = Recorder(model)
    got = beam_search(spy, ids, cache=cache, **options)
    assert got.ids.tolist() == want.ids.tolist()
    assert_close(got.scores, want.scores, rtol=1e-6, atol=1e-6)
    assert spy.calls[0][0] == (3, 2)


def test_a_finished_row_can_be_asked_again():
    # row 0 ends early and is filled in; hidden by zeros, the filling changes
    # nothing, and each row goes on as it would alone
    model = Llama.from_hf(tiny(seed=0, dtype=torch.float64, sharp=3))
    ids, cache = prompts(23, 2, 4, 5, padded=False)[0], KVCache()
    first = generate(model, ids, max_new_tokens=9)[:, 4:].tolist()
    end = next(token for token in first[0][:6] if token not in first[1])
    said = generate(
        model, ids, max_new_tokens=9, eos_id=end, pad_id=1, cache=cache,
        attention_mask=torch.ones_like(ids),
    )  # fmt: skip
    length = 4 + first[0].index(end) + 1
    assert length < said.shape[1] - 2
    mask = torch.ones_like(said)
    mask[0, length:] = 0
    asked = torch.tensor([[3, 8, 5], [2, 2, 9]])
    text = torch.cat((said, asked), 1)
    mask = torch.cat((mask, torch.ones_like(asked)), 1)
    both = generate(
        model, text, attention_mask=mask, max_new_tokens=6, cache=cache
    )
    for row, real, whole in zip(text, mask.bool(), both, strict=True):
        alone = generate(model, row[real][None], max_new_tokens=6)
        assert alone[0, -6:].tolist() == whole[-6:].tolist()


# --- a model that is not to be trusted ------------------------------------


def says(row_of_logits, at=3):
    """A model of even logits that in pass ``at`` gives row 1 these."""
    calls = []

    def model(ids, attention_mask=None, **options):
        calls.append(1)
        logits = torch.zeros(len(ids), 1, 4)
        if len(calls) == at:
            logits[1, 0] = torch.tensor(row_of_logits)
        return logits

    return model


INF = float("inf")
UNUSABLE = [
    ([0.0, float("nan"), 1.0, 2.0], "got nan in row 1 at step 3"),
    ([-INF] * 4, "got nothing but -inf in row 1 at step 3"),
    ([INF] * 4, "got inf in row 1 at step 3"),
    ([0.0, INF, -INF, 0.0], "got inf in row 1 at step 3"),
]


@pytest.mark.parametrize(("row", "message"), UNUSABLE)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_without_a_largest_are_refused(row, message, temperature):
    ids = torch.zeros(2, 3, dtype=torch.int64)
    options = {"max_new_tokens": 5, "use_cache": False}
    with pytest.raises(ValueError, match=f"logits: {message}"):
        generate(says(row), ids, temperature=temperature, **options)
    with pytest.raises(ValueError, match=f"logits: {message}"):
        beam_search(says(row), ids, num_beams=2, **options)
    # -inf for some tokens is how a model rules them out
    few = [-INF, -INF, -INF, 0.0]
    assert generate(says(few), ids, **options).shape == (2, 8)


def flat(ids, attention_mask=None, **options):
    return torch.zeros(len(ids), 4)


def all_rows(ids, attention_mask=None, **options):
    return torch.zeros(*ids.shape, 4)


def whole_numbers(ids, attention_mask=None, **options):
    return torch.zeros(len(ids), 1, 4, dtype=torch.int64)


def a_tuple(ids, attention_mask=None, **options):
    return (torch.zeros(len(ids), 1, 4),)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (flat, r"model: got logits \(2, 4\)"),
        (all_rows, r"model: got logits \(2, 3, 4\).*want .* = \(2, 1, V\)"),
        (whole_numbers, "model: got torch.int64 logits"),
        (a_tuple, "model: got a tuple"),
    ],
)
def test_other_outputs_are_refused(model, message):
    ids = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        generate(model, ids, max_new_tokens=2, use_cache=False)
    with pytest.raises(ValueError, match=message):
        beam_search(model, ids, num_beams=2, max_new_tokens=2, use_cache=False)


def test_a_model_that_ignores_its_cache_is_refused():
    model, ids = says([0.0] * 4), torch.zeros(2, 3, dtype=torch.int64)
    message = "cache: got 0 new tokens in it, want the 3 of this pass"
    with pytest.raises(ValueError, match=message):
        generate(model, ids, max_new_tokens=2)
    with pytest.raises(ValueError, match=message):
        beam_search(model, ids, num_beams=2, max_new_tokens=2)


def test_a_model_that_caches_a_part_is_refused():
    inner, ids = Llama.from_hf(tiny()), torch.ones(2, 3, dtype=torch.int64)

    def last_only(ids, attention_mask=None, **options):
        return inner(ids[:, -1:], **options)

    message = "cache: got 1 new tokens in it, want the 3 of this pass"
    with pytest.raises(ValueError, match=message):
        generate(last_only, ids, max_new_tokens=2)


# --- lengths, ids, devices ------------------------------------------------


def test_a_text_that_would_outgrow_the_model_is_refused_at_once():
    spy = Recorder(Llama.from_hf(tiny()))
    spy.config = spy.model.config  # of 128 positions
    ids = torch.ones(2, 125, dtype=torch.int64)
    message = "got 4 after a prompt of 125 tokens, want .* = 128 together"
    with pytest.raises(ValueError, match=f"max_new_tokens: {message}"):
        generate(spy, ids, max_new_tokens=4)
    with pytest.raises(ValueError, match=f"max_new_tokens: {message}"):
        beam_search(spy, ids, num_beams=2, max_new_tokens=4)
    assert spy.calls == []
    assert generate(spy, ids, max_new_tokens=3).shape == (2, 128)


def test_padding_takes_no_position():
    model = Llama.from_hf(tiny(seed=4, dtype=torch.float64, sharp=3))
    ids, mask = prompts(23, 2, 130, 0, padded=False)
    mask[0, :20], mask[1, :25] = 0, 0
    got = generate(model, ids, attention_mask=mask, max_new_tokens=18)
    alone = generate(model, ids[:1, 20:], max_new_tokens=18)
    assert got[:1, 20:].tolist() == alone.tolist()
    with pytest.raises(ValueError, match="got 19 after a prompt of 110"):
        generate(model, ids, attention_mask=mask, max_new_tokens=19)


NARROW = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16]


@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_ids_are_widened(dtype):
    model = Llama.from_hf(tiny(vocab=301, seed=1, sharp=3))
    ids = torch.tensor([[1, 2, 120]])
    want = generate(model, ids, max_new_tokens=12)
    assert want.max() > 255  # it would wrap
    got = generate(model, ids.to(dtype), max_new_tokens=12)
    assert got.dtype == torch.int64
    assert got.tolist() == want.tolist()
    found = beam_search(model, ids.to(dtype), num_beams=2, max_new_tokens=8)
    wide = beam_search(model, ids, num_beams=2, max_new_tokens=8)
    assert found.ids.tolist() == wide.ids.tolist()


def test_too_few_hypotheses_are_refused_not_made_up():
    # three sequences of one token exist after each prompt, so four do not
    def three(ids, attention_mask=None, **options):
        return torch.tensor([0.0, 1.0, 2.0]).expand(len(ids), 1, 3)

    ids = torch.zeros(2, 2, dtype=torch.int64)
    options = {"num_beams": 4, "max_new_tokens": 1, "use_cache": False}
    for penalty in (1.0, 0.0, -0.7, 3.0):
        options["length_penalty"] = penalty
        best = beam_search(three, ids, num_return_sequences=3, **options)
        assert best.ids[:, 2].tolist() == [2, 1, 0] * 2
        message = "num_return_sequences: got 4, want at most 3"
        with pytest.raises(ValueError, match=message):
            beam_search(three, ids, num_return_sequences=4, **options)
        # of two tokens there are nine, and the penalty hides none that lacks
        longer = options | {"num_beams": 10, "max_new_tokens": 2}
        best = beam_search(three, ids, num_return_sequences=9, **longer)
        assert len({tuple(row) for row in best.ids[:9].tolist()}) == 9
        with pytest.raises(ValueError, match="got 10, want at most 9"):
            beam_search(three, ids, num_return_sequences=10, **longer)


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
MASK = "attention_mask: got"
BAD = [
    ({"ids": IDS[:, :0]}, "ids: got .*at least one token"),
    ({"ids": IDS[:0]}, "ids: got .*at least one token"),
    ({"ids": IDS[0]}, r"ids: got shape \(3,\), want \(B, T\)"),
    ({"ids": IDS.float()}, "ids: got torch.float32"),
    ({"ids": IDS > 0}, "ids: got torch.bool"),
    ({"ids": [[1, 2]]}, "ids: got list"),
    ({"ids": np.ones((2, 3), int)}, "ids: got int64, want a tensor"),
    ({"ids": None}, "ids: got NoneType"),
    ({"ids": IDS - 2}, "ids: got -1 to -1, want 0 to 6"),
    ({"ids": IDS + 6}, "ids: got 7 to 7, want 0 to 6"),
    ({"max_new_tokens": -1}, "max_new_tokens: got -1"),
    ({"max_new_tokens": 2.0}, "max_new_tokens: got 2.0"),
    ({"max_new_tokens": True}, "max_new_tokens: got True"),
    ({"max_new_tokens": 98}, "got 98 after a prompt of 3 tokens"),
    ({"eos_id": -1}, "eos_id: got -1"),
    ({"eos_id": 7}, "eos_id: got 7, want one below .* = 7"),
    ({"eos_id": [2, 1.5]}, "eos_id: got 1.5"),
    ({"eos_id": torch.tensor([2.0])}, "eos_id: got 2.0"),
    ({"eos_id": torch.tensor(True)}, "eos_id: got True"),
    ({"eos_id": "2"}, "eos_id: got '2'"),
    ({"pad_id": "x"}, "pad_id: got 'x'"),
    ({"pad_id": 7}, "pad_id: got 7"),
    ({"pad_id": [1, 2]}, "pad_id: got \\[1, 2\\], want one id"),
    (
        {"attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])},
        f"{MASK} 0 for the last.*pad on the left",
    ),
    (
        {"attention_mask": torch.tensor([[1, 0, 1], [1, 1, 1]])},
        f"{MASK} padding between real tokens",
    ),
    (
        {"attention_mask": torch.tensor([[0, 0, 0], [1, 1, 1]])},
        f"{MASK} 0 for the last.*pad on the left",
    ),
    ({"attention_mask": torch.full((2, 3), 2)}, f"{MASK} .*only 0 and 1"),
    ({"attention_mask": torch.ones(2, 3)}, f"{MASK} dtype torch.float32"),
    ({"attention_mask": torch.ones(2, 4).long()}, rf"{MASK} shape \(2, 4\)"),
    ({"attention_mask": [[1, 1, 1]]}, f"{MASK} a list"),
    ({"cache": KVCache(), "use_cache": False}, "cache: got one, want None"),
    ({"cache": {}, "use_cache": True}, "cache: got a dict"),
]
BAD_SAMPLING = [
    ({"temperature": -1.0}, "temperature: got -1.0"),
    ({"temperature": float("nan")}, "temperature: got nan"),
    ({"temperature": "0"}, "temperature: got '0'"),
    ({"temperature": 1.0, "top_k": 0}, "top_k: got 0"),
    ({"temperature": 1.0, "top_p": 1.5}, "top_p: got 1.5"),
    ({"temperature": 1.0, "min_p": -0.5}, "min_p: got -0.5"),
    ({"repetition_penalty": 0.0}, "repetition_penalty: got 0.0"),
    ({"generator": 3}, "generator: got a int, want a torch.Generator"),
    ({"top_k": 5}, "top_k: got 5, .* no effect on greedy"),
    ({"top_p": 0.5}, "top_p: got 0.5, .* no effect on greedy"),
    ({"min_p": 0.5}, "min_p: got 0.5, .* no effect on greedy"),
]
BAD_BEAMS = [
    ({"num_beams": 0}, "num_beams: got 0"),
    ({"num_beams": 2.0}, "num_beams: got 2.0"),
    ({"max_new_tokens": 0}, "max_new_tokens: got 0, want .* >= 1"),
    ({"num_return_sequences": 3}, "want at most num_beams = 2"),
    ({"num_return_sequences": 0}, "num_return_sequences: got 0"),
    ({"length_penalty": float("inf")}, "length_penalty: got inf"),
    ({"early_stopping": "maybe"}, "early_stopping: got 'maybe'"),
    ({"early_stopping": 1}, "early_stopping: got 1"),
    ({"early_stopping": 0}, "early_stopping: got 0"),
    ({"early_stopping": None}, "early_stopping: got None"),
    ({"num_beams": 9, "eos_id": [1, 2, 3, 4, 5, 6, 0]}, "vocabulary of 7"),
]


class Never:
    """A model of 7 tokens and 100 positions that must not be run."""

    class config:  # noqa: N801
        vocab_size, max_seq_len = 7, 100

    def __call__(self, ids, attention_mask=None, **options):
        raise AssertionError("the model must not run before the checks")


def seven(ids, attention_mask=None, **options):
    return torch.zeros(len(ids), 1, 7)


@pytest.mark.parametrize(("wrong", "message"), BAD + BAD_SAMPLING)
def test_generate_says_what_is_wrong(wrong, message):
    options = {"ids": IDS, "max_new_tokens": 3} | wrong
    with pytest.raises(ValueError, match=message):
        generate(Never(), **options)


@pytest.mark.parametrize(("wrong", "message"), BAD + BAD_BEAMS)
def test_beam_search_says_what_is_wrong(wrong, message):
    options = {"ids": IDS, "max_new_tokens": 3, "num_beams": 2} | wrong
    with pytest.raises(ValueError, match=message):
        beam_search(Never(), **options)


@pytest.mark.parametrize("model", [None, "smollm2", 3])
def test_what_is_no_model(model):
    with pytest.raises(ValueError, match="model: got "):
        generate(model, IDS, max_new_tokens=2)
    with pytest.raises(ValueError, match="model: got "):
        beam_search(model, IDS, num_beams=2, max_new_tokens=2)


def test_a_small_vocabulary_is_also_found_at_the_first_logits():
    # a model need not state its vocabulary
    with pytest.raises(ValueError, match="vocabulary of 7"):
        beam_search(
            seven, IDS, num_beams=9, eos_id=[1, 2, 3, 4, 5, 6, 0],
            max_new_tokens=2, use_cache=False,
        )  # fmt: skip


def test_a_cache_that_has_seen_it_all_is_refused():
    model, cache = Llama.from_hf(tiny()), KVCache()
    prefill(model, IDS, cache)
    with pytest.raises(ValueError, match="ids: got 3 tokens a row, want more"):
        generate(model, IDS, max_new_tokens=2, cache=cache)


def test_a_mask_given_once_is_asked_for_again():
    model, cache = Llama.from_hf(tiny()), KVCache()
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    text = generate(
        model, IDS, attention_mask=mask, max_new_tokens=2, cache=cache
    )
    with pytest.raises(ValueError, match="attention_mask: got None"):
        generate(model, text, max_new_tokens=2, cache=cache)
