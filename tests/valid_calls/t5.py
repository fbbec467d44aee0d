"""Right calls of T5, of its positions, its attention and its cache."""

import torch
from handmade.blocks.cross_attention import CrossAttention, DecoderBlock
from handmade.blocks.feedforward import FeedForward
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.inference.cache import KVCache
from handmade.inference.encoder_decoder import EncoderDecoderCache
from handmade.models.t5 import T5, T5Config
from handmade.models.t5_positions import RelativeBias

from valid_calls import call

SIZES = {
    "vocab_size": 11,
    "d_model": 12,
    "n_layers": 1,
    "n_decoder_layers": 2,
    "n_heads": 3,
    "d_head": 4,
    "d_ff": 8,
    "n_buckets": 8,
    "max_distance": 20,
}


def t5():
    return T5(T5Config(**SIZES)).eval()


def ids(length=4):
    return torch.arange(2 * length).reshape(2, length)


def ones(length=4):
    return torch.ones(2, length).long()


def written():
    return {"decoder_ids": ids(3), "decoder_attention_mask": ones(3)}


def parts():
    return {
        "attn_norm": RMSNorm(12),
        "attn": MultiHeadAttention(12, 3),
        "cross_norm": RMSNorm(12),
        "cross_attn": CrossAttention(12, 3),
        "ffn_norm": RMSNorm(12),
        "ffn": FeedForward(12, 8, torch.relu),
    }


def hf_config():
    return T5Config(**SIZES).to_hf()


def weights():
    return t5().to_hf().state_dict()


def numbers():
    return torch.randn(2, 4, 12)


CALLS = {
    "blocks.cross_attention.CrossAttention.keys_values": lambda: call(
        CrossAttention(12, 3), context=numbers()
    ),
    "blocks.cross_attention.CrossAttention.forward": lambda: call(
        CrossAttention(12, 3), x=numbers(), context=numbers()
    ),
    "blocks.cross_attention.CrossAttention": lambda: call(
        d_model=12, n_heads=3
    ),
    "blocks.cross_attention.DecoderBlock": lambda: call(**parts()),
    "blocks.cross_attention.DecoderBlock.forward": lambda: call(
        DecoderBlock(**parts()), x=numbers(), context=numbers()
    ),
    "inference.encoder_decoder.EncoderDecoderCache": lambda: call(
        own=KVCache()
    ),
    "inference.encoder_decoder.EncoderDecoderCache.begin": lambda: call(
        EncoderDecoderCache(), rows=2, masked=False
    ),
    "inference.encoder_decoder.EncoderDecoderCache.update": lambda: call(
        EncoderDecoderCache(),
        layer=0,
        k=torch.randn(2, 1, 3, 4),
        v=torch.randn(2, 1, 3, 4),
    ),
    "inference.encoder_decoder.EncoderDecoderCache.reorder": lambda: call(
        EncoderDecoderCache(), index=torch.tensor([1, 0])
    ),
    "models.t5.T5": lambda: call(config=T5Config(**SIZES)),
    "models.t5.T5.forward": lambda: call(
        t5(),
        ids=ids(),
        attention_mask=ones(),
        **written(),
        cache=EncoderDecoderCache(),
    ),
    "models.t5.T5.read": lambda: call(
        t5(), ids=ids(), attention_mask=ones()
    ),
    "models.t5.T5.write": lambda: call(
        (model := t5()), context=model.read(ids()), **written()
    ),
    "models.t5.T5.decoder_for": lambda: call(
        t5(), ids=ids(), attention_mask=ones()
    ),
    "models.t5.T5.from_name": lambda: call(
        T5, name="t5-small", vocab_size=9, d_model=8, n_layers=1
    ),
    "models.t5.T5.from_hf": lambda: call(T5, hf_model=t5().to_hf()),
    "models.t5.T5.from_weights": lambda: call(
        T5, weights=weights(), config=hf_config()
    ),
    "models.t5.Writer": lambda: call(
        model=(model := t5()), context=model.read(ids())
    ),
    "models.t5.Writer.forward": lambda: call(
        t5().decoder_for(ids()), ids=ids(3), attention_mask=ones(3),
        mask=torch.ones(3, 3).bool().tril(), cache=EncoderDecoderCache(),
    ),
    "models.t5.shift_right": lambda: call(labels=ids(3)),
    "models.t5_config.T5Config": lambda: call(**SIZES),
    "models.t5_config.T5Config.from_name": lambda: call(
        T5Config, name="t5-small", n_layers=1
    ),
    "models.t5_config.T5Config.from_hf": lambda: call(
        T5Config, config=hf_config()
    ),
    "models.t5_positions.relative_bucket": lambda: call(
        distance=torch.arange(-3, 4), both_ways=True
    ),
    "models.t5_positions.RelativeBias": lambda: call(
        n_heads=2, both_ways=True
    ),
    "models.t5_positions.RelativeBias.forward": lambda: call(
        RelativeBias(2, both_ways=True), T=2, S=3
    ),
    "training.number_words.in_english": lambda: call(n=47),
    "training.number_words.in_german": lambda: call(n=47),
}  # fmt: skip
