"""Drawings: nothing overlaps, nothing is too small, nothing is made up."""

import ast
import re
import xml.etree.ElementTree as ET
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bookbinder.imports import reached
from bookbinder.inline_svg import inline
from handmade import diagrams
from handmade.blocks.attention import repeat_kv
from handmade.blocks.masks import (
    causal_mask,
    padding_mask,
    prefix_mask,
    sliding_window_mask,
)
from handmade.blocks.mixture_of_experts import route
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.rope import apply_rope, rope_angles
from handmade.diagrams import flow_table, layered, llama
from handmade.diagrams.by_hand import by_hand_graph
from handmade.diagrams.paging import block_tables
from handmade.diagrams.svg import Canvas, Drawing
from handmade.diagrams.tiles import score_tiles
from handmade.diagrams.writing import number, text_width
from handmade.models.llama_config import LlamaConfig
from handmade.record import record
from handmade.text.data import pack
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
ATTENTION = """
    x (B,T,D) -> q_proj, split -> q (B,H,T,K)
    x -> k_proj, split -> k (B,H,S,K)
    x -> v_proj, split -> v (B,H,S,K)
    q, k -> match / √K -> scores (B,H,T,S)
    scores -> mask, softmax -> weights (B,H,T,S)
    weights, v -> mean -> heads (B,H,T,K)
    heads -> merge, o_proj -> out (B,T,H*K)
"""
SIZES = {
    "x": (2, 5, 24),
    "q": (2, 3, 5, 8),
    "k": (2, 3, 5, 8),
    "v": (2, 3, 5, 8),
    "scores": (2, 3, 5, 5),
    "weights": (2, 3, 5, 5),
    "heads": (2, 3, 5, 8),
    "out": (2, 5, 24),
}
BLOCK = """
    x (B,T,D) -> norm -> attention -> a (B,T,D)
    x, a -> + -> x1 (B,T,D) -> norm -> feed-forward -> f (B,T,D)
    x1, f -> + -> out (B,T,D)
"""
EXPERTS = """
    x (N,D) -> router -> logits (N,E) -> top-k -> weights (N,k), experts (N,k)
    x, experts -> expert FFNs -> y (N,k,D)
    y, weights -> weighted sum -> out (N,D)
"""


def loss() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    w = torch.ones(3, 2, requires_grad=True)
    b = torch.zeros(2, requires_grad=True)
    h = torch.ones(4, 3) @ w + b
    result = (h.relu() ** 2).mean()
    return result, {"w": w, "b": b, "h": h, "loss": result}


def views() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    x = torch.arange(10, 22).view(3, 4)
    return x, {
        "x.T": x.T,
        "x[:, ::2]": x[:, ::2],
        "x[1].expand(3, 4)": x[1].expand(3, 4),
    }


def routed() -> torch.Tensor:
    torch.manual_seed(0)
    weights, experts = route(torch.randn(7, 6), 2)
    return torch.zeros(7, 6).scatter(-1, experts, weights)


def four_masks() -> dict[str, torch.Tensor]:
    attention_mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    return {
        "causal": causal_mask(8),
        "sliding window of 3": sliding_window_mask(8, 3),
        "prefix of 3": prefix_mask(8, 3),
        "padding": padding_mask(attention_mask) & causal_mask(8),
    }


def documents(*lengths: int) -> list[list[int]]:
    return [list(range(1, n + 1)) for n in lengths]


