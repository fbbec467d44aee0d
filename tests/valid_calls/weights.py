"""Right calls of `handmade.weights`."""

from handmade.weights import gguf_convert, gguf_file
from handmade.weights.pretrained import Pretrained

from valid_calls import call


def tiny(tmp):
    from test_gguf_convert import write_tiny

    return write_tiny(tmp / "tiny.gguf")


def opened(tmp):
    return gguf_file.read_gguf(tiny(tmp))


def pretrained(tmp):
    folder = tmp / "tiny"
    folder.mkdir(exist_ok=True)
    gguf_convert.llama_to_hf_folder(tiny(tmp), folder)
    return Pretrained("tiny", folder, "AutoModelForCausalLM", "here")


def reference():
    from transformers import LlamaConfig, LlamaForCausalLM

    return {
        "hf_class": LlamaForCausalLM,
        "config": LlamaConfig(
            vocab_size=11,
            hidden_size=12,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=3,
        ),
    }


def folder(tmp):
    (tmp / "a.txt").write_text("a")
    return tmp


ADDRESS = "https://a.example/simple"

CALLS = {
    "weights.hub.hub": lambda: call(name="gpt2", fails="set HANDMADE_HUB=1"),
    "weights.pretrained.Pretrained.hf_model": lambda tmp: call(
        pretrained(tmp)
    ),
    "weights.reference.random_reference": lambda: call(**reference()),
    "weights.shakespeare.clean": lambda: call(text="a"),
}
