"""Our Llama split over processes inside of each layer.

H query heads · G key/value heads · F feed-forward width · V vocabulary

A matrix that widens is cut by its outputs, the one that narrows after it by
its inputs, so that a block adds up twice and is silent between; backward it
adds up five times, for the input of each matrix that widens. Each process has
H / n heads whole. Left out: cutting the residual stream by tokens
(sequence parallel), and tied embeddings, whose one matrix would have to be
cut in two ways.
"""

import json

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, distribute_module
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn import functional as F

from handmade import checks
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.models.llama import Llama, LlamaConfig


def split_layers(model: Llama, mesh: DeviceMesh) -> Llama:
    """Cut each layer's matrices over the processes of a mesh, in place.

    All processes must begin with the same weights and see the same texts;
    each gets whole logits. Raises ValueError where heads, widths or
    vocabulary do not divide, and for tied embeddings.
    """
    _check(model, mesh)
    plan: dict[str, ParallelStyle] = {
        # rows of the table, a whole vector out
        "tok_emb": RowwiseParallel(input_layouts=Replicate()),
        "lm_head": ColwiseParallel(output_layouts=Replicate()),
    }
    plan["norm"] = InAll()  # whole in every process
    for i, block in enumerate(model.blocks):
        plan[f"blocks.{i}.attn_norm"] = plan[f"blocks.{i}.ffn_norm"] = InAll()
        for name in ("q_proj", "k_proj", "v_proj"):
            plan[f"blocks.{i}.attn.{name}"] = ColwiseParallel()
        plan[f"blocks.{i}.attn.o_proj"] = RowwiseParallel()
        for name in ("gate_proj", "up_proj"):
            plan[f"blocks.{i}.ffn.{name}"] = ColwiseParallel()
        plan[f"blocks.{i}.ffn.down_proj"] = RowwiseParallel()
        attn = block.get_submodule("attn")
        assert isinstance(attn, MultiHeadAttention)
        attn.n_heads //= mesh.size()  # those that are here
        attn.n_kv_heads //= mesh.size()
    parallelize_module(model, mesh, plan)
    return model


def split_differences(seed: int = 0) -> dict[str, float]:
    """Compare a model that is cut with the whole one, in float64.

    All processes call it together. Returns, for the logits and for each
    parameter's gradient, the largest difference by the largest number.
    """
    checks.whole("seed", seed, at_least=0)
    config = LlamaConfig(
        vocab_size=62, d_model=40, n_layers=3, n_heads=6, n_kv_heads=2,
        d_head=8, d_ff=44, max_seq_len=32,
    )  # fmt: skip

    def drawn() -> Llama:
        torch.manual_seed(seed)
        model = Llama(config).double()
        for p in model.parameters():  # gains too, which begin alike
            nn.init.normal_(p, std=0.3)
        return model

    whole, cut = drawn(), drawn()
    split_layers(cut, init_device_mesh("cpu", (dist.get_world_size(),)))
    ids = torch.randint(62, (3, 18))
    logits = []
    for model in (whole, cut):
        logits.append(model(ids[:, :-1]))
        F.cross_entropy(logits[-1].mT, ids[:, 1:]).backward()
    found = {"logits": _apart(logits[1].detach(), logits[0].detach())}
    pairs = zip(whole.named_parameters(), cut.parameters(), strict=True)
    for (name, p), q in pairs:
        assert isinstance(q.grad, DTensor)
        assert p.grad is not None
        found[name] = _apart(q.grad.full_tensor(), p.grad)
    return found


def _apart(got: torch.Tensor, want: torch.Tensor) -> float:
    return ((got - want).abs().max() / want.abs().max()).item()


class InAll(ParallelStyle):
    """Keep a module's parameters whole in every process.

    As DTensors, like those of the layers that are cut: an optimizer and
    `clip_grad_norm_` take all of them together.
    """

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def enter(_, inputs, mesh):  # type: ignore[no-untyped-def]
            return DTensor.from_local(inputs[0], mesh, [Replicate()])

        def leave(_, output, mesh):  # type: ignore[no-untyped-def]
            return output.to_local()

        return distribute_module(
            module, device_mesh, input_fn=enter, output_fn=leave
        )


def _check(model: Llama, mesh: DeviceMesh) -> None:
    checks.kind("model", model, Llama, "a Llama")
    checks.kind("mesh", mesh, DeviceMesh, "a DeviceMesh")
    c, n = model.config, mesh.size()
    checks.need(mesh.ndim == 1, "mesh", f"{mesh.ndim} axes", "one")
    tied = c.tie_embeddings
    checks.need(not tied, "model", "tied embeddings", "two matrices")
    for name in ("n_heads", "n_kv_heads", "d_ff", "vocab_size"):
        size = getattr(c, name)
        fits = size % n == 0
        checks.need(fits, f"model.config.{name}", size, f"a multiple of {n}")


if __name__ == "__main__":
    dist.init_process_group("gloo")
    found = split_differences()
    if dist.get_rank() == 0:
        print(json.dumps(found))
    dist.destroy_process_group()
