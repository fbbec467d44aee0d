"""RMSNorm against PyTorch's own, and where the two part ways."""

import pytest
import torch
from handmade.blocks.norms import RMSNorm
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
