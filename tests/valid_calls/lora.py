"""Right calls of what fine-tunes: genres, adapters' cost, counted bytes."""

import torch
from handmade.experiments.lora import matrices_of
from handmade.experiments.lora_rates import Tuning
from handmade.models.bert import Bert, BertConfig
from handmade.models.llama_config import LlamaConfig
from handmade.training.genres import Classifier
from torch import nn

from valid_calls import call

LLAMA = LlamaConfig(
    vocab_size=9, d_model=8, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=16,
    max_seq_len=8,
)  # fmt: skip


def bert():
    return Bert(
        BertConfig(
            vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8,
            max_seq_len=8, pooler=False,
        )
    )  # fmt: skip


def read():
    return torch.ones(3, 5).long(), torch.ones(3, 5).long()


def tuning():
    return Tuning(way="head only", rate=0.1, steps=2, warm_up=1, batch=2)


def learner():
    model = nn.Linear(3, 2)
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "loss_of": lambda model, *x: model(torch.ones(2, 3)).square().mean(),
        "batch": (torch.ones(2, 3),),
    }


CALLS = {
    "training.genres.speeches": lambda: call(play="john"),
    "training.genres.genre_texts": lambda: call(side="validation"),
    "training.genres.genre_rows": lambda: call(side="validation", length=9),
    "training.genres.Classifier": lambda: call(encoder=bert(), n_classes=2),
    "training.genres.Classifier.forward": lambda: call(
        on=Classifier(bert()), ids=read()[0], attention_mask=read()[1]
    ),
    "training.genres.class_loss": lambda: call(
        model=Classifier(bert()), ids=read()[0], attention_mask=read()[1],
        target=torch.zeros(3).long(),
    ),
    "training.genres.accuracy": lambda: call(
        model=Classifier(bert()), rows=[*read(), torch.zeros(3).long()],
        batch=2,
    ),
    "training.step_bytes.step_bytes": lambda: call(**learner()),
    "training.adapter_cost.matrix_sizes": lambda: call(config=LLAMA),
    "training.adapter_cost.adapter_cost": lambda: call(
        config=LLAMA, matrices=["q_proj"], rank=2, number_bytes=2,
        state_bytes=8,
    ),
    "widgets.lora_rank.lora_rank": lambda: call(
        configs={"a": LLAMA}, preset="a", matrices=["q_proj"], rank=2
    ),
    "experiments.lora.cut_to": lambda: call(
        change=torch.ones(3, 2), ranks=(0, 1)
    ),
    "experiments.lora.matrices_of": lambda: call(model=Classifier(bert())),
    "experiments.lora.cut_changes": lambda: call(
        model=Classifier(bert()), before=matrices_of(Classifier(bert())),
        rows=(*read(), torch.zeros(3).long()),
    ),
    "experiments.lora.run": lambda: call(tuning=tuning(), steps=1),
    "experiments.lora_rates.Tuning": lambda: call(**vars(tuning())),
    "experiments.lora_rates.tuned": lambda: call(tuning=tuning()),
    "experiments.lora_rates.tune": lambda: call(tuning=tuning(), steps=1),
    "experiments.lora_rates.run": lambda: call(tuning=tuning(), steps=1),
    "experiments.lora_rates.measured": lambda: call(tuning=tuning()),
}  # fmt: skip
