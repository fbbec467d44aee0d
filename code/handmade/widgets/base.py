"""What all explorables share: an anywidget that needs no kernel.

Its logic is JavaScript over data the cell computed, so a control moves the
drawing in the published page as it does in Jupyter and Colab. An anywidget's
script is one module without imports from disk, so the shared part is put in
front of each widget's own.
"""

import base64
from pathlib import Path

import anywidget
import numpy as np

HERE = Path(__file__).parent


def _read(name: str) -> str:
    path = HERE / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


class Explorable(anywidget.AnyWidget):
    """A drawing with a name that stays the same from run to run."""

    def __repr__(self) -> str:
        # ipywidgets would print every trait, the data included
        return f"{type(self).__name__}()"


def assets(name: str) -> tuple[str, str]:
    """Return (script, style) of the widget `name`, shared parts first.

    Use as `_esm, _css = assets("attention_patterns")` in a class body.
    """
    script = _read(f"{name}.js")
    if not script:
        raise ValueError(f"name: got {name!r}, no such script in {HERE}")
    return (
        _read("shared.js") + "\n" + script,
        _read("shared.css") + "\n" + _read(f"{name}.css"),
    )


def pack_uint8(values: np.ndarray) -> str:
    """Return values in [0, 1] as base64 bytes, 0 to 255, row-major."""
    values = np.asarray(values)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"values: got range [{values.min():.3g}, {values.max():.3g}], "
            "wanted [0, 1]"
        )
    levels = np.round(values * 255).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode("ascii")


def pack_float32(values: np.ndarray) -> str:
    """Return values as base64 little-endian float32, row-major."""
    array = np.ascontiguousarray(values, dtype="<f4")
    return base64.b64encode(array.tobytes()).decode("ascii")
