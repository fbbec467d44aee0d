"""Explorables: scripts that stand alone, data that travels unchanged."""

import base64
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import traitlets
from handmade.widgets import base

SCRIPTS = sorted(p for p in base.HERE.glob("*.js") if p.name != "shared.js")
MODULES = sorted(
    p.stem
    for p in base.HERE.glob("*.py")
    if p.stem not in ("__init__", "base")
)


class Counter(base.Explorable):
    _esm = "export default { render({ model, el }) {} }"
    data = traitlets.Unicode("x" * 1000).tag(sync=True)


def test_an_explorable_prints_its_name_and_never_its_data():
    assert repr(Counter()) == repr(Counter(data="y")) == "Counter()"


def test_each_script_belongs_to_a_module_and_each_module_to_a_script():
    assert [p.stem for p in SCRIPTS] == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_assets_hold_the_shared_part_and_the_widgets_own(name):
    script, style = base.assets(name)
    for part in ("shared.js", f"{name}.js"):
        assert (base.HERE / part).read_text(encoding="utf-8") in script
    assert (base.HERE / "shared.css").read_text(encoding="utf-8") in style
    assert script.count("export default") == 1


@pytest.mark.parametrize("name", MODULES)
def test_the_classes_carry_their_scripts(name):
    module = importlib.import_module(f"handmade.widgets.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base.Explorable)
        if value is not base.Explorable
    ]
    assert classes
    for found in classes:
        assert "export default" in str(found._esm)
        assert "--hm-a" in str(found._css)


@pytest.mark.parametrize("path", [*SCRIPTS, base.HERE / "shared.js"])
def test_a_script_imports_nothing_and_calls_nobody(path: Path):
    text = path.read_text(encoding="utf-8")
    text = text.replace("http://www.w3.org/2000/svg", "")  # a mere name
    assert not re.search(
        r"https?://|^import\b|\bimport\(|\bfetch\(", text, re.M
    )
    # text from the model or the cell must not become markup
    assert "innerHTML" not in text


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="got 'no_such'"):
        base.assets("no_such")


def test_bytes_come_back_within_half_a_level():
    values = np.random.default_rng(0).random((3, 4, 5))
    packed = np.frombuffer(base64.b64decode(base.pack_uint8(values)), np.uint8)
    assert packed.shape == (60,)
    np.testing.assert_allclose(
        packed.reshape(3, 4, 5) / 255, values, atol=0.5 / 255 + 1e-9
    )
    edges = base64.b64decode(base.pack_uint8(np.array([0.0, 1.0])))
    assert edges == b"\x00\xff"


@pytest.mark.parametrize("wrong", [-1e-6, 1.001, np.nan, np.inf])
def test_values_outside_zero_to_one_are_refused(wrong):
    with pytest.raises(ValueError, match="wanted"):
        base.pack_uint8(np.array([0.5, wrong]))


def test_floats_come_back_exactly_in_row_major_order():
    values = np.arange(6, dtype=np.float64).reshape(2, 3).T / 7
    packed = base64.b64decode(base.pack_float32(values))
    back = np.frombuffer(packed, "<f4").reshape(3, 2)
    assert np.array_equal(back, values.astype(np.float32))
