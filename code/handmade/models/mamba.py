"""Mamba: a decoder whose blocks are state-space layers, and nothing else.

B batch · T new tokens · D model width · V vocabulary

Loads a Hugging Face Mamba (the first version). There are no positions, no
mask and no feed-forward layer: a block is a norm and a `StateSpace`. Left
out: the second version, and a head that is not the embedding's own matrix.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import nn

from handmade.blocks.norms import RMSNorm
from handmade.checks import flag, mapping, need, positive, whole, width
from handmade.models import config as hf
from handmade.models.decoder import begin
from handmade.models.load import checkpoint_dtype, load
from handmade.models.state_cache import StateCache, check_state_cache
from handmade.models.state_space import StateSpace

# our name -> its name in a Hugging Face config.json
HF_KEYS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "d_state": "state_size",
    "d_conv": "conv_kernel",
    "norm_eps": "layer_norm_epsilon",
    "float32_stream": "residual_in_fp32",
}
HF_DEFAULTS = {
    "state_size": 16,
    "conv_kernel": 4,
    "layer_norm_epsilon": 1e-5,
    "residual_in_fp32": True,
    "expand": 2,
    "time_step_rank": "auto",
}
HF_REQUIRED: dict[str, tuple[object, ...]] = {
    "model_type": ("mamba",),
    "hidden_act": ("silu",),
    "use_bias": (False,),
    "use_conv_bias": (True,),
    "tie_word_embeddings": (True,),
    "rms_norm": (True,),
    "ssm_cfg": ({},),
    "quantization_config": (None,),
    "is_encoder_decoder": (False,),
    "chunk_size_feed_forward": (0,),
}
# how weights begin, which scan runs, and what older files repeat
HF_INERT = hf.INERT | hf.GENERATION | {
    "time_step_scale", "time_step_min", "time_step_max", "time_step_floor",
    "time_step_init_scheme", "rescale_prenorm_residual", "use_mambapy",
    "use_associative_scan", "d_inner", "d_model", "n_layer",
    "fused_add_norm", "pad_vocab_size_multiple",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MambaConfig:
    """The sizes of a Mamba; ``d_inner`` defaults to 2 D, ``dt_rank`` to D/16.

    ``float32_stream`` keeps the sum of the blocks in float32 where the
    weights are in another dtype, as published models do. ``inert`` keeps
    what a Hugging Face config says besides.
    Raises ValueError where sizes are not whole and positive.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    d_inner: int = None  # type: ignore[assignment]
    d_state: int = 16
    d_conv: int = 4
    dt_rank: int = None  # type: ignore[assignment]
    norm_eps: float = 1e-5
    float32_stream: bool = True
    inert: Mapping[str, Any] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        whole("d_model", self.d_model)
        if self.d_inner is None:
            object.__setattr__(self, "d_inner", 2 * self.d_model)
        if self.dt_rank is None:
            object.__setattr__(self, "dt_rank", math.ceil(self.d_model / 16))
        for name in ("vocab_size", "n_layers", "d_inner", "d_state",
                     "d_conv", "dt_rank"):  # fmt: skip
            whole(name, getattr(self, name))
        positive("norm_eps", self.norm_eps)
        flag("float32_stream", self.float32_stream)
        mapping("inert", self.inert, "a dict")

    @classmethod
    def from_hf(cls, config: object) -> "MambaConfig":
        """Translate a config.json (a dict), a config object or a model's.

        Raises ValueError on every key that this model does not implement.
        """
        values, inert = hf.read_config(
            config,
            implemented={
                *HF_KEYS.values(), "expand", "intermediate_size",
                "time_step_rank",
            },
            required=HF_REQUIRED,
            inert=HF_INERT,
        )  # fmt: skip
        values = {**HF_DEFAULTS, **values}
        for key in HF_KEYS.values():
            need(key in values, key, "nothing", "a size")
        sizes = {ours: values[theirs] for ours, theirs in HF_KEYS.items()}
        expand, rank = values["expand"], values["time_step_rank"]
        D = whole("hidden_size", values["hidden_size"])
        inner = values.get("intermediate_size")
        if inner is None:
            inner = whole("expand", expand) * D
        sizes["dt_rank"] = None if rank == "auto" else rank
        return cls(**sizes, d_inner=inner, inert=inert)


