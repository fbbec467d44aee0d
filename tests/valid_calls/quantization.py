"""Right calls of what rounds weights to few bits."""

import torch
from handmade.inference.nf4 import NF4
from handmade.inference.quantization import (
    QuantizedLinear,
    absmax,
    asymmetric,
)
from torch import nn

from valid_calls import call


def weight():
    return torch.arange(48.0).sin().view(3, 16)


def grid():
    return asymmetric(weight(), bits=4, group=8)


def block():
    return torch.arange(40, dtype=torch.uint8)


def linears():
    return nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 4))


QUANTIZATION = "inference.quantization."
CALLS = {
    QUANTIZATION + "absmax": lambda: call(w=weight(), bits=4, group=8),
    QUANTIZATION + "asymmetric": lambda: call(w=weight(), bits=4, group=8),
    QUANTIZATION + "span": lambda: call(grouped=weight(), bits=4),
    QUANTIZATION + "nearest": lambda: call(x=weight(), scale=torch.ones(3, 1)),
    QUANTIZATION + "pack": lambda: call(codes=torch.arange(16), bits=4),
    QUANTIZATION + "unpack": lambda: call(
        packed=torch.zeros(8, dtype=torch.uint8), bits=4, count=16
    ),
    QUANTIZATION + "Grid": lambda: call(
        codes=torch.ones(3, 16).byte(),
        scale=torch.ones(6, 1).half(),
        low=torch.ones(6, 1).half(),
        bits=4,
    ),
    QUANTIZATION + "Grid.dequantize": lambda: call(
        grid(), dtype=torch.float32
    ),
    QUANTIZATION + "QuantizedLinear": lambda: call(
        weight=grid(), bias=nn.Parameter(torch.ones(3))
    ),
    QUANTIZATION + "QuantizedLinear.forward": lambda: call(
        QuantizedLinear(grid()), x=torch.ones(2, 16)
    ),
    QUANTIZATION + "quantize_linears": lambda: call(
        model=linears(), quantize=absmax, skip=["1"]
    ),
    QUANTIZATION + "bits_per_weight": lambda: call(weight=grid()),
    QUANTIZATION + "held_bytes": lambda: call(model=linears()),
    "inference.q4_1.decode_q4_1": lambda: call(data=block()),
    "inference.nf4.NF4": lambda: call(w=weight(), block=16, double=True),
    "inference.nf4.NF4.dequantize": lambda: call(
        NF4(weight()), dtype=torch.float32
    ),
    "inference.nf4.DoubleScales": lambda: call(largest=torch.ones(3)),
    "inference.nf4.nf4_linear": lambda: call(
        linear=nn.Linear(16, 4), block=16, double=True
    ),
    "inference.gptq.gptq": lambda: call(
        w=weight(), inputs=torch.eye(16), bits=4, group=8, damp=0.01
    ),
    "inference.gptq.inverse_factor": lambda: call(
        inputs=torch.eye(16), damp=0.01
    ),
}
