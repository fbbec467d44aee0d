"""What all explorables share: an anywidget that needs no kernel.

Its logic is JavaScript over data the cell computed, so a control moves the
drawing in the published page as it does in Jupyter and Colab. An anywidget's
script is one module without imports from disk, so the shared part is put in
front of each widget's own.
"""

import base64
import operator
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets
from IPython.display import display

HERE = Path(__file__).parent
# all controls alike: names in one column, tracks and values in two others
TRACK = {
    "style": {"description_width": "8em"},
    "layout": {"width": "auto", "max_width": "640px"},
}
VIEW = "application/vnd.jupyter.widget-view+json"
# what Colab's own notebooks carry; a running Colab says its own address
COLAB_MANAGER = (
    "https://ssl.gstatic.com/colaboratory-static/widgets/"
    "colab-cdn-widget-manager/b3e629b1971e1542/manager.min.js"
)


def _read(name: str) -> str:
    path = HERE / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


class Explorable(anywidget.AnyWidget):
    """A drawing with a name that stays the same from run to run.

    ``sets`` names the traits that a control, or a word of the page's text,
    may set; ``start`` is what they were, and where Reset goes back to.
    """

    sets: ClassVar[tuple[str, ...]] = ()
    start = traitlets.Dict().tag(sync=True)

    def __repr__(self) -> str:
        # ipywidgets would print every trait, the data included
        return f"{type(self).__name__}()"


class Explorer(ipywidgets.VBox):
    """A drawing above its controls, which Colab shows as Jupyter does.

    Colab draws a widget that is not ipywidgets' own only where the output
    names a manager for it, and adds that to what is displayed, not to what
    a cell's last expression returns. So this displays itself either way,
    and names the manager: a saved notebook shows the drawing before it runs.
    """

    def _ipython_display_(self) -> None:
        manager = {"url": _colab_manager()}
        display(
            self._repr_mimebundle_(),
            metadata={VIEW: {"colab": {"custom_widget_manager": manager}}},
            raw=True,
        )

    def __repr__(self) -> str:
        return repr(self.children[0])


def explorer(drawing: Explorable, **controls: Any) -> Explorer:
    """Join each control to the drawing's trait of its name, in the front end.

    The values they have now are those that Reset goes back to.
    """
    for trait, control in controls.items():
        # a list's place in its options says more than its label
        theirs = "index" if hasattr(control, "options") else "value"
        ipywidgets.jslink((control, theirs), (drawing, trait))
    drawing.start = {name: getattr(drawing, name) for name in drawing.sets}
    return Explorer([drawing, *controls.values()])


def _colab_manager() -> str:
    output = sys.modules.get("google.colab.output")
    widgets = getattr(output, "_widgets", None)
    return getattr(widgets, "_installed_url", None) or COLAB_MANAGER


def assets(name: str) -> tuple[str, str]:
    """Return (script, style) of the widget `name`, shared parts first.

    Use as `_esm, _css = assets("attention_patterns")` in a class body.
    """
    script = _read(f"{name}.js")
    if not script:
        raise ValueError(f"name: got {name!r}, want a script in {HERE}")
    return (
        _read("shared.js") + "\n" + script,
        _read("shared.css") + "\n" + _read(f"{name}.css"),
    )


def pack_uint8(values: Any) -> str:
    """Return values in [0, 1] as base64 bytes, 0 to 255, row-major."""
    values = np.asarray(values)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"values: got range [{values.min():.3g}, {values.max():.3g}], "
            "want [0, 1]"
        )
    levels = np.round(values * 255).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode("ascii")


def pack_float32(values: Any) -> str:
    """Return values as base64 little-endian float32, row-major.

    Raises ValueError for what is not finite: no drawing has a place for it.
    """
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(values, dtype="<f4")
    strange = int((~np.isfinite(array)).sum())
    if strange:
        raise ValueError(
            f"values: got {strange} of {array.size} that are nan or beyond "
            "float32, want finite ones"
        )
    return base64.b64encode(array.tobytes()).decode("ascii")


def check_whole(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number from low to high; raises ValueError."""
    try:
        number = low - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = low - 1
    if not low <= number <= high:
        raise ValueError(
            f"{name}: got {value!r}, want a whole number from {low} to {high}"
        )
    return number


def check_tensor(name: str, value: Any, *shape: str | int) -> torch.Tensor:
    """Return a finite float tensor of this shape, on the CPU.

    A size that is a word, such as "T", stands for any but 0. Raises
    ValueError.
    """
    sizes = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    want = f"want a tensor of finite numbers ({sizes})"
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{name}: got {type(value).__name__}, {want}")
    right = value.ndim == len(shape) and all(
        size > 0 if isinstance(wanted, str) else size == wanted
        for size, wanted in zip(value.shape, shape, strict=True)
    )
    if not right or not value.is_floating_point():
        got = f"{value.dtype} {tuple(value.shape)}"
        raise ValueError(f"{name}: got {got}, {want}")
    strange = int((~value.isfinite()).sum())
    if strange:
        raise ValueError(f"{name}: got {strange} nan or infinite, {want}")
    return value.detach().cpu()


def check_labels(
    name: str, labels: Any, count: int | None = None
) -> list[str]:
    """Return a list of strings, `count` of them if given; else ValueError.

    They reach the page as data and are written as text, never as markup.
    """
    want = f"want {count or 'some'} strings"
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise ValueError(f"{name}: got {labels!r}, {want}")
    found = list(labels)
    for label in found:
        if not isinstance(label, str):
            raise ValueError(f"{name}: got {label!r} among them, {want}")
        if any("\ud800" <= sign <= "\udfff" for sign in label):
            raise ValueError(
                f"{name}: got {label!r}, which no page can hold, {want}"
            )
    if not found or count not in (None, len(found)):
        raise ValueError(f"{name}: got {len(found)}, {want}")
    return found
