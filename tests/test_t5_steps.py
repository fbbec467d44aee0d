"""The explorable on T5's steps shows what the model does, and counts it."""

import base64

import ipywidgets as ipw
import numpy as np
import pytest
import torch
from handmade.inference.encoder_decoder import EncoderDecoderCache
from handmade.models.t5 import T5, T5Config, shift_right
from handmade.record import recording
from handmade.widgets.attention_patterns import to_levels
from handmade.widgets.t5_steps import Run, T5Steps, follow, t5_steps
from script_helpers import run_script
from valid_calls.explorables import run as right_run

L, H, S, T, V = 2, 3, 5, 4, 11


def model(seed=0):
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=V, d_model=12, n_layers=1, n_decoder_layers=L, n_heads=H,
        d_head=5, d_ff=8, n_buckets=8, max_distance=20,
    )  # fmt: skip
    return T5(config).double().eval()


READ = torch.tensor([[4, 9, 2, 7, 1]])
WRITTEN = torch.tensor([[3, 8, 5, 1]])


def followed(**more):
    return follow(model(), READ, WRITTEN, str, label="a text", **more)


def test_the_weights_give_what_cross_attention_puts_out():
    t5, run = model(), followed()
    assert run.cross.shape == (L, H, T, S)
    names = [f"decoder.blocks.{i}.cross_attn" for i in range(L)]
    with recording(t5, names) as seen, torch.no_grad():
        t5(READ, shift_right(WRITTEN))
        context = t5.read(READ)
    for i, (name, (_, v_BHSK)) in enumerate(
        zip(names, context.layers, strict=True)
    ):
        mixed = (run.cross[i] @ v_BHSK[0]).transpose(0, 1).flatten(1)
        out = t5.decoder.blocks[i].cross_attn.o_proj(mixed)
        torch.testing.assert_close(out, seen[name][0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("start", [0, 6])
def test_a_step_of_one_pass_is_a_step_with_a_cache(start):
    t5, run = model(), followed(top=3, start_id=start)
    cache = EncoderDecoderCache()
    before = shift_right(WRITTEN, start)
    for step in range(T):
        with torch.no_grad():
            logits = t5(READ, before[:, step : step + 1], cache=cache)
        best = logits[0, -1].softmax(-1).topk(3)
        found = run.candidates[step]
        token = str(WRITTEN[0, step].item())
        want = [str(i) for i in best.indices.tolist()]
        if token not in want:
            want[-1] = token
        assert [name for name, _ in found] == want
        p = [p for _, p in found][:2]
        assert p == pytest.approx(best.values[:2].tolist(), abs=1e-12)


def test_the_written_token_is_a_candidate_wherever_it_is():
    tops = {top: followed(top=top).candidates for top in (1, 2, 99)}
    written = [str(i) for i in WRITTEN[0].tolist()]
    for top, steps in tops.items():
        for step, token in zip(steps, written, strict=True):
            assert len(step) == min(top, V)
            assert token in dict(step)
            chances = [p for _, p in step]
            assert chances == sorted(chances, reverse=True)
    # or the test above would show nothing
    assert any(s[0][0] != t for s, t in zip(tops[99], written, strict=True))


def test_a_run_names_its_tokens_and_its_start():
    run = followed(start_id=6)
    assert run.start == "6"
    assert run.read == [str(i) for i in READ[0].tolist()]
    assert run.written == [str(i) for i in WRITTEN[0].tolist()]


def test_half_precision_is_followed_too():
    rough = follow(model().bfloat16(), READ, WRITTEN, str, label="a text")
    sums = rough.cross.sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-12, rtol=0)
    # the same weights, as well as bfloat16 can tell them
    assert (rough.cross - followed().cross).abs().max() < 0.05


SCRIPT = """
const run = { data: bytes(cross), layers, heads, T, S };
return places.map((place) => weightsAt(run, place));
"""


def test_the_script_reads_the_weights_of_a_step():
    run = followed()
    packed = run.packed()
    levels = np.frombuffer(base64.b64decode(packed["cross"]), np.uint8)
    levels = levels.reshape(L, H, T, S) / 255
    exact = to_levels(run.cross).double().numpy() / 255
    assert np.array_equal(levels, exact)
    places = [
        {"layer": layer, "head": head, "step": step}
        for layer in range(L + 1)
        for head in range(H + 1)
        for step in range(1, T + 1)
    ]
    sizes = {"layers": packed["layers"], "heads": packed["heads"]}
    answers = run_script(
        "t5_steps", SCRIPT, cross=packed["cross"], T=T, S=S, places=places,
        **sizes,
    )  # fmt: skip
    for place, answer in zip(places, answers, strict=True):
        layer, head, step = place["layer"], place["head"], place["step"]
        want = levels[layer - 1 : layer or None] if layer else levels
        want = want[:, head - 1 : head] if head else want
        want = want[:, :, step - 1].mean((0, 1))
        assert answer == pytest.approx(want.tolist(), abs=1e-12)
        assert sum(answer) == pytest.approx(1, abs=1e-12)


def counted(t5, cached):
    """Return, step by step, how many tokens each part of a layer took."""
    taken: dict[str, list[int]] = {}
    parts = {
        "encoder": t5.encoder.blocks[0],
        "read": t5.decoder.blocks[0].cross_attn.k_proj,
        "decoder": t5.decoder.blocks[0],
        "own": t5.decoder.blocks[0].attn.k_proj,
    }
    now: dict[str, int] = {}

    def hook(name):
        def count(module, args):
            now[name] = now.get(name, 0) + args[0].shape[1]

        return count

    hooks = [
        part.register_forward_pre_hook(hook(name))
        for name, part in parts.items()
    ]
    cache = EncoderDecoderCache() if cached else None
    before = shift_right(WRITTEN)
    for step in range(1, T + 1):
        now.clear()
        start = step - 1 if cached else 0
        with torch.no_grad():
            t5(READ, before[:, start:step], cache=cache)
        for name in parts:
            taken.setdefault(name, []).append(now.get(name, 0))
    for each in hooks:
        each.remove()
    return taken


def test_what_is_counted_is_what_the_model_computes():
    body = "return Array.from({ length: T }, (_, i) => work(S, i + 1));"
    answers = run_script("t5_steps", body, S=S, T=T)
    with_cache, without = counted(model(), True), counted(model(), False)
    for name in with_cache:
        assert [a[name]["now"] for a in answers] == with_cache[name]
        assert [a[name]["without"] for a in answers] == without[name]
    # what is not computed was kept
    for name in ("read", "own"):
        for answer in answers:
            a = answer[name]
            assert a["now"] + a["kept"] == a["without"]
    for key, found in (("now", with_cache), ("without", without)):
        both = np.cumsum(np.add(found["encoder"], found["decoder"]))
        assert [a["all"][key] for a in answers] == both.tolist()


def test_boxes_are_wrapped_into_rows():
    body = "return wrap(widths, 100, 4);"
    found = run_script("t5_steps", body, widths=[40, 56, 40, 200, 10])
    assert found == [
        {"x": 0, "row": 0, "width": 40},
        {"x": 44, "row": 0, "width": 56},
        {"x": 0, "row": 1, "width": 40},
        {"x": 0, "row": 2, "width": 200},
        {"x": 0, "row": 3, "width": 10},
    ]


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    runs = [followed(), Run(**run_of(T=2))]
    box = t5_steps(runs, run=1, step=2, layer=1, head=3)
    drawing, texts, layers, heads = box.children
    assert (texts.index, layers.index, heads.index) == (1, 1, 3)
    assert layers.options[0][0] == "mean of all 2"
    assert [name for name, _ in heads.options[1:]] == ["1", "2", "3"]
    assert (drawing.run, drawing.step) == (1, 2)
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {("index", "run"), ("index", "layer"), ("index", "head")}
    assert repr(T5Steps()) == "T5Steps()"


def test_there_is_no_menu_of_one():
    box = t5_steps([Run(**run_of(layers=1, heads=1))])
    assert len(box.children) == 1


def run_of(T=2, S=3, layers=L, heads=H, **changes):
    written = [f"w{t}" for t in range(T)]
    right = {
        "label": "a text",
        "read": [f"r{s}" for s in range(S)],
        "written": written,
        "cross": torch.full((layers, heads, T, S), 1 / S),
        "candidates": [[(token, 0.5), ("other", 0.1)] for token in written],
    }
    return {**right, **changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": 3}, "label: got 3 among them"),
        ({"read": []}, "read: got 0, want some"),
        ({"read": ["a", "b"]}, r"cross: got .*, want .*\(L, H, 2, 2\)"),
        ({"written": ["a"]}, r"cross: got .*, want .*\(L, H, 1, 3\)"),
        ({"cross": torch.full((L, H, 2, 3), 0.5)}, "cross: got rows that sum"),
        (
            {"cross": torch.tensor([2.0, -1.0, 0.0]).expand(L, H, 2, 3)},
            "cross: got rows that sum .*, want weights, 0 or more",
        ),
        ({"cross": torch.full((L, H, 2, 3), torch.nan)}, "cross: got 36 nan"),
        ({"candidates": [[("a", 0.5)]]}, "candidates: got 1, want 2 lists"),
        ({"candidates": [[], []]}, "candidates: got an empty list"),
        ({"candidates": [["ab"], ["ab"]]}, "candidates: got a str, want"),
        ({"candidates": [[("a",)]] * 2}, r"candidates: got \('a',\)"),
        ({"candidates": [[(1, 0.5)]] * 2}, "candidates: got 1 among them"),
        ({"candidates": [[("a", 1.5)]] * 2}, "candidates: got 1.5, want 0"),
        ({"candidates": [[("a", -0.5)]] * 2}, "candidates: got -0.5, want"),
        (
            {"candidates": [[("a", 0.1), ("b", 0.2)]] * 2},
            "candidates: got .*, want the likeliest first",
        ),
        ({"start": None}, "start: got None among them"),
    ],
)
def test_a_run_that_does_not_fit_is_an_error(changes, said):
    Run(**run_of())
    with pytest.raises(ValueError, match=f"^{said}"):
        Run(**run_of(**changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runs": []}, "runs: got none, want at least one Run"),
        ({"runs": [right_run()]}, "runs: got a dict, want at least one Run"),
        ({"run": 1}, "run: got 1, want a whole number from 0 to 0"),
        ({"step": 0}, "step: got 0, want a whole number from 1 to 2"),
        ({"step": 3}, "step: got 3, want a whole number from 1 to 2"),
        ({"layer": L + 1}, "layer: got 3, want a whole number from 0 to 2"),
        ({"head": H + 1}, "head: got 4, want a whole number from 0 to 3"),
    ],
)
def test_a_place_that_no_run_has_is_an_error(changes, said):
    right = {"runs": [Run(**run_of())]}
    t5_steps(**right)
    with pytest.raises(ValueError, match=f"^{said}"):
        t5_steps(**{**right, **changes})


