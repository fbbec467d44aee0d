"""Hold a module to its reference: the output, and every gradient."""

import torch


def assert_equal_with_gradients(ours, theirs, inputs, pairs=(), rtol=1e-10):
    """Compare two functions of `inputs`, forward and backward.

    A cubed output is sent back, so that each entry's gradient differs.
    `pairs` are (our parameter, where its gradient stands on their side: a
    parameter of theirs, or a function that returns the gradient). What is
    compared may differ by `rtol` of the largest value of its reference.
    """
    copies = [[x.clone().requires_grad_() for x in inputs] for _ in "ab"]
    outputs = ours(*copies[0]), theirs(*copies[1])
    for output in outputs:
        output.pow(3).sum().backward()
    found = [outputs]
    found += [(a.grad, b.grad) for a, b in zip(*copies, strict=True)]
    found += [(a.grad, b() if callable(b) else b.grad) for a, b in pairs]
    for got, want in found:
        assert got is not None
        assert want.any(), "a reference that is all zero shows nothing"
        atol = rtol * want.abs().max().item()
        torch.testing.assert_close(got, want, rtol=0, atol=atol)


def same_names(ours, theirs):
    """Pair the parameters of two modules that call them alike."""
    names = dict(theirs.named_parameters())
    assert names.keys() == dict(ours.named_parameters()).keys()
    return [(p, names[name]) for name, p in ours.named_parameters()]
