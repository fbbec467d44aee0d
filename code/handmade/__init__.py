"""The package behind the book *Handmade Transformers*.

Its names come when they are asked for: `import handmade` imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handmade.devices import device as device

    __version__: str

__all__ = ["__version__", "device"]


def __getattr__(name: str) -> Any:
    """Return `device` and `__version__`, imported at the first use."""
    if name == "device":
        from handmade.devices import device

        return device
    if name == "__version__":
        from importlib.metadata import version

        return version("handmade")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
