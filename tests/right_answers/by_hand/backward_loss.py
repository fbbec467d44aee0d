"""Right answers by autograd's Jacobian, and by one-hot products."""

import torch


def scalar_softmax_backward(g, p):
    g, p = (torch.tensor(x, dtype=torch.float64) for x in (g, p))
    jacobian = torch.diag(p) - torch.outer(p, p)
    return (jacobian @ g).tolist()


def scalar_tied(grad_logits, norm, grad_x, ids, vocab_size):
    g, x, grad_x = (
        torch.tensor(y, dtype=torch.float64)
        for y in (grad_logits, norm, grad_x)
    )
    rows = torch.eye(vocab_size, dtype=torch.float64)[ids]
    return (g.T @ x + rows.T @ grad_x).tolist()
