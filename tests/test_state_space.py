"""The state-space layer against transformers' MambaMixer, and the two scans.

No size equals another. The mixer of transformers runs its plain PyTorch
path here; in float64 it rounds some tensors to float32, and so does ours
where it is compared.
"""

import math

import pytest
import torch
from gradient_helpers import assert_equal_with_gradients
from handmade.models.selective_scan import parallel_scan, selective_scan
from handmade.models.state_cache import StateCache
from handmade.models.state_space import StateSpace
from handmade.weights.reference import random_reference
from torch.testing import assert_close

D, B, T = 18, 3, 11
SCANS = [selective_scan, parallel_scan]
LENGTHS = [1, 2, 3, 4, 5, 8, 13, 16, 17, 31, 40]


def mixer(dtype=torch.float64, **changes):
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    sizes = {
        "hidden_size": D, "state_size": 5, "expand": 3, "conv_kernel": 4,
        "time_step_rank": 7, "num_hidden_layers": 1, "pad_token_id": None,
    }  # fmt: skip
    config = MambaConfig(**{**sizes, **changes})
    return random_reference(lambda c: MambaMixer(c, 0), config).to(dtype)


def tokens(*shape, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(
        dtype
    )


def scanned(T=T, seed=2):
    """Draw what a scan reads: u, dt, A, write, read, state."""
    u, dt = tokens(B, T, 6, seed=seed), tokens(B, T, 6, seed=seed + 1)
    write, read = tokens(B, T, 5, seed=seed + 2), tokens(B, T, 5, seed=8)
    A = -tokens(6, 5, seed=seed + 3).exp()
    return u, dt.exp(), A, write, read, tokens(B, 6, 5, seed=seed + 4)


@pytest.mark.parametrize("scan", SCANS)
def test_by_hand_on_three_numbers(scan):
    # one channel, one number of state; A = -1, and dt such that exp(-dt) is
    # a half, an eighth, a half; written and read as they are
    dt = torch.tensor([1.0, 3.0, 1.0]).mul(math.log(2)).view(1, 3, 1)
    ones = torch.ones(1, 3, 1)
    u = torch.tensor([8.0, 16.0, 4.0]).view(1, 3, 1) / dt
    y, state = scan(u, dt, -torch.ones(1, 1), ones, ones)
    # 8;  8 / 8 + 16 = 17;  17 / 2 + 4 = 12.5
    assert_close(y.flatten(), torch.tensor([8.0, 17.0, 12.5]))
    assert_close(state.flatten(), torch.tensor([12.5]))


@pytest.mark.parametrize("length", [*range(1, 10), 16, 33, 40])
def test_both_scans_are_equal_with_gradients(length):
    given = scanned(length)

    def joined(scan):
        # the state that is left counts, too
        return lambda *parts: torch.cat(
            [part.flatten() for part in scan(*parts)]
        )

    assert_equal_with_gradients(*map(joined, SCANS), given)


@pytest.mark.parametrize("scan", SCANS)
def test_a_scan_goes_on_where_another_ended(scan):
    u, dt, A, write, read, state = scanned()
    whole, end = scan(u, dt, A, write, read, state)
    halves = []
    for part in (slice(0, 4), slice(4, 5), slice(5, T)):
        y, state = scan(u[:, part], dt[:, part], A, write[:, part],
                        read[:, part], state)  # fmt: skip
        halves.append(y)
    assert_close(torch.cat(halves, 1), whole)
    assert_close(state, end)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-12)]
)
def test_equals_transformers_at_every_length(scan, dtype, rtol):
    theirs = mixer(dtype)
    ours = StateSpace.from_hf(theirs, scan=scan)
    for length in LENGTHS:
        for rows in (1, 2, 3):
            x = tokens(rows, length, D, dtype=dtype)
            got, want = ours(x), theirs(x)
            scale = want.abs().amax(-1, keepdim=True)
            assert ((got - want).abs() <= rtol * scale).all()


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("kernel", [1, 2, 4])
def test_gradients_equal_those_of_transformers(scan, kernel, monkeypatch):
    theirs = mixer(conv_kernel=kernel)
    ours = StateSpace.from_hf(theirs, scan=scan, precision=None)
    names = {"skip": "D", "conv.weight": "conv1d.weight",
             "conv.bias": "conv1d.bias"}  # fmt: skip
    their = dict(theirs.named_parameters())
    pairs = [
        (p, their[names.get(name, name)])
        for name, p in ours.named_parameters()
    ]
    assert len(pairs) == len(their) == 9
    # theirs would add up the gradient of A in float32, in another order
    monkeypatch.setattr(torch.Tensor, "float", lambda x: x)
    assert_equal_with_gradients(ours, theirs, [tokens(B, T, D)], pairs)


