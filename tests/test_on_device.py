"""Everything that computes also computes on another device, and the same.

Each case below builds modules and inputs on the CPU, moves them with `to`,
runs, and returns tensors: they must lie on the device and hold the CPU's
numbers. A mask, a position or a counter made on the wrong device raises.

The device is `--device`: without the option, a fake one that needs no
hardware (`second_device`); with `--device cuda`, the real thing. A new block,
model or loop takes one case here: `test_everything_has_a_case` names what
has none.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any

import pytest
import torch
from handmade.blocks import masks as mask_functions
from handmade.blocks import mixture_of_experts as moe
from handmade.blocks import why_attention
from handmade.blocks.alibi import alibi_bias
from handmade.blocks.attention import attention
from handmade.blocks.block import Block
from handmade.blocks.feedforward import FeedForward, SwiGLU, gelu, gelu_tanh
from handmade.blocks.masks import causal_mask, padding_mask
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import BatchNorm, LayerNorm, RMSNorm
from handmade.blocks.positions import LearnedPositions, sinusoidal_positions
from handmade.blocks.rope import rope_angles, token_positions
from handmade.inference import sampling
from handmade.inference.arrivals import StaticBatch
from handmade.inference.beam import beam_search
from handmade.inference.bytes_written import BytesWritten
from handmade.inference.cache import KVCache
from handmade.inference.chunked_prefill import chunked_prefill
from handmade.inference.diagnosis import draws_match, repetition, score_text
from handmade.inference.drafters import PromptLookup, law
from handmade.inference.encoder_decoder import EncoderDecoderCache
from handmade.inference.engine import Engine, Request
from handmade.inference.flash_attention import flash_attention
from handmade.inference.flash_tiles import online_softmax
from handmade.inference.generate import generate
from handmade.inference.gptq import gptq
from handmade.inference.nf4 import NF4, nf4_linear, normal_levels
from handmade.inference.paged_cache import PagedCache, paged_pass
from handmade.inference.q4_1 import decode_q4_1
from handmade.inference.quantization import (
    absmax,
    asymmetric,
    bits_per_weight,
    quantize_linears,
)
from handmade.inference.rewind_cache import RewindCache, flush_right
from handmade.inference.speculative import speculative_generate, verify
from handmade.inference.static_cache import StaticCache
from handmade.inference.window_cache import WindowCache
from handmade.models import sentences
from handmade.models.bert import Bert, BertConfig
from handmade.models.config import ACTIVATIONS, activation
from handmade.models.device_map import layer_sizes, place
from handmade.models.gpt2 import GPT2, GPT2Config
from handmade.models.hugging_face import from_pretrained
from handmade.models.latent_attention import Latent
from handmade.models.llama import Llama, LlamaConfig
from handmade.models.mamba import Mamba, MambaConfig
from handmade.models.masked_lm import MaskedLM
from handmade.models.masking import mask_tokens
from handmade.models.selective_scan import parallel_scan
from handmade.models.state_cache import StateCache
from handmade.models.state_space import StateSpace
from handmade.models.t5 import T5, T5Config, shift_right
from handmade.models.variants import Variant, VariantConfig
from handmade.parity import differences, parity
from handmade.record import record
from handmade.text.data import document_mask
from handmade.text.embeddings import lookup
from handmade.training.characters import all_windows
from handmade.training.experts import (
    balanced_loss,
    expert_use,
    experts_in_effect,
)
from handmade.training.genres import Classifier, accuracy, class_loss
from handmade.training.loop import Trainer, next_token_loss, train
from handmade.training.lora import LoRALinear, inject, merge_adapters
from handmade.training.many import share_of_loss, spread
from handmade.training.memory import checkpoint_blocks
from handmade.training.mini_gpt import make_trainer
from handmade.training.mini_gpt_hf import hf_weights
from handmade.training.mini_gpt_loss import half_windows, judged_count
from handmade.training.mini_gpt_ngrams import followed, ngram_rows
from handmade.training.mini_gpt_settings import Settings
from handmade.training.mini_gpt_start import write_copying
from handmade.training.recall import recall_loss
from handmade.training.step_bytes import step_bytes
from handmade.training.ten_days import (
    TenDaySettings,
    judged_windows,
    keep_best,
    ten_day_trainer,
)
from second_device import NAME, Second, second_device
from torch import Tensor, nn
from torch.nn import functional as F

To = Callable[[Any], Any]
CASES: dict[str, Callable[[To], Any]] = {}
PARTS = ("blocks", "models", "inference", "training")
# public functions that no case enters, and why
EXEMPT: dict[str, str] = {
    "inference.flash_kernel.kernel_attention": (
        "Triton knows CUDA alone: test_flash_kernel goes there"
    ),
    "inference.nf4.DoubleScales": "called by NF4, not as a layer",
    "inference.nf4.NF4": "called by QuantizedLinear, not as a layer",
    "inference.quantization.Grid": "the same",
    "training.checkpoint_checks.check_tensors": "reads names and shapes",
    "training.compiled.compiled_loss": "the fake device has no compiler",
    "training.characters.encoded": "a text's numbers, on the CPU",
    "training.mini_gpt_ngrams.NGrams": "no sparse gradients there",
    "training.genres.genre_rows": "data, made on the CPU",
    "blocks.why_attention.Recall": "what the two models share",
    "blocks.why_attention.RecurrentRecall": "torch's GRU has a kernel there",
    "blocks.why_attention.recall_batch": "data, drawn by a CPU generator",
    "blocks.why_attention.matrix_products": "counts a graph's nodes",
}


def case(function: Callable[[To], Any]) -> Callable[[To], Any]:
    """Enter a function into the table of cases."""
    CASES[function.__name__] = function
    return function


@pytest.fixture(scope="session")
def wanted(request) -> str:
    return request.config.getoption("--device") or NAME


@contextmanager
def on(name: str) -> Iterator[To]:
    """Yield a function that moves tensors, modules and lists to a device."""
    with second_device() if name == NAME else nullcontext():

        def to(what: Any) -> Any:
            if isinstance(what, tuple | list):
                return type(what)(map(to, what))
            return what.to(name)

        yield to


def tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        result = [*result.values()]
    return [x for part in result for x in tensors(part)]


def home(tensor: Tensor) -> Tensor:
    """Return a result's numbers on the CPU, its gradient left behind."""
    tensor = tensor.detach()
    return tensor.inner if isinstance(tensor, Second) else tensor.cpu()


