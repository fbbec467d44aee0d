"""Stamp the published commit into notebooks: what the set-up cell installs.

A twin in the repository cannot name the commit that it is part of, so there
it names the branch. What Colab and Binder open, and what the site offers to
download, is stamped when it is published:

    python -m bookbinder.stamp COMMIT FOLDER [--repository ADDRESS]

The job that does it may write to the repository, so nothing is installed
there: this file needs Python's own library alone.
"""

import argparse
import json
import re
import sys
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"https://[\w.-]+(/[\w.-]+)+")
# as twin.SETUP has it: the repository, then a branch or an older stamp
ADDRESS = re.compile(r'git\+(https://[^\s"@#]+)@([\w./-]+)#subdirectory=code')


def stamped(text: str, commit: str, repository: str | None = None) -> str:
    """Return a notebook's text with the commit where its branch stood.

    Raises ValueError unless the set-up cell, and it alone, names one.
    """
    found = ADDRESS.findall(text)
    if len(found) != 1:
        raise ValueError(f"got {len(found)} addresses, want 1")
    cells = json.loads(text)["cells"]
    setup = "".join(cells[0]["source"]) if cells else ""
    if not ADDRESS.search(setup):
        raise ValueError("got no address in the first cell, want it there")
    new = f"git+{repository or found[0][0]}@{commit}#subdirectory=code"
    return ADDRESS.sub(lambda _: new, text)


def stamp(
    folder: Path, commit: str, repository: str | None = None
) -> list[Path]:
    """Stamp every notebook under a folder; return their paths.

    Raises ValueError, and writes nothing, where one cannot be stamped.
    """
    if not COMMIT.fullmatch(commit):
        raise ValueError(f"commit: got {commit!r}, want 40 hex digits")
    if repository is not None and not REPOSITORY.fullmatch(repository):
        raise ValueError(
            f"repository: got {repository!r}, want https://host/owner/name"
        )
    paths = sorted(folder.rglob("*.ipynb"))
    if not paths:
        raise ValueError(f"folder: got {folder} without notebooks, want some")
    texts = {}
    for path in paths:
        try:
            text = path.read_bytes().decode("utf-8")
            texts[path] = stamped(text, commit, repository)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from None
    for path, text in texts.items():
        path.write_bytes(text.encode("utf-8"))
    return paths


def main(arguments: list[str] | None = None) -> int:
    """Stamp a folder, say what was done, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bookbinder.stamp")
    parser.add_argument("commit", help="what is published, in full")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repository", help="a fork's address: its own")
    given = parser.parse_args(arguments)
    try:
        paths = stamp(given.folder, given.commit, given.repository)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.folder}: {len(paths)} notebooks install {given.commit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
