r"""The site's TeX macros, which Jupyter and Colab do not know.

`_config.yml` gives them to MathJax as a name and its text, with a number of
arguments where there are any. A notebook's formulas have the text itself.
"""

import re
from collections.abc import Mapping

# a control word, or a backslash with the sign that it escapes
CONTROL = re.compile(r"\\(?:([A-Za-z]+)|.)", re.DOTALL)


def read(mathjax: Mapping) -> dict[str, str]:
    """Return name -> text of MathJax's `tex.macros`.

    Raises ValueError for a macro with arguments.
    """
    found = {}
    for name, given in (mathjax.get("tex", {}).get("macros") or {}).items():
        text, *rest = given if isinstance(given, list) else [given]
        known = isinstance(text, str) and re.fullmatch("[A-Za-z]+", name)
        if not known or rest not in ([], [0]):
            raise ValueError(
                f"_config.yml: the macro {name!r}: got {given!r}, "
                "want letters that stand for a text, without arguments"
            )
        found[name] = text
    return found


def expand(tex: str, macros: Mapping[str, str]) -> str:
    """Replace every macro, also those that a macro's text names.

    Raises ValueError for macros that name each other for ever.
    """

    def text_of(found: re.Match[str]) -> str:
        return macros.get(found[1], found[0])

    for _ in range(len(macros) + 1):
        wider = CONTROL.sub(text_of, tex)
        if wider == tex:
            return tex
        tex = wider
    raise ValueError(
        f"_config.yml: macros: got {sorted(macros)}, want none that names "
        "itself"
    )