SMOLLM2 = LlamaConfig.from_name("smollm2-135m")
TOKENS = ["The", " quick", " brown", " fox\n", " <b>", "&", " unhelpfulnesses"]
ADDRESSES = {part: f"../{part}.html?a&b" for part in llama.PARTS}
MAKE = {
    "attention": lambda: diagrams.flow(ATTENTION, SIZES),
    "letters": lambda: diagrams.flow(ATTENTION),
    "block": lambda: diagrams.flow(BLOCK),
    "experts": lambda: diagrams.flow(EXPERTS),
    "hostile": lambda: diagrams.flow("a<b>&c (T) -> <script> & 'f' -> \"d\""),
    "strides": lambda: diagrams.strides(*views()),
    "tiles": lambda: score_tiles(24, 24, 4, 4, (3, 1)),
    "tiles after a cache": lambda: score_tiles(10, 37, 3, 5, (3, 7)),
    "by hand": lambda: by_hand_graph("loss"),
    "autograd": lambda: diagrams.autograd_graph(*loss()),
    "masks": lambda: diagrams.masks(four_masks()),
    "one mask": lambda: diagrams.masks({"causal": causal_mask(3, 30)}),
    "packing": lambda: diagrams.packing(pack(documents(7, 5, 4, 9, 3, 2), 16)),
    "long rows": lambda: diagrams.packing(
        pack(documents(30, 25, 14, 9, 3, 2, 20), 64)
    ),
    "split": lambda: diagrams.head_split(torch.zeros(2, 5, 24), 3),
    "many heads": lambda: diagrams.head_split(torch.zeros(1, 4, 48), 12),
    "shared": lambda: diagrams.gqa_sharing(9, 3),
    "shared by 32": lambda: diagrams.gqa_sharing(32, 8),
    "each its own": lambda: diagrams.gqa_sharing(32, 32),
    "one for all": lambda: diagrams.gqa_sharing(8, 1),
    "halves": lambda: diagrams.rope_pairs(16),
    "neighbours": lambda: diagrams.rope_pairs(8, "neighbours"),
    "routing": lambda: diagrams.moe_routing(routed(), TOKENS),
    "pages": lambda: block_tables(
        {"a": [4, 0], "b & c": [4, 7, 2], "d": [1]},
        {"a": 7, "b & c": 9, "d": 4},
        n_pages=14,
        page_size=4,
    ),
    "norms": diagrams.norm_placement,
    "llama": lambda: diagrams.model(SMOLLM2, ADDRESSES, "rope"),
    "big llama": lambda: diagrams.model(
        LlamaConfig.from_name("llama-3-8b"), lit="attention"
    ),
    "llama in letters": lambda: diagrams.model(lit="block"),
}
each = pytest.mark.parametrize("name", MAKE)


@cache
def drawn(name: str) -> Drawing:
    return MAKE[name]()


def root_of(drawing: Drawing) -> ET.Element:
    root = ET.fromstring(drawing.svg)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def boxes(root: ET.Element) -> list[tuple[str, tuple[float, ...]]]:
    """Return (text, (left, top, right, bottom)) of all that is written."""
    found = []
    for text in root.iter("text"):
        size = float(text.get("font-size"))
        wide = text_width(text.text, size, text.get("class") == "hm-mono")
        x, y = float(text.get("x")), float(text.get("y"))
        anchor = text.get("text-anchor", "start")
        left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        box = (left, y - 0.75 * size, left + wide, y + 0.25 * size)
        if "transform" in text.attrib:  # on its side, about its middle
            middle = y - 0.35 * size
            box = (x - size / 2, middle - wide / 2)
            box += (x + size / 2, middle + wide / 2)
        found.append((text.text, box))
    return found


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@each
def test_texts_lie_inside_and_apart(name):
    root = root_of(drawn(name))
    left, top, width, height = map(float, root.get("viewBox").split())
    assert (left, top, width) == (0, 0, 356)
    written = boxes(root)
    assert written
    for text, (x, y, to_x, to_y) in written:
        assert 0 <= x < to_x <= width, text
        assert 0 <= y < to_y <= height, text
    for (one, box), (other, beside) in combinations(written, 2):
        assert not overlap(box, beside), (one, other)


@each
def test_text_is_as_large_on_a_phone(name):
    """A page 390 wide leaves 358 for a drawing, which is 356 wide."""
    for text in root_of(drawn(name)).iter("text"):
        assert float(text.get("font-size")) >= 12


