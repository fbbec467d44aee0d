"""A strip shows the tensors of the real run, in the order they came."""

import ast
import math
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from bookbinder.book import Page, find_book
from handmade.blocks.block import Block
from handmade.blocks.feedforward import FeedForward
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.models.llama import Llama, LlamaConfig
from handmade.strip import Step, Strip, brief, follow
from IPython.core.inputtransformer2 import TransformerManager
from torch import nn

PAGES = [page for page in find_book().pages if page.has_cells]


class Twice(nn.Module):
    """Writes over what its first layer put out, then runs it again."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(2, 2)
        self.idle = nn.Linear(2, 2)

    def forward(self, x, scale=1.0):
        return self.lin(self.lin(x).mul_(scale)), None


def block():
    torch.manual_seed(0)
    return Block(
        attn_norm=RMSNorm(6),
        attn=MultiHeadAttention(6, 3),
        ffn_norm=RMSNorm(6),
        ffn=FeedForward(6, 10, torch.nn.functional.gelu),
    )


def test_stations_hold_what_the_modules_put_out():
    model, x = block(), torch.randn(2, 5, 6)
    stations = ("", "ffn", "ffn_norm", "attn", "attn_norm")
    strip = follow(model, (x,), {name: f"it is {name}" for name in stations})
    with torch.no_grad():
        normed = model.attn_norm(x)
        attended = model.attn(normed)
        stream = x + attended
        again = model.ffn_norm(stream)
        wanted = [normed, attended, again, model.ffn(again), model(x)]
    assert [step.name for step in strip.steps] == [
        "attn_norm", "attn", "ffn_norm", "ffn", "Block",
    ]  # fmt: skip
    for step, want in zip(strip.steps, wanted, strict=True):
        assert want.count_nonzero()
        torch.testing.assert_close(step.value, want)
    assert strip.steps[-1].what == "it is "
    assert not any(module._forward_hooks for module in model.modules())


def test_a_station_keeps_what_a_later_module_overwrites():
    model, x = Twice(), torch.randn(3, 2)
    strip = follow(model, {"x": x, "scale": 0.0}, {"lin[:]": "mixed"})
    assert [step.name for step in strip.steps] == ["lin[0]", "lin[1]"]
    first, second = (step.value for step in strip.steps)
    torch.testing.assert_close(first, model.lin(x).detach())
    torch.testing.assert_close(second, model.lin(0 * first).detach())
    assert not first.requires_grad


@pytest.mark.parametrize(
    ("stations", "message"),
    [
        ({"line": "?"}, "got 'line', want a module of Twice, such as 'lin'"),
        ({"idle": "?"}, "'idle', want modules that run"),
        ({"lin": "?"}, r"want 'lin\[0\]'"),
        ({}, "got none"),
    ],
)
def test_wrong_stations(stations, message):
    model = Twice()
    with pytest.raises(ValueError, match=message):
        follow(model, (torch.ones(1, 2),), stations)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_strip_is_a_table():
    strip = Strip(
        [
            Step("q_BHTK", torch.zeros(2, 3, 4, 5), "cut into heads"),
            Step("x", torch.zeros(()), "a number"),
        ]
    )
    assert strip.rows() == [
        ("q_BHTK", "[2, 3, 4, 5]", "cut into heads"),
        ("x", "[]", "a number"),
    ]
    assert repr(strip).splitlines() == [
        "name    shape         what happened",
        "q_BHTK  [2, 3, 4, 5]  cut into heads",
        "x       []            a number",
    ]
    with pytest.raises(ValueError, match="steps: got none"):
        Strip([])
    with pytest.raises(ValueError, match="value: got a list"):
        Step("x", [1.0], "no tensor")


def station(value, at=None):
    """The numbers that a station shows, their styles, and what it says."""
    step = Step("<x>", torch.as_tensor(value), "so", at)
    text = f"<li>{step.html()}</li>"
    root = ET.fromstring(text)
    head, row, note = root
    assert head[0].text == "<x>"
    return (
        [cell.text for cell in row],
        [cell.get("style", "") for cell in row],
        [cell.get("title") for cell in row],
        note.text or "",
    )


def test_a_station_shows_the_numbers_of_one_token():
    value = torch.arange(-60.0, 60).reshape(2, 3, 20)
    texts, styles, titles, note = station(value)
    assert texts == [f"−{n}.0" for n in range(20, 12, -1)]
    assert titles[0] == "-20"
    assert note == "first 8 of 20, at [0, 2], full colour is 20.0"
    texts, *_, note = station(value, (1, 0))
    assert texts[:3] == ["0", "1.00", "2.00"]
    assert "at [1, 0]" in note
    texts, styles, *_, note = station(value, (1, 0, 11))
    assert texts == [f"{n:.2f}" if n < 10 else f"{n:.1f}"
                     for n in range(7, 15)]  # fmt: skip
    assert "7 to 14 of 20" in note
    assert ["bold" in s or "700" in s for s in styles].index(True) == 4
    assert station(value, (1, 0, 19))[0][-1] == "19.0"


def test_colour_is_size_and_zero_is_the_page():
    _, styles, _, note = station([-2.0, 0.0, 1.0, 2.0, -math.inf, math.nan])
    assert note == "full colour is 2.00"
    assert "var(--hm-c2,#" in styles[0]
    assert "var(--hm-c1,#" in styles[3]
    shares = [int(s.split("%")[0].split()[-1]) for s in styles if s]
    assert shares == [55, 28, 55]
    assert [bool(style) for style in styles] == [
        True, False, True, True, False, False,
    ]  # fmt: skip
    # ids and masks are no sizes
    assert not any(station([5, 1, 0])[1])
    assert station([True, False])[0] == ["1", "0"]


def test_every_tensor_can_be_shown():
    assert station(3.25)[0] == ["3.25"]
    assert station(torch.zeros(2, 0))[0] == []
    assert station(torch.zeros(0, 2))[0] == []
    assert station(torch.ones(2, dtype=torch.bfloat16))[0] == ["1.00"] * 2
    assert station(torch.tensor([3 + 4j]))[0] == ["5.00"]
    assert station(torch.ones(2, requires_grad=True))[0] == ["1.00"] * 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.126, "−0.13"), (9.994, "9.99"), (9.996, "10.0"),
        (-99.96, "−100"), (123456.0, "1e5"), (-1.2e-7, "−1e−7"), (7, "7"),
        (-math.inf, "−∞"), (math.inf, "∞"), (math.nan, "nan"),
        (-31415, "−31415"),
    ],
)  # fmt: skip
def test_numbers_are_brief(value, text):
    assert brief(value) == text


def test_a_strip_in_a_page_is_linked_and_harmless():
    hostile = "<script>alert(1)</script>&"
    strip = Strip(
        [Step(hostile, torch.randn(3, 9), hostile) for _ in range(3)]
    )
    bundle = strip._repr_mimebundle_(include=None, exclude=None)
    assert bundle == {"text/html": strip.html(), "text/plain": repr(strip)}
    root = ET.fromstring(strip.html())
    assert not list(root.iter("script"))
    whats = ["".join(item[0].itertext()) for item in root]
    assert whats == [hostile, f"↓ {hostile}", f"↓ {hostile}"]
    left = re.sub(r"var\(--hm-\w+,#\w{6}\)", "", strip.html())
    assert "#" not in left
    assert "rgb(" not in left
    assert len(strip.html()) < 6000


@pytest.mark.parametrize(
    "at", [(0,), (2, 0), (0, 3), (-1, 0), (0, 0, 9), (0, 0, 0, 0), (0, "a")]
)
def test_a_place_that_is_not_there(at):
    with pytest.raises(ValueError, match="at: got"):
        Step("x", torch.zeros(2, 3, 9), "", at)


def test_a_whole_model_is_followed():
    config = LlamaConfig(
        vocab_size=11, d_model=12, n_layers=2, n_heads=3, n_kv_heads=1,
        d_ff=16, max_seq_len=8,
    )  # fmt: skip
    model, ids = Llama(config), torch.arange(6).reshape(2, 3)
    strip = follow(model, ids, {"blocks.1.attn.k_proj": "k", "": "logits"})
    assert [name for name, _, _ in strip.rows()] == [
        "blocks.1.attn.k_proj", "Llama",
    ]  # fmt: skip
    torch.testing.assert_close(strip.steps[1].value, model(ids).detach())


def steps_of(page: Page) -> list[tuple[str, ast.Call]]:
    """Return every Step(...) that a page's cells make by hand."""
    return [
        (f"{page.source.stem}:{cell_number}", node)
        for cell_number, cell in enumerate(page.cells("code"))
        if "handmade.strip" in cell.source
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Step"
    ]


