"""The figures: SVG in the page's colours, readable, labelled, and strict."""

import base64
import math
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from handmade import plots
from handmade.plot_axes import Scale, limits, written
from handmade.plot_cells import UNDER_TEXT, png
from handmade.plot_frame import apart
from handmade.plot_svg import FALLBACKS, PAPER, fitted, text_width, wrapped
from nbclient import NotebookClient

SVG = "{http://www.w3.org/2000/svg}"
STYLE = Path(__file__).parents[1] / "book/style/custom.css"
XY = {"xlabel": "step", "ylabel": "loss"}
rng = np.random.default_rng(0)


def draw_lines(**more):
    return plots.lines([1, 2, 3], {"up": [1, 2, 3]}, **XY | more)


def draw_bars(**more):
    return plots.bars(["a", "b"], [1, 2], **XY | more)


def draw_heatmap(**more):
    return plots.heatmap(torch.eye(3), **XY | more)


NAMES = ["a rather long name", "one", "more", "a" * 40]
FIGURES = {
    "line": draw_lines(),
    "no name": plots.lines([1, 2], {"": [0, 0]}, **XY),
    "one point": plots.lines([3], {"one": [3]}, **XY),
    "many lines": plots.lines(
        range(5), {f"line {i}": rng.normal(size=5) for i in range(14)}, **XY
    ),
    "long names": plots.lines(
        range(2), {name: [1, 2] for name in NAMES}, title="t " * 70, **XY
    ),
    "log": plots.lines(
        [1, 4, 4096], {"a": [1e-9, 1, 1e9], "b": [0, -1, 1]}, log="xy", **XY
    ),
    "band": plots.lines(
        [1, 2], {"a": [[1, 2], [3, 4]]}, level=9, log="y", **XY
    ),
    "nothing": plots.lines([1, 2], {"a": [math.nan, math.nan]}, **XY),
    "bars": draw_bars(numbers=".1f"),
    "negative": draw_bars(highlight=[1], xlabel="x " * 40),
    "grouped": plots.bars(
        NAMES, {"a": [1, 2, -3, 4], "b" * 50: [1, 2, 3, 4]},
        numbers=".2f", **XY,
    ),
    "counted": plots.bars(range(1000, 1025), range(25), **XY),
    "two lines": plots.bars(["a\nb", "c"], [-1, math.nan], **XY),
    "cells": draw_heatmap(label="weight"),
    "numbers": draw_heatmap(numbers=".2f", xticks="abc", yticks="abc"),
    "turned": plots.heatmap(
        rng.normal(size=(16, 16)), xticks=["word"] * 16,
        yticks=NAMES * 4, label="a long name of the scale" * 3, **XY,
    ),
    "no room": plots.heatmap(rng.normal(size=(2, 40)), numbers=".3f", **XY),
    "picture": plots.heatmap(rng.normal(size=(64, 64)), **XY, height=5),
}  # fmt: skip
each_figure = pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)


def parsed(figure):
    return ET.fromstring(figure.svg)


def texts(figure):
    return ["".join(t.itertext()) for t in parsed(figure).iter(f"{SVG}text")]


def styles(figure):
    """All the CSS in it."""
    found = [e.get("style", "") for e in parsed(figure).iter()]
    return [style for style in found if style]


def filled(figure, name):
    """The paths that a colour of the page fills."""
    return [
        path.get("d")
        for path in parsed(figure).iter(f"{SVG}path")
        if path.get("style").startswith(f"fill:var(--hm-{name},")
    ]


def luminance(rgb):
    rgb = np.asarray(rgb) / 255
    linear = np.where(
        rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4
    )
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def schemes():
    """The page's colours, light and dark."""
    css = STYLE.read_text(encoding="utf-8")
    found = [
        dict(re.findall(r"--hm-(\w+): (#\w{6});", block))
        for block in re.findall(r"\{([^}]*)\}", css)
    ]
    light, dark = [colours for colours in found if "ink" in colours]
    return {"light": light, "dark": dark}


