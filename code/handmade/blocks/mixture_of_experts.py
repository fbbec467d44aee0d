"""A mixture of experts: many feed-forward layers, a few of them for a token.

N tokens (B * T) · D model width · F feed-forward width · E experts
k experts a token

Left out: limits on how many tokens an expert takes (so no token is dropped),
noise in the routing, shared experts, and the batched kernels that make many
small products fast. Here each expert runs once, on the tokens sent to it.
"""

import torch
from torch import nn

from handmade.blocks.feedforward import SwiGLU


def route(
    logits_NE: torch.Tensor, top_k: int, *, renormalize: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose k experts a token, (..., E) -> weights, experts: both (..., k).

    w_e = p_e / sum of the k chosen p,  p = softmax(logits)

    Dividing by the sum makes the weights of a token add to 1; it is the same
    as a softmax over the k chosen logits alone. For k = 1 that weight is
    always 1 and has no gradient: there, take the probability as it is, with
    ``renormalize=False`` [fedus2022]. In float32, as Hugging Face does it.
    Raises ValueError for a k that is not 1 to E. [jiang2024]
    """
    n_experts = logits_NE.shape[-1]
    if not 1 <= top_k <= n_experts:
        raise ValueError(f"top_k: got {top_k}, want 1 to {n_experts}")
    probs_NE = logits_NE.float().softmax(-1)
    weights, experts = probs_NE.topk(top_k, dim=-1)
    if renormalize:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights, experts


def expert_load(experts: torch.Tensor, n_experts: int) -> torch.Tensor:
    """Return the share of all choices that each expert got: (E), sum 1."""
    counts = torch.bincount(experts.flatten(), minlength=n_experts)
    return counts / max(experts.numel(), 1)


def load_balancing_loss(
    logits_NE: torch.Tensor, top_k: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Penalize experts that are both chosen often and trusted much.

    E * sum_e f_e P_e,  f_e tokens that chose e / N, P_e mean probability of e

    k where all experts are used alike, up to E where each token takes the
    same k with certainty; but k, too, for any f where P is even, so log f to
    see the use. Only P has a gradient: f counts. ``mask`` (N), 1 for
    a token and 0 for padding, leaves the padding out. The value is that of
    transformers; for k = 1 it is the loss of [fedus2022].
    """
    n_experts = logits_NE.shape[-1]
    logits_NE = logits_NE.flatten(0, -2)
    _, experts = route(logits_NE, top_k)
    probs_NE = logits_NE.softmax(-1)
    chosen_NE = torch.zeros_like(probs_NE).scatter(-1, experts, 1.0)
    if mask is None:
        mask = probs_NE.new_ones(len(probs_NE))
    share = mask.flatten().to(probs_NE.dtype) / mask.sum()
    return n_experts * ((share @ chosen_NE) * (share @ probs_NE)).sum()


class MixtureOfExperts(nn.Module):
    """Send each token to k of E feed-forward layers, add what they return.

    y = sum over the k chosen e of w_e expert_e(x),  w = route(W_r x, k)
    (B, T, D) -> (B, T, D)

    With one expert it is that expert. The router is one matrix, (E, D).
    ``return_logits`` adds its output (N, E), for ``load_balancing_loss``;
    inside a model, hook ``router`` instead. Raises ValueError for a k that
    is not 1 to E. [shazeer2017]
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        n_experts: int,
        top_k: int,
        *,
        renormalize: bool = True,
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= n_experts:
            raise ValueError(f"top_k: got {top_k}, want 1 to {n_experts}")
        self.top_k, self.renormalize = top_k, renormalize
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.experts = nn.ModuleList(
            SwiGLU(d_model, d_ff) for _ in range(n_experts)
        )

    def forward(
        self, x: torch.Tensor, *, return_logits: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        x_ND = x.flatten(0, -2)
        logits_NE = self.router(x_ND)
        weights, experts = route(
            logits_NE, self.top_k, renormalize=self.renormalize
        )
        out_ND = torch.zeros_like(x_ND)
        for e, expert in enumerate(self.experts):
            token, slot = torch.where(experts == e)
            if len(token):
                y = expert(x_ND[token]) * weights[token, slot, None]
                out_ND = out_ND.index_add(0, token, y.to(x.dtype))
        out = out_ND.view_as(x)
        return (out, logits_NE) if return_logits else out

    @classmethod
    def from_hf(cls, hf_block: nn.Module) -> "MixtureOfExperts":
        """Copy a transformers ``MixtralSparseMoeBlock``.

        There all experts live in two tensors: gate and up one above the
        other, (E, 2 F, D), and down, (E, D, F).
        """
        fused, down = hf_block.experts.gate_up_proj, hf_block.experts.down_proj
        n_experts, d_model, d_ff = down.shape
        ours = cls(d_model, d_ff, n_experts, hf_block.gate.top_k)
        ours = ours.to(fused.device, fused.dtype)
        with torch.no_grad():
            ours.router.weight.copy_(hf_block.gate.weight)
            for e, expert in enumerate(ours.experts):
                gate, up = fused[e].chunk(2)
                expert.gate_proj.weight.copy_(gate)
                expert.up_proj.weight.copy_(up)
                expert.down_proj.weight.copy_(down[e])
        return ours
