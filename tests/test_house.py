"""The house rules: what stands where, what may import what, how long it is.

Two of DESIGN.md's rules are read strictly here. A part of the package imports
only parts of its own level or below. transformers and peft are imported by
weights/, parity.py, inside a `to_hf` function by a model's export, and by the
one module that subclasses their classes, which nothing of the package imports.
"""

import ast
import re
import subprocess
import sys
import tomllib
import unicodedata
from pathlib import Path

import pytest
import yaml
from bookbinder import claims
from bookbinder.book import Page, find_book

ROOT = Path(__file__).parents[1]
CODE = ROOT / "code"
PACKAGE = CODE / "handmade"
BOOK = find_book(ROOT)
LEVELS = {
    "text": 0,
    "blocks": 0,
    "models": 1,
    "inference": 2,
    "training": 3,
    "inside": 4,
    "alignment": 4,
    "reasoning": 4,
    "images": 4,
    "experiments": 5,
}
REFERENCES = {"transformers", "peft"}
# needs transformers itself: whoever imports it wants our model among theirs
APART = "registered.py"
# every page that trains has a loop of its own; a mask has a table of bits
HOMONYMS = {"cache", "table", "train"}
# a line of the forward pass and its own of the backward pass stay together
LONGER = {"scalar.py": 500}
# the part by hand has the names of the blocks, in a module of its own
BY_HAND = ("by-hand", "scalar.py")
MODULES = sorted(PACKAGE.rglob("*.py"))
SHOWN = [*MODULES, *sorted((CODE / "bookbinder").rglob("*.py"))]
PAGES = [page for page in BOOK.pages if page.has_cells]

each_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.source.stem)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> list[tuple[str, ast.AST]]:
    """Return (module, node) of every import, wherever it stands."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            found.append((node.module, node))
            found += [
                (f"{node.module}.{alias.name}", node) for alias in node.names
            ]
    return found


def test_import_code_is_still_pythons_own():
    script = (
        "import code, sysconfig, pathlib; code.InteractiveConsole;"
        "lib = pathlib.Path(sysconfig.get_path('stdlib')).resolve();"
        "assert pathlib.Path(code.__file__).resolve().parent == lib"
    )
    for command in ([sys.executable, "-c"], [sys.executable, "-P", "-c"]):
        subprocess.run([*command, script], cwd=ROOT, check=True)
    assert not (CODE / "__init__.py").exists()


@each_module
def test_imports_point_one_way(path: Path):
    part = path.relative_to(PACKAGE).parts[0]
    names = {name for name, _ in imports(tree_of(path))}
    for name in names:
        top, *rest = name.split(".")
        if top != "handmade" or not rest:
            assert top != "bookbinder", "readers never import the binder"
            continue
        if rest[0] in LEVELS and part in LEVELS:
            wrong = f"{path.name} imports {name}"
            assert LEVELS[rest[0]] <= LEVELS[part], wrong
            if LEVELS[rest[0]] == LEVELS[part] == 4:
                assert rest[0] == part, wrong


@each_module
def test_only_the_doors_import_the_references(path: Path):
    doors = ("weights", "parity.py", APART)
    if path.relative_to(PACKAGE).parts[0] in doors:
        return
    tree = tree_of(path)
    exported = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name == "to_hf"
        for node in ast.walk(function)
    }
    for name, node in imports(tree):
        if name.split(".")[0] in REFERENCES:
            assert id(node) in exported, f"line {node.lineno}: {name}"


@each_module
def test_no_module_imports_the_one_that_stands_apart(path: Path):
    name = f"handmade.{APART.removesuffix('.py')}"
    assert name not in {found for found, _ in imports(tree_of(path))}


def test_the_package_imports_without_the_references():
    """Importing our models must not cost transformers' import."""
    names = [
        "handmade." + ".".join(p.relative_to(PACKAGE).with_suffix("").parts)
        for p in MODULES
        if p.name not in ("__init__.py", APART)
    ]
    script = "import importlib, sys\n"
    script += "".join(f"importlib.import_module({n!r})\n" for n in names)
    script += f"print(sorted({REFERENCES!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