class MambaBlock(nn.Module):
    """Add to the stream what a state-space layer says of its reading.

    x = x + mixer(norm(x)),  (B, T, D) -> (B, T, D)
    """

    def __init__(self, config: MambaConfig, layer: int) -> None:
        super().__init__()
        ours = isinstance(config, MambaConfig)
        need(ours, "config", type(config).__name__, "a MambaConfig")
        whole("layer", layer, at_least=0)
        c, as_hf = config, torch.float32
        self.float32_stream = c.float32_stream
        self.norm = RMSNorm(c.d_model, c.norm_eps, precision=as_hf)
        self.mixer = StateSpace(
            c.d_model, d_inner=c.d_inner, d_state=c.d_state, d_conv=c.d_conv,
            dt_rank=c.dt_rank, precision=as_hf, layer=layer,
        )  # fmt: skip

    def forward(self, x: torch.Tensor, **to_mixer: Any) -> torch.Tensor:
        width("x", x, self.mixer.d_model, axes=3)
        said = self.mixer(self.norm(x.to(self.norm.weight.dtype)), **to_mixer)
        return (x.float() if self.float32_stream else x) + said


class Mamba(nn.Module):
    """Predict the next token from a state of fixed size a layer.

    x = tok_emb(ids); x = x + mixer(norm(x)) for each block; lm_head(norm(x))
    (B, T) -> (B, T, V) logits. [gu2024]
    """

    # our module -> the same place in transformers' MambaForCausalLM
    HF_LAYERS: ClassVar[dict[str, str]] = {
        "tok_emb": "backbone.embeddings",
        "blocks.{}.norm": "backbone.layers.{}.norm",
        "blocks.{}.mixer": "backbone.layers.{}.mixer",
        "blocks.{}": "backbone.layers.{}",
        "norm": "backbone.norm_f",
        "lm_head": "lm_head",  # what it returns is made float32 after that
    }

    # the tensors of a checkpoint -> our parameters
    HF_WEIGHTS: ClassVar[dict[str, str]] = {
        "backbone.embeddings.weight": "tok_emb.weight",
        "backbone.layers.{}.norm.weight": "blocks.{}.norm.weight",
        **{
            f"backbone.layers.{{}}.mixer.{theirs}": f"blocks.{{}}.mixer.{ours}"
            for theirs, ours in {
                "in_proj.weight": "in_proj.weight",
                "conv1d.weight": "conv.weight",
                "conv1d.bias": "conv.bias",
                "x_proj.weight": "x_proj.weight",
                "dt_proj.weight": "dt_proj.weight",
                "dt_proj.bias": "dt_proj.bias",
                "A_log": "A_log",
                "D": "skip",
                "out_proj.weight": "out_proj.weight",
            }.items()
        },
        "backbone.norm_f.weight": "norm.weight",
        "lm_head.weight": "lm_head.weight",
    }

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        ours = isinstance(config, MambaConfig)
        need(ours, "config", type(config).__name__, "a MambaConfig")
        self.config, c = config, config
        self.tok_emb = nn.Embedding(c.vocab_size, c.d_model)
        self.blocks = nn.ModuleList(
            MambaBlock(c, layer) for layer in range(c.n_layers)
        )
        self.norm = RMSNorm(c.d_model, c.norm_eps, precision=torch.float32)
        self.lm_head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        nn.init.normal_(self.tok_emb.weight, std=0.02)
        self._tie()

    def forward(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        cache: StateCache | None = None,
        logits_to_keep: int | None = None,
    ) -> torch.Tensor:
        """Return the logits of the T new tokens, (B, T) -> (B, T, V).

        ``attention_mask`` (B, cache.length + T) has 0 for padding, on the
        left where a text goes on: a state cannot leave out what comes after.
        ``logits_to_keep`` n computes the last n rows only. There are no
        positions to give. Raises ValueError on shapes that do not fit.
        """
        check_state_cache(cache)
        begin(self.config, ids, attention_mask, cache=cast(Any, cache),
              logits_to_keep=logits_to_keep)  # fmt: skip
        if attention_mask is not None:
            attention_mask = attention_mask[:, -ids.shape[1] :]
        x = self.tok_emb(ids)
        for block in self.blocks:
            x = block(x, attention_mask=attention_mask, cache=cache)
        x = self.norm(x.to(self.norm.weight.dtype))
        if logits_to_keep is not None:
            x = x[:, -logits_to_keep:]
        return self.lm_head(x)

    @classmethod
    def from_hf(cls, hf_model: nn.Module) -> "Mamba":
        """Copy a transformers ``MambaForCausalLM``, dtype and device too.

        Raises ValueError on a config that says more than is implemented, and
        on missing, unexpected or misshapen tensors.
        """
        weighs = isinstance(hf_model, nn.Module)
        want = "a model: a config has no weights"
        need(weighs, "hf_model", f"a {type(hf_model).__name__}", want)
        config, weights = MambaConfig.from_hf(hf_model), hf_model.state_dict()
        with torch.device("meta"):  # no time spent on random weights
            model = cls(config)
        load(
            model,
            weights,
            cls.HF_WEIGHTS,
            tied={"lm_head.weight": "tok_emb.weight"},
            dtype=checkpoint_dtype(weights, config.inert),
        )
        model._tie()
        return model.requires_grad_(True).eval()

    def _tie(self) -> None:
        self.lm_head.weight = self.tok_emb.weight
