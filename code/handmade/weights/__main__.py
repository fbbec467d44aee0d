"""`python -m handmade.weights`: make ready what later works offline."""

from handmade.weights.minilm import minilm
from handmade.weights.shakespeare import shakespeare
from handmade.weights.smollm2 import smollm2


def prepare() -> None:
    """Make everything ready that later works offline, telling each step."""
    for make in (smollm2, minilm, shakespeare):
        print(f"preparing {make.__name__} ...", flush=True)
        make()
    print("ready: everything else works offline", flush=True)


if __name__ == "__main__":
    prepare()
