"""Our GGUF conversion against transformers' own, and its BPE against ours.

The tokenizer has two oracles. transformers' GGUF loader knows the vocabulary
and merges but not SmolLM2's pre-tokenizer (it lets a space stick to a digit),
so it is right for text without digits. For all text there is a dozen lines of
byte-pair encoding below, straight from the definition.
"""

import json
import os
import subprocess
import sys
from functools import cache
from itertools import pairwise

import gguf
import numpy as np
import pytest
import regex
import torch
from handmade.weights import gguf_convert, wheels
from handmade.weights import smollm2 as module
from handmade.weights.pretrained import Pretrained
from handmade.weights.smollm2 import smollm2
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


def write_tiny(path, architecture="llama"):
    """Write the tiny Llama as llama.cpp would."""
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
        writer.add_tensor(f"{block}{LLAMA_CPP[hf]}.weight", weight)
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
    "name", ["blk.0.attn_q.bias", "blk.0.ssm.weight", "rope_freqs.weight"]
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
    with pytest.raises(ValueError, match="got the architecture 'falcon'"):
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
