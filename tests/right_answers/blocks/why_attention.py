"""Right answers by whole numbers, einsum, gather and recursion."""

import torch


def state_size(n, kinds, bits):
    needed = (kinds**n - 1).bit_length()  # to count all states from 0
    numbers, rest = divmod(needed, bits)
    return numbers + (rest > 0)


def linear_memory(keys, values, query):
    return torch.einsum("tk,tv,k->v", keys, values, query)


def last_state(states, lengths):
    at = (lengths - 1)[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(1, at)[:, 0]


def longest_chain(needs):
    def depth(step):
        return 1 + max(map(depth, needs[step]), default=0)

    return max(map(depth, range(len(needs))), default=0)
