"""BERT: an encoder, which reads a text in both directions at once.

B batch · T tokens · D model width · V vocabulary

Loads any Hugging Face BERT with absolute positions: BERT itself, and the
many sentence encoders made of one, such as MiniLM. Left out: dropout, the
head that told whether two sentences follow each other, and BERT as a decoder.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from handmade import checks
from handmade.blocks.block import Block
from handmade.blocks.feedforward import FeedForward
from handmade.blocks.masks import padding_mask
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import LayerNorm
from handmade.blocks.positions import LearnedPositions
from handmade.blocks.rope import token_positions
from handmade.models.bert_checks import check_call, check_model
from handmade.models.bert_config import PRESETS, BertConfig
from handmade.models.bert_files import todays_names
from handmade.models.config import activation
from handmade.models.load import checkpoint_dtype, export, load
from handmade.models.load_checks import check_weights
from handmade.models.sentences import first_token

__all__ = ["PRESETS", "Bert", "BertConfig"]


class Bert(nn.Module):
    """Give every token a vector that knows the text on both of its sides.

    x = emb_norm(tok_emb(ids) + type_emb(types) + pos_emb(0, 1, ...))
    x = block(x) for each block, its norms after the sums
    (B, T) -> (B, T, D). [devlin2019]
    """

    # our module -> the same place in transformers' BertModel
    HF_LAYERS: ClassVar[dict[str, str]] = {
        "tok_emb": "embeddings.word_embeddings",
        "pos_emb": "embeddings.position_embeddings",
        "type_emb": "embeddings.token_type_embeddings",
        "emb_norm": "embeddings.LayerNorm",
        "blocks.{}.attn.q_proj": "encoder.layer.{}.attention.self.query",
        "blocks.{}.attn.k_proj": "encoder.layer.{}.attention.self.key",
        "blocks.{}.attn.v_proj": "encoder.layer.{}.attention.self.value",
        "blocks.{}.attn": "encoder.layer.{}.attention.output.dense",
        "blocks.{}.attn_norm": "encoder.layer.{}.attention.output.LayerNorm",
        "blocks.{}.ffn.up_proj": "encoder.layer.{}.intermediate.dense",
        "blocks.{}.ffn": "encoder.layer.{}.output.dense",
        "blocks.{}.ffn_norm": "encoder.layer.{}.output.LayerNorm",
        "blocks.{}": "encoder.layer.{}",
        "": "",
    }

    # the tensors of a checkpoint -> our parameters
    HF_WEIGHTS: ClassVar[dict[str, str]] = {
        "embeddings.word_embeddings.weight": "tok_emb.weight",
        "embeddings.position_embeddings.weight": "pos_emb.weight",
        "embeddings.token_type_embeddings.weight": "type_emb.weight",
        "embeddings.LayerNorm.weight": "emb_norm.weight",
        "embeddings.LayerNorm.bias": "emb_norm.bias",
        "encoder.layer.{}.attention.self.query.weight":
            "blocks.{}.attn.q_proj.weight",
        "encoder.layer.{}.attention.self.query.bias":
            "blocks.{}.attn.q_proj.bias",
        "encoder.layer.{}.attention.self.key.weight":
            "blocks.{}.attn.k_proj.weight",
        "encoder.layer.{}.attention.self.key.bias":
            "blocks.{}.attn.k_proj.bias",
        "encoder.layer.{}.attention.self.value.weight":
            "blocks.{}.attn.v_proj.weight",
        "encoder.layer.{}.attention.self.value.bias":
            "blocks.{}.attn.v_proj.bias",
        "encoder.layer.{}.attention.output.dense.weight":
            "blocks.{}.attn.o_proj.weight",
        "encoder.layer.{}.attention.output.dense.bias":
            "blocks.{}.attn.o_proj.bias",
        "encoder.layer.{}.attention.output.LayerNorm.weight":
            "blocks.{}.attn_norm.weight",
        "encoder.layer.{}.attention.output.LayerNorm.bias":
            "blocks.{}.attn_norm.bias",
        "encoder.layer.{}.intermediate.dense.weight":
            "blocks.{}.ffn.up_proj.weight",
        "encoder.layer.{}.intermediate.dense.bias":
            "blocks.{}.ffn.up_proj.bias",
        "encoder.layer.{}.output.dense.weight":
            "blocks.{}.ffn.down_proj.weight",
        "encoder.layer.{}.output.dense.bias": "blocks.{}.ffn.down_proj.bias",
        "encoder.layer.{}.output.LayerNorm.weight":
            "blocks.{}.ffn_norm.weight",
        "encoder.layer.{}.output.LayerNorm.bias": "blocks.{}.ffn_norm.bias",
        "pooler.dense.weight": "pooler.weight",
        "pooler.dense.bias": "pooler.bias",
    }  # fmt: skip

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        checks.kind("config", config, BertConfig, "a BertConfig")
        self.config = config
        D, eps = config.d_model, config.norm_eps
        self.tok_emb = nn.Embedding(
            config.vocab_size, D, padding_idx=config.pad_id
        )
        self.type_emb = nn.Embedding(config.n_types, D)
        self.pos_emb = LearnedPositions(config.max_seq_len, D, std=0.02)
        self.emb_norm = LayerNorm(D, eps)
        self.blocks = nn.ModuleList(
            Block(
                attn_norm=LayerNorm(D, eps),
                attn=MultiHeadAttention(D, config.n_heads, bias=True),
                ffn_norm=LayerNorm(D, eps),
                ffn=FeedForward(D, config.d_ff, activation(config.activation)),
                placement="post",
            )
            for _ in range(config.n_layers)
        )
        self.pooler = nn.Linear(D, D) if config.pooler else None
        self.apply(init)

    def forward(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return a vector for each token, (B, T) -> (B, T, D).

        ``attention_mask`` (B, T) has 1 for a token and 0 for padding, on
        either side: positions count the real tokens, so that a row says
        what it says alone. (Transformers counts the padding too, unless it
        is given ``position_ids``; on the right that is the same.)
        ``token_type_ids`` (B, T), by default 0, tell two sentences apart.
        A padding position gets finite numbers that mean nothing.
        Raises ValueError on shapes that do not fit and on longer texts than
        ``config.max_seq_len``.
        """
        check_call(self.config, ids, attention_mask, token_type_ids)
        mask = None  # every token may attend to every other
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        if attention_mask is not None:
            mask = padding_mask(attention_mask)
            positions = token_positions(attention_mask)
        types = torch.zeros_like(ids)
        if token_type_ids is not None:
            types = token_type_ids
        x = self.tok_emb(ids) + self.type_emb(types) + self.pos_emb(positions)
        x = self.emb_norm(x)
        for block in self.blocks:
            x = block(x, mask=mask)
        return x

    def pool(
        self,
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the pooler's reading of each row's first real token.

        tanh(W x[0] + b),  (B, T, D) -> (B, D)

        It was trained to tell whether two sentences follow each other.
        Raises ValueError where the checkpoint had no pooler.
        """
        checks.width("hidden", hidden, self.config.d_model, axes=3)
        if self.pooler is None:
            raise ValueError("pooler: got none, want a BERT that has one")
        if attention_mask is None:
            first = hidden[:, 0]
        else:
            first = first_token(hidden, attention_mask)
        return torch.tanh(self.pooler(first))

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "Bert":
        """Return an untrained model of a published model's sizes."""
        return cls(BertConfig.from_name(name, **overrides))

    @classmethod
    def from_hf(cls, hf_model: nn.Module) -> "Bert":
        """Copy a transformers ``BertModel``, dtype and device too.

        Of a ``BertForMaskedLM`` or another task's model, its encoder.
        """
        check_model(hf_model)
        encoder: Any = getattr(hf_model, "base_model", hf_model)
        return cls.from_weights(encoder.state_dict(), encoder)

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, torch.Tensor], config: object
    ) -> "Bert":
        """Build from tensors by Hugging Face name and a config.json.

        ``config`` is all that ``BertConfig.from_hf`` takes, or one of ours.
        The tensors are copied; names with ``bert.`` before them and those of
        old files are read too.
        Raises ValueError on missing, unexpected or misshapen tensors.
        """
        config = config_of(weights, config)
        weights = todays_names(weights, prefix="")
        with torch.device("meta"):  # no time spent on random weights
            model = cls(config)
        dtype = checkpoint_dtype(weights, config.inert)
        load(model, weights, cls.HF_WEIGHTS, dtype=dtype)
        return model.requires_grad_(True).eval()

    def to_hf(self) -> Any:
        """Return the same model as a transformers ``BertModel``."""
        # only here: the model itself runs without transformers
        from transformers import BertConfig as HFConfig
        from transformers import BertModel

        hf_config = HFConfig.from_dict(self.config.to_hf())
        pooled = self.pooler is not None
        hf_model: Any = BertModel(hf_config, add_pooling_layer=pooled)
        hf_model.load_state_dict(export(self, self.HF_WEIGHTS), assign=True)
        return hf_model.to(self.tok_emb.weight.device).eval()


def init(module: nn.Module) -> None:
    """Draw matrices with spread 0.02, biases and the pad row at 0."""
    checks.module("module", module)
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx])


def config_of(
    weights: Mapping[str, torch.Tensor], config: object
) -> BertConfig:
    """Read a config, and from the weights whether there is a pooler."""
    check_weights(weights)
    if isinstance(config, BertConfig):
        return config
    pooler = any("pooler.dense." in name for name in weights)
    return BertConfig.from_hf(config, pooler=pooler)
