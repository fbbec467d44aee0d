"""Right answers by PyTorch's optimizer, its state filled in."""

import torch


def scalar_adamw(w, m, v, g, step, lr, decay):
    given = (torch.tensor([x], dtype=torch.float64) for x in (w, m, v, g))
    weight, m, v, grad = given
    weight.requires_grad_()
    optimizer = torch.optim.AdamW([weight], lr=lr, weight_decay=decay)
    done = torch.tensor(float(step - 1))
    optimizer.state[weight] = {"step": done, "exp_avg": m, "exp_avg_sq": v}
    weight.grad = grad
    optimizer.step()
    return weight.item(), m.item(), v.item()
