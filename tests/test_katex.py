"""Formulas set at build: right, or the build stops with their source."""

from types import SimpleNamespace

import pytest
from bookbinder import katex
from docutils import nodes
from sphinx.errors import ExtensionError
from test_sync import ROOT

from conftest import lack


@pytest.fixture
def setter():
    if not katex.is_ready(ROOT):
        lack("Node.js and book/vendor: formulas are set with them")
    made = katex.Setter(ROOT, {"softmax": r"\operatorname{softmax}"})
    yield made
    made.close()


def test_a_formula_is_html_without_its_source(setter):
    inline, display = setter.html("x^2"), setter.html("x^2", display=True)
    assert '<span class="katex">' in inline
    assert "katex-display" in display
    assert "katex-display" not in inline
    assert "<math" in inline  # for screen readers
    assert "annotation" not in inline + display


def test_macros_are_expanded(setter):
    assert setter.html(r"\softmax x") == setter.html(
        r"\operatorname{softmax} x"
    )
    assert "softmax" in setter.html(r"\softmax x")


def test_one_process_sets_all_formulas_and_each_once(setter):
    first = setter.html("a")
    process = setter.process
    assert setter.html("b") != first
    assert setter.process is process
    setter.close()
    assert setter.html("a") == first
    assert setter.process is None


@pytest.mark.parametrize("tex", [r"\nothing", r"\frac{1}", "x_1_2", "}"])
def test_what_cannot_be_set_is_named(setter, tex):
    with pytest.raises(ValueError, match=r"formula: got .*KaTeX"):
        setter.html(tex)
    assert "katex" in setter.html("after")


def test_a_library_that_does_not_load_is_told(tmp_path, capfd):
    if not katex.is_ready(ROOT):
        lack("Node.js: formulas are set with it")
    made = katex.Setter(tmp_path, {})
    with pytest.raises(ValueError, match="node: got no answer"):
        made.html("x")
    made.close()
    assert "Cannot find module" in capfd.readouterr().err


def test_a_page_with_a_wrong_formula_is_not_built(setter):
    translator = SimpleNamespace(
        builder=SimpleNamespace(app=SimpleNamespace(formulas=setter)),
        docnames=["book/first"],
    )
    with pytest.raises(ExtensionError, match=r"book/first:.*\\\\wrong"):
        katex.visit_math(translator, nodes.math("", r"\wrong"))


def test_without_node_nothing_is_ready(monkeypatch, tmp_path):
    monkeypatch.setattr(katex.shutil, "which", lambda _: None)
    assert not katex.is_ready(ROOT)
    monkeypatch.setattr(katex.shutil, "which", lambda _: "node")
    assert not katex.is_ready(tmp_path)
