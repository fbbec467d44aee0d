"""T5: one text is read, another is written, whatever the task.

B batch · S tokens read · T tokens written · D model width · V vocabulary

An encoder sees the whole of the first text; a decoder writes the second,
token by token, and looks into the first at every layer. Loads T5, its second
version (T5 v1.1) and Flan-T5. Left out: dropout, the heads for other tasks,
and float16, in which trained weights overflow: it is refused.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from handmade import checks
from handmade.blocks.masks import causal_mask, padding_mask
from handmade.contracts import Cache
from handmade.models.load import checkpoint_dtype, export, load
from handmade.models.t5_checks import (
    check_dtype,
    check_text,
    check_two_texts_cache,
    check_written,
)
from handmade.models.t5_config import PRESETS, T5Config
from handmade.models.t5_stacks import Context, Decoder, Encoder, init
from handmade.models.t5_weights import (
    COPIES,
    LAYERS,
    UNUSED,
    WEIGHTS,
    one_embedding,
    tied_or_not,
    weight_table,
)

__all__ = ["PRESETS", "T5", "T5Config", "shift_right"]


class T5(nn.Module):
    """Read one text, and predict the next token of another at every place.

    y = encoder(tok_emb(ids));  x = decoder(tok_emb(decoder_ids), y)
    lm_head(x / sqrt(D)), without the root where the head is a matrix of its
    own;  (B, S), (B, T) -> (B, T, V) logits. [raffel2020]
    """

    HF_LAYERS: ClassVar[dict[str, str]] = LAYERS
    HF_WEIGHTS: ClassVar[dict[str, str]] = WEIGHTS
    HF_UNUSED = UNUSED

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        checks.kind("config", config, T5Config, "a T5Config")
        self.config = config
        self.tok_emb = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        init(self, config)
        self._tie()

    def forward(
        self,
        ids: torch.Tensor,
        decoder_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        decoder_attention_mask: torch.Tensor | None = None,
        cache: Any = None,
        logits_to_keep: int | None = None,
    ) -> torch.Tensor:
        """Return the logits of the T new tokens, (B, S), (B, T) -> (B, T, V).

        The masks have 1 for a token and 0 for padding, on either side; the
        decoder's covers the cached tokens too. ``cache``, an
        EncoderDecoderCache, keeps what was read as well: from the second
        call on, ids and their mask are not looked at.
        Raises ValueError on shapes that do not fit.
        """
        check_two_texts_cache(cache)
        check_text(ids, attention_mask)
        context = None if cache is None else cache.context
        if context is None:
            context = self.read(ids, attention_mask)
        if cache is not None:
            cache.context = context
        return self.write(
            decoder_ids,
            context,
            decoder_attention_mask,
            cache=cache,
            logits_to_keep=logits_to_keep,
        )

    def read(
        self, ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> Context:
        """Encode texts (B, S), and take each layer's keys and values."""
        check_text(ids, attention_mask)
        check_dtype(self.tok_emb.weight.dtype)
        mask = None if attention_mask is None else padding_mask(attention_mask)
        y = self.encoder(self.tok_emb(ids), mask)
        return Context(self.decoder.keys_values(y), mask)

    def write(
        self,
        decoder_ids: torch.Tensor,
        context: Context,
        decoder_attention_mask: torch.Tensor | None = None,
        *,
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        logits_to_keep: int | None = None,
    ) -> torch.Tensor:
        """Return the logits after the tokens written, (B, T) -> (B, T, V).

        ``mask``, bool (T, S) or (B, 1, T, S), replaces the causal one.
        """
        checks.cache("cache", cache)
        checks.kind("context", context, Context, "what read() returned")
        past, kept = (0, 0) if cache is None else (cache.length, cache.kept)
        check_written(
            decoder_ids,
            decoder_attention_mask,
            mask,
            len(context.layers[0][0]),
            (past, kept),
            logits_to_keep,
        )
        T = decoder_ids.shape[1]
        if cache is not None:
            masked = decoder_attention_mask is not None
            cache.begin(len(decoder_ids), masked=masked)
        if mask is None:
            mask = causal_mask(T, kept + T, device=decoder_ids.device)
        if decoder_attention_mask is not None:
            here = decoder_attention_mask[:, past - kept :]
            mask = mask & padding_mask(here)
        x = self.decoder(self.tok_emb(decoder_ids), context, mask, cache)
        if logits_to_keep is not None:
            x = x[:, -logits_to_keep:]
        if self.config.scale_output:
            x = x * self.config.d_model**-0.5
        return self.lm_head(x)

    @torch.no_grad()
    def decoder_for(
        self, ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> "Writer":
        """Read texts (B, S); return a decoder that writes about them.

        It is called as `handmade.contracts.Decoder` says, so that every loop
        can generate from it; its texts begin with the start token.
        """
        return Writer(self, self.read(ids, attention_mask))

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "T5":
        """Return an untrained model of a published model's sizes."""
        return cls(T5Config.from_name(name, **overrides))

    @classmethod
    def from_hf(cls, hf_model: nn.Module) -> "T5":
        """Copy a transformers ``T5ForConditionalGeneration``, dtype too."""
        weighs = isinstance(hf_model, nn.Module)
        want = "a model: a config has no weights"
        checks.need(weighs, "hf_model", f"a {type(hf_model).__name__}", want)
        return cls.from_weights(hf_model.state_dict(), hf_model)

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, torch.Tensor], config: object
    ) -> "T5":
        """Build from tensors by Hugging Face name and a config.json.

        ``config`` is all that ``T5Config.from_hf`` takes, or one of ours.
        As in transformers 5, whose configs call every T5 tied, a head that
        differs from the embedding is a head of its own. Raises ValueError
        on missing, unexpected or misshapen tensors.
        """
        weights = one_embedding(weights)
        if not isinstance(config, T5Config):
            config = tied_or_not(T5Config.from_hf(config), weights)
        with torch.device("meta"):  # no time spent on random weights
            model = cls(config)
        tied = {"lm_head.weight": "tok_emb.weight"}
        load(
            model,
            weights,
            weight_table(config),
            tied=tied if config.tie_embeddings else None,
            ignored=cls.HF_UNUSED,
            dtype=checkpoint_dtype(weights, config.inert),
        )
        model._tie()
        return model.requires_grad_(True).eval()

    def to_hf(self) -> Any:
        """Return the same as a transformers ``T5ForConditionalGeneration``."""
        # only here: the model itself runs without transformers
        from transformers import T5Config as HFConfig
        from transformers import T5ForConditionalGeneration

        hf_config = HFConfig.from_dict(self.config.to_hf())
        hf_model: Any = T5ForConditionalGeneration(hf_config)
        tensors = export(self, weight_table(self.config))
        for copy in COPIES:
            tensors[copy] = tensors["shared.weight"]
        if not self.config.tie_embeddings:  # theirs is tied when it is made
            own = hf_model.lm_head.weight.detach().clone()
            hf_model.lm_head.weight = nn.Parameter(own)
        hf_model.load_state_dict(tensors, assign=True)
        shared = hf_model.shared.weight
        hf_model.encoder.embed_tokens.weight = shared
        hf_model.decoder.embed_tokens.weight = shared
        if self.config.tie_embeddings:
            hf_model.lm_head.weight = shared
        else:  # or saving and moving would take it for the embedding
            hf_model.all_tied_weights_keys.pop("lm_head.weight", None)
        return hf_model.to(self.tok_emb.weight.device).eval()

    def _tie(self) -> None:
        if self.config.tie_embeddings:
            self.lm_head.weight = self.tok_emb.weight


