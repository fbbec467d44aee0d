"""The norms against PyTorch's own, and where they part ways."""

import pytest
import torch
from gradient_helpers import assert_equal_with_gradients
from handmade.blocks.norms import BatchNorm, LayerNorm, RMSNorm
from torch.nn import functional as F


def norm_of(width: int, eps: float = 1e-5) -> RMSNorm:
    norm = RMSNorm(width, eps)
    torch.manual_seed(0)
    torch.nn.init.normal_(norm.weight)
    return norm


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 5, 6)])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_equals_pytorch(shape, size):
    norm, x = norm_of(6), torch.randn(*shape) * size
    want = F.rms_norm(x, (6,), norm.weight, 1e-5)
    torch.testing.assert_close(norm(x), want)


def test_by_hand():
    # (3, 4): mean square 12.5, so each is divided by sqrt(12.5)
    y = RMSNorm(2, eps=0.0)(torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(y, torch.tensor([3.0, 4.0]) / 12.5**0.5)


def test_half_precision_does_not_overflow():
    norm = RMSNorm(4).half()
    x = torch.full((1, 4), 300.0, dtype=torch.float16)
    assert x.pow(2).isinf().all()
    torch.testing.assert_close(norm(x), torch.ones_like(x))


def test_zeros_stay_zeros():
    assert norm_of(5)(torch.zeros(2, 5)).eq(0).all()


def test_scale_of_the_input_does_not_matter():
    norm, x = norm_of(7, eps=0.0), torch.randn(3, 7)
    torch.testing.assert_close(norm(100 * x), norm(x))


def test_wrong_width():
    with pytest.raises(ValueError, match="x: got width 5, want 6"):
        norm_of(6)(torch.zeros(2, 5))


# -- LayerNorm and BatchNorm

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def copied(ours, theirs):
    """Both in float64 with the same random gain and bias."""
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.double().load_state_dict(theirs.state_dict(), strict=False)
    return ours, theirs


def assert_equal(ours, theirs, x, *, pairs=True):
    if pairs:
        named = theirs.named_parameters()
        pairs = [(ours.get_parameter(n), p) for n, p in named]
    assert_equal_with_gradients(ours, theirs, [x], pairs or ())


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 5, 6)])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_layer_norm_equals_pytorch(shape, size):
    ours, theirs = copied(LayerNorm(6), torch.nn.LayerNorm(6).double())
    x = torch.randn(*shape, dtype=torch.float64) * size + size
    assert_equal(ours, theirs, x)


def test_batch_norm_equals_pytorch_in_training_and_after():
    reference = torch.nn.BatchNorm1d(6, momentum=0.3).double()
    ours, theirs = copied(BatchNorm(6, momentum=0.3), reference)
    for _ in range(3):
        x = torch.randn(10, 6, dtype=torch.float64) * 3 + 1
        assert_equal(ours, theirs, x)
    for name in ("running_mean", "running_var"):
        a, b = getattr(ours, name), getattr(theirs, name)
        torch.testing.assert_close(a, b, **EXACT)
    assert_equal(ours.eval(), theirs.eval(), x)


def test_batch_norm_takes_every_axis_but_the_last():
    norm, x = BatchNorm(6), torch.randn(2, 5, 6)
    flat = norm(x.flatten(0, 1)).view_as(x)
    torch.testing.assert_close(norm(x), flat)


def test_layer_norm_is_rms_norm_of_the_centred_vector():
    x = torch.randn(3, 7)
    centred = x - x.mean(-1, keepdim=True)
    torch.testing.assert_close(LayerNorm(7)(x), RMSNorm(7)(centred))


def test_layer_norm_in_half_precision():
    x = torch.tensor([[300.0, -300.0, 300.0, -300.0]], dtype=torch.float16)
    y = LayerNorm(4).half()(x)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y, x.sign())


def test_equal_entries_have_a_gradient():
    x = torch.full((2, 4), 3.0, requires_grad=True)
    LayerNorm(4)(x).pow(2).sum().backward()
    assert x.grad.isfinite().all()