def test_without_rounding_it_differs_by_what_float32_loses():
    theirs, x = mixer(), tokens(B, T, D)
    got, want = StateSpace.from_hf(theirs, precision=None)(x), theirs(x)
    gap = ((got - want).abs() / want.abs().amax(-1, keepdim=True)).max()
    assert 1e-10 < gap < 1e-5


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("kernel", [1, 2, 4])
@pytest.mark.parametrize("steps", [(1,) * T, (3, 1, 1, 5, 1), (10, 1), (4, 7)])
def test_a_step_is_the_full_pass(scan, kernel, steps):
    layer = StateSpace.from_hf(mixer(conv_kernel=kernel), scan=scan, layer=0)
    x, cache, got = tokens(B, T, D), StateCache(), []
    for part in x.split(steps, dim=1):
        got.append(layer(part, cache=cache))
    assert cache.length == T
    assert_close(torch.cat(got, 1), layer(x), rtol=1e-10, atol=1e-12)


def test_the_state_has_as_many_bytes_after_any_text():
    layer, sizes = StateSpace.from_hf(mixer(), layer=0), set()
    for length in (1, 2, 40):
        cache = StateCache()
        layer(tokens(B, length, D), cache=cache)
        sizes.add(cache.nbytes)
    # the last three inputs of the convolution, and five numbers a channel
    assert sizes == {8 * B * 3 * D * (3 + 5)}


def test_steps_equal_the_cached_steps_of_transformers():
    from transformers import DynamicCache

    theirs = mixer(torch.float32)
    ours = StateSpace.from_hf(theirs, layer=0)
    x = tokens(B, T, D, dtype=torch.float32)
    mine, other = StateCache(), DynamicCache(config=theirs.config)
    for part in x.split((4,) + (1,) * 7, dim=1):
        got, want = ours(part, cache=mine), theirs(part, cache_params=other)
        assert_close(got, want, rtol=1e-4, atol=1e-5)
    window, state = mine.layers[0]
    assert_close(state, other.layers[0].recurrent_states[0], rtol=1e-4,
                 atol=1e-5)  # fmt: skip
    assert_close(window, other.layers[0].conv_states[0][..., -3:])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_neither_written_nor_read(side):
    theirs = mixer()
    ours, x = StateSpace.from_hf(theirs), tokens(B, T, D)
    mask = torch.tensor([[0] * n + [1] * (T - n) for n in (0, 4, 10)])
    mask = mask if side == "left" else mask.flip(-1)
    got = ours(x, attention_mask=mask)
    assert_close(got, theirs(x, attention_mask=mask), rtol=0, atol=1e-10)
    other = ours(x.where(mask.bool()[..., None], 7.0), attention_mask=mask)
    assert torch.equal(got[mask.bool()], other[mask.bool()])
    for row, real in zip(range(B), mask.bool(), strict=True):
        alone = ours(x[row : row + 1, real])[0]
        assert_close(got[row, real], alone, rtol=1e-7, atol=1e-7)


def test_the_future_is_not_seen():
    layer, x = StateSpace.from_hf(mixer()), tokens(B, T, D)
    changed = x.clone()
    changed[:, 7] += 1
    same, other = layer(x), layer(changed)
    assert torch.equal(same[:, :7], other[:, :7])
    assert (same[:, 7:] != other[:, 7:]).any(-1).all()


