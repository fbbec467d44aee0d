"""Let the capstone's model write, beyond its own length too."""

import hashlib

import torch

from handmade import checks
from handmade.inference.generate import generate
from handmade.training.characters import Alphabet
from handmade.training.mini_gpt_model import MiniGPT


def write_text(
    model: MiniGPT,
    alphabet: Alphabet,
    prompt: str,
    n: int,
    *,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> str:
    """Return the prompt and n characters after it.

    What does not fit into the model's length is forgotten: it goes on from
    the last half of it. Raises ValueError for a character that the model
    has not, for an empty prompt, and as ``generate`` does.
    """
    checks.kind("model", model, MiniGPT, "a MiniGPT")
    checks.kind("alphabet", alphabet, Alphabet, "an Alphabet")
    checks.text("prompt", prompt)
    checks.need(bool(prompt), "prompt", "none", "one character or more")
    checks.whole("n", n)
    checks.number("temperature", temperature, at_least=0)
    checks.whole("seed", seed, at_least=0)
    home = model.tok_emb.weight.device
    ids = alphabet.encode(prompt).to(home)
    longest = model.config.max_seq_len
    generator = torch.Generator(home).manual_seed(seed)
    mode = model.training
    model.eval()
    try:
        while n > 0:
            seen = ids if len(ids) < longest else ids[-(longest // 2) :]
            new = min(n, longest - len(seen))
            out = generate(
                model,
                seen[None],
                max_new_tokens=new,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                generator=generator if temperature > 0 else None,
            )
            ids = torch.cat((ids, out[0, len(seen) :]))
            n -= new
    finally:
        model.train(mode)
    return alphabet.decode(ids)


def beginning(alphabet: Alphabet) -> str:
    """Return what a sample goes on from: a line's end, where there is one."""
    checks.kind("alphabet", alphabet, Alphabet, "an Alphabet")
    return "\n" if "\n" in alphabet.characters else alphabet.characters[0]


def mark_of(text: str) -> str:
    """Return what tells a text from any other: of its sha256 the beginning."""
    checks.text("text", text)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
