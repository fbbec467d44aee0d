"""Our GGUF conversion against transformers' own, and its BPE against ours.

The tokenizer has two oracles. transformers' GGUF loader knows the vocabulary
and merges but not SmolLM2's pre-tokenizer (it lets a space stick to a digit),
so it is right for text without digits. For all text there is a dozen lines of
byte-pair encoding below, straight from the definition.
"""

import json
import os
import re
import struct
import subprocess
import sys
import tracemalloc
from functools import cache
from itertools import pairwise

import gguf
import numpy as np
import pytest
import regex
import torch
from handmade.weights import gguf_convert, gguf_keys, wheels
from handmade.weights import smollm2 as module
from handmade.weights.gguf_file import read_gguf
from handmade.weights.pretrained import Pretrained
from handmade.weights.smollm2 import smollm2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import pre_tokenizers

D, LAYERS, HEADS, KV_HEADS, FF = 24, 2, 6, 3, 40
TOKENS = ["<|end|>", "<|start|>", "a", "b", "ab", "1", "2", "Ġ"]

# written out here, not taken from the module under test
LLAMA_CPP = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
HEADS_OF = {"self_attn.q_proj": HEADS, "self_attn.k_proj": KV_HEADS}

CONFIG_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rope_parameters",
    "hidden_act",
    "attention_bias",
    "mlp_bias",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
)

TEXTS = (
    "To be, or not to be: that is the question.",
    " leading and trailing ",
    "a  b   c\n\n\td\r\n  e",
    "don't I'll we've they're she's I'm he'd DON'T",
    "naïve Übermut, 你好世界, Привет, שלום, 🙂👍🏽",
    "def f(x):\n    return x_y + {z!r}  # ok",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "x<|endoftext|>y <|endoftext|><|endoftext|>",
    "<|im_start> is no token, nor is <im_end|>",
    "x" * 300,
    "e\u0301 \u00a0\u2009 \x00\x7f",
    "<repo_name>a<file_sep>b <jupyter_start>c<empty_output>",
    "",
    " ",
    "\n\n\n",
)
WITH_DIGITS = (
    "1234567890",
    "in 1616 he died",
    "a  1 b   22",
    "3.14159, 2e-5; x1y22z333",
    "٣٤ and ½ and ²",
    "12<|im_end|>34",
)


def llama_cpp_order(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """llama.cpp's convert_hf_to_gguf.py, the function `permute`."""
    return (
        weight.reshape(
            n_heads, 2, weight.shape[0] // n_heads // 2, *weight.shape[1:]
        )
        .swapaxes(1, 2)
        .reshape(weight.shape)
    )


def tiny_weights() -> dict[str, np.ndarray]:
    """A Llama's weights by Hugging Face's names, no two sizes alike."""
    width = D // HEADS
    shapes = {
        "self_attn.q_proj": (HEADS * width, D),
        "self_attn.k_proj": (KV_HEADS * width, D),
        "self_attn.v_proj": (KV_HEADS * width, D),
        "self_attn.o_proj": (D, HEADS * width),
        "mlp.gate_proj": (FF, D),
        "mlp.up_proj": (FF, D),
        "mlp.down_proj": (D, FF),
        "input_layernorm": (D,),
        "post_attention_layernorm": (D,),
    }
    names = {
        f"model.layers.{i}.{name}.weight": shape
        for i in range(LAYERS)
        for name, shape in shapes.items()
    }
    names["model.embed_tokens.weight"] = (len(TOKENS), D)
    names["model.norm.weight"] = (D,)
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape, dtype=np.float32)
        for name, shape in names.items()
    }


KINDS = {
    bool: gguf.GGUFValueType.BOOL,
    int: gguf.GGUFValueType.UINT32,
    float: gguf.GGUFValueType.FLOAT32,
    str: gguf.GGUFValueType.STRING,
    list: gguf.GGUFValueType.ARRAY,
}