def step(model: nn.Module, *inputs: Any, **options: Any) -> list[Tensor]:
    """Forward, backward and AdamW: the output, gradients and new weights."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    out = tensors([model(*inputs, **options)])
    sum(each.pow(3).sum() for each in out).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    used = [p for p in model.parameters() if p.grad is not None]
    return [*out, *(p.grad for p in used), *used]


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


SIZES = {
    "vocab_size": 23, "d_model": 16, "n_layers": 3, "n_heads": 4,
    "n_kv_heads": 2, "d_ff": 20, "max_seq_len": 40,
}  # fmt: skip


def llama(**changes: Any) -> Llama:
    return random_weights(Llama(LlamaConfig(**{**SIZES, **changes})))


def random_weights(model: Any) -> Any:
    for parameter in model.double().parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


SWITCHES: tuple[dict[str, Any], ...] = (
    {"model_type": "mixtral", "window": 2, "n_experts": 5, "top_k": 2},
    {
        "model_type": "gemma3_text", "window": 2, "qk_norm": True,
        "layer_kinds": ("sliding", "full"), "local_theta": 50.0,
        "one_plus_gain": True, "sandwich": True, "scale_embeddings": True,
        "activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 4,
        "logit_soft_cap": 3.0,
    },
    {
        "model_type": "deepseek_v3", "n_kv_heads": 4,
        "latent": Latent(kv_rank=5, q_rank=7, d_nope=3, d_rope=4, d_value=6),
    },
)  # fmt: skip


def variants() -> list[Variant]:
    return [
        random_weights(Variant(VariantConfig(**{**SIZES, **switches})))
        for switches in SWITCHES
    ]


def padded() -> tuple[Tensor, Tensor]:
    mask = torch.ones(2, 5, dtype=torch.int64)
    mask[1, :2] = 0
    return torch.randint(23, (2, 5)), mask


@case
def attention_by_tiles(to: To) -> list[Tensor]:
    inputs = to([torch.randn(2, H, 7, 8) for H in (4, 2, 2)])
    q, k, v = (x.requires_grad_() for x in inputs)
    mask = to(torch.arange(14).reshape(2, 1, 1, 7) % 5 > 0)
    out = flash_attention(q, k, v, mask, causal=True, block_q=3, block_k=2)
    out.pow(2).sum().backward()
    return [out, q.grad, k.grad, v.grad, *online_softmax(q.detach(), 3)]


@case
def attention_functions(to):
    q, k, v = to([randn(2, 6, 4, 8), randn(2, 3, 5, 8), randn(2, 3, 5, 8)])
    real = to(torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]))
    mask = causal_mask(4, 5, device=q.device) & padding_mask(real)
    bias = alibi_bias(6, 4, 5, device=q.device, dtype=q.dtype)[None]
    return [
        attention(q, k, v),
        attention(q, k, v, mask),
        attention(q, k, v, bias, return_weights=True),
    ]


@case
def masks(to):
    x = to(randn(1))
    documents = to(torch.tensor([[0, 0, 1, 1, -1]]))
    return [
        causal_mask(3, 5, device=x.device),
        mask_functions.prefix_mask(4, 2, device=x.device),
        mask_functions.sliding_window_mask(4, 2, device=x.device),
        document_mask(documents),
        token_positions(to(torch.tensor([[0, 1, 1], [1, 1, 1]]))),
    ]


@case
def multi_head(to):
    ours = to(MultiHeadAttention(12, 4, n_kv_heads=2, bias=True).double())
    x, other = to([randn(2, 5, 12), randn(2, 3, 12)])
    mask = causal_mask(5, device=x.device)
    return [step(ours, x, mask=mask), step(ours, x, other)]


@case
def rope(to):
    ours = to(MultiHeadAttention(12, 3).double())
    x, at = to([randn(2, 5, 12), torch.randint(9, (2, 5))])
    return step(ours, x, rope=rope_angles(at, 4))


@case
def norms(to):
    x = to(randn(2, 5, 6))
    made = [kind(6).double() for kind in (LayerNorm, RMSNorm, BatchNorm)]
    batch = to(made[2])
    return [
        *(step(to(norm), x) for norm in made[:2]),
        step(batch, x),
        batch.running_mean,
        batch.eval()(x),
    ]


@case
def feedforward(to):
    x = to(randn(2, 5, 6))
    curves = (gelu, gelu_tanh, *map(activation, ACTIVATIONS))
    layers = [FeedForward(6, 10, f) for f in curves]
    return [step(to(m.double()), x) for m in (*layers, SwiGLU(6, 10))]


@case
def experts(to):
    ours = to(moe.MixtureOfExperts(6, 10, 5, 2))
    x, mask = to([randn(2, 7, 6).float(), torch.ones(14).long()])
    _, logits = ours(x, return_logits=True)
    _, chosen = moe.route(logits, 2)
    return [
        step(ours, x),
        moe.load_balancing_loss(logits, 2),
        moe.load_balancing_loss(logits, 2, mask),
        moe.expert_load(chosen, 5),
    ]


@case
def positions(to):
    table = to(LearnedPositions(9, 6))
    at = to(torch.arange(7)[None])
    return [step(table, at), sinusoidal_positions(at, 6)]


@case
def blocks(to):
    x = to(randn(2, 5, 12))
    results = []
    for placement in ("pre", "post"):
        block = Block(
            attn_norm=RMSNorm(12),
            attn=MultiHeadAttention(12, 3),
            ffn_norm=RMSNorm(12),
            ffn=SwiGLU(12, 20),
            placement=placement,
        )
        mask = causal_mask(5, device=x.device)
        results.append(step(to(block.double()), x, mask=mask))
    return results


@case
def embeddings(to):
    table, ids = to([randn(9, 4), torch.tensor([[1, 3, 3]])])
    table.requires_grad_()
    out = lookup(table, ids)
    out.pow(2).sum().backward()
    return [out, table.grad]


@case
def llama_training(to):
    model, (ids, mask) = to(llama()), to(padded())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(2):
        logits = model(ids, mask)[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss)
    return [losses, *model.parameters()]


@case
def llama_with_a_cache(to):
    model, (ids, mask) = to(llama(tie_embeddings=True)), to(padded())
    cache = KVCache()
    first = model(ids[:, :3], mask[:, :3], cache=cache)
    cache.reorder(to(torch.tensor([1, 0, 1])))
    rows = to(torch.tensor([1, 0, 1]))
    return [first, model(ids[rows, 3:], mask[rows], cache=cache)]


@case
def llama_with_other_caches(to):
    model, (ids, mask), out = to(llama()), to(padded()), []
    rows = to(torch.tensor([1, 0, 1]))
    with torch.no_grad(), BytesWritten():
        for cache in (StaticCache(5), WindowCache(3, full=[1])):
            given = {"chunk": 2, "attention_mask": mask[:, :4]}
            out.append(chunked_prefill(model, ids[:, :4], cache, **given))
            cache.reorder(rows)
            out.append(model(ids[rows, 4:], mask[rows], cache=cache))
    return out


@case
def llama_from_and_to_hf(to):
    model, (ids, _) = to(llama()), to(padded())
    ours = Llama.from_hf(model.to_hf())
    return [*ours.parameters(), ours(ids)]


def bert_config() -> BertConfig:
    return BertConfig(vocab_size=23, d_model=16, n_layers=2, n_heads=4,
                      d_ff=20, max_seq_len=40, pad_id=0)  # fmt: skip


@case
def bert_training(to):
    ids, mask = padded()
    model, ids, mask = to([MaskedLM(bert_config()).double(), ids, mask])
    types = (ids > 5).long()
    return step(model, ids, mask, types)


@case
def bert_from_and_to_hf(to):
    encoder, head = Bert(bert_config()), MaskedLM(bert_config())
    encoder, head = to([encoder.double(), head.double()])
    ids, mask = to(padded())
    ours = Bert.from_hf(encoder.to_hf())
    hidden = ours(ids, mask)
    return [hidden, ours.pool(hidden, mask), ours.pool(hidden),
            MaskedLM.from_hf(head.to_hf())(ids)]  # fmt: skip


@case
def hidden_tokens(to):
    ids = torch.arange(60).reshape(3, 20) % 23
    draw = torch.Generator().manual_seed(0)
    return mask_tokens(
        to(ids), [0, 1], mask_id=4, vocab_size=23, generator=draw, share=0.5
    )


def t5(**changes: Any) -> T5:
    sizes = {"vocab_size": 23, "d_model": 12, "n_layers": 2, "n_heads": 3,
             "n_decoder_layers": 2, "d_head": 4, "d_ff": 8, "n_buckets": 8,
             "max_distance": 20}  # fmt: skip
    return T5(T5Config(**{**sizes, **changes})).double()


@case
def t5_training(to):
    ids, mask = to(padded())
    out = []
    for model in (t5(), t5(activation="gelu_new", gated=True)):
        before = shift_right(ids.masked_fill(mask == 0, -100))
        out.append(step(to(model), ids, before, mask))
    return out


@case
def t5_with_a_cache(to):
    model, (ids, mask) = to(t5().eval()), to(padded())
    cache = EncoderDecoderCache()
    first = model(ids, ids[:, :2], mask, cache=cache)
    second = model(ids, ids[:, 2:3], mask, cache=cache)
    start = to(torch.zeros(2, 1, dtype=torch.long))
    written = generate(model.decoder_for(ids, mask), start, max_new_tokens=3)
    return [first, second, written]


@case
def t5_from_and_to_hf(to):
    ids, ours = to(padded()[0]), []
    for model in to([t5(tie_embeddings=tied) for tied in (True, False)]):
        again = T5.from_hf(model.to_hf())
        ours += [*again.parameters(), again(ids, ids)]
    return ours


@case
def state_spaces(to):
    layer, x = to([StateSpace(6, d_state=3).double(), randn(2, 5, 6)])
    out = [step(layer, x)]
    layer.scan = parallel_scan
    return [*out, step(layer, x)]


@case
def mamba_with_a_cache(to):
    config = MambaConfig(vocab_size=23, d_model=6, n_layers=2, d_state=3)
    model, (ids, mask) = to(Mamba(config).double()), to(padded())
    cache, out = StateCache(), [model(ids, mask)]
    # no step of AdamW: it blows up what rounding leaves of small gradients
    out[0].pow(3).sum().backward()
    out += [p.grad for p in model.parameters()]
    out.append(model(ids[:, :3], mask[:, :3], cache=cache))
    rows = to(torch.tensor([1, 0, 1]))
    cache.reorder(rows)
    out.append(model(ids[rows, 3:], mask[rows], cache=cache))
    return out


@case
def sentence_vectors(to):
    model = to(Bert(bert_config()).double().eval())
    rows = [[1, 2, 3], [4], [5, 6]]
    first = sentences.embed(model, rows, pool=sentences.first_token)
    mean = sentences.embed(model, rows, batch_size=2)
    found = sentences.search(mean[:2], mean, k=2)
    return [first, mean, found.cosines, found.places]


@case
def variants_with_a_cache(to):
    ids, mask = to(padded())
    out: list[Any] = []
    for model in map(to, variants()):
        cache = KVCache()
        out.append(model(ids[:, :3], mask[:, :3], cache=cache))
        cache.reorder(to(torch.tensor([1, 0, 1])))
        rows = to(torch.tensor([1, 0, 1]))
        out.append(model(ids[rows, 3:], mask[rows], cache=cache))
        F.cross_entropy(model(ids, mask).flatten(0, 1), ids.flatten())\
            .backward()  # fmt: skip
        out += [p.grad for p in model.parameters() if p.grad is not None]
    return out


@case
def variants_from_and_to_hf(to):
    ids, out = to(padded()[0]), []
    for model in map(to, variants()):
        if model.config.n_experts is None:  # it has no grouped float64
            theirs = model.to_hf()
            ours = Variant.from_hf(theirs)
            out += [*ours.parameters(), ours(ids), theirs(ids).logits]
    return out


@case
def generation(to):
    model, (ids, mask) = to(llama()), to(padded())
    options = {"max_new_tokens": 6, "attention_mask": mask}
    return [
        generate(model, ids, max_new_tokens=4),
        generate(model, ids, **options, eos_id=[3, 4], pad_id=0),
        generate(model, ids, **options, use_cache=False),
        generate(model, ids, **options, repetition_penalty=1.5, eos_id=1),
    ]


@case
def beams(to):
    model, (ids, mask) = to(llama()), to(padded())
    options = {"num_beams": 3, "max_new_tokens": 5, "eos_id": 4}
    return [
        *beam_search(model, ids, **options, num_return_sequences=2),
        *beam_search(model, ids, **options, attention_mask=mask),
        *beam_search(model, ids, **options, use_cache=False),
    ]


@case
def speculation(to):
    model, (ids, mask) = to(llama()), to(padded())
    options = {"n_draft": 3, "max_new_tokens": 6, "attention_mask": mask}
    small = to(llama())
    cache = RewindCache()
    model(ids, cache=cache)
    drop = to(torch.arange(len(ids)))
    cache.rewind(drop)
    return [
        *speculative_generate(model, PromptLookup(1), ids, **options),
        *speculative_generate(model, small, ids, **options, eos_id=[3, 4]),
        *speculative_generate(model, small, ids, **options, use_cache=False),
        *cache.layers[0],
        flush_right(ids, drop),
        law(to(randn(2, 9)), 0.7, top_k=4, top_p=0.8, min_p=0.01),
        law(to(randn(2, 9))),
        *verify(*to([torch.eye(9)[None, :3], torch.eye(9)[None, :2],
                     torch.tensor([[0, 1]])])),
    ]  # fmt: skip


@case
def serving(to):
    model = to(llama())
    engine = Engine(model, n_pages=9, page_size=2, max_batch=3)
    requests = [Request([1, 2, 3, 4 + i], 2 + i, seed=i) for i in range(3)]
    for request in requests:
        engine.add(request)
    static = StaticBatch(model, max_batch=2)
    static.add(Request([1, 2, 3], 2, temperature=0))
    static.add(Request([1], 2, temperature=0))
    while engine.has_work:
        engine.step()
        static.step()
    cache, ids = PagedCache(3, 2), [[5, 6], [7, 8]]
    logits = paged_pass(model, cache, [[2], [0]], [0, 0], ids)
    outputs = [to(torch.tensor(request.output)) for request in requests]
    return [logits, *cache.layers, *outputs]


@case
def filters(to):
    logits, ids = to([randn(2, 9), torch.tensor([[1, 2], [3, 3]])])
    mask = to(torch.tensor([[0, 1], [1, 1]]))
    penalty = sampling.repetition_penalty
    return [
        sampling.temperature(logits, 0.7),
        sampling.top_k(logits, 3),
        sampling.top_p(logits, 0.6),
        sampling.min_p(logits, 0.3),
        penalty(logits, ids, 1.5),
        penalty(logits, ids, 1.5, attention_mask=mask),
        sampling.greedy(logits),
    ]


@case
def diagnosis(to):
    model, (ids, mask) = to(llama()), to(padded())
    fit = draws_match(to(torch.tensor([0, 1, 1])), to(torch.zeros(3)))
    assert fit.impossible == 0
    again = torch.tensor(repetition(ids, 2), dtype=torch.float64)
    scores = [*score_text(model, ids, mask)[:5], *score_text(model, ids)]
    return [*scores, to(again)]


@case
def drawing(to):
    """One token has all the probability: any generator draws it."""
    logits = torch.full((2, 9), -1e9)
    logits[:, 4] = 0
    model, ids = to(llama()), to(padded()[0])
    drawn = generate(
        model, ids, max_new_tokens=3, temperature=1e-6, top_k=5, top_p=0.9,
        min_p=0.1,
    )  # fmt: skip
    return [sampling.sample(to(logits)), drawn]


@case
def recall(to):
    keys, asked = torch.randint(64, (2, 3, 7))
    values = torch.randint(16, (3, 7))
    inputs = to([keys, values, asked])
    return step(to(why_attention.AttentionRecall(8).double()), *inputs)


@case
def training_loops(to):
    model = to(llama())
    ids = torch.randint(23, (6, 8))
    log = train(
        model,
        torch.optim.AdamW(model.parameters(), lr=0.01),
        lambda g: (ids[torch.randint(6, (2,), generator=g)],),
        next_token_loss,
        steps=2,
        generator=torch.Generator().manual_seed(0),
        max_norm=1.0,
    )
    asked = torch.randint(16, (4, 3, 5))
    reader = to(why_attention.AttentionRecall(8))
    loss = recall_loss(reader, *to([*asked]))
    measured = torch.tensor([each.loss for each in log]).to(loss.device)
    return [measured, loss, *model.parameters()]


@case
def ten_days(to):
    config = VariantConfig(
        model_type="mixtral", vocab_size=9, max_seq_len=16, d_model=8,
        n_layers=2, n_heads=4, n_kv_heads=2, d_ff=6, n_experts=3, top_k=2,
    )  # fmt: skip
    text, model = torch.randint(9, (60,)), to(Variant(config))
    settings = TenDaySettings(
        steps=2, batch=2, length=5, warm_up=1, judged=20, judge_every=1
    )
    trainer = ten_day_trainer(settings, text, model)
    trainer.precision = None  # the fake device has no autocast
    windows = judged_windows(settings, text)
    with TemporaryDirectory() as folder:
        looks = keep_best(
            trainer, windows, folder, steps=2, every=1, settings=settings
        )
    ids = to(windows[0][0])
    shares = expert_use(model, ids[:, :-1])
    loss = balanced_loss(model.train(), ids, 0.1)
    measured = torch.tensor([look[1] for look in looks]).to(loss.device)
    return [measured, shares, experts_in_effect(shares), loss,
            *model.parameters()]  # fmt: skip


@case
def capstone(to):
    text = torch.randint(9, (60,))
    settings = Settings(
        steps=2, d_model=12, n_layers=2, n_heads=2, d_ff=8, max_seq_len=8,
        batch_size=2, precision="float32",
    )  # fmt: skip
    trainer = make_trainer(settings, text, 9)
    model, optimizer = to(trainer.model), trainer.optimizer
    there = Trainer(
        model, optimizer, trainer.draw, trainer.loss_of,
        generator=trainer.generator,
    )  # fmt: skip
    log = there.run(2)
    there.count = judged_count
    loss = there.evaluate(half_windows(text, 8, 3))
    loss += there.evaluate((ids,) for ids in all_windows(text, 8, 3))
    adapted = LoRALinear(to(nn.Linear(4, 6).double()), 2, 2.0)
    measured = torch.tensor([*(each.loss for each in log), loss])
    rows = [
        ngram_rows(to(text)[None] + 1, 16),
        followed(to(text)[None] + 1, 2, 30),
    ]
    write_copying(to(trainer.model))
    weights = hf_weights(model).values()
    results = [to(measured), adapted(to(randn(3, 4))), *rows, *weights]
    return [*results, *model.parameters()]


@case
def shares_of_a_loss(to):
    model, lengths = to(checkpoint_blocks(llama())), torch.tensor([2, 7, 5])
    ids, lengths = to([torch.randint(23, (3, 8)), lengths])
    loss = share_of_loss(spread(model, "one"), ids, lengths, 1, 2)
    loss.backward()
    return [loss, *[p.grad for p in model.parameters()]]


@case
def fine_tuning(to):
    """Adapters beside four bits, counted while they learn."""
    encoder = Bert(
        BertConfig(
            vocab_size=23, d_model=12, n_layers=1, n_heads=2, d_ff=8,
            max_seq_len=8, pooler=False,
        )
    )  # fmt: skip
    attn = encoder.blocks[0].attn
    attn.q_proj = nf4_linear(attn.q_proj)
    model = to(Classifier(encoder))
    inject(model.encoder, ["q_proj", "v_proj"], rank=2, alpha=4.0)
    ids, mask = to(padded())
    batch = ids[:, -8:], mask[:, -8:], to(torch.zeros(len(ids)).long())
    learn = [p for p in model.parameters() if p.requires_grad]
    counted = step_bytes(
        model, torch.optim.AdamW(learn, lr=0.1), class_loss, batch
    )
    right = accuracy(model, [part.cpu() for part in batch])
    told = [to(torch.tensor([right, float(counted.gradients)]))]
    model.set_submodule("encoder.blocks.0.attn.q_proj", attn.q_proj.base)
    merge_adapters(model)
    return [*told, model(*batch[:2]), *learn]


@case
def folders(to):
    """Read from a file, then moved layer by layer."""
    ids, mask = to(padded())
    sizes = {"vocab_size": 23, "d_model": 12, "n_layers": 2, "n_heads": 3}
    ours = GPT2(GPT2Config(**sizes, max_seq_len=16))
    with TemporaryDirectory() as folder:
        ours.to_hf().save_pretrained(folder)
        model = from_pretrained(folder, device=ids.device)
    logits = model(ids, mask)
    place(model, dict.fromkeys(layer_sizes(model), str(ids.device)))
    return [logits, model(ids, mask)]


@case
def few_bits(to):
    w, x = to([randn(6, 32), randn(40, 32)])
    layer = to(nn.Linear(32, 6))
    codes = [absmax(w), asymmetric(w, bits=3, group=16), NF4(w, double=True)]
    codes.append(gptq(w, x, bits=3, group=16))
    frozen = nf4_linear(layer)
    model = nn.Sequential(layer)
    quantize_linears(model, lambda w: asymmetric(w, group=16))
    bits = [bits_per_weight(each) for each in codes]
    raw = to(torch.arange(40, dtype=torch.uint8))
    return [
        *(each.dequantize() for each in codes),
        *step(frozen, x),
        *step(model, x),
        w.new_tensor(bits),
        to(normal_levels()),
        decode_q4_1(raw),
    ]


@case
def recordings(to):
    model, (ids, mask) = to(llama()), to(padded())
    names = ["blocks.1.attn", "norm", ""]
    return dict(record(model, (ids, mask), names))


@pytest.mark.parametrize("name", CASES)
def test_on_another_device(name, wanted):
    def run(device):
        torch.manual_seed(0)
        with on(device) as to:
            return tensors(CASES[name](to))

    want, got = run("cpu"), run(wanted)
    assert want, "a case returns tensors"
    for mine, theirs in zip(got, want, strict=True):
        assert mine.device.type == torch.device(wanted).type
        torch.testing.assert_close(
            home(mine), home(theirs), rtol=1e-4, atol=1e-5
        )


class Counted(nn.Module):
    """Has nothing to move: it runs where its inputs are."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parity_runs_there_and_moves_nothing(monkeypatch, wanted, dtype):
    monkeypatch.setenv("HANDMADE_DEVICE", wanted)
    torch.manual_seed(0)
    ours = llama(tie_embeddings=True).to(dtype)
    theirs = ours.to_hf()
    weights = [*ours.parameters(), *theirs.parameters()]
    ids, mask = padded()
    options = {"layers": Llama.HF_LAYERS, "where": mask.bool()}
    options["their_inputs"] = {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": token_positions(mask),
    }
    inputs = {"ids": ids, "attention_mask": mask}
    with on(wanted):
        report = parity(ours, theirs, inputs, name="there", **options)
        assert report.device == report.ledger()["device"]
        assert report.device == torch.device(wanted).type
        with torch.no_grad():
            ours.blocks[1].ffn.down_proj.weight[3] += 1
        rows = differences(ours, theirs, inputs, **options)
        first = next(row for row in rows if row.difference > report.tolerance)
        assert first.layer == "blocks.1.ffn"
        # also after an error, and with the very same parameters
        broken = ours.norm.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            parity(ours, theirs, inputs, name="broken", **options)
        broken.remove()
    after = [*ours.parameters(), *theirs.parameters()]
    assert all(a is b for a, b in zip(weights, after, strict=True))
    assert all(p.device.type == "cpu" for p in after)
    assert ids.device.type == "cpu"


