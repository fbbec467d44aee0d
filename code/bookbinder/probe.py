"""Note what a page does while it is executed that its outputs do not say.

`import bookbinder.probe` in a kernel writes every path that is opened, one a
line, to the file named in `HANDMADE_OPENED`. Python's audit hooks see each
`open`, whoever calls it; what is mapped by compiled code goes unseen, so a
folder of the cache counts by the manifest that is read with it.

It also marks lone surrogates: half a character, which no file can hold. The
kernel would lose the output, or the error, that has one, and say nothing.
"""

import os
import re
import sys
from collections.abc import Callable
from typing import Any

TOLD = "HANDMADE_OPENED"
SURROGATE = re.compile("[\ud800-\udfff]")
# two code points that are no characters: nobody prints them
MARK = "\ufdd0\ufdd1"
MARKED = re.compile(MARK + "([0-9a-f]{4})")


def watch(told: str) -> None:
    """Append each path that this process opens from now on to `told`."""
    out = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    seen = set()

    def hook(event: str, arguments: tuple) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes):
            return  # a number: an open file is opened once more
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path not in seen:
            seen.add(path)
            os.write(out, f"{path}\n".encode(errors="surrogateescape"))

    sys.addaudithook(hook)


def marked(value: Any) -> Any:
    """Return what a message holds, each lone surrogate as its number."""
    if isinstance(value, str):
        return SURROGATE.sub(lambda m: f"{MARK}{ord(m[0]):04x}", value)
    if isinstance(value, dict):
        return {marked(key): marked(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [marked(one) for one in value]
    return value


def marking(pack: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return `pack`, which makes a message's bytes, so that none is lost."""

    def packed(message: Any) -> bytes:
        try:
            made = pack(message)
            made.decode()  # half of the surrogates pass, as broken UTF-8
        except UnicodeError:
            return pack(marked(message))
        return made

    return packed


def first_surrogate(value: Any) -> str | None:
    """Return the first that `marked` found in a message, as Python writes it.

    A str is searched, or the strs in lists and dicts.
    """
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return next(filter(None, map(first_surrogate, value)), None)
    found = MARKED.search(value) if isinstance(value, str) else None
    return found and rf"\u{found[1]}"


if TOLD in os.environ:
    watch(os.environ[TOLD])
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        if shell is not None:
            session = shell.kernel.session
            session.pack = marking(session.pack)