@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
def test_without_the_pages_colours_a_figure_reads_in_both_schemes(page):
    for name, colour in FALLBACKS.items():
        if name != "grid":
            least = 4.2 if name in ("ink", "muted") else 3
            assert contrast(rgb(colour), rgb(page)) > least, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labels_in_the_pages_colours_read_on_its_paper(scheme):
    colours = schemes()[scheme]
    paper = rgb(colours["paper"])
    for name in (
        "ink",
        "muted",
        "good",
        "bad",
        *(f"c{i}" for i in range(1, 7)),
    ):
        assert contrast(rgb(colours[name]), paper) > 4.5, name


@pytest.mark.parametrize("scheme", ["light", "dark", "no variables"])
def test_numbers_read_on_the_strongest_cell(scheme):
    fallbacks = FALLBACKS | {"ink": "#1a1a1a", "paper": PAPER}
    colours = schemes().get(scheme, fallbacks)
    paper, ink = rgb(colours["paper"]), rgb(colours["ink"])
    for name in ("c1", "c2"):
        for share in (0, 0.5, 1):
            weight = share * UNDER_TEXT
            cell = weight * rgb(colours[name]) + (1 - weight) * paper
            assert contrast(cell, ink) > 4.5, (name, share)


@each_figure
def test_no_colour_but_the_pages_own(figure):
    assert styles(figure)
    for style in styles(figure):
        left = re.sub(r"var\(--hm-\w+,(#\w{6}|rgba\([\d.,]+\))\)", "", style)
        assert not re.search(r"#|rgb|hsl|black|white", left), style
    for element in parsed(figure).iter():
        assert not {"fill", "stroke", "color"} & element.attrib.keys()


@each_figure
def test_text_is_text_inside_the_drawing_and_large_enough(figure):
    root = parsed(figure)
    left, top, right, bottom = map(float, root.get("viewBox").split())
    assert (left, top, right) == (0, 0, 340)
    assert root.get("font-size") == "12"
    assert "font-size" not in figure.svg.replace('font-size="12"', "")
    assert re.search(r"[;\"]max-width:100%;height:auto;", figure.svg)
    found = list(root.iter(f"{SVG}text"))
    assert found
    for text in found:
        wide = text_width(text.text or "")
        x, y = float(text.get("x")), float(text.get("y"))
        share = {"middle": 0.5, "end": 1}.get(text.get("text-anchor"), 0)
        turn = re.match(r"rotate\((\S+)", text.get("transform", ""))
        angle = math.radians(float(turn[1])) if turn else 0
        for along in (-share * wide, (1 - share) * wide):
            at = x + along * math.cos(angle), y + along * math.sin(angle)
            assert -1 <= at[0] <= right + 1, text.text
            assert 8 <= at[1] <= bottom - 2, text.text


@each_figure
def test_a_figure_is_small_harmless_and_says_what_it_is(figure):
    assert len(figure.svg) < 24_000
    root = parsed(figure)
    said = root.find(f"{SVG}desc").text
    assert said == repr(figure).replace("\n", " ")
    assert all(f"{SVG}style" != e.tag for e in root.iter())
    for element in root.iter():
        assert not any(name.startswith("on") for name in element.attrib)
    bundle = figure._repr_mimebundle_(include=None, exclude=None)
    assert bundle == {"image/svg+xml": figure.svg, "text/plain": figure.said}


@pytest.mark.parametrize("draw", [draw_lines, draw_bars, draw_heatmap])
def test_a_figure_is_the_same_every_time(draw):
    assert draw().svg == draw().svg
    assert draw(height=4.0).svg != draw().svg


def test_hostile_names_are_text():
    name = "</text><script>alert(1)</script> & \"'\x00\u2028\ud800"
    for figure in (
        plots.lines([1, 2], {name: [1, 2]}, xlabel=name, ylabel=name),
        plots.bars([name], [1], xlabel=name, ylabel=name, title=name),
        plots.heatmap(
            [[1]], xticks=[name], yticks=[name], xlabel=name, ylabel=name,
            label=name,
        ),
    ):  # fmt: skip
        kinds = {element.tag for element in parsed(figure).iter()}
        assert f"{SVG}script" not in kinds
        figure.svg.encode()
        assert any("</text>" in text for text in texts(figure))


