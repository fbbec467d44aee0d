"""Training on the recall task: held to steps written out by hand."""

import copy
import math

import pytest
import torch
from handmade.blocks.why_attention import (
    VALUES,
    AttentionRecall,
    RecurrentRecall,
    recall_batch,
)
from handmade.training.recall import (
    recall_accuracy,
    recall_loss,
    train_recall,
)


def cosine(start, end, share):
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def one_cycle(step, steps, rate):
    """Return the learning rate and beta1: up for 30 % of the steps, down."""
    top, last = 0.3 * steps - 1, steps - 1
    if step <= top:
        share = step / top
        return cosine(rate / 25, rate, share), cosine(0.95, 0.85, share)
    share = (step - top) / (last - top)
    return cosine(rate, rate / 25e4, share), cosine(0.85, 0.95, share)


def adam_by_hand(kind, d_model, seed, steps, rate, longest):
    """Adam on the recall task with nothing of torch.optim and no .grad."""
    torch.manual_seed(seed)
    model = kind(d_model)
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(model.named_parameters())
    m = {k: torch.zeros_like(p) for k, p in parameters.items()}
    v = copy.deepcopy(m)
    for step in range(steps):
        T = int(torch.randint(1, longest + 1, (1,), generator=generator))
        keys, values, asked, answers = recall_batch(T, 64, generator)
        logps = model(keys, values, asked).log_softmax(-1)
        loss = -logps.gather(-1, answers[..., None]).mean()
        grads = torch.autograd.grad(loss, list(parameters.values()))
        lr, beta1 = one_cycle(step, steps, rate)
        with torch.no_grad():
            for (k, p), g in zip(parameters.items(), grads, strict=True):
                m[k] = beta1 * m[k] + (1 - beta1) * g
                v[k] = 0.999 * v[k] + 0.001 * g**2
                up = m[k] / (1 - beta1 ** (step + 1))
                down = (v[k] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                p -= lr * up / down
    return model


@pytest.mark.parametrize("kind", [AttentionRecall, RecurrentRecall])
def test_the_steps_are_those_written_by_hand(kind):
    options = {"seed": 3, "steps": 10, "rate": 1e-2, "longest": 6}
    ours = train_recall(kind, 8, **options)
    theirs = adam_by_hand(kind, 8, **options)
    torch.manual_seed(3)
    born = dict(kind(8).named_parameters())
    for name, p in ours.named_parameters():
        if name == "k_proj.bias":  # no softmax notices it: rounding alone
            continue
        wanted = theirs.get_parameter(name)
        torch.testing.assert_close(p, wanted, rtol=1e-4, atol=1e-5)
        assert (p - born[name]).abs().max() > 1e-3, name


def test_the_loss_is_over_all_answers():
    model = AttentionRecall(8)
    batch = recall_batch(5, 3, torch.Generator().manual_seed(0))
    *inputs, answers = batch
    logps = model(*inputs).log_softmax(-1)
    picked = [
        logps[b, t, answers[b, t]].item() for b in range(3) for t in range(5)
    ]
    wanted = -sum(picked) / len(picked)
    assert recall_loss(model, *batch).item() == pytest.approx(wanted, rel=1e-5)


def test_accuracy_counts_right_answers():
    class Says(torch.nn.Module):
        def __init__(self, shift):
            super().__init__()
            self.shift = shift

        def forward(self, keys, values, asked):
            at = (keys[:, None] == asked[..., None]).int().argmax(-1)
            answers = values.gather(1, at)
            first = torch.arange(answers.shape[1]) < 2
            said = torch.where(first, answers, answers + self.shift) % VALUES
            return torch.nn.functional.one_hot(said, VALUES).float()

    assert recall_accuracy(Says(0), 8) == 1.0
    assert recall_accuracy(Says(1), 8) == 0.25


def test_the_lookup_recalls_what_the_state_forgets():
    lookup = train_recall(AttentionRecall, 32, steps=200)
    assert recall_accuracy(lookup, 16) > 0.95  # measured: 1.00
    assert not lookup.training
    state = train_recall(RecurrentRecall, 32, steps=200)
    assert recall_accuracy(state, 16) < 0.5  # measured: 0.2
