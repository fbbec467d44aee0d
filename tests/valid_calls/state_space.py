"""Right calls of the state-space layer, of Mamba and of the counting."""

import torch
from handmade.models.mamba import Mamba, MambaBlock, MambaConfig
from handmade.models.state_cache import StateCache
from handmade.models.state_space import StateSpace

from valid_calls import call

SIZES = {"vocab_size": 11, "d_model": 6, "n_layers": 2, "d_state": 3,
         "d_inner": 8, "d_conv": 4, "dt_rank": 2}  # fmt: skip


def config():
    return MambaConfig(**SIZES)


def mamba():
    return Mamba(config()).eval()


def hf_mamba():
    from transformers import MambaConfig as HFConfig
    from transformers import MambaForCausalLM

    return MambaForCausalLM(hf_config(HFConfig))


def hf_config(kind):
    return kind(vocab_size=11, hidden_size=6, state_size=3,
                num_hidden_layers=1, pad_token_id=0)  # fmt: skip


def hf_mixer():
    return hf_mamba().backbone.layers[0].mixer


def as_dict():
    from transformers import MambaConfig as HFConfig

    return hf_config(HFConfig).to_dict()


def layer():
    return StateSpace(6, d_inner=8, d_state=3, dt_rank=2, layer=0)


def ids():
    return torch.arange(10).reshape(2, 5)


def mask():
    return torch.ones(2, 5).long()


def scanned():
    u, dt = torch.randn(2, 5, 8), torch.rand(2, 5, 8)
    state = torch.zeros(2, 8, 3)
    return {
        "u_BTI": u, "dt_BTI": dt, "A_IN": -torch.rand(8, 3),
        "write_BTN": torch.randn(2, 5, 3), "read_BTN": torch.randn(2, 5, 3),
        "state_BIN": state,
    }  # fmt: skip


def filled():
    cache = StateCache()
    layer()(torch.randn(2, 5, 6), cache=cache)
    return cache


CALLS = {
    "models.architecture.costs": lambda: call(
        config=config(), length=3, bytes_a_number=2, absorbed=True
    ),
    "models.architecture.layers": lambda: call(
        config=config(), absorbed=True
    ),
    "models.selective_scan.selective_scan": lambda: call(**scanned()),
    "models.selective_scan.parallel_scan": lambda: call(**scanned()),
    "models.state_space.StateSpace": lambda: call(
        d_model=6, d_inner=8, d_state=3, d_conv=4, dt_rank=2, layer=0
    ),
    "models.state_space.StateSpace.forward": lambda: call(
        layer(), x=torch.randn(2, 5, 6), attention_mask=mask(),
        cache=StateCache(),
    ),
    "models.state_space.StateSpace.convolve": lambda: call(
        layer(), u_BTI=torch.randn(2, 5, 8), window_BIW=torch.zeros(2, 8, 3)
    ),
    "models.state_space.StateSpace.from_hf": lambda: call(mixer=hf_mixer()),
    "models.state_cache.StateCache.begin": lambda: call(
        filled(), rows=2, masked=False
    ),
    "models.state_cache.StateCache.update": lambda: call(
        filled(), layer=0, window=torch.zeros(2, 8, 3),
        state=torch.zeros(2, 8, 3), tokens=1,
    ),
    "models.state_cache.StateCache.reorder": lambda: call(
        filled(), index=torch.tensor([1, 0])
    ),
    "models.mamba.MambaConfig": lambda: call(**SIZES),
    "models.mamba.MambaConfig.from_hf": lambda: call(config=as_dict()),
    "models.mamba.MambaBlock": lambda: call(config=config(), layer=0),
    "models.mamba.MambaBlock.forward": lambda: call(
        MambaBlock(config(), 0), x=torch.randn(2, 5, 6)
    ),
    "models.mamba.Mamba": lambda: call(config=config()),
    "models.mamba.Mamba.forward": lambda: call(
        mamba(), ids=ids(), attention_mask=mask(), cache=StateCache(),
        logits_to_keep=2,
    ),
    "models.mamba.Mamba.from_hf": lambda: call(hf_model=hf_mamba()),
}  # fmt: skip
