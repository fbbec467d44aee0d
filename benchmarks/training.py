"""Our Mini-GPT against its peers: a training step of the same sizes, one run.

    python benchmarks/training.py [--rounds 5] [--compile]

All sides take turns inside each round, so a busy machine slows all of them;
the table gives each side's fastest step and the ratio to GPT2LMHeadModel.
Each has the same layers, width, heads, window, batch and 84 characters, and
clips its gradient. The peers train as they come: float32, fused AdamW. Ours
trains by its own recipe, bfloat16 products and Muon; in bfloat16 with fused
AdamW, which is what the model alone gains; and in float32. `small nanoGPT`
is our own rewriting of that architecture, not its file: pre-norm LayerNorm
without bias, exact GELU, scaled-dot-product attention, tied head. With
--compile a row more: ours through torch.compile, which needs a C++ compiler.
`its products alone` is no training: the matrix products of one step, forward
and backward, and nothing else, so no step of this size can be faster here in
that precision.
"""

import argparse
import logging
import shutil
import time
from functools import partial

import torch
from handmade.training.compiled import compiled_loss
from handmade.training.mini_gpt import make_trainer
from handmade.training.mini_gpt_loss import character_loss
from handmade.training.mini_gpt_settings import Settings
from torch import nn
from torch.nn import functional as F

V = 84  # characters of Shakespeare's works
# layers, width, heads, window, batch, steps a round
SIZES = ((4, 128, 4, 64, 12, 20), (6, 384, 6, 256, 16, 1))


def main() -> None:
    """Time every side in turns and print one table a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    if args.compile and not (shutil.which("g++") or shutil.which("clang++")):
        parser.error("--compile: got no C++ compiler, want g++ or clang++")
    print(f"{torch.get_num_threads()} thread(s), {args.rounds} rounds")
    for *size, steps in SIZES:
        sides = {name: make(*size) for name, make in SIDES.items()}
        if args.compile:
            sides["ours, bfloat16, AdamW, compiled"] = ours(
                *size, "bfloat16", muon=False, compiled=True
            )
        best = race(sides, args.rounds, steps)
        L, D, _, T, B = size
        print(f"{L} layers, {D} wide, T {T}, batch {B}")
        print(f"{'':32} {'ms a step':>9} {'tokens/s':>9} {'x GPT-2':>8}")
        for name, seconds in best.items():
            ratio = best["GPT2LMHeadModel"] / seconds
            print(
                f"{name:32} {seconds * 1e3:9.1f} {B * T / seconds:9.0f} "
                f"{ratio:8.2f}",
                flush=True,
            )


def race(sides, rounds, steps):
    """Return side -> the seconds of its fastest step, all taking turns."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(2):  # first steps choose kernels and fill caches
        for step in sides.values():
            step()
    for _ in range(rounds):
        for name, step in sides.items():
            for _ in range(steps):
                start = time.perf_counter()
                step()
                took = time.perf_counter() - start
                best[name] = min(best[name], took)
    return best


def hugging_face(L, D, H, T, B):
    """GPT2LMHeadModel, as large as ours."""
    from transformers import GPT2Config, GPT2LMHeadModel

    logging.getLogger("transformers").setLevel(logging.ERROR)
    config = GPT2Config(
        vocab_size=V, n_positions=T, n_embd=D, n_layer=L, n_head=H,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, use_cache=False,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).train()
    # its own shift inside: T inputs give T - 1 losses, one less than ours
    return peer(model, lambda ids: model(ids[:, 1:], labels=ids[:, 1:]).loss,
                T, B)  # fmt: skip


def nano(L, D, H, T, B):
    """The architecture of nanoGPT, rewritten."""
    model = SmallNanoGPT(L, D, H, T)
    return peer(model, lambda ids: character_loss(model, ids), T, B)


