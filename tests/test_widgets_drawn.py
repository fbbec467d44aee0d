"""Explorables in Chromium: what sets them, and what a phone shows of them.

A trait that a word in the text may set moves the drawing, and Reset takes it
back: the same state gives the same drawing. At 390 x 844 an explorable fits
with its controls, no letters lie on others, and its height never changes.
"""

import pytest
import torch
from bookbinder.browser import chromium
from handmade import scalar
from handmade.models.architecture import EQUAL_WIDTH
from handmade.models.llama_config import LlamaConfig
from handmade.text.bpe import BPETokenizer
from handmade.text.pretokenize import byte_alphabet
from handmade.training.adapter_cost import MATRICES
from handmade.widgets.architecture_map import map_models
from handmade.widgets.attention_patterns import Panel, explore
from handmade.widgets.base import assets
from handmade.widgets.bert_search import bert_search
from handmade.widgets.by_hand import STEPS, scrub
from handmade.widgets.cache_memory import cache_memory
from handmade.widgets.head_count import count_heads
from handmade.widgets.lora_rank import lora_rank
from handmade.widgets.loss_curves import loss_curves
from handmade.widgets.lr_schedule import lr_schedule
from handmade.widgets.mask_editor import edit_masks
from handmade.widgets.merge_steps import merge_steps
from handmade.widgets.next_token import next_token
from handmade.widgets.rope_rotator import rope_rotator
from handmade.widgets.softmax_saturation import explore_saturation
from handmade.widgets.t5_steps import Run, t5_steps
from handmade.widgets.training_memory import training_memory
from widget_helpers import SMALL, UNREADABLE, Drawn

TEXT = "The animal did not cross the street because it was too tired , "
TEXT += "so the driver stopped and waited until it was gone ."
WORDS = TEXT.split()
LINES = [
    "The animal did not cross the street because it was too tired, it said",
    "So the driver stopped and waited until it was gone",
]
QUERIES = [
    "What is the tired animal about?",
    "A driver, who waits",
    "A long query, of more words than a phone has room for in a line",
]
PHONE, DESK = 390, 1300


