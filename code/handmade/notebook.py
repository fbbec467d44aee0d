"""What a chapter's cells say to the page: one value at a time."""

import math
from collections.abc import Mapping

from IPython.display import display

Setting = bool | int | float | str


def glue(
    name: str, value: str, sets: Mapping[str, Setting] | None = None
) -> None:
    """Keep `value` under `name`: prose shows it with {glue:text}`name`.

    With `sets` the prose may show it as a button, {set}`name`, that sets an
    explorable: its traits by name. The format is myst-nb's, which Colab has
    not; two lines spare its installation. Numbers are formatted by the
    caller, where the reader sees how.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"name: got {name!r}, want a str")
    if not isinstance(value, str):
        raise ValueError(
            f"value: got {type(value).__name__}, want a str: format it, as "
            f'in glue({name!r}, f"{{x:.1f}}")'
        )
    prefix = "application/papermill.record/"
    scrap: dict[str, object] = {"name": name, "mime_prefix": prefix}
    if sets is not None:
        scrap["sets"] = _checked(sets)
    display(
        {f"{prefix}text/plain": repr(value)},
        metadata={"scrapbook": scrap},
        raw=True,
    )


def _checked(sets: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return the settings as JSON can hold them. Raises ValueError."""
    if not isinstance(sets, Mapping) or not sets:
        raise ValueError(f"sets: got {sets!r}, want trait -> value")
    for trait, value in sets.items():
        if not isinstance(trait, str) or not trait.isidentifier():
            raise ValueError(f"sets: got {trait!r}, want the name of a trait")
        if not isinstance(value, bool | int | float | str):
            raise ValueError(
                f"sets: {trait}: got {type(value).__name__}, want a number, "
                "a str or a bool"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"sets: {trait}: got {value}, want it finite")
    return dict(sets)
