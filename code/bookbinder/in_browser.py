"""Run a page's cells in a reader's browser, one after the other.

A worker's Python imports this from the archive that `live_package` makes.
What a cell prints, shows or raises goes to `tell(kind, text)`, which the page
draws below the cell. It stands in for the part of IPython that the package's
`display` uses; what a cell asks for and is not there is named, no error.
"""

import importlib.abc
import importlib.util
import json
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

CALLED = {"torch": "PyTorch", "numpy": "NumPy"}
SVG, HTML = "image/svg+xml", "text/html"
CELL = re.compile(r"cell \d+")
CHUNK = 4_000  # letters that are held back at most
namespace: dict[str, Any] = {}
tell: Callable[[str, str], None] = print


class NotHereError(ImportError):
    """What a cell uses is not in the browser; `needs` says what it needs."""

    def __init__(self, name: str, needs: str) -> None:
        super().__init__(f"{name} needs {needs}, which is not in the browser")
        self.needs = needs


class Missing:
    """Stands for a function of a module that is not there."""

    def __init__(self, name: str, needs: str) -> None:
        self.__dict__.update(_name=name, _needs=needs)

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise NotHereError(self._name, self._needs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotHereError(f"{self._name}.{name}", self._needs)


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of the package that are not in the archive."""

    def __init__(self, needs: dict[str, str]) -> None:
        self.needs = needs

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname not in self.needs:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: Any) -> ModuleType:
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        name, needs = module.__name__, self.needs[module.__name__]

        def attribute(what: str) -> Any:
            if what.startswith("__"):
                raise AttributeError(what)
            return Missing(f"{name}.{what}", needs)

        module.__dict__["__getattr__"] = attribute


class Stream:
    """Takes what is printed and passes it on in pieces."""

    encoding = "utf-8"

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.held = ""

    def write(self, text: str) -> int:
        self.held += text
        if len(self.held) > CHUNK:
            self.flush()
        return len(text)

    def flush(self) -> None:
        held, self.held = self.held, ""
        if held:
            tell(self.kind, held)

    def isatty(self) -> bool:
        return False


def start(folder: str, to: Callable[[str, str], None]) -> str:
    """Make ready: a folder with the archive, and whom to tell."""
    global tell
    tell = to
    absent = Path(folder, "absent.json").read_text(encoding="utf-8")
    sys.meta_path.append(Absent(json.loads(absent)))
    sys.stdout, sys.stderr = Stream("stdout"), Stream("stderr")
    shell = SimpleNamespace(
        events=SimpleNamespace(
            callbacks={"post_execute": []}, register=lambda *_: None
        )
    )
    ipython = ModuleType("IPython")
    shown = ModuleType("IPython.display")
    ipython.__dict__.update(
        get_ipython=lambda: shell, display=shown, __path__=[]
    )
    shown.__dict__["display"] = display
    sys.modules |= {"IPython": ipython, "IPython.display": shown}
    main = ModuleType("__main__")
    sys.modules["__main__"] = main
    namespace.update(main=main)
    return sys.version.split()[0]


def display(*values: Any, raw: bool = False, **_: Any) -> None:
    """Show values as a notebook does; a glued one is for the prose."""
    for value in values:
        _show(value if raw else _bundle(value))


def _bundle(value: Any) -> dict[str, str]:
    """Return a value as media type -> text, as IPython asks for it."""
    if callable(made := getattr(type(value), "_repr_mimebundle_", None)):
        return dict(made(value))
    found = {"text/plain": repr(value)}
    for kind, name in ((HTML, "_repr_html_"), (SVG, "_repr_svg_")):
        if callable(made := getattr(type(value), name, None)):
            found[kind] = made(value)
    return found


def _show(bundle: dict[str, str]) -> None:
    _flush()
    for kind in (HTML, SVG, "text/plain"):
        if kind in bundle:
            tell(kind, bundle[kind])
            return


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def run(source: str, name: str) -> str:
    """Run one cell; return how it ended, as JSON."""
    from pyodide.code import eval_code

    try:
        value = eval_code(source, namespace["main"].__dict__, filename=name)
        if value is not None:
            display(value)
    except KeyboardInterrupt:
        return _ended("stopped")
    except NotHereError as error:
        return _ended("needs", error.needs)
    except ModuleNotFoundError as error:
        top = (error.name or "").split(".")[0]
        if top not in CALLED:
            return _failed(error)
        return _ended("needs", CALLED[top])
    except BaseException as error:  # sys.exit, for one
        return _failed(error)
    return _ended("done")


def _ended(how: str, what: str = "") -> str:
    _flush()
    return json.dumps({"how": how, "what": what})


def _failed(error: BaseException) -> str:
    _flush()
    tell("error", _told(error))
    return _ended("failed", type(error).__name__)


def _told(error: BaseException) -> str:
    """Return a traceback of the reader's own lines, and what was raised."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if CELL.fullmatch(frame.filename)
    ]
    said = ["Traceback (most recent call last):\n"] if frames else []
    for frame in frames:
        inside = "" if frame.name[0] == "<" else f", in {frame.name}"
        said.append(f"  {frame.filename}, line {frame.lineno}{inside}\n")
        said.append(f"    {frame.line}\n" if frame.line else "")
    raised = "".join(traceback.format_exception_only(error))
    return "".join(said) + raised.rstrip()
