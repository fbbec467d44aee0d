"""What experts do in a model of many layers: counted, watched, kept in work.

B batch · T tokens · N tokens of a batch, B * T · E experts · L layers

Left out: limits on how many tokens an expert takes, and biases that balance
without a loss.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from handmade import checks
from handmade.blocks.mixture_of_experts import (
    MixtureOfExperts,
    expert_load,
    load_balancing_loss,
    route,
)
from handmade.training.loop import next_token_loss

# a piece of a parameter's name -> the part it belongs to
PARTS = {
    "tok_emb": "token table", "attn.": "attention", "router": "routers",
    "experts": "experts", "norm": "norms", "lm_head": "head",
}  # fmt: skip


def parameters_by_part(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Count a mixture's parameters: part -> (all, those that a token meets).

    A token meets k of E experts and all the rest. A tied head is its token
    table, counted once. Works on the meta device. Raises ValueError for a
    model without experts.
    """
    mixture = _mixtures(model)[0]
    counts = dict.fromkeys(PARTS.values(), 0)
    for name, p in model.named_parameters():
        place = next(place for place in PARTS if place in name)
        counts[PARTS[place]] += p.numel()
    met = {part: n for part, n in counts.items() if n}
    met["experts"] = met["experts"] * mixture.top_k // len(mixture.experts)
    return {part: (counts[part], n) for part, n in met.items()}


@contextmanager
def router_logits(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect what each router puts out, (N, E) a layer, with its gradient.

    The list fills during the next forward pass, the first layer first.
    """
    seen: list[torch.Tensor] = []
    hooks = [
        mixture.router.register_forward_hook(
            lambda module, args, output: seen.append(output)
        )
        for mixture in _mixtures(model)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def balancing(logits: Sequence[torch.Tensor], top_k: int) -> torch.Tensor:
    """Return the mean balancing loss over layers, each (N, E) -> scalar.

    Layer by layer, so that an expert idle in one layer is not excused by
    its namesake in another. With all layers in one tensor,
    ``load_balancing_loss`` gives the value of transformers. [fedus2022]
    """
    checks.several("logits", logits, "a tensor (N, E) for each layer")
    checks.need(len(logits) > 0, "logits", "none", "one layer or more")
    each = [load_balancing_loss(layer, top_k) for layer in logits]
    return torch.stack(each).mean()


def balanced_loss(
    model: nn.Module, ids: torch.Tensor, balance: float
) -> torch.Tensor:
    """Next-token loss, and in training balance * ``balancing``.

    (B, T + 1) ids -> scalar. A model in evaluation is judged by what it
    predicts alone.
    """
    checks.number("balance", balance, at_least=0)
    top_k = _mixtures(model)[0].top_k
    with router_logits(model) as logits:
        loss = next_token_loss(model, ids)
    if model.training and balance:
        loss = loss + balance * balancing(logits, top_k)
    return loss


@torch.no_grad()
def expert_use(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Return the share of all choices that each expert gets, (L, E).

    Each row sums to 1: even use is 1 / E, and no expert has more than 1 / k,
    since a token chooses it once at most.
    """
    mixture = _mixtures(model)[0]
    with router_logits(model) as logits:
        model(ids)
    return torch.stack([
        expert_load(route(layer, mixture.top_k)[1], len(mixture.experts))
        for layer in logits
    ])  # fmt: skip


def experts_in_effect(shares: torch.Tensor) -> torch.Tensor:
    """Return 1 / sum_e share_e^2, (..., E) -> (...).

    E where all are used alike, k where the same k have all tokens.
    """
    checks.floats("shares", shares, axes=1)
    return 1 / shares.square().sum(-1)


def _mixtures(model: nn.Module) -> list[MixtureOfExperts]:
    checks.module("model", model)
    found = [m for m in model.modules() if isinstance(m, MixtureOfExperts)]
    want = "one with a MixtureOfExperts"
    checks.need(bool(found), "model", "one without experts", want)
    return found
