"""Every request gets what it would get alone, whoever comes and goes."""

import random

import pytest
import torch
from handmade.inference.engine import Engine, QueueFull, Request
from handmade.inference.generate import generate
from handmade.inference.page_pool import PagePool
from handmade.models.llama import Llama, LlamaConfig
from handmade.models.variants import Variant, VariantConfig
from hypothesis import given, settings
from hypothesis import strategies as st

V = 29
SIZES = {
    "vocab_size": V, "d_model": 24, "n_layers": 2, "n_heads": 6,
    "n_kv_heads": 2, "d_ff": 40, "max_seq_len": 64, "d_head": 10,
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Llama:
    torch.manual_seed(0)
    model = Llama(LlamaConfig(**SIZES)).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(0, 0.3)
    return model


def alone(model, request: Request) -> list[int]:
    """Return what `generate` writes after the prompt, and nothing else."""
    sampled = {}
    if request.temperature:
        generator = torch.Generator().manual_seed(request.seed)
        sampled = {"generator": generator, "top_k": request.top_k,
                   "top_p": request.top_p, "min_p": request.min_p}  # fmt: skip
    ids = torch.tensor([request.ids])
    out = generate(
        model, ids, max_new_tokens=request.max_new_tokens,
        eos_id=request.eos_ids, temperature=request.temperature, **sampled,
    )  # fmt: skip
    return out[0, len(request.ids) :].tolist()


def draw(chance: random.Random, seed: int) -> Request:
    """Draw a request; many begin alike."""
    beginning = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8][: chance.randrange(13)]
    ids = beginning + [
        chance.randrange(V) for _ in range(chance.randint(1, 9))
    ]
    filters = chance.choice(
        [{"temperature": 0}, {}, {"top_k": 5, "temperature": 0.7},
         {"top_p": 0.8, "min_p": 0.05}]
    )  # fmt: skip
    eos_ids = chance.choice([(), (7,), (7, 11, 2)])
    new = chance.randint(1, 12)
    return Request(ids, new, eos_ids=eos_ids, seed=seed, **filters)


def whole(engine: Engine) -> None:
    """Hold what must be true between any two steps."""
    pool, rows = engine.pool, engine.running
    for page in range(pool.n_pages):
        held = [row for row in rows if page in row.table]
        assert pool.holders[page] == len(held)
        assert (page in pool.free) == (not held)
        if len(held) > 1:  # nobody writes to it again, and all agree on it
            at = {row.table.index(page) for row in held}
            assert len(at) == 1
            (end,) = {(n + 1) * pool.page_size for n in at}
            assert all(row.done >= end for row in held)
            assert len({tuple(row.tokens[:end]) for row in held}) == 1
    for row in rows:
        assert len(row.table) == len({*row.table})
        assert row.done <= len(row.tokens)
        assert len(row.table) >= pool.needed(row.done)
    assert all(row.done == 0 and not row.table for row in engine.waiting)
    assert {n: p for p, n in pool.name_of.items()} == pool.page_of


