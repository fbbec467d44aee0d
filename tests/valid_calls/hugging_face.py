"""Right calls of what reads checkpoints, and of what transformers knows."""

import torch
from handmade.models.device_map import layer_sizes
from handmade.models.gpt2 import GPT2, GPT2Config
from safetensors.torch import save_file

from valid_calls import call
from valid_calls.models import hf_config, llama

SIZES = {"vocab_size": 11, "d_model": 12, "n_layers": 2, "n_heads": 3}


def gpt2():
    return GPT2(GPT2Config(**SIZES, max_seq_len=16)).eval()


def folder(tmp):
    """Write a checkpoint of a Llama, which `from_pretrained` reads."""
    llama().to_hf().save_pretrained(tmp)
    return tmp


def shards(tmp):
    save_file({"a": torch.ones(2)}, tmp / "model.safetensors")
    return tmp


def their_cache():
    from transformers import DynamicCache

    return DynamicCache()


CALLS = {
    "models.shards.read_shards": lambda tmp: call(folder=shards(tmp)),
    "models.shards.shard_files": lambda tmp: call(folder=shards(tmp)),
    "models.hugging_face.from_pretrained": lambda tmp: call(
        folder=folder(tmp), dtype=torch.float64, device="cpu"
    ),
    "models.hugging_face.read_config_file": lambda tmp: call(
        folder=folder(tmp)
    ),
    "models.hugging_face.class_of": lambda: call(
        config={**hf_config(), "architectures": ["LlamaForCausalLM"]}
    ),
    "models.device_map.device_map": lambda: call(
        sizes={"a": 3, "b": 2}, room={"gpu": 4, "cpu": 4}
    ),
    "models.device_map.layer_sizes": lambda: call(model=gpt2()),
    "models.device_map.place": lambda: call(
        model=gpt2(), placed=dict.fromkeys(layer_sizes(gpt2()), "cpu")
    ),
    "registered.HandmadeGPT2Config.of": lambda: call(config=gpt2().config),
    "registered.TheirCache": lambda: call(past_key_values=their_cache()),
    "registered.HandmadeGPT2.of": lambda: call(model=gpt2()),
}
