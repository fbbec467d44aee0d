"""Copy the JavaScript and fonts that the site serves itself.

They come from the npm registry at pinned versions (package-lock.json) and
from the installed anywidget. Without npm the book still builds, with the
addresses of public networks; the build says so.
"""

import shutil
import subprocess
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
MARK = ".vendored"

# from node_modules -> to book/vendor
FILES = (
    ("mathjax/es5/tex-mml-chtml.js", "mathjax"),
    ("mathjax/es5/output/chtml/fonts/woff-v2/*.woff", "mathjax/output/chtml/"
     "fonts/woff-v2"),
    ("mathjax/es5/input/tex/extensions/*.js", "mathjax/input/tex/extensions"),
    ("requirejs/require.js", "widgets"),
    ("@jupyter-widgets/html-manager/dist/embed-amd.js", "widgets"),
    ("@jupyter-widgets/html-manager/dist/*.woff2", "widgets/@jupyter-widgets"
     "/html-manager/dist"),
    ("@jupyter-widgets/html-manager/dist/*.woff2", "widgets/@jupyter-widgets"),
)  # fmt: skip


def is_vendored(root: Path) -> bool:
    return (root / "book" / "vendor" / MARK).exists()


def vendor(root: Path) -> str:
    """Fill `book/vendor`; return one line that says what was done."""
    target = root / "book" / "vendor"
    lock = (root / "package-lock.json").read_text(encoding="utf-8")
    anywidget = Path(
        sysconfig.get_path("data"),
        "share/jupyter/nbextensions/anywidget/index.js",
    )
    wanted = lock + anywidget.read_text(encoding="utf-8") + str(FILES)
    mark = target / MARK
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return "site JavaScript: in place"
    npm = shutil.which("npm")
    if npm is None:
        shutil.rmtree(target, ignore_errors=True)
        return (
            "npm is missing (install Node.js): the pages will load MathJax "
            "and the widgets from public networks"
        )
    subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=root,
        check=True,
    )
    shutil.rmtree(target, ignore_errors=True)
    for pattern, folder in FILES:
        into = target / folder
        into.mkdir(parents=True, exist_ok=True)
        found = sorted((root / "node_modules").glob(pattern))
        if not found:
            raise FileNotFoundError(f"no {pattern} in node_modules")
        for path in found:
            shutil.copy2(path, into)
    shutil.copy2(anywidget, target / "widgets" / "anywidget.js")
    mark.write_text(wanted, encoding="utf-8")
    return f"site JavaScript: copied into {target.relative_to(root)}"