@given(
    seed=st.integers(0, 10**6),
    page_size=st.integers(1, 6),
    spare=st.integers(0, 12),
    max_batch=st.integers(1, 5),
    chunk=st.integers(1, 20),
)
@settings(max_examples=15, deadline=None)
def test_each_gets_what_it_gets_alone(
    model, seed, page_size, spare, max_batch, chunk
):
    chance = random.Random(seed)
    n_pages = -(-33 // page_size) + spare  # the longest just fits
    engine = Engine(
        model, n_pages=n_pages, page_size=page_size, max_batch=max_batch,
        chunk=chunk,
    )  # fmt: skip
    requests = [draw(chance, i) for i in range(12)]
    to_come, came = requests[:], {id(request): [] for request in requests}
    for _ in range(1000):
        for _ in range(chance.randrange(3)):
            if to_come:
                engine.add(to_come.pop(0))
        added = requests[: 12 - len(to_come)]
        if added and chance.random() < 0.05:
            engine.cancel(chance.choice(added))
            whole(engine)
        tokens = engine.step()
        whole(engine)
        for request, token in tokens:
            came[id(request)].append(token)
        assert len({id(request) for request, _ in tokens}) == len(tokens)
        if not (engine.has_work or to_come):
            break
    assert not engine.has_work
    assert len(engine.pool.free) == n_pages
    for request in requests:
        want = alone(model, request)
        assert request.output == came[id(request)]
        if request.finish_reason == "cancelled":
            assert request.output == want[: len(request.output)]
        else:
            ended = want[-1] in request.eos_ids
            assert request.output == want
            assert request.finish_reason == ("stop" if ended else "length")


def run(engine: Engine, *requests: Request) -> list[list[int]]:
    for request in requests:
        engine.add(request)
    while engine.has_work:
        engine.step()
        whole(engine)
    return [request.output for request in requests]


def greedy(ids: list[int], new: int, **options) -> Request:
    return Request(ids, new, temperature=0, **options)


def test_a_shared_beginning_is_read_and_kept_once(model):
    beginning = [*range(16)]
    prompts = [[*beginning, 20 + i, 3] for i in range(4)]
    engine = Engine(model, n_pages=40, page_size=4, max_batch=4)
    requests = [greedy(ids, 3) for ids in prompts]
    for request in requests:
        engine.add(request)
    engine.step()
    # four full pages once, and a page of its own for each end
    assert 40 - len(engine.pool.free) == 4 + 4
    assert engine.tokens_run == 18 + 3 * 2
    assert engine.tokens_shared == 3 * 16
    got = run(engine)
    assert got == []
    assert [r.output for r in requests] == [alone(model, r) for r in requests]


def test_a_beginning_is_found_after_its_reader_has_gone(model):
    engine = Engine(model, n_pages=12, page_size=4)
    first, second = greedy([*range(10)], 4), greedy([*range(9), 22], 4)
    run(engine, first)
    assert len(engine.pool.free) == 12
    run(engine, second)
    assert engine.tokens_shared == 8
    assert second.output == alone(model, second)


def test_a_conversation_goes_on_from_the_pages_of_its_last_answer(model):
    engine = Engine(model, n_pages=12, page_size=4)
    first = greedy([*range(6)], 7)
    run(engine, first)
    # 13 tokens, of which 12 were run
    run(engine, second := greedy([*first.ids, *first.output, 5], 4))
    assert engine.tokens_shared == 12
    assert second.output == alone(model, second)


def test_sharing_changes_no_output(model, monkeypatch):
    chance = random.Random(3)
    requests = [draw(chance, i) for i in range(20)]
    chance = random.Random(3)
    again = [draw(chance, i) for i in range(20)]
    shared = Engine(model, n_pages=60, page_size=2, max_batch=6)
    got = run(shared, *requests)
    monkeypatch.setattr(PagePool, "find", lambda pool, ids: [])
    apart = Engine(model, n_pages=60, page_size=2, max_batch=6)
    assert got == run(apart, *again)
    assert shared.tokens_run + shared.tokens_shared == apart.tokens_run
    assert shared.tokens_shared > 20
    assert apart.tokens_shared == 0


def test_when_pages_run_out_the_youngest_waits_and_loses_nothing(model):
    engine = Engine(model, n_pages=6, page_size=4, max_batch=3)
    requests = [
        Request([i, 8, 2, 4, 4, 1], 14, seed=i) for i in range(3)
    ]  # 5 pages each in the end
    for request in requests:
        engine.add(request)
    ended = []
    while engine.has_work:
        engine.step()
        whole(engine)
        ended += [r for r in requests if r.finish_reason and r not in ended]
    assert engine.preempted >= 2
    assert ended == requests  # the oldest is never the one that pays
    assert [r.output for r in requests] == [alone(model, r) for r in requests]


def test_nobody_overtakes_the_first_that_waits(model):
    engine = Engine(model, n_pages=8, page_size=4, max_batch=4)
    large, small = greedy([1] * 20, 8), greedy([2], 2)
    engine.add(greedy([3] * 16, 10))
    engine.step()
    engine.add(large)
    engine.add(small)
    tokens = engine.step()
    assert len(engine.waiting) == 2
    assert len(tokens) == 1
    while engine.has_work:
        for request, _ in engine.step():
            assert request is not small or large.output


def test_one_step_reads_at_most_a_chunk_and_keeps_others_going(model):
    engine = Engine(model, n_pages=40, page_size=4, chunk=5)
    short, long = greedy([1, 2], 20), greedy([*range(23)], 3)
    engine.add(short)
    engine.step()
    engine.add(long)
    for _ in range(4):
        before = engine.tokens_run
        assert engine.step() == [(short, short.output[-1])]
        assert engine.tokens_run - before == 5 + 1
    assert {id(r) for r, _ in engine.step()} == {id(short), id(long)}
    run(engine)
    assert long.output == alone(model, long)


def test_cancelling_frees_pages_at_once(model):
    engine = Engine(model, n_pages=10, page_size=4, max_batch=1)
    runs, waits = greedy([*range(9)], 5), greedy([4], 5)
    engine.add(runs)
    engine.add(waits)
    engine.step()
    assert len(engine.pool.free) == 7
    engine.cancel(runs)
    assert len(engine.pool.free) == 10
    assert runs.finish_reason == "cancelled"
    assert len(runs.output) == 1
    engine.cancel(waits)
    engine.cancel(waits)
    assert not engine.has_work
    assert waits.output == []
    assert engine.step() == []
    with pytest.raises(ValueError, match="request: got one never added"):
        engine.cancel(greedy([1], 1))


def test_a_full_queue_says_how_many_wait(model):
    engine = Engine(model, n_pages=10, max_batch=1, max_waiting=2)
    for _ in range(2):
        engine.add(greedy([1], 5))
    with pytest.raises(QueueFull, match=r"while 2 wait, want .* 2: try later"):
        engine.add(refused := greedy([1], 5))
    engine.step()  # one of them runs now
    engine.add(refused)


def test_what_can_never_fit_is_refused(model):
    engine = Engine(model, n_pages=4, page_size=4)
    for request, words in (
        (greedy([1] * 60, 5), "max_new_tokens: got 5 after .* max_seq_len"),
        (greedy([1] * 10, 8), "which need 5 pages, want at most the 4"),
        (greedy([1, V], 2), f"ids: got {V}, want 0 to {V - 1}"),
    ):
        with pytest.raises(ValueError, match=words):
            engine.add(request)
    engine.add(fits := greedy([1] * 10, 7))  # the last token needs no place
    with pytest.raises(ValueError, match="request: got one added before"):
        engine.add(fits)
    run(engine)
    assert fits.output == alone(model, fits)
    with pytest.raises(ValueError, match="request: got one that has run"):
        engine.add(fits)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ids": []}, "ids: got none, want at least one token"),
        ({"ids": [1.0]}, "ids: got 1.0, want a list of whole numbers"),
        ({"max_new_tokens": 0}, "max_new_tokens: got 0"),
        ({"temperature": -1}, "temperature: got -1"),
        ({"temperature": 0, "top_p": 0.5}, "top_p: got 0.5, want None"),
        ({"eos_ids": 3}, "eos_ids: got an int"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_a_request_is_checked_when_it_is_made(wrong, words):
    with pytest.raises(ValueError, match=words):
        Request(**{"ids": [1], "max_new_tokens": 1, **wrong})


def test_without_a_seed_the_global_generator_gives_one(model):
    outputs = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        engine = Engine(model, n_pages=9)
        outputs += run(engine, Request([1, 2], 12))
    assert outputs[0] == outputs[1] != outputs[2]


def variant(**options) -> Variant:
    torch.manual_seed(0)
    sizes = {**SIZES, **options}
    model = Variant(VariantConfig(**sizes)).double().eval()
    return model.requires_grad_(False)


def test_a_sliding_window_is_refused():
    """Its mask counts from the longest row's end: silently another text."""
    words = "model: got a sliding window of 4, want .* all of the past"
    with pytest.raises(ValueError, match=words):
        Engine(variant(window=4), n_pages=9)
