"""The count of bytes, held to tensors whose sizes are known."""

import gc

import torch
from handmade.held import held
from safetensors.torch import load_file, save_file
from torch import nn

MIB = 2**20


def test_what_is_made_is_counted_and_what_is_freed_is_not():
    before = torch.ones(7)
    with held() as memory:
        a = torch.ones(MIB // 4)
        b = torch.zeros(3, MIB, dtype=torch.uint8)
        assert memory.now == memory.peak == 4 * MIB
        del a
        gc.collect()
        assert memory.now == 3 * MIB
        c = torch.empty(MIB // 8, dtype=torch.float64)
        assert (memory.now, memory.peak) == (4 * MIB, 4 * MIB)
        before.add_(1)
    del b, c


def test_a_view_a_transpose_and_a_tied_weight_cost_nothing():
    with held() as memory:
        x = torch.ones(512, 512)
        views = [x.T, x[3:], x.view(-1), x.detach()]
        tied = nn.Linear(512, 512, bias=False)
        tied.weight = nn.Parameter(x)
        del tied
        assert memory.now == MIB
    assert len(views) == 4


def test_the_meta_device_costs_nothing():
    with held() as memory, torch.device("meta"):
        model = nn.Linear(10_000, 10_000)
    assert sum(p.nbytes for p in model.parameters()) > 400 * 10**6
    assert (memory.peak, memory.mapped) == (0, 0)


def test_a_mapped_file_counts_apart(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(MIB // 4), "b": torch.ones(6)}, path)
    with held() as memory:
        weights = load_file(path)
        assert (memory.now, memory.peak) == (0, 0)
        assert memory.mapped == MIB + 24
        copy = weights["a"].clone()
        assert memory.now == MIB
    assert copy.sum() == MIB // 4


def test_what_a_pickle_was_read_into_is_no_mapped_file(tmp_path):
    torch.save({"a": torch.ones(MIB // 4)}, tmp_path / "x.bin")
    with held() as memory:
        read = torch.load(tmp_path / "x.bin", weights_only=True)
        assert memory.now == MIB
        mapped = torch.load(tmp_path / "x.bin", mmap=True, weights_only=True)
        assert memory.now == MIB
    assert read["a"].sum() == mapped["a"].sum()


def test_the_peak_is_that_of_the_moment_between():
    with held() as memory:
        x = torch.ones(MIB // 4)
        for _ in range(5):
            x = x + 1  # two at a time
            gc.collect()
    assert memory.peak == 2 * MIB
    assert memory.now == MIB
