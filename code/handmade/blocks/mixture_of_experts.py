"""A mixture of experts: many feed-forward layers, a few of them for a token.

N tokens (B * T) · D model width · F feed-forward width · E experts
k experts a token

Left out: limits on how many tokens an expert takes (so no token is dropped),
noise in the routing, shared experts, and the batched kernels that make many
small products fast. Here each expert runs once, on the tokens sent to it.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks
from handmade.blocks.feedforward import SwiGLU

# their forward passes are the same but for `norm_topk_prob`
HF_BLOCKS = (
    "MixtralSparseMoeBlock",
    "OlmoeSparseMoeBlock",
    "Qwen3MoeSparseMoeBlock",
)


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
    _check_route(logits_NE, top_k, renormalize)
    probs_NE = logits_NE.float().softmax(-1)
    weights, experts = probs_NE.topk(top_k, dim=-1)
    if renormalize:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights, experts


def expert_load(experts: torch.Tensor, n_experts: int) -> torch.Tensor:
    """Return the share of all choices that each expert got: (E), sum 1.

    Raises ValueError for choices that are not 0 to E - 1.
    """
    _check_choices(experts, n_experts)
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
    a token and 0 for padding, leaves the padding out; with nothing else it
    is 0. The value is that of transformers; for k = 1 it is the loss of
    [fedus2022]. Raises ValueError for a mask of another length.
    """
    _check_logits(logits_NE, top_k, axes=2)
    n_experts = logits_NE.shape[-1]
    logits_NE = logits_NE.flatten(0, -2)
    _, experts = route(logits_NE, top_k)
    probs_NE = logits_NE.softmax(-1)
    chosen_NE = torch.zeros_like(probs_NE).scatter(-1, experts, 1.0)
    if mask is None:
        mask = torch.ones_like(experts[:, 0])
    _check_token_mask(mask, len(probs_NE))
    share = mask.flatten().to(probs_NE.dtype) / mask.sum().clamp(min=1)
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
        checks.whole("d_model", d_model)
        checks.whole("n_experts", n_experts)
        _check_top_k(top_k, n_experts)
        checks.flag("renormalize", renormalize)
        self.d_model = d_model
        self.top_k, self.renormalize = top_k, renormalize
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.experts = nn.ModuleList(
            SwiGLU(d_model, d_ff) for _ in range(n_experts)
        )

    def forward(
        self, x: torch.Tensor, *, return_logits: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        checks.width("x", x, self.d_model, axes=2)
        checks.flag("return_logits", return_logits)
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
    def from_hf(cls, hf_block: Any) -> "MixtureOfExperts":
        """Copy the block of a transformers Mixtral, OLMoE or Qwen3-MoE.

        There all experts live in two tensors: gate and up one above the
        other, (E, 2 F, D), and down, (E, D, F).
        Raises ValueError on any other block, on another activation than
        SiLU, and on noise in the router.
        """
        _check_block(hf_block)
        fused, down = hf_block.experts.gate_up_proj, hf_block.experts.down_proj
        n_experts, d_model, d_ff = down.shape
        gate = hf_block.gate
        # Mixtral always divides by the sum, the others may leave it out
        divide = bool(getattr(gate, "norm_topk_prob", True))
        ours = cls(d_model, d_ff, n_experts, gate.top_k, renormalize=divide)
        ours = ours.to(fused.device, fused.dtype)
        with torch.no_grad():
            ours.router.weight.copy_(gate.weight)
            for e, expert in enumerate(ours.experts):
                gate_FD, up_FD = fused[e].chunk(2)
                weights = {
                    "gate_proj.weight": gate_FD,
                    "up_proj.weight": up_FD,
                    "down_proj.weight": down[e],
                }
                expert.load_state_dict(weights)
        return ours


def _check_route(logits: torch.Tensor, top_k: int, renormalize: bool) -> None:
    _check_logits(logits, top_k)
    checks.flag("renormalize", renormalize)


def _check_logits(logits: torch.Tensor, top_k: int, axes: int = 1) -> None:
    checks.floats("logits", logits, axes)
    _check_top_k(top_k, logits.shape[-1])


def _check_top_k(top_k: int, n_experts: int) -> None:
    checks.whole("top_k", top_k, at_least=0)
    if not 1 <= top_k <= n_experts:
        raise ValueError(f"top_k: got {top_k}, want 1 to {n_experts}")


def _check_choices(experts: torch.Tensor, n_experts: int) -> None:
    checks.ids("experts", experts)
    checks.whole("n_experts", n_experts)
    if experts.numel():
        low, high = (int(end) for end in experts.aminmax())
        fits = low >= 0 and high < n_experts
        want = f"0 to {n_experts - 1}"
        checks.need(fits, "experts", f"{low} to {high}", want)


def _check_token_mask(mask: torch.Tensor, n_tokens: int) -> None:
    checks.yes_or_no("mask", mask)
    if mask.numel() != n_tokens:
        raise ValueError(
            f"mask: got {mask.numel()} entries, want one for each of the "
            f"{n_tokens} tokens"
        )


def _check_block(hf_block: Any) -> None:
    kind = type(hf_block).__name__
    want = f"one of {HF_BLOCKS}: this layer has no shared experts, biases "
    want += "or other ways to route"
    checks.need(kind in HF_BLOCKS, "hf_block", kind, want)
    activation = hf_block.experts.act_fn
    x = torch.linspace(-4, 4, 33, device="cpu")
    same = torch.allclose(activation(x), F.silu(x))
    name = type(activation).__name__
    checks.need(same, "hidden_act", name, "silu, as SwiGLU has it")
    noise = getattr(hf_block, "jitter_noise", 0)
    checks.need(not noise, "router_jitter_noise", noise, "0")
