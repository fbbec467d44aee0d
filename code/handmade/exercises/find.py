"""Which module defines an exercise: found by reading, not registered.

``exercises/<part>/<page>.py`` holds the exercises of one page. A name is
looked for in the text of these files, so that looking one up imports one
module, and a new exercise is known as soon as it is written. The binder asks
here too, to know which modules a page's ``check("…")`` comes to import.
"""

import difflib
import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
NAME = re.compile(r"""\bExercise\(\s*name=["']([^"']+)["']""")


def modules(folder: Path = FOLDER) -> dict[str, tuple[str, ...]]:
    """Return each page's module -> the names of its exercises, in order."""
    found = {}
    for path in sorted(folder.glob("*/*.py")):
        about = path.stat()
        names = _names_in(path, about.st_mtime_ns, about.st_size)
        if names:
            part, page = path.parent.name, path.stem
            found[f"handmade.exercises.{part}.{page}"] = names
    return found


def module_of(name: str, folder: Path = FOLDER) -> str:
    """Return the dotted name of the module that defines an exercise.

    Raises ValueError, with the names close to it, for one that none does.
    """
    found = modules(folder)
    for module, names in found.items():
        if name in names:
            return module
    known = [name for names in found.values() for name in names]
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    raise ValueError(
        f"name: got {name!r}, want an exercise of the book; "
        f"close to it: {', '.join(close or known)}"
    )


# read again only when the file has changed
@cache
def _names_in(path: Path, changed: int, size: int) -> tuple[str, ...]:
    return tuple(NAME.findall(path.read_text(encoding="utf-8")))