def test_half_precision_is_scanned_in_float32():
    layer = StateSpace(D, d_inner=10, d_state=5)
    x, kinds = tokens(B, T, D, dtype=torch.float32), []
    want = layer(x)

    def scan(u, dt, A, *rest):
        kinds.append((u.dtype, dt.dtype, A.dtype))
        return selective_scan(u, dt, A, *rest)

    layer = layer.bfloat16()
    layer.scan = scan
    got = layer(x.bfloat16())
    assert got.dtype == torch.bfloat16
    assert kinds == [(torch.float32,) * 3]
    assert_close(got.float(), want, rtol=0.05, atol=0.02)


def test_a_fresh_layer_forgets_at_several_speeds():
    torch.manual_seed(0)
    layer = StateSpace(64, d_state=4)
    A = -layer.A_log.exp()
    assert_close(A[0], torch.tensor([-1.0, -2.0, -3.0, -4.0]))
    dt = torch.nn.functional.softplus(layer.dt_proj.bias)
    assert 0.0009 < dt.min() < dt.median() < dt.max() < 0.101
    # drawn evenly on a logarithmic scale, so half lie below a hundredth
    assert 0.3 < (dt < 0.01).float().mean() < 0.7
    assert layer.skip.eq(1).all()


def test_the_cache_keeps_the_rows_it_is_told_to():
    layer, x, cache = StateSpace.from_hf(mixer(), layer=0), tokens(B, T, D), \
        StateCache()  # fmt: skip
    layer(x[:, :6], cache=cache)
    order = torch.tensor([2, 0, 0])
    cache.reorder(order)
    assert_close(layer(x[order, 6:], cache=cache), layer(x[order])[:, 6:])
    assert repr(cache) == "StateCache(1 layers, 11 tokens seen)"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: StateSpace(0), "d_model: got 0"),
        (lambda: StateSpace(4, d_state=1.5), "d_state: got 1.5"),
        (lambda: StateSpace(4, scan=3), "scan: got an int"),
        (lambda: StateSpace(4, precision=torch.half), "precision: got"),
        (lambda: StateSpace(4)(torch.ones(1, 2, 5)), "x: got width 5, want 4"),
        (lambda: StateSpace(4)(torch.ones(1, 2, 4), cache=StateCache()),
         "cache: got one, want a module that knows its layer"),
        (lambda: StateSpace(4, layer=0)(torch.ones(1, 2, 4), cache=object()),
         "cache: got an object, want a StateCache"),
        (lambda: StateSpace(4, layer=1)(torch.ones(1, 2, 4),
                                        cache=StateCache()),
         "layer: got 1, want at most 0"),
        (lambda: StateSpace(4)(torch.ones(1, 2, 4),
                               attention_mask=torch.ones(1, 3).long()),
         r"attention_mask: got shape \(1, 3\), want \(1, 2\)"),
        (lambda: StateSpace.from_hf(torch.nn.Linear(2, 2)),
         "mixer: got a Linear, want a transformers MambaMixer"),
        (lambda: StateSpace.from_hf(mixer(use_bias=True)), "use_bias: got"),
        (lambda: StateSpace.from_hf(mixer(use_conv_bias=False)),
         "use_conv_bias: got False"),
        (lambda: StateSpace.from_hf(mixer(hidden_act="gelu")),
         "hidden_act: got 'gelu'"),
        (lambda: selective_scan(*scanned()[:3], tokens(B, T, 4),
                                tokens(B, T, 5)), "write: got shape"),
        (lambda: parallel_scan(*scanned()[:5], tokens(B, 5, 6)),
         "state: got shape"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_other_rows_and_shapes_are_refused():
    layer, cache = StateSpace.from_hf(mixer(), layer=0), StateCache()
    layer(tokens(B, T, D), cache=cache)
    with pytest.raises(ValueError, match="ids: got 2 rows, want the cache's"):
        cache.begin(2, masked=False)
    with pytest.raises(ValueError, match="window: got shape"):
        cache.update(0, torch.ones(B, 2, 2), torch.ones(B, 2, 2), 1)