@each
def test_boxes_lie_inside(name):
    root = root_of(drawn(name))
    width, height = map(float, root.get("viewBox").split()[2:])
    for rect in root.iter("rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        assert 0 <= x <= x + float(rect.get("width")) <= width
        assert 0 <= y <= y + float(rect.get("height")) <= height


@each
def test_it_may_stand_in_any_page(name):
    drawing = drawn(name)
    shown = ET.fromstring(inline(drawing.svg, "svg1"))
    assert " id=" not in drawing.svg
    linked = shown.find(".//a") is not None
    assert shown.get("role") == ("group" if linked else "img")
    (desc,) = shown.iter("desc")
    assert desc.text == drawing.alt == str(drawing)
    assert len(drawing.alt) > 40
    assert drawing._repr_mimebundle_() == {
        "image/svg+xml": drawing.svg,
        "text/plain": drawing.alt,
    }


@each
def test_the_same_is_drawn_again(name):
    assert MAKE[name]() == drawn(name)


def test_colours_are_the_pages_with_its_light_ones_to_fall_back_on():
    css = (ROOT / "book" / "style" / "custom.css").read_text()
    light = css[: css.index('html[data-theme="dark"]')]
    known = dict(re.findall(r"(--hm-[\w-]+): (#\w+);", light))
    used = set()
    for name in MAKE:
        for key, value in re.findall(
            r' (fill|stroke)="([^"]*)"', drawn(name).svg
        ):
            if value != "none":
                found = re.fullmatch(r"var\((--hm-\w+), (#\w+)\)", value)
                assert found, (name, key, value)
                used.add(found.groups())
    assert used
    for variable, fallback in used:
        assert known[variable] == fallback


def test_every_name_of_the_package_leads_to_its_function():
    """Checkers read the imports, the running program the table."""
    tree = ast.parse(Path(diagrams.__file__).read_text())
    typed = {
        alias.asname: node.module.rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and "diagrams" in node.module
        for alias in node.names
    }
    assert typed == diagrams.MODULES
    for name in diagrams.MODULES:
        assert getattr(diagrams, name).__name__ == name
        assert name in dir(diagrams)
    with pytest.raises(AttributeError, match="no attribute 'folw'"):
        diagrams.folw  # noqa: B018


def test_a_page_that_names_a_module_depends_on_no_other_drawing():
    """Else a new drawing would make every page with another one stale."""
    for module in set(diagrams.MODULES.values()):
        found = reached([f"import handmade.diagrams.{module}"])
        assert "handmade.diagrams" not in found, module
    assert "handmade.diagrams.heads" in reached(
        ["from handmade import diagrams"]
    )


def words(drawing: Drawing) -> list[str]:
    return [text for text, _ in boxes(root_of(drawing))]


def test_a_flow_writes_letters_and_sizes():
    said = words(drawn("attention"))
    assert said.count("(B, H, S, K)") == 2
    assert said.count("(2, 3, 5, 8)") == 4
    assert {"mask, softmax", "match / √K", "(B, T, H*K)"} <= set(said)
    told = drawn("attention").alt
    assert "to mask, softmax to weights (B, H, T, S) = (2, 3, 5, 5);" in told
    assert told.count("(B, T, D)") == 1
    assert "(2, 3, 5, 8)" not in words(drawn("letters"))


def test_a_flow_is_held_to_a_run():
    layer = MultiHeadAttention(24, 3)
    seen = record(layer, torch.randn(2, 5, 24), ["q_proj", "o_proj"])
    table = "x (B,T,D) -> q_proj -> q (B,T,H*K) -> attend -> y (B,T,D)"
    shapes = {"x": (2, 5, 24), "q": seen["q_proj"], "y": seen["o_proj"]}
    assert words(diagrams.flow(table, shapes)).count("(2, 5, 24)") == 3
    wrong = shapes | {"y": seen["o_proj"][:, :4]}
    with pytest.raises(ValueError, match=r"got T = 4 in y, want 5 as in x"):
        diagrams.flow(table, wrong)


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ({"q": (2, 3, 5, 8), "k": (2, 3, 5, 7)}, "got K = 7 in k, want 8"),
        ({"x": (2, 5)}, r"got x of \(2, 5\), want \(B, T, D\)"),
        ({"y": (2, 5)}, "got 'y', want one of"),
        ({"x": "a shape"}, "shapes: got 'a shape' for x, want"),
        ({"x": 3}, "shapes: got 3 for x, want"),
        (SIZES | {"out": (2, 5, 23)}, r"got H\*K = 23 in out, want 24"),
    ],
)
def test_a_letter_with_two_sizes_is_refused(shapes, told):
    with pytest.raises(ValueError, match=told):
        diagrams.flow(ATTENTION, shapes)


