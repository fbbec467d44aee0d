"""Files from the model hub: only where `HANDMADE_HUB=1` asks for them.

Every checkpoint is pinned by the commit of its repository, so that nothing
changes under the book.
"""

import os
from pathlib import Path

from handmade.weights.pretrained import Pretrained

FILES = ["*.json", "model.safetensors", "vocab.txt", "merges.txt"]


def hub_wanted() -> bool:
    """Return whether the reader allowed downloads from the hub.

    Raises ValueError for a switch that is neither on nor off.
    """
    asked = os.environ.get("HANDMADE_HUB", "")
    if asked not in ("", "0", "1"):
        raise ValueError(f"HANDMADE_HUB: got {asked!r}, want 1 or 0")
    return asked == "1"


def from_hub(name: str, revision: str, auto_class: str) -> Pretrained:
    """Return the hub's checkpoint at a commit, downloading what lacks.

    Raises ConnectionError when the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=FILES
        )
    except Exception as error:
        raise ConnectionError(
            f"the hub's {name} could not be had ({error}). Connect to the "
            "network, or unset HANDMADE_HUB to use the packaged weights"
        ) from error
    return Pretrained(
        name=name.rpartition("/")[2],
        folder=Path(folder),
        auto_class=auto_class,
        source=f"hub {name}@{revision}",
    )
