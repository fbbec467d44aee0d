"""Q4_1 decoded by hand is gguf's own decoding, bit for bit."""

import gguf
import numpy as np
import pytest
import torch
from handmade.inference.q4_1 import decode_q4_1
from handmade.inference.quantization import asymmetric
from handmade.weights import wheels
from handmade.weights.gguf_file import read_gguf
from handmade.weights.smollm2 import FILE, WHEEL

Q4_1 = gguf.GGMLQuantizationType.Q4_1


def theirs(data):
    return gguf.dequantize(data.numpy(), Q4_1)


def test_any_blocks_are_decoded_as_gguf_does():
    g = torch.Generator().manual_seed(0)
    data = torch.randint(0, 256, (50, 20), generator=g, dtype=torch.uint8)
    head = torch.randn(50, 2, generator=g).half().view(torch.uint8)
    data[:, :4] = head
    got = decode_q4_1(data.flatten()).numpy()
    assert np.array_equal(got, theirs(data.flatten()))


def test_what_gguf_encodes_is_decoded():
    w = torch.randn(8, 64).numpy()
    data = torch.from_numpy(gguf.quantize(w, Q4_1)).flatten()
    assert np.array_equal(decode_q4_1(data).numpy(), theirs(data))
    assert abs(decode_q4_1(data).numpy().reshape(w.shape) - w).max() < 0.3


def test_a_byte_holds_the_weights_i_and_i_plus_16():
    head = torch.tensor([1.0, 0.0]).half().view(torch.uint8)
    pairs = torch.arange(16, dtype=torch.uint8) * 16 + 3  # high i, low 3
    got = decode_q4_1(torch.cat((head, pairs)))
    assert got.tolist() == [3.0] * 16 + [float(i) for i in range(16)]


def test_every_tensor_of_the_real_file():
    """Decoded bit for bit, and rounding again to the same grid is free."""
    file = read_gguf(wheels.wheel_folder(*WHEEL) / FILE)
    found = [name for name, place in file.places.items() if place.kind == Q4_1]
    assert len(found) == 210
    for i, name in enumerate(found):
        place = file.places[name]
        count = place.stop - place.start
        data = np.fromfile(file.path, np.uint8, count, offset=place.start)
        w = decode_q4_1(torch.from_numpy(data)).view(place.shape)
        assert np.array_equal(w.numpy(), file.tensor(name)), name
        if i % 10 == 0:
            again = asymmetric(w, bits=4, group=32)
            assert torch.equal(again.dequantize(), w), name


@pytest.mark.parametrize("size", [0, 19, 21])
def test_half_a_block_is_an_error(size):
    with pytest.raises(ValueError, match=r"data: got shape .* want \(n,\)"):
        decode_q4_1(torch.zeros(size, dtype=torch.uint8))