@pytest.mark.parametrize(
    ("fn", "data"),
    [
        (plots.lines, ([1], {"a": [1]})),
        (plots.bars, (["a"], [1])),
        (plots.heatmap, ([[1]],)),
    ],
)
def test_axis_labels_are_required(fn, data):
    with pytest.raises(ValueError, match="want both"):
        fn(*data, xlabel="", ylabel="y")
    with pytest.raises(TypeError):
        fn(*data)


def numbers_of(d):
    return [float(n) for n in re.findall(r"-?[\d.]+", d)]


def test_runs_become_a_median_and_a_band():
    runs = np.array([[1.0, 2.0], [3.0, 4.0], [8.0, 9.0]])
    figure = plots.lines([0, 1], {"loss": runs}, **XY)
    (band,) = filled(figure, "c1")
    line = parsed(figure).findall(f".//{SVG}path[@stroke-width='1.8']")
    (median,) = [numbers_of(path.get("d")) for path in line]
    x1, low1, x2, low2, _, high2, _, high1 = numbers_of(band)
    assert median[::2] == [x1, x2]
    for low, middle, high in ((low1, median[1], high1),
                              (low2, median[3], high2)):  # fmt: skip
        assert (low - middle) / (middle - high) == pytest.approx(
            2 / 5, abs=0.02
        )
    draw = plots.lines([0, 1], {"loss": [runs[0]]}, **XY)
    assert not filled(draw, "c1")


@pytest.mark.parametrize(
    ("x", "names"),
    [
        ([1, 2, 4, 1024], ["1", "2", "4", "1,024"]),
        ([1000, 1100], ["1,000", "1,100"]),
        ([1000, 1100, 2e6], ["1,000", "10,000", "100,000", "10⁶"]),
        ([4, 64, 1024], ["4", "64", "1,024"]),
        ([1, 2, 3], ["1", "2", "3"]),
        ([0.5, 2, 8], ["0.5", "1", "2", "5"]),  # not whole
        ([2**i for i in range(9)], ["1", "10", "100"]),  # too many
    ],
)
def test_a_few_whole_numbers_are_written_on_a_log_axis(x, names):
    figure = plots.lines(x, {"a": [0.5] * len(x)}, **XY, log="x")
    below = max(float(t.get("y")) for t in parsed(figure).iter(f"{SVG}text"))
    ticks = [
        t.text
        for t in parsed(figure).iter(f"{SVG}text")
        if below - 25 < float(t.get("y")) < below - 5
    ]
    assert ticks == names


def test_labels_at_the_ends_do_not_overlap():
    series = {name: [0.0, 1.0] for name in "abc"}
    figure = plots.lines([0, 1], series, **XY, level=0.5)
    heights = {
        t.text: float(t.get("y"))
        for t in parsed(figure).iter(f"{SVG}text")
        if t.text in series
    }
    assert np.diff(sorted(heights.values())).min() >= 15
    # two of them are joined to their lines
    thin = parsed(figure).findall(f".//{SVG}path[@stroke-opacity='0.6']")
    assert len(thin) >= 2
    assert apart([0, 1, 50], [10, 10, 10], 0, 40) == [5, 15, 35]
    assert apart([39, 40], [10, 10], 0, 40) == [25, 35]


def test_names_too_long_for_the_edge_stand_in_a_legend():
    long = "an_identifier_that_cannot_wrap"
    figure = plots.lines([0, 1], {long: [0, 1], "b": [1, 0]}, **XY)
    found = {t.text: t for t in parsed(figure).iter(f"{SVG}text")}
    assert float(found[long].get("y")) < 40 > float(found["b"].get("y"))
    figure = plots.lines([0, 1], {"two words wrapped": [0, 1]}, **XY)
    assert {"two words", "wrapped"} <= set(texts(figure))


def test_a_legend_tells_lines_apart_and_leaves_them_room():
    many = {f"an_identifier_that_cannot_wrap_{i}": [i, 0] for i in range(12)}
    figure = plots.lines([0, 1], many, **XY | {"ylabel": " \n"})
    heights = [
        n
        for path in parsed(figure).iter(f"{SVG}path")
        if path.get("stroke-width") == "1.8"
        for n in numbers_of(path.get("d"))[1::2]
    ]
    assert max(heights) - min(heights) > 70
    samples = parsed(figure).findall(f".//{SVG}path[@stroke-width='3']")
    assert len({s.get("stroke-dasharray") for s in samples}) == 6
    assert max(numbers_of(s.get("d"))[1] for s in samples) < min(heights)


