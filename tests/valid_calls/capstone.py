"""Right calls of what trains: checkpoints, optimizers, the capstone."""

import shutil

import torch
from handmade.blocks.rope import rope_angles
from handmade.training import characters, mini_gpt, mini_gpt_model
from handmade.training.checkpoint import load_checkpoint, save_checkpoint
from handmade.training.loop import Trainer
from handmade.training.lora import LoRALinear, inject
from handmade.training.lora_files import save_adapter
from handmade.training.metrics import Metrics
from handmade.training.mini_gpt_settings import Settings
from handmade.training.optimizers import Muon
from torch import nn

from valid_calls import call

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 20
SMALL = Settings(
    steps=2, d_model=12, n_layers=2, n_heads=2, d_ff=8, max_seq_len=8,
    batch_size=2, precision="float32",
)  # fmt: skip


def line():
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False)


def loop_arguments():
    model = line()
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "draw": lambda generator: (torch.ones(2, 3),),
        "loss_of": lambda model, x: model(x).square().mean(),
        "generator": torch.Generator(),
        "schedule": lambda step: 1.0,
        "max_norm": 1.0,
        "accumulate": 2,
        "count": lambda x: 2.0,
        "precision": torch.bfloat16,
    }


def trainer():
    return Trainer(**loop_arguments())


def saved(folder):
    save_checkpoint(folder, trainer(), {"a": 1})
    return load_checkpoint(folder)


def config():
    return mini_gpt_model.MiniGPTConfig(
        vocab_size=9, d_model=8, n_layers=1, n_heads=2, d_ff=8, max_seq_len=8
    )


def model():
    torch.manual_seed(0)
    return mini_gpt_model.MiniGPT(config()).eval()


def ids(*shape):
    return torch.randint(9, shape, generator=torch.Generator().manual_seed(0))


def run(folder):
    return mini_gpt.Run.new(anew(folder / "run"), SMALL, TEXT)


def a_run(folder):
    return run(folder).save().parent


def anew(folder):
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def draws(*shapes):
    g = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=g) for shape in shapes]


OPEN = []


def open_metrics(folder):
    """One at a time: the one of the last call is closed."""
    while OPEN:
        OPEN.pop().close()
    OPEN.append(Metrics(folder / "a.jsonl"))
    return OPEN[-1]