def test_rms_norm_equals_hugging_face_in_float64():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    theirs = LlamaRMSNorm(6, eps=1e-5).double()
    torch.nn.init.normal_(theirs.weight)
    ours = RMSNorm(6, precision=torch.float32).double()
    ours.load_state_dict(theirs.state_dict())
    assert_equal(ours, theirs, torch.randn(3, 6).double())


@pytest.mark.parametrize("kind", [LayerNorm, BatchNorm])
def test_wrong_width_of_the_others(kind):
    with pytest.raises(ValueError, match="x: got width 5, want 6"):
        kind(6)(torch.zeros(2, 5))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_rms_norm_keeps_float64(size):
    norm = norm_of(6).double()
    x = size * torch.randn(3, 6, dtype=torch.float64)
    assert_equal(
        norm, lambda x: F.rms_norm(x, (6,), norm.weight, 1e-5), x, pairs=False
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rms_norm_rounds_half_precision_as_hugging_face(dtype):
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    theirs = LlamaRMSNorm(64, eps=1e-5).to(dtype)
    torch.nn.init.normal_(theirs.weight)
    x = (30 * torch.randn(50, 64)).to(dtype)
    for precision in (None, torch.float32):
        ours = RMSNorm(64, precision=precision).to(dtype)
        ours.load_state_dict(theirs.state_dict())
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_batch_norm_in_half_precision(dtype):
    # the square of 300 is more than float16 holds
    x = (300 + 100 * torch.randn(64, 6)).to(dtype)
    ours, theirs = BatchNorm(6).to(dtype), torch.nn.BatchNorm1d(6).to(dtype)
    close = {"rtol": 0.02, "atol": 0.02}
    for _ in range(2):
        got = ours(x)
        assert got.dtype == dtype
        torch.testing.assert_close(got, theirs(x), **close)
    for name in ("running_mean", "running_var"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.dtype == dtype
        torch.testing.assert_close(a, b, **close)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), **close)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm, BatchNorm])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_under_autocast(norm, dtype):
    layers = torch.nn.Sequential(torch.nn.Linear(6, 6), norm(6))
    x = torch.randn(40, 6)
    want = layers(x)
    with torch.autocast("cpu", dtype):
        got = layers(x)
    torch.testing.assert_close(got.float(), want, rtol=0, atol=0.06)
    got.float().pow(2).sum().backward()
    assert layers[0].weight.grad.isfinite().all()
    assert all(b.dtype == torch.float32 for b in layers.buffers())


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm, BatchNorm])
def test_whole_numbers_are_refused_not_rounded(norm):
    with pytest.raises(ValueError, match=r"x: got dtype torch\.int64"):
        norm(6)(torch.ones(2, 6).long())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: RMSNorm(1.5), "d_model: got 1.5"),
        (lambda: LayerNorm(True), "d_model: got True"),
        (lambda: BatchNorm(0), "d_model: got 0"),
        (lambda: RMSNorm(4, float("nan")), "eps: got nan"),
        (lambda: LayerNorm(4, -1e-5), "eps: got -1e-05"),
        (lambda: BatchNorm(4, momentum=1.5), "momentum: got 1.5"),
        (lambda: BatchNorm(4, momentum=None), "momentum: got None"),
        (
            lambda: RMSNorm(4, precision=torch.bfloat16),
            "precision: got torch.bfloat16",
        ),
    ],
)
def test_wrong_sizes_and_numbers(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()


def test_batch_norm_wants_a_batch():
    with pytest.raises(ValueError, match="x: got one vector"):
        BatchNorm(6)(torch.zeros(1, 6))
    assert BatchNorm(6).eval()(torch.zeros(1, 6)).shape == (1, 6)


def test_batch_norm_remembers_numbers_not_graphs():
    norm = BatchNorm(3)
    for _ in range(2):  # a graph kept from the first pass would be freed
        x = torch.randn(5, 3, requires_grad=True)
        norm(x).sum().backward()
    for buffer in (norm.running_mean, norm.running_var):
        assert not buffer.requires_grad
        assert buffer.grad_fn is None
