"""The contract of a cache: what it remembers, and what it notices.

One cache grows, another slides: both keep the Protocol, and a model that
reads through either gives what it gives of the whole text. The faults that
were once silent (a shared layer, a forgotten mask, a pass cut short) raise.
"""

import pytest
import torch
from handmade.blocks.masks import sliding_window_mask
from handmade.contracts import Cache, device_of, limit
from handmade.inference.cache import KVCache
from handmade.models.llama import Llama, LlamaConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

V = 61
SIZES = {
    "vocab_size": V, "d_model": 24, "n_layers": 3, "n_heads": 6,
    "n_kv_heads": 2, "d_ff": 40, "max_seq_len": 64, "d_head": 10,
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Llama:
    torch.manual_seed(0)
    model = Llama(LlamaConfig(**SIZES)).double().eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3).requires_grad_(False)
    return model.requires_grad_(False)


def some_ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(V, (rows, length), generator=generator)


class SlidingWindowCache(KVCache):
    """Keep the last ``window - 1`` keys: what the next query may see."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window, self.seen = window, 0

    @property
    def length(self) -> int:
        return self.seen

    @property
    def kept(self) -> int:
        return self.layers[0][0].shape[-2] if self.layers else 0

    def update(self, layer, k, v):
        if layer == 0:
            self.seen += k.shape[-2]
        if layer < len(self.layers):
            old_k, old_v = self.layers[layer]
            k, v = torch.cat((old_k, k), -2), torch.cat((old_v, v), -2)
        else:
            self.layers.append((k, v))
        last = slice(max(0, k.shape[-2] - self.window + 1), None)
        self.layers[layer] = (k[..., last, :], v[..., last, :])
        self.filled = layer + 1
        return k, v


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 8), max_size=6),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_chunks_through_a_cache_are_the_whole_run(model, lengths, cuts, seed):
    # rows of unequal length, padded on the left, in chunks of random sizes
    T = max(lengths)
    ids = some_ids(len(lengths), T, seed)
    mask = torch.tensor([[0] * (T - n) + [1] * n for n in lengths])
    want, cache, got, at = model(ids, mask), KVCache(), [], 0
    for cut in [*cuts, T]:
        chunk = ids[:, at : at + cut]
        if chunk.shape[1]:
            seen = mask[:, : at + chunk.shape[1]]
            got.append(model(chunk, seen, cache=cache))
            at += chunk.shape[1]
            assert cache.length == cache.kept == at
    real = mask.bool()
    assert_close(torch.cat(got, 1)[real], want[real], rtol=0, atol=1e-10)
    for row, n in enumerate(lengths):  # and each row is what it is alone
        alone = model(ids[row : row + 1, T - n :])[0]
        assert_close(want[row, T - n :], alone, rtol=0, atol=1e-10)


@given(
    window=st.integers(1, 7),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    pad=st.integers(0, 4),
)
@settings(max_examples=40, deadline=None)
def test_a_sliding_cache_keeps_the_same_contract(model, window, cuts, pad):
    # positions seen and keys kept come apart; the model needs no change
    T = sum(cuts)
    ids, mask = some_ids(2, T), torch.ones(2, T, dtype=torch.int64)
    mask[0, : min(pad, T - 1)] = 0
    want = model(ids, mask, mask=sliding_window_mask(T, window))
    cache, got, at = SlidingWindowCache(window), [], 0
    assert isinstance(cache, Cache)
    for cut in cuts:
        local = sliding_window_mask(cut, window, cache.kept + cut)
        seen = mask[:, : at + cut]
        chunk = ids[:, at : at + cut]
        got.append(model(chunk, seen, mask=local, cache=cache))
        at += cut
        assert cache.length == at
        assert cache.kept == min(at, window - 1)
    real = mask.bool()
    assert_close(torch.cat(got, 1)[real], want[real], rtol=0, atol=1e-10)


def test_the_growing_cache_keeps_the_contract():
    assert isinstance(KVCache(), Cache)
    assert not isinstance([], Cache)
    assert (KVCache().length, KVCache().kept) == (0, 0)
    assert repr(KVCache()) == "KVCache(0 layers, 0 tokens)"


def test_reordered_rows_go_on(model):
    ids, order, cache = some_ids(4, 9), torch.tensor([3, 0, 0]), KVCache()
    model(ids[:, :6], cache=cache)
    cache.reorder(order)
    got = model(ids[order, 6:], cache=cache)
    assert_close(got, model(ids[order])[:, 6:], rtol=0, atol=1e-10)


NOT_ROWS = [
    [0, 1],
    torch.zeros(1, 1).long(),
    torch.zeros(2),
    torch.ones(2) > 0,
]


@pytest.mark.parametrize("index", NOT_ROWS)
def test_reorder_wants_a_vector_of_rows(index):
    with pytest.raises(ValueError, match="index: got"):
        KVCache().reorder(index)


# --- what it notices ------------------------------------------------------


def test_two_layers_that_share_a_place(model):
    two = Llama(LlamaConfig(**{**SIZES, "n_layers": 2}))
    two.blocks[1].attn.layer = 0
    with pytest.raises(ValueError, match="layer: got 0, want 1: two modules"):
        two(some_ids(2, 4), cache=KVCache())


def test_layers_out_of_order():
    cache, k = KVCache(), torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="layer: got 1, want 0: layers enter"):
        cache.update(1, k, k)
    for wrong in (-1, None, True, 0.0):
        with pytest.raises(ValueError, match=f"layer: got {wrong}"):
            cache.update(wrong, k, k)
    for wrong in (None, [1.0], k[0], k.long()):
        with pytest.raises(ValueError, match="k: got"):
            cache.update(0, wrong, k)
        with pytest.raises(ValueError, match="v: got"):
            cache.update(0, k, wrong)


class CutShortError(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_a_pass_cut_short_is_noticed_at_the_next(model, at, first):
    ids, cache = some_ids(2, 6), KVCache()
    if not first:
        model(ids[:, :3], cache=cache)

    def cut(*_):
        raise CutShortError

    hook = model.blocks[at].ffn.register_forward_hook(cut)
    with pytest.raises(CutShortError):
        model(ids[:, 3:5], cache=cache)
    hook.remove()
    if at == 2:  # every layer had its keys: the pass can be gone on from
        got = model(ids[:, 5:], cache=cache)
        whole = model(ids[:, 3 if first else 0 :])
        assert_close(got, whole[:, -1:], rtol=0, atol=1e-10)
        return
    want = "k: got 1 keys for layer" if first else "cache: got one whose last"
    with pytest.raises(ValueError, match=want):
        model(ids[:, 5:], cache=cache)
    # and stays noticed
    with pytest.raises(ValueError, match=r"cache: got one|layer|k: got"):
        model(ids[:, 5:], cache=cache)


def test_a_pass_that_never_began_harms_nothing(model):
    ids, cache = some_ids(2, 6), KVCache()
    model(ids[:, :3], cache=cache)
    with pytest.raises(IndexError):
        model(torch.full((2, 1), V), cache=cache)  # out of the vocabulary
    got = model(ids[:, 3:], cache=cache)
    assert_close(got, model(ids)[:, 3:], rtol=0, atol=1e-10)


def test_a_mask_once_given_must_be_given(model):
    ids, mask, cache = some_ids(2, 6), torch.ones(2, 6).long(), KVCache()
    mask[0, :2] = 0
    model(ids[:, :3], mask[:, :3], cache=cache)
    with pytest.raises(ValueError, match="attention_mask: got None, want"):
        model(ids[:, 3:], cache=cache)
    # refused before anything was written: the right call still goes on
    got = model(ids[:, 3:], mask, cache=cache)
    assert_close(got, model(ids, mask)[:, 3:], rtol=0, atol=1e-10)


def test_a_mask_may_come_late_if_it_covers_the_past(model):
    ids, cache = some_ids(2, 6), KVCache()
    model(ids[:, :3], cache=cache)
    with pytest.raises(
        ValueError, match=r"attention_mask: got \(2, 3\), want"
    ):
        model(ids[:, 3:], torch.ones(2, 3).long(), cache=cache)
    mask = torch.ones(2, 6).long()
    got = model(ids[:, 3:], mask, cache=cache)
    assert_close(got, model(ids)[:, 3:], rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="attention_mask: got None"):
        model(ids[:, :1], cache=cache)


def test_a_failed_first_pass_leaves_no_mask_behind(model):
    ids, cache = some_ids(2, 6), KVCache()
    with pytest.raises(IndexError):
        model(torch.full((2, 3), V), torch.ones(2, 3).long(), cache=cache)
    got = [model(part, cache=cache) for part in ids.split(3, 1)]
    assert_close(torch.cat(got, 1), model(ids))


def test_other_rows_and_dtypes(model):
    ids, cache = some_ids(3, 6), KVCache()
    model(ids[:, :3], cache=cache)
    with pytest.raises(
        ValueError, match="ids: got 2 rows, want the cache's 3"
    ):
        model(ids[:2, 3:], cache=cache)
    k = torch.zeros(3, 2, 1, 10)
    cache.begin(3, masked=False)
    with pytest.raises(ValueError, match=r"k: got .* torch.float32, want"):
        cache.update(0, k, k)
    with pytest.raises(ValueError, match=r"k: got .*want to extend"):
        cache.update(0, k.double()[..., :4], k.double())
    with pytest.raises(ValueError, match=r"v: got .*want to extend"):
        cache.update(0, k.double(), k.double()[:, :1])
    with pytest.raises(ValueError, match=r"v: got .*want k's"):
        cache.update(0, k.double(), k.double().repeat(1, 1, 2, 1))


# --- what a model states --------------------------------------------------


def test_a_model_states_its_limits_or_has_none(model):
    assert limit(model, "max_seq_len") == 64
    assert limit(model, "vocab_size") == V
    assert limit(print, "max_seq_len") is None
    assert device_of(model) == torch.device("cpu")
    assert device_of(model.to("meta")).type == "meta"
    assert device_of(print) is None
    assert device_of(torch.nn.ReLU()) is None
