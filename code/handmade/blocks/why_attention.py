"""Recall on demand: a recurrent state against an attention lookup.

B batch · T pairs read · N questions · D model width

Both models read T (key, value) pairs and then answer, for each key, which
value stood beside it. The recurrent one has read everything into one vector
before the questions arrive; the other keeps all T vectors and looks one up.
Left out: positions, layers, and anything a language would need; and the
training, which is in `handmade.training.recall`.
"""

from collections import Counter

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from handmade import checks
from handmade.blocks.attention import attention

KEYS, VALUES = 64, 16


def recall_batch(
    T: int, size: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Draw pairs with different keys, and ask for all of them, shuffled.

    -> keys, values, asked, answers: each int64 (size, T)
    Raises ValueError where there are more pairs than keys.
    """
    _check_batch(T, size, generator)
    keys = torch.rand(size, KEYS, generator=generator).argsort(-1)[:, :T]
    values = torch.randint(VALUES, (size, T), generator=generator)
    order = torch.rand(size, T, generator=generator).argsort(-1)
    return keys, values, keys.gather(1, order), values.gather(1, order)


class Recall(nn.Module):
    """What both models share: vectors for keys, values and questions."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        checks.whole("d_model", d_model)
        self.key_emb = nn.Embedding(KEYS, d_model)
        self.value_emb = nn.Embedding(VALUES, d_model)
        self.asked_emb = nn.Embedding(KEYS, d_model)


class RecurrentRecall(Recall):
    """Read the pairs one after another into a single state, then answer.

    h_t = GRU(h_{t-1}, x_t);  logits_n = head(h_T * asked_emb_n)
    (B, T), (B, T), (B, N) -> (B, N, VALUES). [cho2014]
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.rnn = nn.GRU(d_model, d_model, batch_first=True)
        self.head = _head(d_model)

    def forward(self, keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        _check_asked(keys, values, asked)
        x = self.key_emb(keys) + self.value_emb(values)
        states, _ = self.rnn(x)
        logits: Tensor = self.head(states[:, -1:] * self.asked_emb(asked))
        return logits


class AttentionRecall(Recall):
    """Keep every pair as it is, and look up the one that was asked for.

    logits_n = head(attention(asked_emb_n, W_k x, W_v x))
    (B, T), (B, T), (B, N) -> (B, N, VALUES)
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.head = _head(d_model)

    def forward(self, keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        _check_asked(keys, values, asked)
        x = self.key_emb(keys) + self.value_emb(values)
        q = self.asked_emb(asked)
        found = attention(q, self.k_proj(x), self.v_proj(x))
        logits: Tensor = self.head(found)
        return logits


def _head(d_model: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, VALUES)
    )


def matrix_products(y: Tensor) -> tuple[int, int]:
    """Count the matrix products behind y: (all, the longest chain).

    Walks autograd's graph from y to its inputs. A product in a chain has to
    wait for the one before it; those side by side can run at the same time.
    Raises ValueError where y has no graph.
    """
    users: Counter[Node] = Counter()
    end = _end_of_graph(y)
    stack, seen = [end], {end}
    while stack:
        for parent in _parents(stack.pop()):
            users[parent] += 1
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    # in topological order, each node after all that use it
    chain: Counter[Node] = Counter()
    ready = [end]
    while ready:
        node = ready.pop()
        chain[node] += _is_product(node)
        for parent in _parents(node):
            chain[parent] = max(chain[parent], chain[node])
            users[parent] -= 1
            if not users[parent]:
                ready.append(parent)
    return sum(map(_is_product, seen)), max(chain.values())


def _parents(node: Node) -> list[Node]:
    return [parent for parent, _ in node.next_functions if parent is not None]


def _is_product(node: Node) -> bool:
    return node.name().removesuffix("Backward0") in {"Mm", "Bmm", "Addmm"}


def _end_of_graph(y: Tensor) -> Node:
    checks.kind("y", y, Tensor, "a tensor with a graph")
    if y.grad_fn is None:
        raise ValueError("y: got a tensor without a graph, want a result")
    return y.grad_fn


def _check_batch(T: int, size: int, generator: torch.Generator) -> None:
    checks.whole("T", T)
    checks.need(T <= KEYS, "T", f"{T} pairs", f"1 to {KEYS}")
    checks.whole("size", size)
    checks.generator("generator", generator)


def _check_asked(keys: Tensor, values: Tensor, asked: Tensor) -> None:
    for name, x in (("keys", keys), ("values", values), ("asked", asked)):
        checks.ids(name, x)
        checks.need(x.ndim == 2, name, f"shape {tuple(x.shape)}", "(B, T)")
    fits = keys.shape == values.shape
    want = f"that of keys, {tuple(keys.shape)}"
    checks.need(fits, "values", f"shape {tuple(values.shape)}", want)
    got, B = f"{len(asked)} rows", len(keys)
    checks.need(len(asked) == B, "asked", got, f"{B}, as keys has")