def weights(*shape: int, causal: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    scores = 3 * torch.randn(*shape, generator=generator)
    if causal:
        hidden = torch.ones(shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores.softmax(-1)


def panel(label: str, layers: int, heads: int, causal: bool) -> Panel:
    lengths = (24,) if causal else (12, 24)
    return Panel(
        label=label,
        causal=causal,
        tokens={n: WORDS[:n] for n in lengths},
        weights={
            n: weights(layers, heads, n, n, causal=causal) for n in lengths
        },
    )


def tokenizer() -> BPETokenizer:
    """All bytes, and the merges of a few words."""
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("o", "r"), ("i", "c")]
    vocab = {char: i for i, char in enumerate(byte_alphabet().values())}
    for a, b in merges:
        vocab[a + b] = len(vocab)
    return BPETokenizer(vocab, merges)


def search():
    """Lines that share words or none, found by two poolings."""
    lines = [*LINES, *(f"a line of the number {i}" for i in range(40))]
    g = torch.Generator().manual_seed(1)
    shape = 2, 2, len(QUERIES), len(lines)
    masked, bare = torch.rand(*shape, generator=g) * 0.9
    return bert_search(
        lines, QUERIES, {"mean": masked[0], "CLS": masked[1]}, [0, 1, 40],
        without_mask={"mean": bare[0], "CLS": bare[1]},
    )  # fmt: skip


def run(label: str, T: int, S: int) -> Run:
    words = (WORDS * 2)[: S + T]
    return Run(
        label=label,
        read=words[:S],
        written=words[S:],
        cross=weights(3, 4, T, S),
        candidates=[
            [(word, 0.9), (" other", 0.05), ("third\n", 0.001)]
            for word in words[S:]
        ],
    )


def make(name: str):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5000, generator=g) * 2
    if name == "architecture_map":
        return map_models(EQUAL_WIDTH)
    if name == "attention_patterns":
        return explore(
            [panel("large", 30, 9, True), panel("small", 6, 12, False)],
            layer=13, head=8, length=16, query=8, key=1,
        )  # fmt: skip
    if name == "bert_search":
        return search()
    if name == "by_hand":
        return scrub(scalar.IDS, scalar.TARGETS, weight="tok_emb")
    if name == "cache_memory":
        return cache_memory(
            {
                f"Model {n} {size}B": EQUAL_WIDTH[kind]
                for n, (kind, size) in enumerate(
                    [("Llama", 8), ("Mistral", 7), ("Gemma 3", 1)] * 3
                )
            }
        )
    if name == "t5_steps":
        return t5_steps([run("long", 12, 18), run("short", 3, 4)], step=3)
    if name == "head_count":
        cuts = {H: weights(3, H, 15, 15) for H in (1, 2, 6, 12, 24)}
        return count_heads(WORDS[:15], cuts, d_model=48, heads=12, query=8)
    if name == "lora_rank":
        return lora_rank(
            {
                name: LlamaConfig.from_name(name)
                for name in (
                    "smollm2-135m", "smollm2-360m", "llama-3.2-1b",
                    "llama-2-7b", "llama-3.1-8b",
                )
            },
            preset="llama-2-7b",
        )  # fmt: skip
    if name == "loss_curves":
        names = [f"a rather long recipe, {i}" for i in range(14)]
        sides = [
            {n: 2 + 2 * torch.rand(4, points, generator=g) for n in names}
            for points in (20, 11)
        ]
        steps = [range(5, 205, 10), range(0, 201, 20)]
        return loss_curves(*sides, steps, shown=names[:3], level=3.0,
                           named="counting characters")  # fmt: skip
    if name == "lr_schedule":
        return lr_schedule()
    if name == "mask_editor":
        scores = 3 * torch.randn(9, 10, 10, generator=g)
        return edit_masks(WORDS[:10], scores, query=8, key=1)
    if name == "merge_steps":
        text = "The strawberry, theoretically. Ünïcödé 2025"
        return merge_steps(tokenizer(), text)
    if name == "next_token":
        prompts = ["She opened the door and saw", "The"]
        return next_token(prompts, logits, lambda i: f" word{i}")
    if name == "rope_rotator":
        return rope_rotator(*torch.randn(2, 8, generator=g))
    if name == "training_memory":
        config = LlamaConfig.from_name("llama-3.1-8b")
        names = [f"Model {n} 135M" for n in range(6)]
        return training_memory(dict.fromkeys(names, config))
    given = (torch.randn(n, 64, generator=g) for n in (40, 16))
    upstream = torch.randn(40, 16, generator=g)
    return explore_saturation(*given, upstream, width=64)


