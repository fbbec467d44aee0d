"""What a chapter's cells say to the page: one value at a time."""

from IPython.display import display


def glue(name: str, value: str) -> None:
    """Keep `value` under `name`: prose shows it with {glue:text}`name`.

    The format is myst-nb's, which Colab has not; two lines spare its
    installation. Numbers are formatted by the caller, where the reader sees
    how.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"name: got {name!r}, want a str")
    if not isinstance(value, str):
        raise ValueError(
            f"value: got {type(value).__name__}, want a str: format it, as "
            f'in glue({name!r}, f"{{x:.1f}}")'
        )
    prefix = "application/papermill.record/"
    scrap = {"name": name, "mime_prefix": prefix}
    display(
        {f"{prefix}text/plain": repr(value)},
        metadata={"scrapbook": scrap},
        raw=True,
    )