def peer(model, loss_of, T, B):
    """Return a function that takes one step: float32, fused AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    ids = torch.randint(V, (B, T + 1))

    def step():
        optimizer.zero_grad()
        loss = loss_of(ids)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def ours(L, D, H, T, B, precision, *, muon, compiled=False):
    """Return the trainer's own step: drawing, schedule and checks too."""
    settings = Settings(
        steps=10**6, d_model=D, n_layers=L, n_heads=H, d_ff=4 * D,
        max_seq_len=T, batch_size=B, precision=precision,
    )  # fmt: skip
    trainer = make_trainer(settings, torch.randint(V, (10**5,)), V)
    if not muon:
        trainer.optimizer = torch.optim.AdamW(
            trainer.model.parameters(), lr=1e-3, fused=True
        )
        trainer.peaks = [1e-3]
    if compiled:
        trainer.loss_of = compiled_loss(character_loss)
    return trainer.train_step


def products(L, D, H, T, B, dtype):
    """Return a function that takes the products of a step, and no more.

    y = x W, dx = dy W^T and dW = x^T dy of each matrix of a block; scores,
    mixed values and the two gradients of each of them.
    """
    N, K = B * T, D // H
    matrices = [
        (torch.randn(N, m).to(dtype), torch.randn(m, n).to(dtype),
         torch.randn(N, n).to(dtype))
        for m, n in ((D, 3 * D), (D, D), (D, 4 * D), (4 * D, D))
    ]  # fmt: skip
    q, k = (torch.randn(B * H, T, K).to(dtype) for _ in "qk")
    weights = torch.randn(B * H, T, T).to(dtype)

    def step():
        for _ in range(L):
            for x, W, dy in matrices:
                _ = x @ W, dy @ W.T, x.T @ dy
            for _ in range(2):  # q k^T with its gradients, then w v with its
                _ = q @ k.mT, weights @ k, weights.mT @ q

    return step


class SmallNanoGPT(nn.Module):
    """nanoGPT's model: learned positions, pre-norm, GELU, tied head."""

    def __init__(self, L, D, H, T):
        super().__init__()
        self.tok_emb = nn.Embedding(V, D)
        self.pos_emb = nn.Embedding(T, D)
        self.blocks = nn.ModuleList(NanoBlock(D, H) for _ in range(L))
        self.norm = nn.LayerNorm(D, bias=False)
        self.lm_head = nn.Linear(D, V, bias=False)
        self.lm_head.weight = self.tok_emb.weight
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids):
        """(B, T) -> (B, T, V)."""
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.norm(x))


class NanoBlock(nn.Module):
    """One block of it, without biases and without dropout."""

    def __init__(self, D, H):
        super().__init__()
        self.H = H
        self.ln_1, self.ln_2 = (nn.LayerNorm(D, bias=False) for _ in "ab")
        self.c_attn = nn.Linear(D, 3 * D, bias=False)
        self.c_proj = nn.Linear(D, D, bias=False)
        self.c_fc = nn.Linear(D, 4 * D, bias=False)
        self.c_out = nn.Linear(4 * D, D, bias=False)

    def forward(self, x):
        """(B, T, D) -> (B, T, D)."""
        B, T, D = x.shape
        q, k, v = (
            part.view(B, T, self.H, D // self.H).transpose(1, 2)
            for part in self.c_attn(self.ln_1(x)).split(D, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(B, T, D))
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x))))


SIDES = {
    "GPT2LMHeadModel": hugging_face,
    "small nanoGPT": nano,
    "ours, bfloat16, Muon": lambda *size: ours(*size, "bfloat16", muon=True),
    "ours, bfloat16, AdamW": lambda *size: ours(*size, "bfloat16", muon=False),
    "ours, float32, AdamW": lambda *size: ours(*size, "float32", muon=False),
    "its products alone, bfloat16": partial(products, dtype=torch.bfloat16),
    "its products alone, float32": partial(products, dtype=torch.float32),
}


if __name__ == "__main__":
    main()
