"""Right calls of the capstone's parts and of its experiments."""

import torch
from handmade.blocks.rope import rope_angles
from handmade.experiments.ablation import Ablation
from handmade.inference.cache import KVCache
from handmade.training.mini_gpt_model import MiniGPT, MiniGPTConfig
from handmade.training.mini_gpt_ngrams import NGrams
from handmade.training.mini_gpt_settings import Settings

from valid_calls import call

SMALL = {
    "steps": 2, "d_model": 12, "n_layers": 2, "n_heads": 2, "d_ff": 8,
    "max_seq_len": 8, "batch_size": 2,
}  # fmt: skip


def model():
    config = MiniGPTConfig(
        vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, max_seq_len=8
    )
    return MiniGPT(config)


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def ids(*shape):
    return torch.randint(9, shape, generator=torch.Generator().manual_seed(0))


CALLS = {
    "training.mini_gpt_parts.norm": lambda: call(x=draw(2, 3)),
    "training.mini_gpt_parts.square_relu": lambda: call(x=draw(2, 3)),
    "training.mini_gpt_parts.split_qkv": lambda: call(
        qkv_BTD=draw(2, 3, 12), n_heads=2
    ),
    "training.mini_gpt_parts.turn": lambda: call(
        qk=draw(2, 2, 3, 5, 4), rope=rope_angles(torch.arange(5)[None], 4)
    ),
    "training.mini_gpt_parts.attend": lambda: call(
        q_BHTK=draw(2, 2, 3, 4), k_BHSK=draw(2, 2, 5, 4),
        v_BHSK=draw(2, 2, 5, 4),
    ),
    "training.mini_gpt_model.MiniGPT.angles": lambda: call(
        on=model(), positions=torch.arange(5)[None]
    ),
    "training.mini_gpt_model.as_computed": lambda: call(x=draw(2, 3)),
    "training.mini_gpt_hf.hf_weights": lambda: call(model=model()),
    "training.mini_gpt_ngrams.NGrams": lambda: call(
        buckets=16, d_model=4, vocab_size=9
    ),
    "training.mini_gpt_ngrams.NGrams.forward": lambda: call(
        on=NGrams(16, 4, 9), ids=ids(2, 5),
        attention_mask=torch.ones(2, 5).long(), cache=KVCache(),
    ),
    "training.mini_gpt_ngrams.NGrams.learn_by": lambda: call(
        on=NGrams(16, 4, 9), rate=lambda: 0.1, eps=1e-6
    ),
    "training.mini_gpt_ngrams.ngram_rows": lambda: call(
        text=ids(2, 5), buckets=16
    ),
    "training.mini_gpt_ngrams.ngram_hashes": lambda: call(
        text=ids(2, 5), longest=3
    ),
    "training.mini_gpt_ngrams.followed": lambda: call(
        text=ids(2, 5), n=2, last=3
    ),
    "training.mini_gpt_start.write_copying": lambda: call(
        model=MiniGPT(MiniGPTConfig(vocab_size=9, d_model=24, d_ff=8))
    ),
    "training.characters.encoded": lambda: call(text="to be or not to be" * 9),
    "experiments.ablation.Ablation": lambda: call(change="GELU", **SMALL),
    "experiments.ablation.changed_trainer": lambda: call(
        trial=Ablation(**SMALL)
    ),
    "experiments.ablation.run": lambda: call(
        trial=Ablation(**SMALL), steps=1, tell=lambda step, measured: None
    ),
    "experiments.long_run.run": lambda: call(
        settings=Settings(**SMALL), steps=1,
        tell=lambda step, measured: None,
    ),
    "experiments.long_run.long_run": lambda: call(name="transformer"),
}  # fmt: skip