def test_numbers_and_products_are_held_too():
    table = "x (T,4) -> f -> y (T,2F) -> g -> z (F)"
    good = {"x": (3, 4), "y": (3, 10), "z": (5,)}
    diagrams.flow(table, good)
    with pytest.raises(ValueError, match="got 4 = 5 in x, want 4"):
        diagrams.flow(table, good | {"x": (3, 5)})
    with pytest.raises(ValueError, match="got 2F = 9 in y, want 10"):
        diagrams.flow(table, good | {"y": (3, 9)})


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("", "table: got no line"),
        ("x (T) -> f -> y\nz", "line 2: got 'z'"),
        ("x (T) -> -> y", "line 1: got"),
        ("x (T) -> f -> y\n\nx (S) -> g -> z", r"line 3: got 'x \(S,\)'"),
        ("x (T) -> f -> y\nx -> g -> y", 'line 2: got "a second origin of'),
        ("x (T+1) -> f -> y", "line 1: got .*want axes"),
        ("x (T -> f -> y", "line 1: got 'x \\(T'"),
        ("x(T) -> f -> y", "line 1: got 'x\\(T\\)'"),
        ("x, , z -> f -> y", "line 1: got 'x, , z'"),
        ("x -> f -> y\ny -> g -> x", "line 2: got a circle"),
        ("x -> x", "line 1: got a circle"),
        ("x, x -> f -> y", "line 1: got \"'x' twice\""),
        (
            ", ".join(f"a_long_name_{i}" for i in range(6)) + " -> f -> y",
            "table: got a row of",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_named_by_its_line(table, told):
    with pytest.raises(ValueError, match=told):
        diagrams.flow(table)


def test_what_is_an_operation_and_what_a_tensor():
    found = flow_table.parse(
        "q, k -> scores (T,S) -> mask, softmax -> weights\n"
        "weights -> softmax(x) -> scores2\nscores2 -> weights2 -> y (T)"
    )
    ops = [n.label for n in found.nodes if not isinstance(n, str)]
    assert ops == ["mask, softmax", "softmax(x)", "weights2"]
    assert found.shapes["scores"] == ("T", "S")
    assert found.shapes["weights"] is None


def curve(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return places along a line as ``flow_line`` draws it."""
    found = []
    for (x, y), (to_x, to_y) in pairwise(points):
        for i in range(21):
            t = i / 20
            u = 3 * t * t - 2 * t**3  # control points at x, x, to_x, to_x
            v = 1.5 * t * (1 - t) + t**3  # and at y, half, half, to_y
            found.append((x + u * (to_x - x), y + v * (to_y - y)))
    return found


@st.composite
def graphs(draw):
    n = draw(st.integers(2, 9))
    edges = {
        (a, b)
        for b in range(1, n)
        for a in draw(st.sets(st.integers(0, b - 1), min_size=1, max_size=3))
    }
    sizes = {
        k: (draw(st.sampled_from((24, 60, 100))), draw(st.integers(18, 40)))
        for k in range(n)
    }
    return list(range(n)), sorted(edges), sizes


@settings(deadline=None, max_examples=150)
@given(graphs())
def test_no_line_crosses_a_node_and_none_overlap(graph):
    keys, edges, sizes = graph
    level = layered.levels(keys, edges)
    assert all(level[a] < level[b] for a, b in edges)
    width = sum(w for w, _ in sizes.values()) + 24 * (len(edges) + len(keys))
    layout = layered.place(level, edges, sizes, width=width, gap=20)
    at = {
        key: (
            layout.at[key][0] - w / 2,
            layout.at[key][1] - h / 2,
            layout.at[key][0] + w / 2,
            layout.at[key][1] + h / 2,
        )
        for key, (w, h) in sizes.items()
    }
    for one, other in combinations(keys, 2):
        assert not overlap(at[one], at[other])
    for left, top, right, bottom in at.values():
        assert -0.5 <= left < right <= width + 0.5
        assert -0.01 <= top < bottom <= layout.height + 0.01
    for (a, b), points in layout.routes.items():
        assert points[0][1] == pytest.approx(at[a][3])
        assert points[-1][1] == pytest.approx(at[b][1])
        for x, y in curve(points):
            for key in keys:
                if key not in (a, b):
                    left, top, right, bottom = at[key]
                    hit = left < x < right and top < y < bottom
                    assert not hit, (a, b, key)


def test_a_chain_is_straight_and_what_passes_stands_aside():
    found = flow_table.parse(BLOCK)
    level = layered.levels(found.nodes, found.edges)
    sizes = dict.fromkeys(found.nodes, (60.0, 20.0))
    layout = layered.place(level, found.edges, sizes, width=300, gap=20)
    assert len({round(x, 6) for x, _ in layout.at.values()}) == 1


def test_rows_that_are_too_wide_are_refused():
    keys, edges = ["a", "b", "c"], [("a", "c"), ("b", "c")]
    level = layered.levels(keys, edges)
    sizes = dict.fromkeys(keys, (100.0, 20.0))
    layered.place(level, edges, sizes, width=214, gap=9)
    with pytest.raises(ValueError, match=r"row of 214 pixels, want 213"):
        layered.place(level, edges, sizes, width=213, gap=9)


def test_views_show_what_they_read():
    x, some = views()
    said = words(drawn("strides"))
    memory = [str(n) for n in x.flatten().tolist()]
    assert said[1:25:2] == memory
    assert said[2:26:2] == [str(i) for i in range(12)]
    for name, view in some.items():
        start = said.index(name) + 1
        cells = [str(n) for n in view.flatten().tolist()]
        assert said[start : start + len(cells)] == cells
        facts = said[start + len(cells) : start + len(cells) + 3]
        assert facts == [
            f"shape   {tuple(view.shape)}",
            f"strides {view.stride()}",
            f"offset  {view.storage_offset()}",
        ]


@pytest.mark.parametrize(
    ("x", "some", "told"),
    [
        (torch.arange(6).view(2, 3), {}, "views: got none"),
        (
            torch.arange(6).view(2, 3),
            {"a": torch.arange(6)},
            "a, which has memory of its own",
        ),
        (
            torch.arange(6, dtype=torch.int32),
            {"a": torch.ones(6)},
            "x, views: got a, which",
        ),
        (torch.arange(6), {"a": [0]}, "views: a: got a list, want a view"),
        (torch.arange(17), {"a": torch.arange(17)}, "17 numbers"),
        (torch.arange(8).view(2, 2, 2), {}, r"\(2, 2, 2\)"),
        (torch.tensor([0.123]), {}, "got"),
    ],
)
def test_what_is_no_view_or_does_not_fit_is_refused(x, some, told):
    with pytest.raises(ValueError, match=told):
        diagrams.strides(x, some)


def test_the_same_bytes_read_as_other_numbers_are_no_view():
    x = torch.ones(6)
    with pytest.raises(ValueError, match=r"got a, which .* another dtype"):
        diagrams.strides(x, {"a": x.view(torch.int32)})


def test_a_slice_is_drawn_in_the_memory_it_shares():
    whole = torch.arange(6)
    said = words(diagrams.strides(whole[3:], {"x": whole[3:]}))
    assert said[1:13:2] == ["0", "1", "2", "3", "4", "5"]
    assert said[-1] == "offset  3"


def test_the_graph_is_the_one_that_autograd_keeps():
    drawing = drawn("autograd")
    said = words(drawing)
    names = [text for text in said if text.endswith("Backward0")]
    assert names == [
        "MeanBackward0",
        "PowBackward0",
        "ReluBackward0",
        "AddBackward0",
        "MmBackward0",
    ]
    assert {"loss ()", "h (4, 2)", "w.grad", "(3, 2)", "b.grad"} <= set(said)
    assert "AddBackward0 to MmBackward0 and b.grad" in drawing.alt


def test_a_graph_that_cannot_be_drawn_is_refused():
    result, names = loss()
    with pytest.raises(ValueError, match="result: got no grad_fn"):
        diagrams.autograd_graph(torch.ones(3), {})
    with pytest.raises(ValueError, match="names: w: got None, want a tens"):
        diagrams.autograd_graph(result, names | {"w": None})
    del names["w"]
    with pytest.raises(ValueError, match=r"leaf of shape \(3, 2\)"):
        diagrams.autograd_graph(result, names)
    for _ in range(25):
        result = result + 1
    with pytest.raises(ValueError, match="more than 24"):
        diagrams.autograd_graph(result, names)


def test_a_mask_fills_the_cells_that_are_seen():
    for name, mask in four_masks().items():
        root = root_of(diagrams.masks({name: mask}))
        filled = next(p for p in root.iter("path") if p.get("fill") != "none")
        cell = 148 / 8
        seen = {
            (round((float(y) - 22) / cell), round((float(x) - 104) / cell) + i)
            for x, y, run in re.findall(
                r"M([\d.]+) ([\d.]+)h([\d.]+)", filled.get("d")
            )
            for i in range(round(float(run) / cell))
        }
        wanted = mask.reshape(8, 8).nonzero().tolist()
        assert seen == {tuple(place) for place in wanted}, name


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (torch.ones(4, dtype=torch.bool), "shape"),
        (torch.ones(2, 4, 4, dtype=torch.bool), "shape"),
        (torch.ones(4, 4), "dtype"),
        (torch.ones(41, 41, dtype=torch.bool), "1 to 40"),
        (torch.ones(0, 0, dtype=torch.bool), "1 to 40"),
        ([[True]], "a list"),
    ],
)
def test_what_is_no_mask_is_refused(mask, told):
    with pytest.raises(ValueError, match=f"m: got .*{told}"):
        diagrams.masks({"m": mask})
    with pytest.raises(ValueError, match="which: got no mask"):
        diagrams.masks({})


def test_packed_rows_show_where_positions_begin_again():
    packed = pack(documents(7, 5, 4, 9, 3, 2), 16)
    said = words(diagrams.packing(packed))
    places = packed.documents != -1
    shown = [text for text in said if text.isdigit()]
    assert shown == [str(p) for p in packed.positions[places].tolist()]
    assert "0 … 29" in words(drawn("long rows"))
    assert "document 0 of 9 tokens" in drawn("packing").alt


@pytest.mark.parametrize(
    ("documents", "positions", "told"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3).long(), "documents: got dtype"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3), "positions: got dtype"),
        (torch.zeros(2, 0).long(), torch.zeros(2, 0).long(), r"got .*\(2, 0"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 2).long(), r"got .*\(2, 2"),
        ([[0]], [[0]], "want documents and positions"),
    ],
)
def test_what_is_not_packed_is_refused(documents, positions, told):
    packed = SimpleNamespace(documents=documents, positions=positions)
    with pytest.raises(ValueError, match=f"^packed.*{told}"):
        diagrams.packing(packed)


def test_heads_have_the_shapes_that_splitting_gives():
    said = words(drawn("split"))
    assert said.count("(2, 5, 24)") == 2
    assert "(2, 3, 5, 8)" in said
    with pytest.raises(ValueError, match="n_heads: got 5, want a divisor"):
        diagrams.head_split(torch.zeros(2, 5, 24), 5)
    with pytest.raises(ValueError, match="T <= 12"):
        diagrams.head_split(torch.zeros(2, 13, 24), 3)
    with pytest.raises(ValueError, match="1 <= D"):
        diagrams.head_split(torch.zeros(2, 5, 0), 3)


@pytest.mark.parametrize(("H", "G"), [(9, 3), (8, 1), (4, 4)])
def test_sharing_is_what_repeat_kv_does(H, G):
    kv = torch.arange(G).view(1, G, 1, 1).float()
    readers = repeat_kv(kv, H).flatten().int().tolist()
    alt = diagrams.gqa_sharing(H, G).alt
    for g in range(G):
        mine = [h for h in range(H) if readers[h] == g]
        said = (
            f"heads {mine[0]} to {mine[-1]} read {g}"
            if len(mine) > 1
            else f"head {mine[0]} reads {g}"
        )
        assert said in alt
    root = root_of(diagrams.gqa_sharing(H, G))
    ends = [
        p.get("d").split()[-2]
        for p in root.iter("path")
        if p.get("fill") == "none"
    ]
    assert len(ends) == H
    assert [ends.index(end) for end in ends] == [
        readers.index(g) for g in readers
    ]


def test_pairs_are_those_that_rope_turns():
    K = 8
    rope = rope_angles(torch.tensor([[1]]), K)
    turned = apply_rope(torch.eye(K).view(1, K, 1, K), rope)
    alt = diagrams.rope_pairs(K).alt
    for i in range(K // 2):
        touched = turned[0, i, 0].nonzero().flatten().tolist()
        assert f"{touched[0]} with {touched[1]}" in alt
    assert "2 with 3" in diagrams.rope_pairs(K, "neighbours").alt
    for wrong in (7, 18, 0):
        with pytest.raises(ValueError, match="K: got"):
            diagrams.rope_pairs(wrong)
    with pytest.raises(ValueError, match="layout: got 'thirds'"):
        diagrams.rope_pairs(8, "thirds")


def test_a_line_is_as_thick_as_its_weight():
    weights = routed()
    root = root_of(drawn("routing"))
    titles = [(p.find("title").text, p) for p in root.iter("path")]
    assert len(titles) == int((weights > 0).sum()) == 14
    for title, path in titles:
        token, expert = re.search(r"(.*) → expert (\d)", title).groups()
        n = [t.replace(" ", "␣").replace("\n", "⏎") for t in TOKENS]
        row = next(i for i, t in enumerate(n) if t.startswith(token[:6]))
        weight = float(weights[row, int(expert)])
        assert f"{weight:.2f}" in title
        thick = 0.75 + 5 * weight / float(weights.max())
        assert float(path.get("stroke-width")) == pytest.approx(
            thick, abs=0.01
        )


@pytest.mark.parametrize(
    ("weights", "tokens", "told"),
    [
        (torch.ones(3), None, "weights: got shape"),
        (torch.ones(25, 2), None, "1 to 24"),
        (-torch.ones(2, 2), None, "negative"),
        (torch.tensor([[float("nan")]]), None, "negative or infinite"),
        (torch.ones(2, 2), ["a"], "tokens: got 1, want 2"),
        (torch.ones(2, 2), ["a", 3], "tokens: got an int, want a str"),
        (torch.ones(2, 2), "ab", "tokens: got the str 'ab', want 2 texts"),
    ],
)
def test_what_no_router_gives_is_refused(weights, tokens, told):
    with pytest.raises(ValueError, match=told):
        diagrams.moe_routing(weights, tokens)


def test_each_part_of_the_llama_leads_to_its_page():
    root = root_of(drawn("llama"))
    led = [a.get("href") for a in root.iter("a")]
    assert set(led) == set(ADDRESSES.values())
    lit = [a for a in root.iter("a") if a.get("aria-current")]
    assert [a.get("href") for a in lit] == [ADDRESSES["rope"]]
    assert "rotary positions" in "".join(lit[0].itertext())
    for name, wrong in (("links", {"alibi": "#"}), ("lit", "alibi")):
        with pytest.raises(ValueError, match=f"{name}: got 'alibi', want one"):
            diagrams.model(**{name: wrong})
    with pytest.raises(ValueError, match="links: got None, want an address"):
        diagrams.model(links={"rope": None})


def test_the_llamas_sizes_are_the_configs():
    said = words(drawn("llama"))
    for text in (
        "49,152 × 576",
        "9 query heads of 64",
        "3 key/value heads",
        "SwiGLU 576 → 1,536 → 576",
        "30 × block",
    ):
        assert text in said
    assert "V × D" in words(drawn("llama in letters"))


def test_canvas_escapes_what_it_writes():
    canvas = Canvas()
    canvas.text(10, 10, "<script>&amp;</script>")
    with canvas.link('a"onclick="b'):
        canvas.rect(0, 0, 1, 1)
    drawing = canvas.drawing(20, "<desc> & such")
    root = root_of(drawing)
    assert [t.text for t in root.iter("text")] == ["<script>&amp;</script>"]
    assert [a.get("href") for a in root.iter("a")] == ['a"onclick="b']
    assert next(root.iter("desc")).text == "<desc> & such"
    assert number(1 / 3) == "0.33"
    assert number(-0.001) == "0"


def test_block_tables_say_whose_pages_are_where():
    drawing = drawn("pages")
    assert "b & c has 9 tokens in pages 4, 7, 2" in str(drawing)
    texts = [text.text for text in root_of(drawing).iter("text")]
    # the tables in their order, then the pool in its own
    assert [t for t in texts if t.isdecimal()] == [
        *"40", *"472", "1", *map(str, range(14))
    ]  # fmt: skip
    # page 0 holds three of four tokens, page 2 one
    widths = [
        float(rect.get("width"))
        for rect in root_of(drawing).iter("rect")
        if rect.get("fill-opacity") == "0.22"
    ]
    assert widths[:6] == [28, 21, 28, 28, 7, 28]


@pytest.mark.parametrize(
    ("tables", "tokens", "words"),
    [
        ({"a": [5]}, {"a": 1}, "tables: a: got 5, want pages below 5"),
        ({"a": [0]}, {"a": 5}, "tokens: got 5 of a"),
        ({"a": [0]}, {}, "tokens: a: got None"),
        ({}, {}, "tables: got 0, want 1 to 5"),
    ],
)
def test_block_tables_refuse_what_they_cannot_draw(tables, tokens, words):
    with pytest.raises(ValueError, match=words):
        block_tables(tables, tokens, n_pages=5, page_size=4)
