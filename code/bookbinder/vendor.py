"""Copy the JavaScript and fonts that the site serves itself.

They come from the npm registry at pinned versions (package-lock.json).
Without npm, or where npm gets nothing, the book still builds, with the
addresses of public networks; one line says so.
"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

from handmade.cache import sha256, write_whole

from bookbinder import fonts, icons

MARK = ".vendored"
FALLBACK = "the pages will load MathJax from public networks"
# of each font KaTeX's style offers two older formats, which nobody needs
OLDER = re.compile(r',url\([^)]*\.(?:woff|ttf)\) format\("[a-z]+"\)')
# npm's own waits between its tries come to minutes where there is no network
NPM = (
    "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
    "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000",
)  # fmt: skip

# from node_modules -> to book/vendor; what the build alone needs is hidden,
# and so no part of the site
FILES = (
    ("katex/dist/katex.min.js", ".build"),
    ("katex/dist/katex.min.css", "katex"),
    ("katex/dist/fonts/*.woff2", "katex/fonts"),
    *fonts.files(),
    *icons.files(),
    # Python for a reader's browser, fetched by none who does not ask for it
    ("pyodide/pyodide.mjs", "pyodide"),
    ("pyodide/pyodide.asm.mjs", "pyodide"),
    ("pyodide/pyodide.asm.wasm", "pyodide"),
    ("pyodide/pyodide-lock.json", "pyodide"),
    ("pyodide/python_stdlib.zip", "pyodide"),
    ("pyodide/package.json", "pyodide"),
)  # fmt: skip


def is_vendored(root: Path) -> bool:
    return (_folder(root) / MARK).exists()


def recorded(root: Path) -> dict[str, str]:
    """Return file -> sha256 as copied into `book/vendor`; {} where none is.

    A mark that cannot be read counts as none.
    """
    return _mark(root).get("files", {})


def vendor(root: Path) -> str:
    """Fill `book/vendor`; return one line that says what was done.

    What is in place is checked by hash: a file that is cut, changed, missing
    or one too many has all of them copied anew. Raises ValueError where npm
    installed something else than this module copies.
    """
    target = _folder(root)
    lock = (root / "package-lock.json").read_text(encoding="utf-8")
    wanted = hashlib.sha256((lock + str(FILES)).encode()).hexdigest()
    mark = _mark(root)
    if mark.get("from") == wanted and mark["files"] == hashes(target):
        return "site JavaScript: in place"
    # the mark goes first and comes last: killed between, none is vendored
    (target / MARK).unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    npm = shutil.which("npm")
    if npm is None:
        return f"npm is missing (install Node.js): {FALLBACK}"
    try:
        subprocess.run([npm, *NPM], cwd=root, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "returncode", None) or error
        return f"npm ci failed ({why}; is there a network?): {FALLBACK}"
    for pattern, folder in FILES:
        found = sorted((root / "node_modules").glob(pattern))
        if not found:
            raise ValueError(f"node_modules: got no {pattern}, want one")
        (target / folder).mkdir(parents=True, exist_ok=True)
        for path in found:
            shutil.copy2(path, target / folder)
    style = target / "katex" / "katex.min.css"
    text = style.read_text(encoding="utf-8")
    style.write_text(OLDER.sub("", text), encoding="utf-8")
    made = json.dumps({"from": wanted, "files": hashes(target)}, indent=1)
    write_whole(
        target / MARK, lambda path: path.write_text(made, encoding="utf-8")
    )
    return f"site JavaScript: copied into {target.relative_to(root)}"


def _folder(root: Path) -> Path:
    return root / "book" / "vendor"


def hashes(folder: Path) -> dict[str, str]:
    """Return file -> sha256 of all that a folder holds, but its mark."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARK
    }


def _mark(root: Path) -> dict:
    try:
        text = (_folder(root) / MARK).read_text(encoding="utf-8")
        mark = json.loads(text)
        whole = isinstance(mark["from"], str) and all(
            isinstance(value, str) for value in mark["files"].values()
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return mark if whole else {}
