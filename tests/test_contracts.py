"""A forward pass looks at shapes only: it compiles, exports, runs on meta.

And the two contracts hold from both sides: whatever is called like a Decoder
can be generated from, whatever has a Cache's members can be given to one.
"""

import inspect

import pytest
import torch
from handmade.contracts import Cache, Decoder, device_of
from handmade.inference.beam import beam_search
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.models.llama import Llama, LlamaConfig
from torch._dynamo.utils import counters
from torch.testing import assert_close

V, T = 61, 14


@pytest.fixture(scope="module")
def model() -> Llama:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=V, d_model=24, n_layers=2, n_heads=6, n_kv_heads=2,
        d_ff=40, max_seq_len=64, d_head=10, attention_bias=True,
    )  # fmt: skip
    return Llama(config).double().eval().requires_grad_(False)


@pytest.fixture
def compiled(model):
    torch._dynamo.reset()
    counters.clear()
    yield torch.compile(model, backend="eager", fullgraph=True)
    torch._dynamo.reset()


def some_ids(rows: int = 3, length: int = T) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    return torch.randint(V, (rows, length), generator=generator)


def left(length: int) -> torch.Tensor:
    mask = torch.ones(3, length, dtype=torch.int64)
    mask[0, :2] = mask[2, :1] = 0
    return mask


CALLS = {
    "plain": {},
    "padded": {"attention_mask": left(T)},
    "packed": {
        "positions": torch.arange(T)[None] % 5,
        "mask": torch.ones(T, T, dtype=torch.bool).tril().triu(-4),
    },
    "last": {"logits_to_keep": 2},
}


@pytest.mark.parametrize("call", CALLS)
def test_it_compiles_into_one_graph(model, compiled, call):
    got = compiled(some_ids(), **CALLS[call])
    assert_close(got, model(some_ids(), **CALLS[call]))
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("padded", [False, True])
def test_a_growing_cache_compiles_a_bounded_number_of_graphs(
    model, compiled, padded
):
    # one for the prompt, one for the first step, one for every later length;
    # PyTorch may add one where a length happens to equal another size
    length = 20
    ids, cache = some_ids(length=length), KVCache()
    mask = left(length) if padded else None
    got, at = [], 0
    for step in (6, *[1] * (length - 6)):
        seen = None if mask is None else mask[:, : at + step]
        got.append(compiled(ids[:, at : at + step], seen, cache=cache))
        at += step
    assert_close(torch.cat(got, 1), model(ids, mask))
    assert counters["stats"]["unique_graphs"] <= 5
    assert not counters["graph_break"]


def test_generate_runs_what_is_compiled(model, compiled):
    ids, mask = some_ids(), left(T)
    want = generate(model, ids, attention_mask=mask, max_new_tokens=3)
    got = generate(compiled, ids, attention_mask=mask, max_new_tokens=3)
    assert torch.equal(got, want)
    # it still states the limits and the device of the module inside
    with pytest.raises(ValueError, match="max_seq_len = 64"):
        generate(compiled, ids, max_new_tokens=51)


@pytest.mark.parametrize("padded", [False, True])
def test_it_exports_for_any_batch_and_length(model, padded):
    from torch.export import Dim, export

    B, S = Dim("B", min=1, max=9), Dim("S", min=2, max=64)
    args = (some_ids(), left(T)) if padded else (some_ids(),)
    shapes = {"ids": {0: B, 1: S}, "attention_mask": {0: B, 1: S}}
    names = ("ids", "attention_mask")[: len(args)]
    exported = export(
        model, args, dynamic_shapes={name: shapes[name] for name in names}
    )
    other = (some_ids(5, 9), torch.ones(5, 9).long())[: len(args)]
    if padded:
        other[1][3, :4] = 0
    assert_close(exported.module()(*other), model(*other))


@pytest.mark.parametrize("call", CALLS)
def test_it_runs_on_the_meta_device(call):
    with torch.device("meta"):
        model = Llama.from_name("llama-3.1-8b")
        ids = torch.zeros(3, T, dtype=torch.int64)
    options = {
        k: v.to("meta") if isinstance(v, torch.Tensor) else v
        for k, v in CALLS[call].items()
    }
    cache = KVCache()
    logits = model(ids, cache=cache, **options)
    assert logits.shape == (3, 2 if call == "last" else T, 128_256)
    assert cache.length == T
    assert cache.layers[31][0].shape == (3, 8, T, 128)


# --- the contracts --------------------------------------------------------


def parameters(function) -> list[tuple]:
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found]


def test_llama_is_called_as_the_contract_says():
    assert parameters(Llama.forward) == parameters(Decoder.__call__)


@pytest.mark.parametrize("name", ["begin", "update", "reorder"])
def test_the_cache_is_used_as_the_contract_says(name):
    assert isinstance(KVCache(), Cache)
    ours, wanted = getattr(KVCache, name), getattr(Cache, name)
    assert parameters(ours) == parameters(wanted)


class Strict:
    """A decoder that is nothing but the contract, and notes what is asked."""

    def __init__(self, model):
        self.model, self.asked = model, set()

    def __call__(
        self,
        ids,
        attention_mask=None,
        *,
        positions=None,
        mask=None,
        cache=None,
        logits_to_keep=None,
    ):
        self.asked |= {("cache", cache is not None), ("n", logits_to_keep)}
        assert positions is None
        assert mask is None
        return self.model(
            ids,
            attention_mask,
            cache=None if cache is None else cache.inner,
            logits_to_keep=logits_to_keep,
        )


class Narrow:
    """A cache with the members of the contract and no others."""

    def __init__(self):
        self.inner = KVCache()

    length = property(lambda self: self.inner.length)
    kept = property(lambda self: self.inner.kept)

    def begin(self, rows, *, masked):
        self.inner.begin(rows, masked=masked)

    def update(self, layer, k, v):
        return self.inner.update(layer, k, v)

    def reorder(self, index):
        self.inner.reorder(index)


def test_loops_use_nothing_but_the_contracts(model):
    ids, mask = some_ids(), left(T)
    for loop, options in (
        (generate, {}),
        (generate, {"temperature": 0.9, "top_k": 7}),
        (beam_search, {"num_beams": 3}),
    ):
        strict, results = Strict(model), []
        for decoder, cache in ((strict, Narrow()), (model, None)):
            torch.manual_seed(0)
            found = loop(
                decoder, ids, attention_mask=mask, cache=cache,
                max_new_tokens=5, **options,
            )  # fmt: skip
            results.append(found if loop is generate else found.ids)
        assert torch.equal(*results)
        assert strict.asked == {("cache", True), ("n", 1)}


def test_where_a_model_lives():
    assert device_of(torch.nn.Linear(2, 2, device="meta")).type == "meta"
    assert device_of(torch.nn.ReLU()) is None
    assert device_of(lambda ids: ids) is None


def test_padding_does_not_count_against_the_limit(model):
    ids = some_ids(1, 66)  # the model reads 64
    mask = torch.ones_like(ids)
    mask[:, :5] = 0
    logits = model(ids, mask)
    assert_close(logits[:, 5:], model(ids[:, 5:]))
    positions = torch.arange(66)[None] % 64
    assert model(ids, positions=positions).shape == (1, 66, V)
    with pytest.raises(ValueError, match="length of ids: got 66, want 1 to"):
        model(ids)
