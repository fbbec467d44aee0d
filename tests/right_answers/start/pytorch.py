"""Right answers by asking PyTorch itself."""

import copy

import torch


def contiguous_strides(shape):
    return torch.empty(shape).stride()


def broadcast_shape(a, b):
    try:
        one, _ = torch.broadcast_tensors(torch.empty(a), torch.empty(b))
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    return tuple(one.shape)


def unbroadcast(grad, shape):
    small = torch.zeros(shape, dtype=grad.dtype, requires_grad=True)
    return torch.autograd.grad(small.expand_as(grad), small, grad)[0]


def accuracy(model, x, y, batch_size):
    model = copy.deepcopy(model).eval()
    right = 0
    for example, label in zip(x, y, strict=True):
        scores = model(example[None])[0].tolist()
        right += scores.index(max(scores)) == label.item()
    return right / len(y)