def write_tiny(
    path, architecture="llama", *, without=(), more=None, tensors=None
):
    """Write the tiny Llama as llama.cpp would.

    ``without`` and ``more`` change its keys, ``tensors`` its weights by
    their names in the file: None takes one away.
    """
    tensors = tensors or {}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_vocab_size(len(TOKENS))
    writer.add_context_length(64)
    writer.add_embedding_length(D)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(123.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 1, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    for role, token in (("bos", 1), ("eos", 0), ("unk", 0), ("pad", 0)):
        getattr(writer, f"add_{role}_token_id")(token)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, weight in tiny_weights().items():
        hf = name.removesuffix(".weight").removeprefix("model.")
        block = ""
        if hf.startswith("layers."):
            _, number, hf = hf.split(".", 2)
            block = f"blk.{number}."
        if hf in HEADS_OF:
            weight = llama_cpp_order(weight, HEADS_OF[hf])
        name = f"{block}{LLAMA_CPP[hf]}.weight"
        if name not in tensors:
            writer.add_tensor(name, weight)
    for name, weight in tensors.items():
        if weight is not None:
            writer.add_tensor(name, weight)
    for key in (*without, *(more or {})):
        writer.kv_data[0].pop(key, None)
    for key, value in (more or {}).items():
        writer.add_key_value(key, value, KINDS[type(value)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_unpermute_undoes_llama_cpps_order():
    weight = np.arange(HEADS * 4 * D).reshape(HEADS * 4, D)
    there = llama_cpp_order(weight, HEADS)
    assert not np.array_equal(there, weight)
    assert np.array_equal(gguf_convert.unpermute(there, HEADS), weight)


@pytest.mark.parametrize(
    "name",
    [
        "blk.0.attn_q.bias",
        "blk.0.ssm.weight",
        "rope_freqs.weight",
        "blk.attn_q.weight",
        "a.b.c.attn_q.weight",
        "weight",
        "",
    ],
)
def test_a_tensor_no_llama_has_is_refused(name):
    with pytest.raises(ValueError, match=f"got '{name}'"):
        gguf_convert.hf_name(name)


def test_a_tiny_llama_comes_back_as_it_was(tmp_path):
    source = write_tiny(tmp_path / "tiny.gguf")
    folder = tmp_path / "hf"
    folder.mkdir()
    gguf_convert.llama_to_hf_folder(source, folder)
    found = load_file(folder / "model.safetensors")
    wanted = tiny_weights()
    assert set(found) == set(wanted)
    for name, weight in wanted.items():
        assert torch.equal(found[name], torch.from_numpy(weight)), name

    config = json.loads((folder / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_theta"] == 123.0
    assert config["num_key_value_heads"] == KV_HEADS
    model = Pretrained("tiny", folder, "AutoModelForCausalLM", "here")
    assert model.tokenizer().encode("ab 12<|end|>").tokens == [
        "ab",
        "Ġ",
        "1",
        "2",
        "<|end|>",
    ]
    theirs = model.hf_model()
    assert theirs.config.rope_parameters["rope_theta"] == 123.0
    assert theirs.lm_head.weight is theirs.model.embed_tokens.weight
    assert model.hf_tokenizer().eos_token == "<|end|>"


def test_another_architecture_is_refused(tmp_path):
    source = write_tiny(tmp_path / "tiny.gguf", "falcon")
    with pytest.raises(ValueError, match="architecture: got 'falcon'"):
        gguf_convert.llama_to_hf_folder(source, tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 200, 5000])
def test_a_truncated_gguf_is_refused(tmp_path, keep):
    source = write_tiny(tmp_path / "tiny.gguf")
    content = source.read_bytes()
    assert len(content) > 5000
    source.write_bytes(content[:keep])
    with pytest.raises(ValueError, match=r"tiny\.gguf"):
        gguf_convert.llama_to_hf_folder(source, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


RNG = np.random.default_rng(1)
OUTPUT = RNG.standard_normal((len(TOKENS), D), dtype=np.float32)


def convert(tmp_path, **changes) -> Pretrained:
    source = write_tiny(tmp_path / "tiny.gguf", **changes)
    folder = tmp_path / "hf"
    folder.mkdir()
    gguf_convert.llama_to_hf_folder(source, folder)
    return Pretrained("tiny", folder, "AutoModelForCausalLM", "here")


def test_an_untied_output_weight_is_kept(tmp_path):
    model = convert(tmp_path, tensors={"output.weight": OUTPUT})
    assert model.config["tie_word_embeddings"] is False
    assert torch.equal(
        model.weights["lm_head.weight"], torch.from_numpy(OUTPUT)
    )
    theirs = model.hf_model()
    assert torch.equal(theirs.lm_head.weight, torch.from_numpy(OUTPUT))
    assert theirs.lm_head.weight is not theirs.model.embed_tokens.weight


LINEAR = (
    {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
    {"llama.rope.scale_linear": 4.0},
)


@pytest.mark.parametrize("more", LINEAR)
def test_linear_scaling_of_positions_is_kept(tmp_path, more):
    model = convert(tmp_path, more=more).hf_model()
    rotary = model.config.rope_parameters
    assert (rotary["rope_type"], rotary["factor"]) == ("linear", 4.0)
    assert rotary["rope_theta"] == 123.0
    (tmp_path / "plain").mkdir()
    plain = convert(tmp_path / "plain", more={}).hf_model()
    four = plain.model.rotary_emb.inv_freq / 4
    assert torch.equal(model.model.rotary_emb.inv_freq, four)


def test_no_scaling_spelled_out_is_no_scaling(tmp_path):
    more = {"llama.rope.scaling.type": "none"}
    assert "rope_scaling" not in convert(tmp_path, more=more).config


def test_heads_of_their_own_width(tmp_path):
    """Width 6 instead of D / H = 4: as stored, not as divided."""
    rng = np.random.default_rng(2)
    sizes = {"attn_q": (36, D), "attn_k": (18, D), "attn_v": (18, D)}
    sizes["attn_output"] = (D, 36)
    tensors = {
        f"blk.{i}.{part}.weight": rng.standard_normal(size, dtype=np.float32)
        for i in range(LAYERS)
        for part, size in sizes.items()
    }
    width = {f"llama.attention.{k}_length": 6 for k in ("key", "value")}
    model = convert(tmp_path, more=width, tensors=tensors)
    assert model.config["head_dim"] == 6
    assert model.hf_model().config.head_dim == 6
    name = "model.layers.0.self_attn.q_proj.weight"
    there = llama_cpp_order(model.weights[name].numpy(), HEADS)
    assert np.array_equal(there, tensors["blk.0.attn_q.weight"])


def test_what_a_file_need_not_say(tmp_path):
    model = convert(
        tmp_path,
        without=[
            "llama.vocab_size",
            "llama.rope.freq_base",
            "tokenizer.chat_template",
            *(f"tokenizer.ggml.{r}_token_id" for r in ("bos", "padding")),
        ],
    )
    assert model.config["vocab_size"] == len(TOKENS)
    assert model.config["rope_theta"] == 10_000.0
    assert model.config["bos_token_id"] is None
    tokenizer = model.hf_tokenizer()
    assert (tokenizer.bos_token, tokenizer.pad_token) == (None, None)
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.chat_template is None


def test_as_many_key_heads_as_heads_is_what_silence_means(tmp_path):
    rng = np.random.default_rng(3)
    tensors = {
        f"blk.{i}.attn_{part}.weight": rng.standard_normal(
            (D, D), dtype=np.float32
        )
        for i in range(LAYERS)
        for part in "kv"
    }
    without = ["llama.attention.head_count_kv"]
    model = convert(tmp_path, without=without, tensors=tensors)
    assert model.config["num_key_value_heads"] == HEADS


def test_a_users_own_token_is_added_and_not_special(tmp_path):
    kinds = [3, 3, 1, 1, 4, 1, 1, 5]
    model = convert(tmp_path, more={"tokenizer.ggml.token_type": kinds})
    added = json.loads((model.folder / "tokenizer.json").read_text())
    found = {t["content"]: t["special"] for t in added["added_tokens"]}
    assert found == {"<|end|>": True, "<|start|>": True, "ab": False}


G = "tokenizer.ggml"
SCALING = "llama.rope.scaling"
REFUSED = {
    "no architecture": ({"without": ["general.architecture"]}, "nothing"),
    "adapter": ({"more": {"general.type": "adapter"}}, "'adapter'"),
    "unknown key": ({"more": {"llama.swin_norm": True}}, "True"),
    "another part": ({"more": {"qwen2.block_count": 2}}, "2"),
    "soft cap": ({"more": {"llama.final_logit_softcapping": 30.0}}, "30.0"),
    "window": ({"more": {"llama.attention.sliding_window": 8}}, "8"),
    "scale": ({"more": {"llama.attention.scale": 0.5}}, "0.5"),
    "experts": ({"more": {"llama.expert_count": 8}}, "8"),
    "not causal": ({"more": {"llama.attention.causal": False}}, "False"),
    "split file": ({"more": {"split.count": 3}}, "3"),
    "yarn": ({"more": {f"{SCALING}.type": "yarn"}}, "'yarn'"),
    "yarn's key": (
        {"more": {f"{SCALING}.yarn_beta_fast": 32.0}},
        "32",
    ),
    "factor alone": ({"more": {f"{SCALING}.factor": 2.0}}, "2.0"),
    "no factor": ({"more": {f"{SCALING}.type": "linear"}}, "nothing"),
    "two factors": (
        {"more": LINEAR[0] | {"llama.rope.scale_linear": 2.0}},
        "4.0",
    ),
    "factor nan": ({"more": {"llama.rope.scale_linear": float("nan")}}, "nan"),
    "factor zero": ({"more": {"llama.rope.scale_linear": 0.0}}, "0.0"),
    "attn factor": ({"more": {f"{SCALING}.attn_factor": 2.0}}, "2.0"),
    "part turned": ({"more": {"llama.rope.dimension_count": 2}}, "2"),
    "values wider": ({"more": {"llama.attention.value_length": 6}}, "6"),
    "odd heads": ({"more": {"llama.attention.head_count": 7}}, "7"),
    "kv heads": ({"more": {"llama.attention.head_count_kv": 4}}, "4"),
    "heads a layer": (
        {"more": {"llama.attention.head_count": [6, 3]}},
        "6, 3",
    ),
    "no layers": ({"more": {"llama.block_count": 0}}, "0"),
    "more layers": ({"more": {"llama.block_count": 3}}, "blk.2.attn_q"),
    "2^32 layers": (
        {"more": {"llama.block_count": 2**32 - 1}},
        "blk.2.attn_q",
    ),
    "fewer layers": ({"more": {"llama.block_count": 1}}, "blk.1"),
    "width is text": ({"more": {"llama.embedding_length": "24"}}, "'24'"),
    "width is true": ({"more": {"llama.embedding_length": True}}, "True"),
    "another width": ({"more": {"llama.embedding_length": 48}}, "48"),
    "another F": ({"more": {"llama.feed_forward_length": 41}}, "(24, 41)"),
    "eps zero": (
        {"more": {"llama.attention.layer_norm_rms_epsilon": 0.0}},
        "0.0",
    ),
    "theta inf": ({"more": {"llama.rope.freq_base": float("inf")}}, "inf"),
    "vocabulary": ({"more": {"llama.vocab_size": 9}}, "9"),
    "no vocabulary": ({"without": [f"{G}.tokens"]}, "nothing"),
    "llama's tokens": ({"more": {f"{G}.model": "llama"}}, "'llama'"),
    "another split": ({"more": {f"{G}.pre": "llama-bpe"}}, "'llama-bpe'"),
    "unsaid split": ({"without": [f"{G}.pre"]}, "nothing"),
    "adds bos": ({"more": {f"{G}.add_bos_token": True}}, "True"),
    "adds eos": ({"more": {f"{G}.add_eos_token": True}}, "True"),
    "bos 1 for true": ({"more": {f"{G}.add_bos_token": 0}}, "0"),
    "far id": ({"more": {f"{G}.eos_token_id": 8}}, "8"),
    "id is text": ({"more": {f"{G}.eos_token_id": "<|end|>"}}, "'<|end|>'"),
    "twice": ({"more": {f"{G}.tokens": ["a"] * 8}}, "8 tokens, 1"),
    "no merges": ({"without": [f"{G}.merges"]}, "nothing"),
    "lone merge": ({"more": {f"{G}.merges": ["ab"]}}, "'ab'"),
    "long merge": ({"more": {f"{G}.merges": ["a b a"]}}, "'a b a'"),
    "unmade merge": ({"more": {f"{G}.merges": ["b a"]}}, "'b a'"),
    "no kinds": ({"without": [f"{G}.token_type"]}, "0 kinds"),
    "few kinds": ({"more": {f"{G}.token_type": [3, 3, 1]}}, "3 kinds"),
    "byte kind": ({"more": {f"{G}.token_type": [6] * 8}}, "'6'"),
    "hf json": ({"more": {"tokenizer.huggingface.json": "{}"}}, "'{}'"),
    "2nd template": ({"more": {"tokenizer.chat_template.rag": "x"}}, "'x'"),
    "no norm": ({"tensors": {"output_norm.weight": None}}, "output_norm"),
    "a bias": ({"tensors": {"blk.1.attn_q.bias": OUTPUT[0]}}, "attn_q.bias"),
    "rope factors": (
        {"tensors": {"rope_freqs.weight": OUTPUT[0, :2]}},
        "(2,)",
    ),
    "a short gate": (
        {"tensors": {"blk.0.ffn_gate.weight": OUTPUT}},
        "(8, 24)",
    ),
    "a square output": (
        {"tensors": {"output.weight": OUTPUT.T.copy()}},
        "(24, 8)",
    ),
}


@pytest.mark.parametrize(("changes", "named"), REFUSED.values(), ids=REFUSED)
def test_a_file_is_converted_whole_or_refused_by_name(
    tmp_path, changes, named
):
    source = write_tiny(tmp_path / "tiny.gguf", **changes)
    with pytest.raises(ValueError, match=r"tiny\.gguf") as caught:
        gguf_convert.llama_to_hf_folder(source, tmp_path)
    text = str(caught.value)
    assert named in text
    # the key or tensor that was changed is named
    changed = [
        *changes.get("without", ()),
        *changes.get("more", ()),
        *changes.get("tensors", ()),
    ]
    stems = [key.rpartition(".")[2] for key in changed]
    assert "tensors:" in text or any(stem in text for stem in stems)
    assert ": got " in text
    assert not (tmp_path / "model.safetensors").exists()


def test_every_key_that_llama_cpp_knows_is_accounted_for():
    """Read, wanted at one value, inert, or refused: never passed over."""
    known = set()
    for group in vars(gguf.Keys).values():
        if isinstance(group, type):
            known |= {v for v in vars(group).values() if isinstance(v, str)}
    ours = {k.format(arch="llama", id=0, name="x", dense="d") for k in known}
    ours = {k for k in ours if "." in k and not k.startswith("handmade")}
    for key in ours - {"general.architecture"}:
        listed = key in gguf_keys.READ or key in gguf_keys.WANTED
        if listed or gguf_keys.INERT.fullmatch(key):
            continue
        meta = {f"{G}.model": "gpt2", f"{G}.pre": "smollm", key: 7}
        with pytest.raises(ValueError, match=f"{re.escape(key)}: got 7"):
            gguf_keys.check_keys(meta)
    assert len(ours) > 150


def test_a_long_value_is_shown_short():
    assert len(gguf_keys.shown("x" * 10**6)) < 120


def head(*keys: bytes, n_tensors: int = 0, n_keys: int | None = None) -> bytes:
    count = len(keys) if n_keys is None else n_keys
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, count) + b"".join(keys)


def text(value: bytes, told: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if told is None else told) + value


def array(kind: int, count: int, content: bytes = b"") -> bytes:
    start = text(b"key") + struct.pack("<IIQ", 9, kind, count)
    return start + content


def tensor(*shape: int, kind: int = 0, offset: int = 0) -> bytes:
    numbers = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(b"x") + numbers + struct.pack("<IQ", kind, offset)


HUGE = 2**60
DAMAGED = {
    **{
        f"array of 2^60, kind {kind}": head(array(kind, HUGE, b"\0" * 64))
        for kind in range(14)
    },
    "array of arrays": head(array(9, 1, struct.pack("<IQ", 4, HUGE))),
    "array that wraps": head(array(5, 2**62, b"\0" * 64)),
    "array of 2^64": head(array(0, 2**64 - 1, b"\0" * 64)),
    "2^60 empty strings": head(array(8, HUGE, b"\0" * 4096)),
    "long key": head(text(b"key", HUGE)),
    "long string": head(text(b"key") + struct.pack("<I", 8) + text(b"", HUGE)),
    "kind 13": head(text(b"key") + struct.pack("<I", 13) + b"\0" * 64),
    "no text": head(text(b"\xff\xfe") + struct.pack("<IB", 0, 1)),
    "key twice": head(*[text(b"key") + struct.pack("<IB", 0, 1)] * 2),
    "2^60 keys": head(n_keys=HUGE),
    "2^60 tensors": head(n_tensors=HUGE),
    "alignment 3": head(text(b"general.alignment") + struct.pack("<II", 4, 3)),
    "alignment 0": head(text(b"general.alignment") + struct.pack("<II", 4, 0)),
    "alignment 2^31": head(
        text(b"general.alignment") + struct.pack("<II", 4, 2**31),
        tensor(4),
        n_tensors=1,
        n_keys=1,
    ),
    "tensor of 2^60": head(tensor(HUGE), n_tensors=1),
    "tensor that wraps": head(tensor(2**33, 2**33), n_tensors=1),
    "empty tensor": head(tensor(0, 4), n_tensors=1),
    "no axes": head(tensor(), n_tensors=1),
    "2^32 axes": head(text(b"x") + struct.pack("<I", 2**32 - 1), n_tensors=1),
    "far tensor": head(tensor(4, offset=HUGE), n_tensors=1),
    "tensor twice": head(tensor(1), tensor(1), n_tensors=2, n_keys=0)
    + b"\0" * 64,
    "kind of tensor": head(tensor(4, kind=99), n_tensors=1) + b"\0" * 64,
    "half a block": head(tensor(7, kind=3), n_tensors=1) + b"\0" * 64,
    "version 1": b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "another file": b"PK" + b"\0" * 64,
    "nothing": b"",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_refused_with_the_files_name_and_no_memory(
    content, tmp_path
):
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"broken\.gguf is not a whole"):
            read_gguf(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "missing.gguf", tmp_path):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_gguf(path)


@pytest.fixture(scope="module")
def tiny_bytes(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("gguf")
    return write_tiny(folder / "tiny.gguf").read_bytes()


@given(st.data())
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_damage_to_the_header_is_refused_or_read(
    tiny_bytes, tmp_path, data
):
    """Bytes overwritten or cut: a ValueError with the name, or a model."""
    content = bytearray(tiny_bytes)
    end = 1700  # of the header: what follows are weights
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, end))
        new = data.draw(st.binary(min_size=1, max_size=9))
        content[at : at + len(new)] = new
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        gguf_convert.llama_to_hf_folder(path, tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        assert config["num_hidden_layers"] == LAYERS
    except ValueError as error:
        assert "broken.gguf" in str(error)  # noqa: PT017 - or it is read
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**22


def test_our_reader_reads_what_ggufs_own_reads(tmp_path):
    """On the real file: every key, every tensor's place."""
    source = gguf_folder() / module.FILE
    ours, theirs = read_gguf(source), gguf.GGUFReader(source)
    fields = {
        k: f.contents()
        for k, f in theirs.fields.items()
        if not k.startswith("GGUF.")
    }
    assert set(ours.meta) == set(fields)
    for key, value in fields.items():
        mine = ours.meta[key]
        assert (mine.tolist() if hasattr(mine, "tolist") else mine) == value
    assert set(ours.places) == {t.name for t in theirs.tensors}
    for found in theirs.tensors:
        place = ours.places[found.name]
        assert place.start == found.data_offset
        assert place.stop - place.start == found.n_bytes
        assert place.shape == tuple(found.shape.tolist()[::-1])


def test_numbers_that_gguf_cannot_read_are_named(tmp_path):
    kind = int(gguf.GGMLQuantizationType.I64)
    path = tmp_path / "ints.gguf"
    content = head(tensor(4, kind=kind), n_tensors=1, n_keys=0)
    path.write_bytes(content.ljust(128, b"\0"))
    with pytest.raises(ValueError, match=r"ints\.gguf: x: got I64 numbers"):
        read_gguf(path).tensor("x")


class BytePairs:
    """Byte-pair encoding from its definition, SmolLM2's way of splitting."""

    pattern = regex.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
        r"|\s+(?!\S)|\s+"
    )

    def __init__(self, file) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        self.vocab = content["model"]["vocab"]
        merges = content["model"]["merges"]
        self.ranks = {tuple(pair): i for i, pair in enumerate(merges)}
        self.special = [t["content"] for t in content["added_tokens"]]
        visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
        hidden = [b for b in range(256) if b not in visible]
        self.letters = {b: chr(b) for b in visible}
        self.letters |= {b: chr(256 + i) for i, b in enumerate(hidden)}

    def encode(self, text: str) -> list[int]:
        ids = []
        marks = "|".join(map(regex.escape, self.special))
        for part in regex.split(f"({marks})", text):
            if part in self.special:
                ids.append(self.vocab[part])
                continue
            for run in regex.split(r"(\p{N})", part):
                for word in self.pattern.findall(run):
                    ids += self.merge(word)
        return ids

    def merge(self, word: str) -> list[int]:
        parts = [self.letters[b] for b in word.encode()]
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            best = min(pairs, key=lambda p: self.ranks.get(p, 1 << 30))
            if best not in self.ranks:
                break
            i = pairs.index(best)
            parts[i : i + 2] = ["".join(best)]
        return [self.vocab[part] for part in parts]


@pytest.fixture(scope="module")
def oracle() -> BytePairs:
    return BytePairs(smollm2().folder / "tokenizer.json")


@pytest.fixture(scope="module")
def tokenizer():
    return smollm2().tokenizer()


@pytest.mark.parametrize("text", TEXTS + WITH_DIGITS)
def test_the_tokenizer_is_byte_pair_encoding(text, oracle, tokenizer):
    wanted = oracle.encode(text)
    assert tokenizer.encode(text).ids == wanted
    assert tokenizer.decode(wanted, skip_special_tokens=False) == text


@pytest.mark.slow
def test_two_processes_with_an_empty_cache_convert_once(tmp_path):
    code = """
from handmade.weights import gguf_convert
from handmade.weights.smollm2 import smollm2
convert = gguf_convert.llama_to_hf_folder
def told(*args):
    print("converting", flush=True)
    convert(*args)
gguf_convert.llama_to_hf_folder = told
print(len(smollm2().weights))
"""
    env = os.environ | {"HANDMADE_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = "".join(process.communicate(timeout=300)[0] for process in both)
    assert said.split().count("converting") == 1
    assert said.split().count("272") == 2
    folders = sorted(p.name for p in tmp_path.iterdir() if p.is_dir())
    assert folders == ["smollm2-0.1.2"]


def gguf_folder():
    return wheels.wheel_folder(*module.WHEEL)


@pytest.mark.slow
def test_weights_and_config_equal_transformers_own_conversion():
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        gguf_folder(), gguf_file=module.FILE, dtype=torch.float32
    )
    ours = smollm2()
    state = theirs.state_dict()
    assert set(state) - set(ours.weights) == {"lm_head.weight"}  # tied
    for name, weight in ours.weights.items():
        assert torch.equal(weight, state[name]), name
    mine = ours.hf_model().config
    for field in CONFIG_FIELDS:
        assert getattr(mine, field) == getattr(theirs.config, field), field
    # theirs keeps the float32 of the file: 9.999999747378752e-06
    assert mine.rms_norm_eps == 1e-5
    assert np.float32(theirs.config.rms_norm_eps) == np.float32(1e-5)


@cache
def their_tokenizer():
    import transformers

    return transformers.AutoTokenizer.from_pretrained(
        gguf_folder(), gguf_file=module.FILE
    )


@pytest.mark.slow
def test_tokenizer_equals_transformers_where_that_one_is_right():
    theirs, ours = their_tokenizer(), smollm2().hf_tokenizer()
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ours(text)["input_ids"] == ids, text
        assert ours.decode(ids) == theirs.decode(ids), text
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    for role in ("bos_token", "eos_token", "pad_token", "unk_token"):
        assert getattr(ours, role) == getattr(theirs, role), role
    # with SmolLM2's own way of splitting it agrees on digits as well
    theirs = their_tokenizer().backend_tokenizer
    assert theirs.encode("a  1").ids != ours("a  1")["input_ids"]
    theirs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]
    )
    for text in WITH_DIGITS:
        assert ours(text)["input_ids"] == theirs.encode(text).ids, text


@pytest.mark.slow
def test_the_chat_template_is_the_files_own():
    ours, theirs = smollm2().hf_tokenizer(), their_tokenizer()
    chat = [
        {"role": "user", "content": "Who wrote Hamlet?"},
        {"role": "assistant", "content": "Shakespeare."},
        {"role": "user", "content": "When?"},
    ]
    for tokenize in (False, True):
        options = {"add_generation_prompt": True, "tokenize": tokenize}
        mine = ours.apply_chat_template(chat, **options)
        assert mine == theirs.apply_chat_template(chat, **options)
    assert "<|im_start|>assistant" in ours.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True
    )
