"""Files from the model hub: only where `HANDMADE_HUB=1` asks for them."""

import os
from pathlib import Path


def hub_wanted() -> bool:
    """Return whether the reader allowed downloads from the hub."""
    return os.environ.get("HANDMADE_HUB") == "1"


def hub_folder(name: str) -> Path:
    """Return the folder of the hub's checkpoint, downloading what lacks.

    Raises ConnectionError when the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    files = ["*.json", "model.safetensors", "vocab.txt", "merges.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except Exception as error:
        raise ConnectionError(
            f"the hub's {name} could not be had ({error}). Connect to the "
            "network, or unset HANDMADE_HUB to use the packaged weights"
        ) from error