def test_parity_leaves_a_model_without_parameters_where_it_is(
    monkeypatch, wanted
):
    monkeypatch.setenv("HANDMADE_DEVICE", wanted)
    layers = {"": ""}
    with on(wanted):
        x = torch.ones(2, 3)
        report = parity(Counted(), Counted(), x, layers=layers, name="counted")
        assert report.device == "cpu"
        # against one that has some: each runs where it belongs
        eye = nn.Linear(3, 3, bias=False)
        eye.weight.data = 2 * torch.eye(3)
        report = parity(eye, Counted(), x, layers=layers, name="both")
        assert report.device == torch.device(wanted).type


def modules() -> Iterator[Any]:
    """Import every module of the parts that compute."""
    for part in PARTS:
        try:
            package = importlib.import_module(f"handmade.{part}")
        except ModuleNotFoundError:
            continue
        for found in pkgutil.walk_packages(
            package.__path__, f"{package.__name__}."
        ):
            yield importlib.import_module(found.name)


def computing() -> dict[str, CodeType]:
    """Return name -> code of what takes or makes tensors and is public."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            if name.startswith("_") or inspect.isbuiltin(value):
                continue
            if getattr(value, "__module__", "") != module.__name__:
                continue
            short = f"{module.__name__.removeprefix('handmade.')}.{name}"
            if inspect.isclass(value) and issubclass(value, nn.Module):
                found[short] = value.forward.__code__
            elif inspect.isfunction(value):
                function = inspect.unwrap(value)
                if "Tensor" in str(function.__annotations__):
                    found[short] = function.__code__
    return found


@pytest.fixture(scope="session")
def entered() -> dict[str, set[CodeType]]:
    """Map each case to the functions it calls."""
    calls: dict[str, set[CodeType]] = {}
    before = sys.getprofile()
    for name, run in CASES.items():
        codes = calls[name] = set()

        def note(frame: FrameType, event: str, _: Any, codes=codes) -> None:
            if event == "call":
                codes.add(frame.f_code)

        torch.manual_seed(0)
        with on("cpu") as to:
            sys.setprofile(note)
            try:
                run(to)
            finally:
                sys.setprofile(before)
    return calls


def test_everything_has_a_case(entered):
    seen = set().union(*entered.values())
    missing = [
        name
        for name, code in computing().items()
        if code not in seen and name not in EXEMPT
    ]
    assert not missing, f"no case of test_on_device.py enters {missing}"


def places() -> Iterator[tuple[str, str, int]]:
    """Yield (module, function, line) of every `device=` given in a call."""
    for module in modules():
        tree = ast.parse(inspect.getsource(module))
        yield from (
            (module.__name__, function, keyword.lineno)
            for function, keyword in device_keywords(tree)
            # a server is started in test_serve
            if module.__name__ != "handmade.inference.serve"
        )


def device_keywords(
    tree: ast.AST, path: str = "", *, within: bool = False
) -> Iterator[tuple[str, ast.keyword]]:
    """Yield (function, `device=` keyword); a nested function is its outer.

    One that names a device ("meta", "cpu") is meant so, and left out.
    """
    for node in ast.iter_child_nodes(tree):
        inner, is_function = path, isinstance(node, ast.FunctionDef)
        if (is_function or isinstance(node, ast.ClassDef)) and not within:
            inner = f"{path}.{node.name}".lstrip(".")
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                named = isinstance(keyword.value, ast.Constant)
                if keyword.arg == "device" and not named:
                    yield inner, keyword
        yield from device_keywords(node, inner, within=within or is_function)


def without(module: Any, line: int) -> ast.Module:
    """Return the module's syntax with the `device=` of that line left out."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.keywords = [
                keyword
                for keyword in node.keywords
                if (keyword.arg, keyword.lineno) != ("device", line)
            ]
    return tree


