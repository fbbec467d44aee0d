"""BERT's first task: guess the tokens that were hidden from it.

B batch · T tokens · D model width · V vocabulary

The encoder and a head of one layer, as in transformers' BertForMaskedLM.
Left out: the second task of BERT's training, telling whether two sentences
follow each other.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from handmade import checks
from handmade.blocks.norms import LayerNorm
from handmade.models.bert import Bert, config_of, init
from handmade.models.bert_checks import check_model
from handmade.models.bert_config import BertConfig
from handmade.models.bert_files import todays_names
from handmade.models.config import activation
from handmade.models.load import checkpoint_dtype, export, load


class MaskedLM(nn.Module):
    """Predict the token at every position, from both of its sides.

    lm_head(norm(activation(dense(bert(ids)))))
    (B, T) -> (B, T, V) logits. [devlin2019]

    The head's matrix is the embedding, read backwards; its bias is its own.
    """

    # our module -> the same place in transformers' BertForMaskedLM
    HF_LAYERS: ClassVar[dict[str, str]] = {
        **{f"bert.{our}": f"bert.{hf}"
           for our, hf in Bert.HF_LAYERS.items() if our},
        "bert": "bert",
        "dense": "cls.predictions.transform.dense",
        "norm": "cls.predictions.transform.LayerNorm",
        "lm_head": "cls.predictions.decoder",
        "": "",
    }  # fmt: skip

    # the tensors of a checkpoint -> our parameters
    HF_WEIGHTS: ClassVar[dict[str, str]] = {
        **{f"bert.{hf}": f"bert.{our}" for hf, our in Bert.HF_WEIGHTS.items()
           if our not in ("pooler.weight", "pooler.bias")},
        "cls.predictions.transform.dense.weight": "dense.weight",
        "cls.predictions.transform.dense.bias": "dense.bias",
        "cls.predictions.transform.LayerNorm.weight": "norm.weight",
        "cls.predictions.transform.LayerNorm.bias": "norm.bias",
        "cls.predictions.decoder.weight": "lm_head.weight",
        "cls.predictions.bias": "lm_head.bias",
    }  # fmt: skip

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        checks.kind("config", config, BertConfig, "a BertConfig")
        # nothing here reads the first token alone
        self.config = replace(config, pooler=False)
        self.bert = Bert(self.config)
        D = config.d_model
        self.dense = nn.Linear(D, D)
        self.activation = activation(config.activation)
        self.norm = LayerNorm(D, config.norm_eps)
        self.lm_head = nn.Linear(D, config.vocab_size)
        for module in (self.dense, self.lm_head):
            init(module)
        self._tie()

    def forward(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the logits at every position, (B, T) -> (B, T, V).

        Arguments and errors are those of ``Bert``.
        """
        return self.predict(self.bert(ids, attention_mask, token_type_ids))

    def predict(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits behind any of BERT's vectors, (.., D) -> (.., V).

        Training needs them where a token was hidden, and nowhere else.
        """
        checks.width("hidden", hidden, self.config.d_model)
        return self.lm_head(self.norm(self.activation(self.dense(hidden))))

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "MaskedLM":
        """Return an untrained model of a published model's sizes."""
        return cls(BertConfig.from_name(name, **overrides))

    @classmethod
    def from_hf(cls, hf_model: nn.Module) -> "MaskedLM":
        """Copy a transformers ``BertForMaskedLM``, dtype and device too."""
        check_model(hf_model)
        return cls.from_weights(hf_model.state_dict(), hf_model)

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, torch.Tensor], config: object
    ) -> "MaskedLM":
        """Build from tensors by Hugging Face name and a config.json.

        As ``Bert.from_weights``, the head's tensors with the others. A
        pooler in the file is left out, since nothing here reads it.
        """
        config = config_of(weights, config)
        weights = todays_names(weights, prefix="bert.")
        with torch.device("meta"):
            model = cls(config)
        load(
            model,
            weights,
            cls.HF_WEIGHTS,
            ignored=["bert.pooler.dense.weight", "bert.pooler.dense.bias"],
            tied={"lm_head.weight": "bert.tok_emb.weight"},
            dtype=checkpoint_dtype(weights, config.inert),
        )
        model._tie()
        return model.requires_grad_(True).eval()

    def to_hf(self) -> Any:
        """Return the same model as a transformers ``BertForMaskedLM``."""
        from transformers import BertConfig as HFConfig
        from transformers import BertForMaskedLM

        hf_config = HFConfig.from_dict(self.config.to_hf())
        hf_model: Any = BertForMaskedLM(hf_config)
        weights = export(self, self.HF_WEIGHTS)
        bias = "cls.predictions.{}bias".format
        weights[bias("decoder.")] = weights[bias("")]
        hf_model.load_state_dict(weights, assign=True)
        hf_model.tie_weights()
        return hf_model.to(self.dense.weight.device).eval()

    def _tie(self) -> None:
        self.lm_head.weight = self.bert.tok_emb.weight
