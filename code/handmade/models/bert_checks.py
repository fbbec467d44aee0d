"""What BERT refuses before it computes anything."""

import torch
from torch import nn

from handmade import checks
from handmade.models.bert_config import BertConfig


def check_model(hf_model: nn.Module) -> None:
    """Want a model of transformers, with its weights."""
    weighs = isinstance(hf_model, nn.Module)
    want = "a model: a config has no weights"
    checks.need(weighs, "hf_model", f"a {type(hf_model).__name__}", want)


def check_call(
    config: BertConfig,
    ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    token_type_ids: torch.Tensor | None,
) -> None:
    """Want (B, T) three times, and no more tokens than positions."""
    checks.ids("ids", ids)
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(
            f"ids: got shape {tuple(ids.shape)}, want (B, T), T > 0"
        )
    T, longest = ids.shape[1], config.max_seq_len
    want = f"1 to {longest}: max_seq_len"
    checks.need(longest >= T, "length of ids", T, want)
    if attention_mask is not None:
        check_fits("attention_mask", attention_mask, ids.shape)
    if token_type_ids is not None:
        checks.ids("token_type_ids", token_type_ids)
        _check_shape("token_type_ids", token_type_ids, ids.shape)


def check_fits(name: str, mask: torch.Tensor, shape: torch.Size) -> None:
    """Want a mask of 1 and 0 of this shape."""
    checks.yes_or_no(name, mask)
    _check_shape(name, mask, shape)


def _check_shape(name: str, x: torch.Tensor, shape: torch.Size) -> None:
    want = f"(B, T) = {tuple(shape)}"
    checks.need(x.shape == shape, name, tuple(x.shape), want)