def code_of(code: CodeType, function: str) -> CodeType:
    if code.co_qualname == function:
        return code
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    found = [each for each in inner if function.startswith(each.co_qualname)]
    exact = [each for each in found if each.co_qualname == function]
    return code_of((exact or found)[0], function)


PLACES = list(places())


@pytest.mark.parametrize(
    ("name", "function", "line"),
    PLACES,
    ids=[f"{m.removeprefix('handmade.')}.{f}:{n}" for m, f, n in PLACES],
)
def test_a_device_left_out_is_noticed(
    monkeypatch, entered, name, function, line
):
    """Plant the mix-up this suite is for, at every place where one can be."""
    module = importlib.import_module(name)
    live = functools.reduce(getattr, function.split("."), module)
    live = inspect.unwrap(getattr(live, "__func__", live))
    users = [c for c, codes in entered.items() if live.__code__ in codes]
    assert users, "no case comes here"
    wrong = compile(without(module, line), module.__file__, "exec")
    monkeypatch.setattr(live, "__code__", code_of(wrong, function))
    for each in users:
        torch.manual_seed(0)
        try:
            with on(NAME) as to:
                result = tensors(CASES[each](to))
        except RuntimeError:
            return
        if any(x.device.type != NAME for x in result):
            return
    pytest.fail(f"{users} pass without it")
