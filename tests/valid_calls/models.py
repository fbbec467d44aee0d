"""Right calls of `handmade.models`, `training` and `experiments`."""

import torch
from handmade.blocks import why_attention
from handmade.experiments import extrapolation
from handmade.inference.cache import KVCache
from handmade.models import load
from handmade.models.llama import Llama, LlamaConfig
from torch import nn

from valid_calls import call
from valid_calls.weights import pretrained

SIZES = {
    "vocab_size": 11,
    "d_model": 12,
    "n_layers": 2,
    "n_heads": 3,
    "n_kv_heads": 1,
    "d_ff": 8,
    "d_head": 4,
    "max_seq_len": 16,
}


def llama():
    return Llama(LlamaConfig(**SIZES)).eval()


def ids():
    return torch.arange(10).reshape(2, 5)


def mask():
    return torch.ones(2, 5).long()


def at():
    return torch.arange(5).expand(2, 5).clone()


def seen():
    return torch.ones(5, 5).bool().tril()


def hf_config():
    return LlamaConfig(**SIZES).to_hf()


def weights():
    return load.export(llama(), Llama.HF_WEIGHTS)


class Chat:
    """The ids of every question are the same; an id is its own text."""

    chat_template = "no words"

    def __init__(self, eos=0):
        self.eos_token_id = eos

    def apply_chat_template(self, chat, **_):
        return {"input_ids": ids()[:1]}

    def decode(self, ids, **_):
        return " ".join(map(str, ids.tolist()))


def answered():
    """A model's answer of one token, which ends it."""
    model = llama()
    end = int(model(ids()[:1])[0, -1].argmax())
    return {
        "model": model,
        "tokenizer": Chat(end),
        "ids": ids()[:1],
        "max_new_tokens": 1,
    }


def trial(**more):
    more = {"scheme": "RoPE", "d_model": 8, "n_heads": 2, **more}
    return extrapolation.Trial(
        **more, n_layers=1, d_ff=8, batch=2, steps=1, windows=2
    )


def char_model():
    return extrapolation.CharModel(trial(), 28)


def training():
    model = nn.Linear(2, 1)
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "draw": lambda generator: (torch.ones(3, 2),),
        "loss_of": lambda model, x: model(x).sum(),
        "steps": 2,
        "generator": torch.Generator(),
    }


def recall_batch():
    return why_attention.recall_batch(3, 2, torch.Generator())


LINES = {"w.{}": "{}.weight", "b.{}": "{}.bias"}
OUTER = load.Same("w.{}")
BOTH = load.Split("q.{}", "k.{}")
TURNED = load.Transposed("w.{}")
STACK = load.Stacked("w.{}")
OURS = {"w.0": torch.ones(2, 3), "w.1": torch.ones(2, 3)}
RULES = {"Same": OUTER, "Split": BOTH, "Transposed": TURNED, "Stacked": STACK}

CALLS = {
    "models.config.activation": lambda: call(name="gelu"),
    "models.config.as_dict": lambda: call(config=hf_config()),
    "models.config.read_rope": lambda: call(config=hf_config()),
    "models.config.write_rope": lambda: call(theta=1e4, scaling=None),
    "models.config.preset": lambda: call(
        cls=LlamaConfig, presets={"a": SIZES}, name="a", overrides={}
    ),
    "models.llama.Llama": lambda: call(config=LlamaConfig(**SIZES)),
    "models.llama.Llama.forward": lambda: call(
        llama(),
        ids=ids(),
        attention_mask=mask(),
        positions=at(),
        mask=seen(),
        logits_to_keep=2,
    ),
    "models.llama.Llama.from_name": lambda: call(
        name="smollm2-135m", overrides={"n_layers": 1, "vocab_size": 9}
    ),
    "models.llama.Llama.from_hf": lambda: call(hf_model=llama().to_hf()),
    "models.llama.Llama.from_weights": lambda: call(
        weights=weights(), config=hf_config()
    ),
    "models.llama_config.LlamaConfig": lambda: call(**SIZES),
    "models.llama_config.LlamaConfig.from_name": lambda: call(
        name="smollm2-135m", overrides={"n_layers": 2}
    ),
    "models.llama_config.LlamaConfig.from_hf": lambda: call(
        config=hf_config()
    ),
    "models.load.Same": lambda: call(pattern="w.{}"),
    "models.load.Split": lambda: call(patterns=("q.{}", "k.{}")),
    "models.load.Transposed": lambda: call(inner="w.{}"),
    "models.load.Stacked": lambda: call(inner="w.{}"),
    "models.load.load": lambda: call(
        model=nn.ModuleDict({"0": nn.Linear(2, 3)}),
        weights={"w.0": torch.ones(3, 2), "b.0": torch.ones(3)},
        table=LINES,
    ),
    "models.load.export": lambda: call(
        model=nn.ModuleDict({"0": nn.Linear(2, 3)}), table=LINES
    ),
    "models.load.checkpoint_dtype": lambda: call(
        weights={"a": torch.ones(1), "b": torch.ones(1).half()}, config={}
    ),
    "models.load.as_rule": lambda: call(entry="w.{}"),
    "planted.wrong_theta": lambda: call(model=llama()),
    "planted.centred_norms": lambda: call(model=llama()),
    "planted.repeated_block": lambda: call(model=llama(), index=1),
    "planted.shared_copy": lambda: call(model=llama()),
    "planted.prompt": lambda: call(tokenizer=Chat(), question="a"),
    "planted.answer": lambda: call(**answered()),
    "planted.play": lambda tmp: call(
        checkpoint=pretrained(tmp), seed=1, fails="max_seq_len = 64"
    ),
    "training.loop.train": lambda: call(**training()),
    "training.loop.next_token_loss": lambda: call(model=llama(), ids=ids()),
    "training.recall.train_recall": lambda: call(
        kind=why_attention.AttentionRecall, d_model=4, steps=2
    ),
    "training.recall.recall_loss": lambda: call(
        model=why_attention.AttentionRecall(4), batch=recall_batch()
    ),
    "training.recall.recall_accuracy": lambda: call(
        model=why_attention.AttentionRecall(4), T=3
    ),
    "experiments.core.Plan": lambda: call(
        runs={"a": trial()}, whole=0.1, checkpoint="a"
    ),
    "experiments.core.stored": lambda: call(name="extrapolation"),
    "experiments.core.results": lambda: call(
        name="extrapolation", plan=extrapolation.PLAN
    ),
    "experiments.core.checkpoint": lambda: call(
        name="extrapolation", fails="keeps no checkpoint"
    ),
    "experiments.core.as_json": lambda: call(settings=trial()),
    "experiments.extrapolation.Trial": lambda: call(scheme="RoPE"),
    "experiments.extrapolation.CharModel": lambda: call(
        trial=trial(), vocab_size=28
    ),
    "experiments.extrapolation.CharModel.forward": lambda: call(
        char_model(), ids=ids(), positions=at(), cache=KVCache()
    ),
    "experiments.extrapolation.rate_factor": lambda: call(
        trial=trial(), step=0
    ),
    "experiments.extrapolation.train": lambda: call(trial=trial(), steps=1),
    "experiments.extrapolation.held_out_loss": lambda: call(
        model=char_model(), trial=trial(), length=32
    ),
    "experiments.extrapolation.stored_runs": lambda: call(
        changes={"pos_std": 0.02}
    ),
    "experiments.extrapolation.run": lambda: call(trial=trial(lengths=(32,))),
}