def test_lines_break_where_a_number_is_missing_and_never_lie():
    figure = plots.lines(range(5), {"a": [1, 2, math.nan, 4, math.inf]}, **XY)
    (line,) = parsed(figure).findall(f".//{SVG}path[@stroke-width='1.8']")
    assert re.sub(r"[^ML]", "", line.get("d")) == "MLM"
    figure = plots.lines([1, 2, 3], {"a": [1, 0, 10]}, **XY, log="y")
    (line,) = parsed(figure).findall(f".//{SVG}path[@stroke-width='1.8']")
    assert re.sub(r"[^ML]", "", line.get("d")) == "MM"


def test_a_wrong_number_of_points_is_an_error():
    with pytest.raises(
        ValueError, match=r"got shape \(1, 2\) .*, want \(3,\)"
    ):
        plots.lines([1, 2, 3], {"a": [1, 2]}, **XY)
    with pytest.raises(ValueError, match="one for each label"):
        plots.bars(["a"], [1, 2], **XY)


def boxes(figure, name):
    """The rectangles in this colour: left, top, width, height."""
    found = []
    for d in filled(figure, name):
        x1, y1, x2, y2, _ = numbers_of(d)
        found.append((min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)))
    return found


def test_grouped_bars_name_their_series():
    figure = plots.bars(
        ["a", "b"],
        {"with": [1, 2], "without": [3, 4]},
        **XY,
        numbers=".0f",
    )
    assert {"with", "without", "1", "2", "3", "4"} <= set(texts(figure))
    heights = [box[3] for c in ("c1", "c2") for box in boxes(figure, c)]
    assert heights == pytest.approx(
        [heights[0] * n for n in (1, 2, 3, 4)], abs=0.4
    )
    figure = draw_bars(highlight=[1])
    assert len(boxes(figure, "c1")) == len(boxes(figure, "c2")) == 1


def test_bars_lie_down_where_names_or_numbers_have_no_room():
    names = ["a name", "another name", "a third one", "and a fourth", "five"]
    lying = plots.bars(names, [1, 2, 3, 4, 5], **XY)
    assert len({box[0] for box in boxes(lying, "c1")}) == 1
    standing = plots.bars([n[:3] for n in names], [1, 2, 3, 4, 5], **XY)
    assert len({box[0] for box in boxes(standing, "c1")}) == 5
    counted = plots.bars(range(1000, 1025), range(25), **XY)
    assert len({box[0] for box in boxes(counted, "c1")}) == 25
    assert "1000" in texts(counted)
    assert "1001" not in texts(counted)
    full = plots.bars(range(9), {"a": range(9), "b": range(9)}, **XY,
                      numbers=".4f")  # fmt: skip
    assert len({box[0] for box in boxes(full, "c1")}) == 1


def test_a_heatmap_writes_its_numbers_and_ticks():
    figure = draw_heatmap(
        numbers=".1f", xticks=["the", "cats", "sat"], yticks="abc"
    )
    assert texts(figure).count("1.0") == 3
    assert {"the", "cats", "sat", "a", "b", "c"} <= set(texts(figure))
    signed = plots.heatmap([[-1.0, 0.5]], **XY)
    assert {"−1", "0", "1"} <= set(texts(signed))
    assert filled(signed, "c2")
    assert {"0", "2"} <= set(texts(draw_heatmap(limit=2)))
    assert not filled(draw_heatmap(limit=2), "c2")


def test_zero_is_the_page_and_equal_neighbours_are_one():
    figure = plots.heatmap([[0, 1, 1, math.nan], [2, 2, 2, 2]], **XY)
    cells = [
        (path.get("fill-opacity"), path.get("d").count("M"))
        for path in parsed(figure).iter(f"{SVG}path")
        if path.get("shape-rendering")
    ]
    assert cells[:2] == [("0.5", 1), (None, 1)]