def test_runs_of_two_models_are_an_error():
    runs = [Run(**run_of()), Run(**run_of(heads=4))]
    with pytest.raises(ValueError, match=r"^runs: got \[\(2, 3\), \(2, 4\)\]"):
        t5_steps(runs)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": READ[0]}, "ids: got shape"),
        ({"ids": READ.repeat(2, 1)}, r"ids: got \(2, 5\), want one row"),
        ({"ids": READ[:, :0]}, r"ids: got \(1, 0\), want one row"),
        ({"written": WRITTEN + V}, "written: got 12 to 19, want ids from 0"),
        ({"written": -WRITTEN}, "written: got -8 to -1, want ids from 0"),
        ({"start_id": V}, "start_id: got 11, want a whole number from 0"),
        ({"top": 0}, "top: got 0, want a whole number, 1 or more"),
        ({"model": torch.nn.Linear(2, 2)}, "model: got a Linear, want a hand"),
        ({"decode": 3}, "decode: got an int, want a function"),
    ],
)
def test_what_cannot_be_followed_is_an_error(changes, said):
    right = {
        "model": model(), "ids": READ, "written": WRITTEN, "decode": str,
        "label": "a text",
    }  # fmt: skip
    with pytest.raises(ValueError, match=f"^{said}"):
        follow(**{**right, **changes})
