"""What transformers finds of ours by name: a model, and an attention.

    import handmade.registered

registers our GPT-2 with the Auto classes, as the model type "handmade-gpt2",
and our ``attention`` as the implementation "handmade". The module stands
apart, and nothing in the package imports it: it subclasses transformers'
classes, so it needs transformers itself, which all other models do without.

B batch · T new tokens · S all tokens, cached ones included · V vocabulary
H query heads · G key/value heads · K head width

Left out: gradient checkpointing, another size of vocabulary after loading,
and caches that keep less than they have seen.
"""

from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    initialization,
)
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from handmade import checks
from handmade.blocks.attention import attention
from handmade.blocks.positions import LearnedPositions
from handmade.models.gpt2 import GPT2, GPT2Config


class HandmadeGPT2Config(PreTrainedConfig):  # type: ignore[misc]
    """The sizes of our GPT-2, as transformers keeps and writes them."""

    model_type = "handmade-gpt2"
    # transformers asks a config by its own names: these lead to ours
    attribute_map: ClassVar = {
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "max_position_embeddings": "max_seq_len",
        "tie_word_embeddings": "tie_embeddings",
    }
    vocab_size: int = 50_257
    d_model: int = 768
    n_layers: int = 12
    n_heads: int = 12
    d_ff: int | None = None
    max_seq_len: int = 1024
    norm_eps: float = 1e-5
    activation: str = "gelu_new"
    tie_embeddings: bool = True
    scale_attn: bool = True
    scale_by_layer: bool = False
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    @classmethod
    def of(cls, config: GPT2Config) -> "HandmadeGPT2Config":
        """Translate one of ours, the ids of its special tokens included."""
        checks.kind("config", config, GPT2Config, "a GPT2Config")
        sizes = {name: getattr(config, name) for name in SIZES}
        ids = {name: config.inert.get(name) for name in SPECIAL}
        return cls(**sizes, **ids)

    def ours(self) -> GPT2Config:
        """Translate back."""
        sizes = {name: getattr(self, name) for name in SIZES}
        ids = {name: getattr(self, name) for name in SPECIAL}
        return GPT2Config(**sizes, inert=ids)


SIZES = [field.name for field in fields(GPT2Config) if field.name != "inert"]
SPECIAL = ["bos_token_id", "eos_token_id", "pad_token_id"]


