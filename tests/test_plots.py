"""The figures: readable in both colour schemes, labelled, and strict."""

import io

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

mpl.use("agg")

import matplotlib.pyplot as plt
from handmade import plots


@pytest.fixture(autouse=True)
def _close():
    plt.close("all")
    yield
    plt.close("all")


def pixels():
    """The current figure as the notebook stores it, (rows, columns, 4)."""
    file = io.BytesIO()
    plt.gcf().savefig(file, facecolor=plt.gcf().get_facecolor())
    file.seek(0)
    return plt.imread(file)


def luminance(colour):
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(
        rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4
    )
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
def test_colours_can_be_read_in_both_schemes(page):
    assert contrast(plots.GREY, page) > 4.2
    assert all(contrast(colour, page) > 3 for colour in plots.PALETTE)


def draw_lines(**more):
    plots.lines(
        [1, 2, 3], {"up": [1, 2, 3]}, xlabel="step", ylabel="loss", **more
    )


def draw_bars(**more):
    plots.bars(["a", "b"], [1, 2], xlabel="head", ylabel="share", **more)


def draw_heatmap(**more):
    plots.heatmap(torch.eye(3), xlabel="key", ylabel="query", **more)


@pytest.mark.parametrize("draw", [draw_lines, draw_bars, draw_heatmap])
def test_a_figure_is_transparent_labelled_and_small(draw):
    assert draw() is None
    ax = plt.gcf().axes[0]
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    image = pixels()
    assert image[0, 0, 3] == 0
    assert image.shape[1] == round(5.6 * 150)


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


def test_style_does_not_leak():
    before = dict(mpl.rcParams)
    draw_lines()
    assert dict(mpl.rcParams) == before


def test_runs_become_a_median_and_a_band():
    runs = np.array([[1.0, 2.0], [3.0, 4.0], [8.0, 9.0]])
    plots.lines([0, 1], {"loss": runs}, xlabel="x", ylabel="y")
    ax = plt.gca()
    assert list(ax.lines[0].get_ydata()) == [3.0, 4.0]
    assert len(ax.collections) == 1


@pytest.mark.parametrize(
    ("x", "written"),
    [
        ([1, 2, 4, 1024], ["1", "2", "4", "1,024"]),
        ([1, 2, 3], None),  # too close to write each
        ([0.5, 2, 8], None),  # not whole
        ([2**i for i in range(9)], None),  # too many
    ],
)
def test_a_few_whole_numbers_are_written_on_a_log_axis(x, written):
    given = {"a": [0.5] * len(x)}
    plots.lines(x, given, xlabel="x", ylabel="y", log="x")
    labels = [t.get_text() for t in plt.gca().get_xticklabels()]
    if written:
        assert labels == written
        assert not len(plt.gca().get_xticks(minor=True))
    else:
        assert any("mathdefault" in label for label in labels)


def test_labels_at_the_ends_do_not_overlap():
    series = {name: [0.0, 1.0] for name in "abc"}
    plots.lines([0, 1], series, xlabel="x", ylabel="y", log="x", level=0.5)
    heights = sorted(text.get_position()[1] for text in plt.gca().texts)
    assert np.diff(heights).min() > 0.05


def test_a_wrong_number_of_points_is_an_error_and_leaves_no_figure():
    with pytest.raises(
        ValueError, match=r"got shape \(1, 2\) .*, want \(3,\)"
    ):
        plots.lines([1, 2, 3], {"a": [1, 2]}, xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="one for each label"):
        plots.bars(["a"], [1, 2], xlabel="x", ylabel="y")
    assert not plt.get_fignums()


def test_grouped_bars_name_their_series():
    plots.bars(
        ["a", "b"],
        {"with": [1, 2], "without": [3, 4]},
        xlabel="x",
        ylabel="y",
        numbers=".0f",
    )
    names = [text.get_text() for text in plt.gca().get_legend().get_texts()]
    assert names == ["with", "without"]
    draw_bars(highlight=[1])
    colours = [bar.get_facecolor() for bar in plt.gca().patches]
    assert colours[0] != colours[1]


def test_a_heatmap_writes_its_numbers_and_ticks():
    draw_heatmap(numbers=".1f", xticks=["the", "cats", "sat"], yticks="abc")
    written = [text.get_text() for text in plt.gcf().axes[0].texts]
    assert written.count("1.0") == 3
    plots.heatmap([[-1.0, 1.0]], xlabel="x", ylabel="y")
    assert plt.gcf().axes[0].images[0].get_clim() == (-1.0, 1.0)


def test_every_figure_of_a_notebook_is_shown():
    cell = "from handmade.plots import bars\n"
    cell += "bars(['a'], [1], xlabel='x', ylabel='y')"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for _ in range(3)]
    )
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    for cell in notebook.cells:
        (output,) = cell.outputs
        assert "image/png" in output.data
