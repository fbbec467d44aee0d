"""Note which files a page opens while it is executed.

`python -c "import bookbinder.probe"` in a kernel writes every path that is
opened, one a line, to the file named in `HANDMADE_OPENED`. Python's audit
hooks see each `open`, whoever calls it; what is mapped by compiled code goes
unseen, so a folder of the cache counts by the manifest that is read with it.
"""

import os
import sys

TOLD = "HANDMADE_OPENED"


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


if TOLD in os.environ:
    watch(os.environ[TOLD])