# values to set, and what else must stand for one of them to show
MOVED = {
    "architecture_map": {"model": 5, "context": 10},
    "attention_patterns": {
        "panel": 1, "layer": 4, "head": 3, "length": 24, "query": 10,
        "key": 2,
    },
    "bert_search": {"query": 1, "pooling": 1, "unmasked": True},
    "by_hand": {
        "step": 53, "row": 2, "column": 3, "weight": 4, "at": 20,
        "value": -0.7,
    },
    "cache_memory": {
        "layers": 80, "heads": 8, "width": 1, "length": 13, "batch": 9,
        "dtype": 0, "window": 2,
    },
    "head_count": {"cut": 1, "layer": 2, "head": 4, "query": 3, "key": 5},
    "lora_rank": {
        "preset": 1, "matrices": "k_proj up_proj", "rank": 6, "state": 2,
        "numbers": 1,
    },
    "loss_curves": {"shown": 9, "side": 0, "scale": 1, "step": 40},
    "lr_schedule": {
        "shape": 1, "peak": 9, "steps": 2, "warmup": 20, "flat": 0.5,
        "lowest": 0.3, "step": 100,
    },
    "mask_editor": {
        "preset": 3, "size": 2, "head": 4, "query": 9, "key": 4,
        "clicks": [[8, 1]],
    },
    "merge_steps": {"text": " the theory", "step": 2},
    "next_token": {
        "index": 1, "temperature": 2, "top_k": 3, "top_p": 0.5, "min_p": 0.2,
        "draws": 2,
    },
    "rope_rotator": {
        "query_at": 40, "key_at": 30, "shift": 100, "pair": 3, "theta": 10,
    },
    "softmax_saturation": {"question": 2, "width": 1, "power": 0, "query": 7},
    "t5_steps": {"run": 1, "step": 2, "layer": 2, "head": 3},
    "training_memory": {
        "model": 3, "numbers": 0, "optimizer": 2, "kept": 2, "batch": 7,
        "length": 3, "sharding": 3, "gpus": 6,
    },
}  # fmt: skip
FIRST = {
    ("lr_schedule", "flat"): {"shape": 1},
    ("mask_editor", "size"): {"preset": 3},
}
EXTREMES = {
    "architecture_map": [
        {"model": model, "context": context}
        for model, context in ((1, 10), (3, 0), (5, 10), (6, 10), (7, 0))
    ],
    "attention_patterns": [
        {"length": 24}, {"length": 2}, {"panel": 1, "layer": 5, "head": 11},
    ],
    "bert_search": [
        {"query": 2, "pooling": 1}, {"unmasked": True}, {"query": 0},
    ],
    "by_hand": [
        {"step": step, "row": 99, "column": 99} for step in range(len(STEPS))
    ] + [{"value": 1.6}, {"weight": 10, "at": 1023}],
    "cache_memory": [
        {"layers": 128, "heads": 128, "width": 6, "length": 13, "batch": 10},
        {"window": 1}, {"layers": 1, "heads": 1, "width": 0, "length": 0},
    ],
    "head_count": [{"cut": 4}, {"cut": 0, "head": 23}],
    "lora_rank": [
        {"preset": 4, "rank": 7, "numbers": 1, "state": 1,
         "matrices": " ".join(MATRICES)},
        {"preset": 0, "rank": 0, "state": 4, "matrices": "k_proj"},
    ],
    "loss_curves": [
        {"shown": 0}, {"shown": 2**14 - 1, "side": 0, "step": 0},
        {"scale": 1, "step": 200},
    ],
    "lr_schedule": [
        {"shape": 1, "steps": 9, "peak": 15, "warmup": 50, "step": 99_999},
        {"shape": 2, "warmup": 0, "lowest": 1, "step": 0},
        {"shape": 1, "steps": 0, "flat": 0.95, "lowest": 0, "step": 10**6},
    ],
    "mask_editor": [{"preset": 1, "size": 3}, {"preset": 4}],
    "merge_steps": [{"step": 999}, {"text": ""}, {"text": "ḁ̈ " * 99}],
    "next_token": [
        {"temperature": 3}, {"temperature": 0.1}, {"top_k": 1},
        {"index": 1, "min_p": 0.5, "top_k": 0, "temperature": 1},
    ],
    "rope_rotator": [
        {"theta": 1e6, "query_at": 64, "key_at": 64, "pair": 3},
        {"theta": 10, "key_at": 0}, {"query_at": 0, "key_at": 64},
    ],
    "softmax_saturation": [
        {"question": 1, "power": 0}, {"question": 2}, {"question": 2,
        "power": 1}, {"question": 0, "power": 0},
    ],
    "t5_steps": [
        {"step": 12, "layer": 3, "head": 4}, {"step": 1}, {"run": 1},
    ],
    "training_memory": [
        {"batch": 7, "length": 10, "kept": 0, "gpus": 10},
        {"kept": 2, "sharding": 3, "gpus": 10, "length": 0},
        {"numbers": 0, "optimizer": 2},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def draw(browser):
    """Draw an explorable; what goes wrong on its page fails the test."""
    drawn: list[Drawn] = []

    def draw(name: str, width: int = DESK) -> Drawn:
        drawn.append(Drawn(browser, name, make(name), width))
        return drawn[-1]

    yield draw
    for each in drawn:
        each.page.close()
        assert each.faults == []


@pytest.mark.parametrize("name", MOVED)
def test_what_a_word_sets_moves_the_drawing_and_reset_takes_it_back(
    name, draw
):
    assert set(MOVED[name]) == set(type(make(name).children[0]).sets)
    drawn = draw(name)
    start = drawn.look()
    assert drawn.page.is_disabled("header button")
    for trait, value in MOVED[name].items():
        drawn.set(**FIRST.get((name, trait), {}))
        before = drawn.look()
        drawn.set(**{trait: value})
        assert drawn.get(trait) == [value]
        assert drawn.look() != before, trait
        drawn.page.click("header button")
        assert drawn.look() == start, trait
    # all at once, as one word of the text may
    drawn.set(**MOVED[name])
    assert drawn.get(*MOVED[name]) == list(MOVED[name].values())


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", EXTREMES)
def test_a_phone_shows_all_of_it_and_nothing_jumps(name, width, draw):
    drawn = draw(name, width)
    height = drawn.height()
    assert height <= 844 or width == DESK
    assert drawn.page.evaluate(UNREADABLE) == []
    assert drawn.page.evaluate(SMALL) == []
    for values in EXTREMES[name]:
        drawn.set(**values)
        assert drawn.page.evaluate(UNREADABLE) == [], values
        assert drawn.height() == height, values
        wide = drawn.page.evaluate("document.documentElement.scrollWidth")
        assert wide == width


@pytest.mark.parametrize("name", MOVED)
def test_another_explorable_on_the_page_changes_nothing(name, draw):
    drawn = draw(name)
    boxes = """() => [...document.querySelectorAll(".hm *")].map((node) => {
      const { x, y, width, height } = node.getBoundingClientRect();
      return [node.outerHTML.slice(0, 80), x, y, width, height];
    })"""
    alone = drawn.page.evaluate(boxes)
    for other in MOVED.keys() - {name}:
        drawn.page.add_style_tag(content=assets(other)[1])
    assert drawn.page.evaluate(boxes) == alone


@pytest.mark.parametrize(
    "name", sorted({*MOVED} - {"bert_search", "merge_steps", "next_token"})
)
def test_a_drawing_follows_its_width_and_ends_when_it_is_told_to(name, draw):
    drawn = draw(name)
    wide = drawn.look()
    drawn.page.set_viewport_size({"width": PHONE, "height": 844})
    drawn.page.wait_for_function(
        "(wide) => document.querySelector('.hm').innerHTML !== wide", arg=wide
    )
    drawn.page.evaluate("stop()")
    calls = drawn.page.evaluate("Object.values(model.calls).flat().length")
    assert calls == 0


@pytest.mark.parametrize(
    "name", ["attention_patterns", "head_count", "mask_editor"]
)
def test_pointing_previews_and_leaving_restores(name, draw):
    drawn = draw(name)
    start, said = drawn.look(), drawn.say()
    box = drawn.page.locator(".hm-grid").bounding_box()
    x, y = box["x"] + 100, box["y"] + 220
    drawn.page.mouse.move(x, y)
    assert drawn.say() != said
    drawn.page.mouse.move(x, 5)
    assert drawn.look() == start
    drawn.page.mouse.click(x, y)
    drawn.page.mouse.move(x, 5)
    assert drawn.say() != said
    assert drawn.get("query", "key") != [8, 1]
    # what lies over the cells covers none
    for over in (".hm-edge", ".hm-ring"):
        fill = f"getComputedStyle(document.querySelector('{over}')).fill"
        assert drawn.page.evaluate(fill) == "none"


def test_what_is_pointed_at_may_go(draw):
    drawn = draw("attention_patterns")
    drawn.set(panel=1, length=24)
    box = drawn.page.locator(".hm-grid").bounding_box()
    drawn.page.mouse.move(box["x"] + 400, box["y"] + 480)
    drawn.set(length=12)  # by a slider that has the focus
    assert drawn.page.evaluate(UNREADABLE) == []
    drawn.page.get_by_role("radio", name="head 11").hover()
    drawn.set(panel=0)
    assert drawn.say().startswith("Layer 5, head 8:")


@pytest.mark.parametrize("name", ["attention_patterns", "head_count"])
def test_a_head_is_previewed_chosen_and_walked_to(name, draw):
    drawn = draw(name)
    start = drawn.look()
    (head,) = drawn.get("head")
    other = drawn.page.get_by_role("radio", name="head 5", exact=True)
    other.hover()
    assert drawn.look() != start
    drawn.page.mouse.move(1200, 5)
    assert drawn.look() == start
    other.click()
    assert drawn.get("head") == [5] != [head]
    drawn.page.keyboard.press("ArrowRight")
    drawn.page.keyboard.press("ArrowRight")
    assert drawn.get("head") == [7]
    assert drawn.page.evaluate("document.activeElement.ariaLabel") == "head 7"


def test_arrow_keys_walk_and_space_opens_a_cell(draw):
    drawn = draw("mask_editor")
    drawn.page.focus(".hm-grid")
    for key in ("ArrowUp", "ArrowLeft", "ArrowLeft"):
        drawn.page.keyboard.press(key)
    assert drawn.get("query", "key") == [7, 0]
    drawn.page.keyboard.press(" ")
    assert drawn.get("clicks") == [[[7, 0]]]
    assert "hidden" in drawn.say()
    drawn.page.keyboard.press("Enter")
    assert drawn.get("clicks") == [[]]
    # the ring is whole: nothing around it cuts
    assert drawn.page.evaluate(
        "getComputedStyle(document.querySelector('.hm')).overflow"
    ) == ("visible")


def test_padding_stands_before_the_words_and_eats_none(draw):
    drawn = draw("mask_editor")
    words = drawn.page.locator(".hm-grid text").all_text_contents()
    drawn.set(preset=1, size=2)
    padded = drawn.page.locator(".hm-grid text").all_text_contents()
    assert padded.count("[pad]") == 4  # two rows, two columns
    for word in WORDS[:10]:
        assert padded.count(word) == words.count(word) == 2
    assert drawn.get("last_size", "sizeless") == [3, False]
    # the cell that was pointed at is still the same two words
    assert "“it” (10) → “animal” (3)" in drawn.say()
    drawn.set(preset=4)
    assert drawn.get("sizeless") == [True]


def test_another_mask_is_drawn_without_the_last_ones_clicks(draw):
    drawn = draw("mask_editor")
    drawn.set(clicks=[[8, 1]])
    drawn.set(preset=4)
    assert drawn.get("clicks") == [[]]
    drawn.set(preset=0, clicks=[[8, 1]])  # both by one word
    assert drawn.get("preset", "clicks") == [0, [[8, 1]]]


def test_a_smaller_model_takes_over_with_its_own_ends(draw):
    drawn = draw("attention_patterns")
    drawn.set(layer=29, panel=1)
    assert drawn.get("layer", "last_layer") == [5, 5]
    drawn.set(panel=0, layer=18)
    assert drawn.get("layer", "last_layer") == [18, 29]


def test_hands_are_dragged_and_turned_by_keys(draw):
    drawn = draw("rope_rotator")
    drawn.set(pair=0, query_at=0, key_at=0)
    hand = drawn.page.get_by_role("slider", name="place of the query")
    box = hand.bounding_box()
    clock = drawn.page.locator(".rr-clock").bounding_box()
    x = clock["x"] + clock["width"] / 2
    y = clock["y"] + clock["height"] / 2
    from_x = box["x"] + box["width"] / 2 - x
    from_y = box["y"] + box["height"] / 2 - y
    drawn.page.mouse.move(x + from_x, y + from_y)
    drawn.page.mouse.down()
    turned = complex(from_x, from_y)
    for _ in range(3):  # a third of a round each, against the clock
        turned *= complex(-0.5, -(3**0.5) / 2)
        drawn.page.mouse.move(x + turned.real, y + turned.imag)
    drawn.page.mouse.up()
    # once round at one radian a token
    assert drawn.get("query_at") == [6]
    hand.focus()
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft"):
        drawn.page.keyboard.press(key)
    assert drawn.get("query_at", "key_at") == [7, 0]
    assert hand.get_attribute("aria-valuenow") == "7"


def test_one_question_at_a_time(draw):
    drawn = draw("softmax_saturation")
    drawn.page.get_by_role("radio", name="Which queries").click()
    assert drawn.page.locator(".ss-box svg").count() == 1
    dots = drawn.page.locator(".ss-box circle").count()
    assert dots == 2 * (40 + 1)
    drawn.page.keyboard.press("ArrowLeft")
    assert drawn.get("question") == [1]
    assert drawn.page.locator(".ss-box rect").count() == 16 * 16 + 1
    drawn.page.get_by_role("button", name="Luckiest").click()
    (lucky,) = drawn.get("query")
    drawn.page.focus(".ss-box")
    drawn.page.keyboard.press("ArrowRight")  # none has a larger gradient
    assert drawn.get("query") == [lucky]


def test_the_pair_that_wins_is_listed_first_and_merged(draw):
    drawn = draw("merge_steps")
    drawn.set(text=" the theory")
    rows = drawn.page.locator("tbody tr")
    first = rows.nth(0).locator("td").all_text_contents()
    assert first == ["1", "t+ h", "th", "␣the"]
    assert rows.nth(2).inner_text().split()[0] == "4"  # o + r
    drawn.page.get_by_role("button", name="Merge").click()
    assert "“t” + “h” became “th”" in drawn.say()
    drawn.page.get_by_role("button", name="All").click()
    assert drawn.page.locator(".ms-words .hm-chip").all_inner_texts()[0] == (
        "␣the\n258"
    )
    assert drawn.page.get_by_role("button", name="Merge").is_disabled()
    # another text begins at its bytes
    drawn.set(text="orchid")
    assert drawn.get("step") == [0]


def test_the_tail_has_names_and_temperature_one_stays(draw):
    drawn = draw("next_token")
    own = drawn.page.locator("tbody td:nth-child(3)").all_inner_texts()
    drawn.set(temperature=3)
    hot = drawn.page.locator("tbody td:nth-child(3)").all_inner_texts()
    assert own == hot
    drawn_now = drawn.page.locator("tbody td:last-child").all_inner_texts()
    assert sum(int(n) for n in drawn_now if n) == 100
    names = drawn.page.locator(".nt-tail .hm-chip").all_inner_texts()
    assert len(names) > 40
    assert all(name.startswith("␣word") for name in names)


def test_the_right_line_stands_last_where_it_is_far_down(draw):
    drawn = draw("bert_search")
    looks = set()
    for query in range(len(QUERIES)):
        for pooling, name in enumerate(("mean", "CLS")):
            for unmasked in (False, True):
                drawn.set(query=query, pooling=pooling, unmasked=unmasked)
                rows = drawn.page.locator("li")
                assert rows.count() == 7
                ranks = rows.locator(".bs-rank").all_inner_texts()
                (right,) = [rank for rank in ranks if "✓" in rank]
                rank = int(right.removeprefix("✓ "))
                first = [str(i) for i in range(1, 7)]
                assert [r.removeprefix("✓ ") for r in ranks[:6]] == first
                assert rank < 7 or ranks[6] == right
                told = f"By {name}{', padding not hidden' * unmasked}, "
                assert drawn.say().startswith(
                    f"{told}the right line has rank {rank} of 42."
                )
                chosen = drawn.page.locator("[aria-checked=true]")
                assert chosen.inner_text().endswith(f"rank {rank}")
                dotted = rows.nth(6).get_attribute("data-gap")
                assert dotted == str(rank > 7).lower()
                looks.add(drawn.look())
                other = "with a mask" if unmasked else "by "
                for note in rows.locator(".bs-note").all_inner_texts():
                    assert note.startswith(other)
    assert len(looks) == 12


def test_words_that_a_line_shares_with_the_query_are_marked(draw):
    drawn = draw("bert_search")
    for query, shared in enumerate([["animal", "tired"], ["driver"]]):
        drawn.set(query=query)
        line = drawn.page.locator(".bs-right .bs-text")
        assert line.inner_text() == LINES[query]
        marks = line.locator(".bs-shared").all_inner_texts()
        assert marks == shared  # “waits” is another word than “waited”
        assert f"It shares “{'”, “'.join(shared)}” with" in drawn.say()
    drawn.set(query=2)
    assert drawn.page.locator(".bs-right .bs-shared").count() == 0
    assert drawn.page.locator(".bs-right .bs-frequent").count() > 0
    assert "shares no telling word" in drawn.say()


def test_a_pooling_is_chosen_by_pointer_and_by_keys(draw):
    drawn = draw("bert_search")
    drawn.page.get_by_role("radio", name="CLS").click()
    assert drawn.get("pooling") == [1]
    drawn.page.keyboard.press("ArrowRight")  # round to the first
    assert drawn.get("pooling") == [0]
    focused = drawn.page.evaluate("document.activeElement.ariaLabel")
    assert focused.startswith("mean: the right line has rank")


def test_steps_are_made_by_buttons_by_keys_and_by_chips(draw):
    drawn = draw("t5_steps")
    back = drawn.page.get_by_role("button", name="Back")
    on = drawn.page.get_by_role("button", name="Step", exact=True)
    on.click()
    assert drawn.get("step") == [4]
    back.click(click_count=2)
    assert drawn.get("step") == [2]
    drawn.page.get_by_role("slider", name="step").focus()
    drawn.page.keyboard.press("ArrowLeft")
    assert drawn.get("step") == [1]
    assert back.is_disabled()
    # what is written stands there, what is not yet does not
    chips = drawn.page.locator("svg g text")
    assert chips.all_text_contents() == ["<pad>", run("", 12, 18).written[0]]
    drawn.page.keyboard.press("End")
    assert drawn.get("step") == [12]
    assert on.is_disabled()
    assert chips.count() == 13
    # the last was only written: nothing comes after it
    assert drawn.page.locator("[data-step]").count() == 12
    drawn.page.locator("[data-step='5']").click()
    assert drawn.get("step") == [5]
    drawn.set(run=1)  # a text of three tokens
    assert drawn.page.locator("output").inner_text() == "3 / 3"
    back.click()
    assert drawn.get("step") == [2]


def test_a_step_tells_its_weights_and_what_it_computes(draw):
    drawn = draw("t5_steps")
    given = run("long", 12, 18)
    for step, layer, head in ((1, 0, 0), (2, 3, 0), (9, 0, 4), (12, 2, 1)):
        drawn.set(step=step, layer=layer, head=head)
        some = given.cross[layer - 1 : layer or None] if layer else given.cross
        some = some[:, head - 1 : head] if head else some
        row = some[:, :, step - 1].mean((0, 1))
        best = given.read[int(row.argmax())]
        assert f"“{best}”, {100 * row.max():.1f}"[:-1] in drawn.say()
        texts = drawn.page.locator(".ts-box text").all_text_contents()
        shown = [int(text[:-2]) for text in texts if text.endswith(" %")]
        assert shown == pytest.approx((100 * row).tolist(), abs=1)
        cells = drawn.page.locator(".ts-counts td").all_inner_texts()
        first = step == 1
        assert cells == [
            str(18 * first), "", "18",
            str(18 * first), str(18 * (not first)), "18",
            "1", "", str(step),
            "1", str(step - 1), str(step),
        ]  # fmt: skip
        chosen = drawn.page.locator(".ts-chosen th").all_inner_texts()
        assert chosen == [given.written[step - 1]]