def pixels(picture):
    """The grey pixels of a PNG, read by its specification."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(picture):
        (size,) = struct.unpack_from(">I", picture, at)
        kind, data = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + size]
        (check,) = struct.unpack_from(">I", picture, at + 8 + size)
        assert zlib.crc32(kind + data) == check
        chunks[kind], at = data, at + 12 + size
    assert [*chunks] == [b"IHDR", b"IDAT", b"IEND"]
    columns, rows, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 0, 0, 0, 0]  # eight bits of grey, not interlaced
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8)
    lines = lines.reshape(rows, columns + 1)
    assert not lines[:, 0].any()  # no filter
    return lines[:, 1:]


def test_a_picture_of_many_cells_holds_their_sizes():
    values = np.zeros((40, 30))
    values[3, 5], values[7, 2], values[9, 9] = 1, -2, 0.5
    figure = plots.heatmap(values, **XY)
    found = []
    for image in parsed(figure).iter(f"{SVG}image"):
        data = image.get("href").removeprefix("data:image/png;base64,")
        found.append(pixels(base64.b64decode(data)))
    blue, orange = (grey[::4, ::4] for grey in found)
    assert (blue[3, 5], orange[7, 2], blue[9, 9]) == (128, 255, 64)
    assert (blue > 0).sum() + (orange > 0).sum() == 3
    grey = rng.integers(0, 255, (3, 7)).astype(np.uint8)
    assert (pixels(png(grey)) == grey).all()


def test_scales_and_ticks():
    scale = Scale(0, 10, 100, 200)
    assert scale([0, 5, 10]).tolist() == [100, 150, 200]
    assert Scale(1, 100, 0, 2, log=True)([1, 10, 0])[:2].tolist() == [0, 1]
    assert scale.ticks(20) == [0, 2, 4, 6, 8, 10]
    assert Scale(0, 2, 0, 100).ticks(10, whole=True) == [0, 1, 2]
    decades = Scale(1e-9, 1, 0, 100, log=True).ticks(30)
    assert decades == pytest.approx([1e-9, 1e-5, 1e-1])
    assert Scale(1, 9, 0, 100, log=True).ticks(30) == [1, 2, 5]
    assert Scale(1, 9, 0, 60, log=True).ticks(30) == [1, 3]
    assert limits([1, 10], log=False)[0] == 0
    assert limits([9, 10], log=False)[0] > 8
    assert limits([5, 5], log=False) == (4.5, 5.5)
    assert limits([-1, 1, math.nan], log=True)[0] == 0.5
    assert [written(x) for x in (0, 1024, -0.5, 1e-9, 2e7, 0.1 + 0.2)] == [
        "0", "1,024", "−0.5", "10⁻⁹", "2·10⁷", "0.3",
    ]  # fmt: skip


def test_texts_are_wrapped_and_cut_by_their_width():
    assert wrapped("a bb ccc", text_width("a bb")) == ["a bb", "ccc"]
    assert wrapped("", 10) == []
    assert fitted("abc", text_width("abc")) == "abc"
    assert fitted("w" * 50, 60).endswith("w…")
    assert text_width(fitted("w" * 50, 60)) <= 60


SHOWN = [
    ("draw()", 1),
    ("draw()\n1 + 1", 1),
    ("figure = draw()", 1),
    ("for _ in range(2):\n    draw()", 2),
    ("display(draw())", 1),
    ("draw()\n1 / 0", 1),
    ("draw()", 1),
]


def test_a_notebook_shows_every_figure_once():
    """Whether its cell ends with the call, goes on, or fails after it."""
    start = "from handmade.plots import bars\ndef draw():\n"
    start += "    return bars(['a'], [1], xlabel='x', ylabel='y')"
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(source)
            for source in (start, *(source for source, _ in SHOWN))
        ]
    )
    NotebookClient(
        notebook, timeout=60, kernel_name="python3", allow_errors=True
    ).execute()
    for cell, (source, times) in zip(notebook.cells[1:], SHOWN, strict=True):
        figures = [
            output
            for output in cell.outputs
            if "image/svg+xml" in output.get("data", {})
        ]
        assert len(figures) == times, source
