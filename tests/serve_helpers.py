"""What the tests of the server share: models that say what they are told.

A server that a test waits for must not be raced against. So its engine can
be held between two steps: it goes on reading orders, and gives no token.
"""

import contextlib
import time

import httpx
import torch
from handmade.inference.engine import Engine
from handmade.inference.serve import running
from handmade.inference.serve_service import Service
from handmade.models.llama import Llama, LlamaConfig
from handmade.text.pretokenize import byte_alphabet
from openai import OpenAI
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

END = 256  # the one special token
SIZES = {
    "vocab_size": 257, "d_model": 24, "n_layers": 2, "n_heads": 3,
    "n_kv_heads": 1, "d_ff": 40, "max_seq_len": 512,
}  # fmt: skip
PATIENCE = 60  # seconds after which a test gives up, on any machine


def byte_tokenizer() -> Tokenizer:
    """Return one whose tokens are the bytes, and an end."""
    vocab = {letter: byte for byte, letter in byte_alphabet().items()}
    tokenizer = Tokenizer(BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    assert tokenizer.token_to_id("<end>") == END
    return tokenizer


def tiny_llama(kind: type[Llama] = Llama) -> Llama:
    torch.manual_seed(0)
    return kind(LlamaConfig(**SIZES)).eval()


class Scripted(Llama):
    """After a prompt of one token it says `script`, whatever it computes."""

    script: list[int]

    def forward(self, ids, *rest, positions=None, **options):
        logits = super().forward(ids, *rest, positions=positions, **options)
        logits[:, -1] = -1e9
        for row, place in enumerate(positions[:, -1].tolist()):
            logits[row, -1, self.script[place]] = 0.0
        return logits


class Held(Engine):
    """An engine that takes so many steps and no more; None: as it likes."""

    steps: int | None = None
    broken = False

    def step(self):
        if self.broken:
            raise RuntimeError("a card fell out")
        if self.steps == 0:
            time.sleep(0.001)
            return []
        if self.steps is not None:
            self.steps -= 1
        return super().step()


def service(model=None, *, steps=None, **options) -> Service:
    sizes = {"n_pages": 64, "page_size": 4, "max_batch": 4, "max_waiting": 8}
    sizes |= {key: options.pop(key) for key in sizes.keys() & options.keys()}
    engine = Held(model or tiny_llama(), **sizes)
    engine.steps = steps
    options.setdefault("eos_ids", [END])
    return Service("tiny", engine, byte_tokenizer(), **options)


def saying(text: str | bytes | list[int], **options) -> Service:
    """Return a service whose model says a text, and ends."""
    model = tiny_llama(Scripted)
    said = [*text.encode()] if isinstance(text, str) else [*text]
    model.script = [*said, *[END] * (SIZES["max_seq_len"] - len(said))]
    return service(model, **options)


def client(url: str) -> OpenAI:
    """Return a client that asks once, and waits long."""
    return OpenAI(
        base_url=url, api_key="none", max_retries=0, timeout=PATIENCE
    )


@contextlib.contextmanager
def served(made: Service):
    """Serve, and close every connection before the server is ended."""
    with running(made) as url, client(url) as each:
        yield each


def post(each: OpenAI, body, path="completions", **options) -> httpx.Response:
    """Send a body as it is, past what the client would refuse."""
    return httpx.post(
        f"{each.base_url}{path}", json=body, timeout=PATIENCE, **options
    )


def health(each: OpenAI) -> dict:
    url = str(each.base_url).removesuffix("v1/")
    return httpx.get(f"{url}health", timeout=PATIENCE).json()


def wait_for(each: OpenAI, **wanted) -> None:
    """Return when /health says so."""
    begun = time.monotonic()
    while (found := health(each)).items() & wanted.items() != wanted.items():
        assert time.monotonic() - begun < PATIENCE, found
        time.sleep(0.01)


IDLE = {"status": "ok", "running": 0, "waiting": 0, "free_pages": 64}