MADE = [found for page in PAGES for found in steps_of(page)]


def test_pages_have_steps_to_look_at():
    assert len(MADE) > 20


@pytest.mark.parametrize(
    ("place", "step"), MADE, ids=[f"{p}-{i}" for i, (p, _) in enumerate(MADE)]
)
def test_a_pages_step_shows_a_tensor_it_has(place, step):
    """Not one made for the strip: zeros of the right shape show nothing."""
    value = step.args[1]
    made = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(value)
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert not made & {
        "zeros", "ones", "empty", "full", "rand", "randn", "zeros_like",
        "ones_like", "empty_like", "randn_like", "new_zeros", "arange",
    }, ast.unparse(value)  # fmt: skip


WITH_STRIPS = [
    page
    for page in PAGES
    if any("handmade.strip" in cell.source for cell in page.cells("code"))
]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_STRIPS, ids=lambda p: p.source.stem)
def test_a_pages_strips_hold_the_numbers_of_its_run(page, monkeypatch):
    """Run the page; each station's tensor says something, and is finite.

    A row of -inf and zero is what a mask leaves, so only what is the same
    number everywhere shows nothing.
    """
    made: list[Strip] = []
    init = Strip.__init__

    def noted(strip: Strip, steps: list[Step]) -> None:
        made.append(strip)
        init(strip, steps)

    monkeypatch.setattr(Strip, "__init__", noted)
    monkeypatch.chdir(page.source.parent)
    sources = [cell.source for cell in page.cells("code")]
    made_by = re.compile(r"\b(Strip|follow)\(")
    last = max(i for i, s in enumerate(sources) if made_by.search(s))
    names: dict[str, object] = {"__name__": "__main__"}
    for source in sources[: last + 1]:
        exec(TransformerManager().transform_cell(source), names)
    assert made
    for step in (step for strip in made for step in strip.steps):
        value = step.value.double()
        assert not value.isnan().any(), step.name
        one_number = value.eq(value.flatten()[0]).all()
        assert value.numel() < 2 or not one_number, step.name
