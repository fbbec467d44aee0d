"""Right calls of `handmade.models.gpt2`."""

import torch
from handmade.models.gpt2 import GPT2, GPT2Config
from handmade.models.load import export

from valid_calls import call

SIZES = {
    "vocab_size": 11,
    "d_model": 12,
    "n_layers": 2,
    "n_heads": 3,
    "d_ff": 8,
    "max_seq_len": 16,
}


def gpt2():
    return GPT2(GPT2Config(**SIZES)).eval()


def hf_config():
    return GPT2Config(**SIZES).to_hf()


CALLS = {
    "models.gpt2.GPT2": lambda: call(config=GPT2Config(**SIZES)),
    "models.gpt2.GPT2.forward": lambda: call(
        gpt2(),
        ids=torch.arange(10).reshape(2, 5),
        attention_mask=torch.ones(2, 5).long(),
        positions=torch.arange(5).expand(2, 5).clone(),
        mask=torch.ones(5, 5).bool().tril(),
        logits_to_keep=2,
    ),
    "models.gpt2.GPT2.from_name": lambda: call(
        name="gpt2", overrides={"n_layers": 1, "d_model": 12}
    ),
    "models.gpt2.GPT2.from_hf": lambda: call(hf_model=gpt2().to_hf()),
    "models.gpt2.GPT2.from_weights": lambda: call(
        weights=export(gpt2(), GPT2.HF_WEIGHTS), config=hf_config()
    ),
    "models.gpt2_config.GPT2Config": lambda: call(**SIZES),
    "models.gpt2_config.GPT2Config.from_name": lambda: call(
        name="gpt2", overrides={"n_layers": 2}
    ),
    "models.gpt2_config.GPT2Config.from_hf": lambda: call(config=hf_config()),
}