class HandmadeGPT2(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Our GPT-2 as one of transformers' models, its weights under our names.

    logits = GPT2(input_ids),  (B, T) -> (B, T, V)
    """

    config_class = HandmadeGPT2Config
    # the file has one of the two, and the head is the embedding again
    _tied_weights_keys: ClassVar = {
        "model.lm_head.weight": "model.tok_emb.weight"
    }
    _no_split_modules: ClassVar = ["Block"]
    _input_embed_layer = "tok_emb"

    def __init__(self, config: HandmadeGPT2Config) -> None:
        super().__init__(config)
        self.loss_type = "ForCausalLM"
        self.model = GPT2(config.ours())
        self.post_init()  # draws the weights, ties the head

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int = 0,
        return_dict: bool = True,
    ) -> CausalLMOutputWithPast:
        """Return the logits of the new tokens, the loss if there are labels.

        ``attention_mask`` (B, S) covers what the cache has seen, too.
        ``logits_to_keep`` n keeps the last n rows; 0 keeps all of them.
        """
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        cache = None
        if past_key_values is not None:
            cache = TheirCache(past_key_values)
        logits = self.model(
            input_ids,
            attention_mask,
            positions=position_ids,
            cache=cache,
            logits_to_keep=logits_to_keep or None,
        )
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=past_key_values
        )

    @classmethod
    def of(cls, model: GPT2) -> "HandmadeGPT2":
        """Give a model of ours to transformers, not copied."""
        checks.kind("model", model, GPT2, "a GPT2")
        with torch.device("meta"):
            hf_model = cls(HandmadeGPT2Config.of(model.config))
        hf_model.model = model
        hf_model.config.dtype = model.tok_emb.weight.dtype
        return hf_model.train(model.training)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # not an nn.Embedding: what transformers does not know stays empty
        if isinstance(module, LearnedPositions):
            initialization.normal_(module.weight, std=0.02)


class TheirCache:
    """A cache of transformers, asked as `handmade.contracts.Cache` says.

    It keeps nothing itself, so one is made for each pass.
    """

    def __init__(self, past_key_values: Cache) -> None:
        _check_cache(past_key_values)
        self.cache = past_key_values

    @property
    def length(self) -> int:
        """Count the positions seen, padding included."""
        return self.cache.get_seq_length()

    @property
    def kept(self) -> int:
        """Count the keys that stand before the new ones: here, all."""
        return self.length

    def begin(self, rows: int, *, masked: bool) -> None:
        """Do nothing: `generate` sees to the mask and the rows itself."""

    def update(
        self, layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append a layer's keys and values; theirs takes them first."""
        return self.cache.update(k, v, layer)

    def reorder(self, index: torch.Tensor) -> None:
        """Keep the batch rows named by ``index``, repeats allowed."""
        self.cache.reorder_cache(index)


def attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run our ``attention`` inside a model of transformers.

    (B, H, T, K), (B, G, S, K), (B, G, S, K) -> (B, T, H, K), (B, H, T, S)
    Raises ValueError for what ours does not compute, and for a causal module
    without a mask.
    """
    _check_call(module, query, attention_mask, options)
    out_BHTK, weights_BHTS = attention(
        query,
        key,
        value,
        attention_mask,
        scale=scaling,
        soft_cap=softcap,
        return_weights=True,
    )
    return out_BHTK.transpose(1, 2), weights_BHTS


def whole_mask(**options: Any) -> torch.Tensor | None:
    """Return the mask for ``attention_forward``, bool (B, 1, T, S).

    Transformers' own is None where its `is_causal` would do as well; our
    attention looks at everything that no mask hides.
    """
    return sdpa_mask(**{**options, "allow_is_causal_skip": False})


AutoConfig.register(HandmadeGPT2Config.model_type, HandmadeGPT2Config)
AutoModelForCausalLM.register(HandmadeGPT2Config, HandmadeGPT2)
ALL_ATTENTION_FUNCTIONS.register("handmade", attention_forward)
ALL_MASK_ATTENTION_FUNCTIONS.register("handmade", whole_mask)


def _check_cache(cache: Cache) -> None:
    checks.kind("past_key_values", cache, Cache, "a Cache of transformers")
    layers = [type(layer) for layer in cache.layers]
    whole = all(issubclass(layer, DynamicLayer) for layer in layers)
    whole = whole and not any(cache.is_sliding)
    got = f"layers of {sorted({layer.__name__ for layer in layers})}"
    want = "a DynamicCache, whose keys are those it has seen, the new last"
    checks.need(whole, "past_key_values", got, want)


# what a call may say besides, and what it says already through the mask
INERT = {
    "use_cache", "return_dict", "output_attentions", "output_hidden_states",
    "is_causal", "sliding_window", "position_ids", "num_items_in_batch",
    "cache_position",
}  # fmt: skip


def _check_call(
    module: nn.Module,
    query: torch.Tensor,
    mask: torch.Tensor | None,
    options: dict[str, Any],
) -> None:
    for name, value in options.items():
        fine = name in INERT or value is None
        fine = fine or (name == "dropout" and value == 0.0)
        want = "nothing that changes an attention in a way ours does not know"
        checks.need(fine, name, f"{value!r:.40}", want)
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    seen = mask is not None or not causal or query.shape[-2] == 1
    want = "a mask: register whole_mask under the name of this attention"
    checks.need(seen, "attention_mask", "None in a causal module", want)
