"""Right answers by transformers' T5, by lists and by running a cache."""

import torch
from handmade.inference.encoder_decoder import EncoderDecoderCache
from handmade.models.t5 import T5


def relative_bucket(distance, n_buckets, max_distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    return T5Attention._relative_position_bucket(
        distance, False, n_buckets, max_distance
    )


def shift_right(labels, start_id, pad_id):
    rows = [[start_id, *row][:-1] for row in labels.tolist()]
    return torch.tensor(
        [[pad_id if i == -100 else i for i in row] for row in rows]
    )


def cached_bias(table, T, S, bucket):
    out = table.new_zeros(1, table.shape[1], T, S)
    for t in range(T):
        for s in range(S):
            place = torch.tensor(s - (S - T + t))
            out[0, :, t, s] = table[bucket(place)]
    return out


@torch.no_grad()
def count_two_caches(config, B, S, T):
    if S > 100:  # a large model, which need not run
        return (
            config.n_decoder_layers
            * 2
            * B
            * (S + T)
            * (config.n_heads * config.d_head)
        )
    cache = EncoderDecoderCache()
    with torch.device("meta"):  # shapes, and nothing drawn
        read, written = torch.zeros(B, S).long(), torch.zeros(B, T).long()
        T5(config).eval()(read, written, cache=cache)
    kept = [*cache.own.layers, *cache.context.layers]
    return sum(k.numel() + v.numel() for k, v in kept)
