"""The explorable on LoRA's rank tells the package's numbers."""

import itertools

import ipywidgets as ipw
import pytest
from handmade.models.llama_config import LlamaConfig
from handmade.models.variants_config import VariantConfig
from handmade.training.adapter_cost import MATRICES, adapter_cost
from handmade.widgets.lora_rank import RANKS, STATES, LoraRank, lora_rank
from script_helpers import run_script

NAMED = {
    name: LlamaConfig.from_name(name)
    for name in ("smollm2-135m", "llama-3.2-1b", "llama-2-7b", "llama-3.1-8b")
}
CHOICES = [("q_proj",), ("q_proj", "v_proj"), ("up_proj", "k_proj"), MATRICES]


def flat(told) -> list:
    held = [
        [way.weights, way.gradients, way.optimizer, way.total]
        for way in (told.full, told.lora, told.qlora)
    ]
    return [told.parameters, told.trainable, told.file_bytes, *held]


def test_the_script_counts_as_the_package_does():
    presets = lora_rank(NAMED).children[0].presets
    cases, want = [], []
    for (preset, config), chosen, rank, state, width in itertools.product(
        zip(presets, NAMED.values(), strict=True),
        CHOICES, RANKS, STATES.values(), (2, 4),
    ):  # fmt: skip
        cases.append(
            {k: preset[k] for k in ("layers", "parameters", "sizes")}
            | {"chosen": [name in chosen for name in MATRICES]}
            | {"rank": rank, "state": state, "number": width}
        )
        want.append(
            flat(
                adapter_cost(
                    config, chosen, rank, number_bytes=width,
                    state_bytes=state,
                )
            )
        )  # fmt: skip
    script = """
    const held = (w) => [w.weights, w.gradients, w.optimizer, w.total];
    return cases.map((c) => { const t = costOf(c); return [t.parameters,
      t.trainable, t.file_bytes, held(t.full), held(t.lora), held(t.qlora)]; })
    """
    assert run_script("lora_rank", script, cases=cases) == want


@pytest.mark.parametrize(
    ("n", "want"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_500, "1.00 MB"),
     (134_515_008, "135 MB"), (4e15, "4000 TB")],
)  # fmt: skip
def test_sizes_have_three_digits_and_a_unit(n, want):
    assert run_script("lora_rank", "return short(n)", n=n) == want


def test_a_share_has_two_digits():
    script = "return parts.map((n) => shareOf(n, 1000))"
    told = run_script("lora_rank", script, parts=[0.00123, 1, 537.2, 1000])
    assert told == ["0.00012 %", "0.1 %", "54 %", "100 %"]


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    box = lora_rank(
        NAMED, preset="llama-2-7b", matrices=["v_proj", "q_proj"], rank=16
    )
    drawing, rank, state, numbers = box.children
    assert (drawing.preset, drawing.matrices) == (2, "q_proj v_proj")
    assert (rank.value, rank.index, drawing.rank) == (16, 4, 4)
    assert (state.index, numbers.index) == (0, 0)
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {("index", n) for n in ("rank", "state", "numbers")}
    assert repr(LoraRank()) == "LoraRank()"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"configs": {}}, "configs: got 0, want some"),
        ({"configs": {"a": VariantConfig.from_name("mistral-7b")}},
         "config: got a VariantConfig"),
        ({"preset": "b"}, "preset: got 'b', want one of"),
        ({"matrices": ()}, "matrices: got none"),
        ({"matrices": ["lm_head"]}, "matrices: got 'lm_head'"),
        ({"rank": 3}, "rank: got 3, want one of"),
    ],
)  # fmt: skip
def test_what_no_control_has_is_an_error(change, said):
    with pytest.raises(ValueError, match=said):
        lora_rank(**({"configs": NAMED} | change))
