"""Right answers by loops, transformers, autograd at once and torch."""

import torch
from torch import nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    SequentialLR,
)
from transformers.loss.loss_utils import ForCausalLMLoss


def shifted_loss(logits, ids, is_text):
    losses = []
    for row, labels, real in zip(logits, ids, is_text, strict=True):
        for t in range(int(real.sum()) - 1):
            losses.append(row[t].logsumexp(0) - row[t, labels[t + 1]])
    loss = torch.stack(losses).mean()
    labels = ids.masked_fill(~is_text, -100)
    theirs = ForCausalLMLoss(logits, labels, logits.shape[-1])
    # transformers computes it in float32
    torch.testing.assert_close(loss.float(), theirs)
    return loss


def decaying(model):
    names = []
    for where, module in model.named_modules():
        matrix = isinstance(module, nn.Linear | nn.Embedding)
        if matrix and module.weight.requires_grad:
            names.append(f"{where}.weight")
    return sorted(names)


def cosine_factor(step, steps, warmup, lowest):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    fall = CosineAnnealingLR(optimizer, steps - warmup, eta_min=lowest)
    schedule = fall
    if warmup:
        rise = LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1)
        schedule = SequentialLR(optimizer, [rise, fall], [warmup])
    for _ in range(min(step, steps)):
        optimizer.step()
        schedule.step()
    return optimizer.param_groups[0]["lr"]


def one_gradient(weight, batches):
    w = weight.detach().clone().requires_grad_()
    x = torch.cat([x for x, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    torch.nn.functional.cross_entropy(x @ w, labels).backward()
    return w.grad


def clipped(grads, max_norm):
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in grads]
    for p, g in zip(parameters, grads, strict=True):
        p.grad = g.clone()
    nn.utils.clip_grad_norm_(parameters, max_norm)
    return [p.grad for p in parameters]
