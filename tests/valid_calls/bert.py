"""Right calls of BERT, its head, and the search with its vectors."""

import torch
from handmade.models import load, sentences
from handmade.models.bert import Bert, BertConfig
from handmade.models.masked_lm import MaskedLM
from torch import nn

from valid_calls import call
from valid_calls.models import ids, mask

SIZES = {
    "vocab_size": 11, "d_model": 12, "n_layers": 2, "n_heads": 3, "d_ff": 8,
    "max_seq_len": 16,
}  # fmt: skip


def bert():
    return Bert(BertConfig(**SIZES)).eval()


def masked():
    return MaskedLM(BertConfig(**SIZES)).eval()


def hf_config():
    return BertConfig(**SIZES).to_hf()


def weights(model):
    return load.export(model, model.HF_WEIGHTS)


def hidden():
    return torch.randn(2, 5, 12)


def types():
    return torch.zeros(2, 5).long()


PRESET = {"n_layers": 1, "vocab_size": 9}
CALLS = {
    "models.bert.Bert": lambda: call(config=BertConfig(**SIZES)),
    "models.bert.Bert.forward": lambda: call(
        bert(), ids=ids(), attention_mask=mask(), token_type_ids=types()
    ),
    "models.bert.Bert.pool": lambda: call(
        bert(), hidden=hidden(), attention_mask=mask()
    ),
    "models.bert.Bert.from_name": lambda: call(
        name="minilm", overrides=PRESET
    ),
    "models.bert.Bert.from_hf": lambda: call(hf_model=bert().to_hf()),
    "models.bert.Bert.from_weights": lambda: call(
        weights=weights(bert()), config=hf_config()
    ),
    "models.bert.config_of": lambda: call(
        weights=weights(bert()), config=hf_config()
    ),
    "models.bert.init": lambda: call(module=nn.Linear(2, 3)),
    "models.bert_config.BertConfig": lambda: call(**SIZES),
    "models.bert_config.BertConfig.from_name": lambda: call(
        name="minilm", overrides=PRESET
    ),
    "models.bert_config.BertConfig.from_hf": lambda: call(config=hf_config()),
    "models.bert_files.todays_names": lambda: call(
        weights=weights(bert()), prefix="bert."
    ),
    "models.masked_lm.MaskedLM": lambda: call(config=BertConfig(**SIZES)),
    "models.masked_lm.MaskedLM.forward": lambda: call(
        masked(), ids=ids(), attention_mask=mask(), token_type_ids=types()
    ),
    "models.masked_lm.MaskedLM.predict": lambda: call(
        masked(), hidden=hidden()
    ),
    "models.masked_lm.MaskedLM.from_name": lambda: call(
        name="minilm", overrides=PRESET
    ),
    "models.masked_lm.MaskedLM.from_hf": lambda: call(
        hf_model=masked().to_hf()
    ),
    "models.masked_lm.MaskedLM.from_weights": lambda: call(
        weights=weights(masked()), config=hf_config()
    ),
    "models.sentences.mean_pool": lambda: call(
        hidden=hidden(), attention_mask=mask()
    ),
    "models.sentences.first_token": lambda: call(
        hidden=hidden(), attention_mask=mask()
    ),
    "models.sentences.by_length": lambda: call(
        rows=[[1, 2], [3]], batch_size=1, then=list
    ),
    "models.sentences.embed": lambda: call(
        model=bert(), rows=[[1, 2], [3]], pool=sentences.mean_pool
    ),
    "models.sentences.search": lambda: call(
        queries_QD=torch.randn(2, 4), texts_ND=torch.randn(3, 4), k=2
    ),
}
