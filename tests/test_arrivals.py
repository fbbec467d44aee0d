"""A play of arrivals, on a clock that the test holds."""

import pytest
import torch
from handmade.inference.arrivals import StaticBatch, play, poisson
from handmade.inference.engine import Engine, Request
from handmade.inference.generate import generate
from handmade.models.llama import Llama, LlamaConfig

SIZES = {
    "vocab_size": 31, "d_model": 24, "n_layers": 2, "n_heads": 6,
    "n_kv_heads": 2, "d_ff": 40, "max_seq_len": 64, "d_head": 10,
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Llama:
    torch.manual_seed(0)
    model = Llama(LlamaConfig(**SIZES)).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(0, 0.3)
    return model


class Ticks:
    """A clock on which each step takes one second."""

    def __init__(self):
        self.reads = 0

    def __call__(self):
        self.reads += 1
        return self.reads // 2


def requests(*sizes: tuple[int, int]) -> list[Request]:
    return [
        Request([*range(1, n + 1)], new, temperature=0) for n, new in sizes
    ]


def test_a_static_batch_writes_what_each_gets_alone(model):
    some = requests((3, 5), (7, 1), (1, 9), (4, 4), (6, 2))
    server = StaticBatch(model, max_batch=3)
    for request in some:
        server.add(request)
    while server.has_work:
        server.step()
    assert server.step() == []
    for request in some:
        ids = torch.tensor([request.ids])
        want = generate(model, ids, max_new_tokens=request.max_new_tokens)
        assert request.output == want[0, len(request.ids) :].tolist()
        assert request.finish_reason == "length"
    # two batches, each as long as its longest row
    assert server.passes == 9 + 4


def test_the_clock_adds_up_steps_and_jumps_over_the_idle_time(model):
    """Each step is a second; the first request runs alone, 2 s to 5 s."""
    some = requests((3, 3), (3, 2), (3, 4))
    played = play(StaticBatch(model, 2), some, [2.0, 3.5, 20.0], Ticks())
    assert played.first == [1.0, 2.5, 1.0]
    assert played.last == [3.0, 3.5, 4.0]
    assert (played.seconds, played.tokens) == (22.0, 9)


def test_in_an_engine_the_second_joins_at_once(model):
    some = requests((3, 3), (3, 2), (3, 4))
    engine = Engine(model, n_pages=20, page_size=4)
    played = play(engine, some, [2.0, 3.5, 20.0], Ticks())
    # it comes at 3.5, during a step that ends at 4, and is in the next
    assert played.first == [1.0, 1.5, 1.0]
    assert played.last == [3.0, 2.5, 4.0]


def test_arrivals_are_those_of_a_poisson_process():
    draw = torch.Generator().manual_seed(0)
    times = torch.tensor(poisson(20000, 5.0, draw), dtype=torch.float64)
    gaps = times.diff()
    assert gaps.min() > 0
    torch.testing.assert_close(gaps.mean().item(), 0.2, rtol=0.03, atol=0)
    torch.testing.assert_close(gaps.std().item(), 0.2, rtol=0.03, atol=0)


def test_what_cannot_be_played_is_refused(model):
    server = StaticBatch(model)
    (one,) = requests((2, 2))
    with pytest.raises(ValueError, match="arrivals: got 2 times, want one f"):
        play(server, [one], [0.0, 1.0])
    with pytest.raises(ValueError, match="arrivals: got some out of order"):
        play(server, [one, one], [1.0, 0.0])
    with pytest.raises(ValueError, match="request: got one that samples"):
        server.add(Request([1], 2))
