"""Bugs that raise no error, planted in a model that is right.

The opening page lets a reader guess from two answers which model is broken,
and then shows where the broken one leaves Hugging Face's. Each bug has been
made in earnest: a number of the config that was not read, a norm taken for
its better-known sister, an index off by one in a loader.
"""

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from handmade import checks
from handmade.blocks.norms import RMSNorm
from handmade.contracts import Decoder
from handmade.inference.generate import generate
from handmade.models.llama import Llama
from handmade.parity import ParityRow, differences
from handmade.tolerances import TOLERANCES
from handmade.weights.pretrained import Pretrained


@dataclass(frozen=True, kw_only=True)
class Bug:
    """A bug, the question that it answers well, the page that explains it."""

    plant: Callable[[Llama], Llama]
    question: str
    says: str  # what is wrong, in a sentence or two
    page: str  # as in the book's contents
    title: str


@dataclass(frozen=True, kw_only=True)
class Round:
    """Two models' answers to one question, and their distances by layer."""

    bug: Bug
    answers: tuple[str, str]
    rows: tuple[list[ParityRow], list[ParityRow]]  # in the answers' order
    broken: int  # which of the two: 0 or 1

    def first_wrong(self) -> ParityRow:
        """Return the first place where the broken model is off.

        Raises ValueError where it never is.
        """
        for row in self.rows[self.broken]:
            if not row.difference <= TOLERANCES[row.dtype]:
                return row
        raise ValueError("rows: got none above the tolerance, want one")


def wrong_theta(model: Llama) -> Llama:
    """Turn the positions at Llama's default speed, not at the model's own."""
    wrong = shared_copy(model)
    wrong.config = replace(model.config, rope_theta=10_000.0)
    return wrong


def centred_norms(model: Llama) -> Llama:
    """Subtract the mean before each norm, as LayerNorm would."""
    wrong = shared_copy(model)
    for norm in wrong.modules():
        if isinstance(norm, RMSNorm):
            norm.register_forward_pre_hook(
                lambda _, x: (x[0] - x[0].mean(-1, keepdim=True),)
            )
    return wrong


def repeated_block(model: Llama, index: int = 20) -> Llama:
    """Load the weights of the block before into block `index`."""
    wrong = shared_copy(model)
    block = _block_before(wrong, index)
    block.attn.layer = index  # its place in the cache is its own
    wrong.blocks[index] = block
    return wrong


def shared_copy(model: Llama) -> Llama:
    """Copy the modules of a model, but share every weight."""
    checks.kind("model", model, Llama, "a Llama")
    return deepcopy(model, _kept(model))


def _block_before(model: Llama, index: int) -> Any:
    checks.whole("index", index)
    last = len(model.blocks) - 1
    checks.need(
        index <= last, "index", index, f"one of the blocks 1 to {last}"
    )
    return deepcopy(model.blocks[index - 1], _kept(model))


def _kept(model: Llama) -> dict[int, Any]:
    return {id(weight): weight for weight in model.parameters()}


BUGS = (
    Bug(
        plant=wrong_theta,
        question="What does a compiler do? Answer in one sentence.",
        says="Its positions turn at the wrong speed: rope_theta is Llama's "
        "default, not the number in this model's own config.",
        page="book/blocks/rope",
        title="RoPE",
    ),
    Bug(
        plant=centred_norms,
        question="Why is the sky blue? Answer in one sentence.",
        says="Its norms subtract the mean first, as LayerNorm does. This "
        "model's RMSNorm only divides.",
        page="book/blocks/norms",
        title="Norms",
    ),
    Bug(
        plant=repeated_block,
        question="What is a neural network? Answer in one sentence.",
        says="Its loader was off by one: block 21 holds the weights of block "
        "20. Every shape fits, since all blocks have the same.",
        page="book/models/llama",
        title="Llama",
    ),
)


def play(checkpoint: Pretrained, seed: int = 0) -> list[Round]:
    """Ask a right and a broken model, and hold both against Hugging Face.

    Greedy decoding until the model ends its answer; the differences are
    those on the question's own tokens. The seed settles which answer stands
    first. Raises ValueError where an answer does not end.
    """
    checks.kind(
        "checkpoint", checkpoint, Pretrained, "a checkpoint, as smollm2()"
    )
    checks.whole("seed", seed, at_least=0)
    right = Llama.from_weights(checkpoint.weights, checkpoint.config)
    theirs = checkpoint.hf_model(attn="sdpa")
    tokenizer = checkpoint.hf_tokenizer()
    draw = random.Random(seed)
    rounds = []
    for bug in BUGS:
        ids = prompt(tokenizer, bug.question)
        models = [right, bug.plant(right)]
        broken = draw.randrange(2)
        if broken == 0:
            models.reverse()
        first, second = models
        rounds.append(
            Round(
                bug=bug,
                answers=(
                    answer(first, tokenizer, ids),
                    answer(second, tokenizer, ids),
                ),
                rows=(
                    differences(first, theirs, ids, layers=Llama.HF_LAYERS),
                    differences(second, theirs, ids, layers=Llama.HF_LAYERS),
                ),
                broken=broken,
            )
        )
    return rounds


def prompt(tokenizer: Any, question: str) -> Tensor:
    """Return the ids (1, T) of a question, in the model's chat format."""
    checks.text("question", question)
    if getattr(tokenizer, "chat_template", None) is None:
        raise ValueError(
            f"tokenizer: got {tokenizer!r:.60} without a chat template, want "
            "one of transformers that has it"
        )
    ids: Tensor = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
    )["input_ids"]
    return ids


def answer(
    model: Decoder, tokenizer: Any, ids: Tensor, max_new_tokens: int = 128
) -> str:
    """Return the model's whole answer. Raises ValueError if it has no end."""
    eos = getattr(tokenizer, "eos_token_id", None)
    if not isinstance(eos, int):
        raise ValueError(
            f"tokenizer: got {tokenizer!r:.60} without an eos_token_id, want "
            "one of transformers that has it"
        )
    checks.ids("ids", ids, axes=2)
    checks.need(
        ids.shape[0] == 1, "ids", f"shape {tuple(ids.shape)}", "(1, T)"
    )
    out = generate(model, ids, max_new_tokens=max_new_tokens, eos_id=eos)
    if out[0, -1] != eos:
        raise ValueError(
            f"max_new_tokens: got {max_new_tokens}, want enough for an end"
        )
    text = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    return str(text)