@pytest.mark.parametrize(
    "path", SHOWN, ids=lambda p: p.relative_to(CODE).as_posix()
)
def test_modules_are_short_and_so_are_lines(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    # a page's exercises stand apart from each other: none is read for another
    longest = LONGER.get(path.name, 300)
    assert len(lines) <= longest or "exercises" in path.parts
    assert max(map(columns, lines), default=0) < 80


def columns(line: str) -> int:
    """Count what takes a column: not the marks that sit on a letter."""
    marks = ("Mn", "Mc", "Me", "Cf")
    return sum(unicodedata.category(letter) not in marks for letter in line)


@each_module
def test_what_is_public_is_documented(path: Path):
    tree = tree_of(path)
    if tree.body:
        assert ast.get_docstring(tree), "the module"
    if path.parent.parent.name == "exercises":
        return  # references and known mistakes: `says` tells what each does
    for node in tree.body:
        kinds = (ast.FunctionDef, ast.ClassDef)
        if isinstance(node, kinds) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize(
    "path", SHOWN, ids=lambda p: p.relative_to(CODE).as_posix()
)
def test_no_pickle_and_no_remote_code(path: Path):
    tree = tree_of(path)
    unsafe = {"pickle", "cPickle", "dill", "shelve", "joblib", "cloudpickle"}
    assert not unsafe & {n.split(".")[0] for n, _ in imports(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", "")
            assert (owner, node.attr) not in {
                ("torch", "load"),
                ("torch", "save"),
            }
        if isinstance(node, ast.keyword):
            assert node.arg not in ("trust_remote_code", "allow_pickle")
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in ("eval", "exec")


def loads(tree: ast.AST) -> list[bool]:
    """Return, for each `torch.load(…)`, whether it says weights_only=True."""
    return [
        any(
            word.arg == "weights_only"
            and getattr(word.value, "value", None) is True
            for word in node.keywords
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "torch.load"
    ]


def test_where_a_file_of_torch_is_read_it_says_weights_only():
    """torch.load without it could run what the file says."""
    shown = []  # a pickle that the same cell wrote, run to show that it runs
    for page in PAGES:
        for cell in page.cells("code"):
            if not all(loads(python_of(cell.source))):
                assert "torch.save(" in cell.source, page.name
                shown.append(page.name)
    assert shown == ["book/models/hugging-face"]
    for path in (*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/*.py")):
        assert all(loads(tree_of(path))), path
    assert loads(ast.parse("torch.load(f, weights_only=True)")) == [True]
    assert loads(ast.parse("a(torch.load(f))")) == [False]
    assert loads(ast.parse("torch.load(f, weights_only=False)")) == [False]


def test_the_folders_are_the_parts_of_the_book():
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    others = {"diagrams", "exercises", "weights", "widgets", "__pycache__"}
    assert folders - set(LEVELS) <= others
    parts = {page.name.split("/")[1] for page in BOOK.pages}
    assert parts <= {"start", "back", BY_HAND[0], *LEVELS}
    assert (PACKAGE / BY_HAND[1]).is_file()


def public_names(part: str) -> dict[str, str]:
    """Return name -> module of all that the package defines for a part."""
    return {
        node.name: path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if "exercises" not in path.parts
        and (path.name == BY_HAND[1]) <= (part == BY_HAND[0])
        for node in tree_of(path).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
    }


def python_of(source: str) -> ast.Module:
    """Parse a cell; one that shows IPython or a mistake counts as empty."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.parse("")


def defined(source: str, kinds=(ast.FunctionDef, ast.ClassDef)) -> set[str]:
    return {
        node.name for node in python_of(source).body if isinstance(node, kinds)
    }


def aliases(sources: list[str], name: str) -> set[str]:
    """Return the names under which a page imports `name` of the package."""
    return {
        alias.asname or alias.name
        for source in sources
        for node in ast.walk(python_of(source))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").split(".")[0] == "handmade"
        for alias in node.names
        if alias.name == name
    }


@each_page
def test_no_page_redefines_what_the_package_has(page: Page):
    """Except the cell that derives it, which the page then compares."""
    packaged = public_names(page.name.split("/")[1])
    sources = [cell.source for cell in page.cells("code")]
    for i, source in enumerate(sources):
        for name in (defined(source) & set(packaged)) - HOMONYMS:
            theirs = aliases(sources, name)
            assert any(
                "assert_close" in later
                and (
                    any(re.search(rf"\b{t}\b", later) for t in theirs - {name})
                    or re.search(rf"\w\.{name}\(", later)
                )
                for later in sources[i:]
            ), f"{name} stands in handmade/{packaged[name]} already"


def test_no_class_stands_on_two_pages():
    owner = {}
    for page in PAGES:
        for cell in page.cells("code"):
            for name in defined(cell.source, ast.ClassDef):
                first = owner.setdefault(name, page.name)
                assert first == page.name, f"{name}: {first}, {page.name}"


@each_page
def test_cells_are_short_and_narrow(page: Page):
    for number, cell in enumerate(page.cells("code"), 1):
        lines = cell.source.split("\n")
        # the sentence that a folded cell begins with is no code
        code = claims.without_comment(cell.source).split("\n")
        assert len(code) <= 25, f"cell {number}"
        assert max(map(len, lines)) < 80, f"cell {number}"


@pytest.mark.parametrize("page", BOOK.pages, ids=lambda p: p.source.stem)
def test_a_page_opens_with_its_label_and_title(page: Page):
    first = page.read().cells[0].source.split("\n")
    _, part, slug = page.name.split("/")
    # pages of other parts have the names of the steps, and came first
    label = f"{part}-{slug}" if part == BY_HAND[0] else slug
    assert first[0] == f"({label})="
    assert re.match(r"# \S", first[1])
    prose = "\n".join(cell.source for cell in page.cells("markdown"))
    prose = re.sub(r"^```.*?^```", "", prose, flags=re.M | re.S)
    assert len(re.findall(r"^# ", prose, re.M)) == 1


@each_page
def test_every_figure_in_prose_has_its_alternative(page: Page):
    for cell in page.cells("markdown"):
        for block in re.findall(
            r"^```\{(?:figure|image)\}.*?^```", cell.source, re.M | re.S
        ):
            assert re.search(r"^:?alt: *\S", block, re.M), block
        assert "![](" not in cell.source


def test_pins_are_exact_and_ranges_are_loose():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line[:1].isalpha()]
    assert all(re.match(r"[\w.-]+==[\w.+]+ (;.* )?\\", p) for p in pins)
    assert "--only-binary :all:" in lines  # what is built asks for more
    one = r"    --hash=sha256:[0-9a-f]{64}"
    below = "\n".join([*lines[lines.index(pins[0]) :], ""])
    assert re.fullmatch(rf"([a-z].* \\\n({one} \\\n)*{one}\n)+", below)
    torch = (ROOT / "requirements-torch.txt").read_text().splitlines()
    assert [line for line in torch if line[0] != "#"] == ["torch==2.13.0"]
    text = (CODE / "pyproject.toml").read_text()
    (build,) = tomllib.loads(text)["build-system"]["requires"]
    assert f"{build} \\" in pins
    project = tomllib.loads(text)["project"]
    assert project["requires-python"].startswith(">=3.11")
    for range_ in project["dependencies"]:
        assert "==" not in range_, range_
    assert "torch>=2.6" in project["dependencies"]


def test_the_repository_is_named_once():
    """The code takes it from _config.yml, and twins are made from it."""
    name = BOOK.repository.removeprefix("https://")
    for path in SHOWN:
        assert name not in path.read_text(encoding="utf-8"), path
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert settings["repository"]["url"] == BOOK.repository