def stack(adapted=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    if adapted:
        inject(model, ["0"], rank=2, alpha=2.0)
    return model


NAMES = {"{}": "layers.{}"}


def adapter(folder):
    return save_adapter(stack(adapted=True), folder, NAMES)


def closed(made):
    made.close()
    return made


CALLS = {
    "training.compiled.compiled_loss": lambda: call(loss_of=print),
    "training.loop.Trainer": lambda: call(**loop_arguments()),
    "training.loop.Trainer.run": lambda: call(
        on=trainer(), steps=2, tell=lambda step, measured: None
    ),
    "training.loop.Trainer.evaluate": lambda: call(
        on=trainer(), batches=[(torch.ones(2, 3),)]
    ),
    "training.checkpoint.save_checkpoint": lambda folder: call(
        folder=folder, trainer=trainer(), settings={"a": 1},
        extra={"b": 2}, keep=2,
    ),
    "training.checkpoint.load_checkpoint": lambda folder: call(
        folder=saved(folder).folder.parent
    ),
    "training.checkpoint.restore": lambda folder: call(
        trainer=trainer(), checkpoint=saved(folder), settings={"a": 1}
    ),
    "training.schedule.warmup_cosine": lambda: call(
        steps=9, warmup=2, lowest=0.1
    ),
    "training.schedule.warmup_linear": lambda: call(
        steps=9, warmup=2, flat=0.2, lowest=0.1
    ),
    "training.optimizers.adamw_groups": lambda: call(
        model=line(), weight_decay=0.1
    ),
    "training.optimizers.orthogonal_part": lambda: call(
        g=draws((3, 4))[0], steps=2
    ),
    "training.optimizers.Muon": lambda: call(
        params=[*line().parameters()], lr=0.1, momentum=0.9,
        weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8,
        precision=torch.bfloat16, iterations=4,
    ),
    "training.optimizers.Muon.step": lambda: call(
        on=Muon(line().parameters()), closure=lambda: 1.0
    ),
    "training.characters.Alphabet": lambda: call(characters="abc"),
    "training.characters.Alphabet.of": lambda: call(text=TEXT),
    "training.characters.Alphabet.encode": lambda: call(
        on=characters.Alphabet("abc"), text="cab"
    ),
    "training.characters.Alphabet.decode": lambda: call(
        on=characters.Alphabet("abc"), ids=torch.tensor([2, 0])
    ),
    "training.characters.sides": lambda: call(text=TEXT, share=0.1),
    "training.characters.draw_windows": lambda: call(
        ids=ids(20), T=4, batch_size=2, generator=torch.Generator()
    ),
    "training.characters.shuffled_windows": lambda: call(
        ids=torch.arange(40), T=3, batch_size=2, step=1, seed=0
    ),
    "training.characters.all_windows": lambda: call(
        ids=ids(20), T=4, batch_size=2, then=list
    ),
    "training.metrics.Metrics": lambda folder: call(
        path=folder / "a.jsonl", resume_at=1, board=False, then=closed
    ),
    "training.metrics.Metrics.write": lambda folder: call(
        on=open_metrics(folder), step=1, values={"loss": 1.0}
    ),
    "training.metrics.read_metrics": lambda folder: call(
        path=folder / "a.jsonl"
    ),
    "training.metrics.Progress": lambda: call(
        steps=3, tokens=2, start=1, every=1.0, then=closed
    ),
    "training.lora.widths": lambda: call(base=nn.Linear(4, 6)),
    "training.lora.LoRALinear": lambda: call(
        base=nn.Linear(4, 6), rank=2, alpha=2.0, generator=torch.Generator()
    ),
    "training.lora.LoRALinear.forward": lambda: call(
        on=LoRALinear(nn.Linear(4, 6), 2, 2.0), x=draws((3, 4))[0]
    ),
    "training.lora.inject": lambda: call(
        model=stack(), targets=["0"], rank=2, alpha=2.0,
        generator=torch.Generator(),
    ),
    "training.lora.merge_adapters": lambda: call(model=stack(adapted=True)),
    "training.lora.untie": lambda: call(model=stack(), name="1"),
    "training.lora.adapters": lambda: call(
        model=stack(adapted=True), then=list
    ),
    "training.lora.trainable": lambda: call(model=stack()),
    "training.lora_files.save_adapter": lambda folder: call(
        model=stack(adapted=True), folder=folder, names=NAMES
    ),
    "training.lora_files.load_adapter": lambda folder: call(
        model=stack(), folder=adapter(folder), names=NAMES
    ),
    "training.mini_gpt_model.MiniGPTConfig": lambda: call(**vars(config())),
    "training.mini_gpt_model.MiniGPT": lambda: call(config=config()),
    "training.mini_gpt_model.MiniGPT.forward": lambda: call(
        on=model(), ids=ids(2, 5), attention_mask=torch.ones(2, 5).long(),
    ),
    "training.mini_gpt_model.MiniBlock": lambda: call(
        config=config(), layer=0
    ),
    "training.mini_gpt_model.MiniBlock.forward": lambda: call(
        on=model().blocks[0], x=draws((2, 5, 8))[0],
        rope=rope_angles(torch.arange(5)[None], 4),
        mask=torch.ones(5, 5).tril().bool(),
    ),
    "training.mini_gpt_settings.Settings": lambda: call(**vars(SMALL)),
    "training.mini_gpt_settings.Settings.config": lambda: call(
        on=SMALL, vocab_size=9
    ),
    "training.mini_gpt.make_trainer": lambda: call(
        settings=SMALL, ids=ids(40), vocab_size=9
    ),
    "training.mini_gpt_loss.character_loss": lambda: call(
        model=model(), ids=ids(2, 5), judged=torch.ones(2, 4).bool()
    ),
    "training.mini_gpt_loss.judged_count": lambda: call(
        ids=ids(2, 5), judged=torch.ones(2, 4).bool()
    ),
    "training.mini_gpt_loss.half_windows": lambda: call(
        ids=ids(20), T=4, batch_size=2, then=list
    ),
    "training.mini_gpt.Run.new": lambda folder: call(
        folder=anew(folder), settings=SMALL, text=TEXT
    ),
    "training.mini_gpt.Run.resumed": lambda folder: call(
        folder=a_run(folder), text=TEXT
    ),
    "training.mini_gpt.Run.go": lambda folder: call(
        on=run(folder), save_every=2, sample_every=2, keep=2, board=False,
        quiet=True,
    ),
    "training.mini_gpt.Run.save": lambda folder: call(on=run(folder), keep=2),
    "training.mini_gpt.Run.sample": lambda folder: call(on=run(folder), n=3),
    "training.mini_gpt_settings.settings_of": lambda folder: call(
        checkpoint=load_checkpoint(a_run(folder))
    ),
    "training.mini_gpt.load_model": lambda folder: call(folder=a_run(folder)),
    "training.mini_gpt_text.write_text": lambda: call(
        model=model(), alphabet=characters.Alphabet("abcdefghi"),
        prompt="a", n=3, temperature=0.8, top_k=3, top_p=0.9, seed=1,
    ),
    "training.mini_gpt.steps_in": lambda: call(
        settings=SMALL, seconds=0.1, text=TEXT
    ),
    "training.mini_gpt.export": lambda folder: call(
        folder=a_run(folder), target=anew(folder / "hf")
    ),
    "training.mini_gpt_settings.as_settings": lambda: call(found={"steps": 3}),
}  # fmt: skip
