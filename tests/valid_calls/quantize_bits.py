"""Right calls of the explorable on bits."""

import torch

from valid_calls import call


def weights():
    return torch.arange(64.0).sin().view(2, 32)


CALLS = {
    "widgets.quantize_bits.explore_bits": lambda: call(
        weights={"some": weights()}, scheme="absmax", bits=4, group=16
    ),
    "widgets.quantize_bits.rounded": lambda: call(
        w=weights(), scheme="absmax", bits=4, group=16
    ),
}