class Writer(nn.Module):
    """A decoder of texts that were read, as `handmade.contracts.Decoder`.

    A row for each text; or several, one after the other, as beam search has
    them. An EncoderDecoderCache keeps their order where rows are reordered
    in any other way.
    """

    def __init__(self, model: T5, context: Context) -> None:
        super().__init__()
        checks.kind("model", model, T5, "a T5")
        checks.kind("context", context, Context, "what read() returned")
        self.model, self.context, self.config = model, context, model.config

    def forward(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        cache: Any = None,
        logits_to_keep: int | None = None,
    ) -> torch.Tensor:
        """Return the logits of the T new tokens, (B, T) -> (B, T, V).

        Raises ValueError on positions, of which T5 has none, and on rows
        that are no multiple of the texts.
        """
        if positions is not None:
            raise ValueError(
                f"positions: got {positions!r:.40}, want None: a T5 knows "
                "distances only"
            )
        checks.cache("cache", cache)
        seen = (0, 0) if cache is None else (cache.length, cache.kept)
        texts = len(self.context.layers[0][0])
        check_written(
            ids, attention_mask, mask, texts, seen, logits_to_keep, prefix=""
        )
        context = getattr(cache, "context", None)
        if context is None:
            each = len(ids) // texts
            index = torch.arange(texts, device=ids.device)
            context = self.context.rows(index.repeat_interleave(each))
        if hasattr(cache, "context"):
            cache.context = context
        return self.model.write(
            ids,
            context,
            attention_mask,
            mask=mask,
            cache=cache,
            logits_to_keep=logits_to_keep,
        )


def shift_right(
    labels: torch.Tensor, start_id: int = 0, pad_id: int = 0
) -> torch.Tensor:
    """Return what the decoder reads to predict the labels, (B, T) -> same.

    The start token, then all labels but the last. -100, which marks what is
    no part of the loss, becomes padding.
    """
    checks.ids("labels", labels, axes=1)
    checks.whole("start_id", start_id, at_least=0)
    checks.whole("pad_id", pad_id, at_least=0)
    start = labels.new_full((*labels.shape[:-1], 1), start_id)
    before = torch.cat((start, labels[..., :-1]), dim=-1)
    return before.masked_fill(before == -100, pad_id)
