"""Write the nightly issue: what is newer, and what fails with it.

`python .github/nightly_report.py FOLDER` reads pinned.txt and newest.txt (two
`pip freeze` lists) and log.txt (pytest's output) and prints Markdown. A file
that is missing means that step was not reached, and the report says so.
"""

import sys
from pathlib import Path

# an issue's body may hold 65,536 characters
ROOM = 40_000
# the last line that nightly.yml adds to a log
ENDED = "the regression ended"


def versions(text: str) -> dict[str, str]:
    """Return name -> version of a `pip freeze` list."""
    found = {}
    for line in text.splitlines():
        name, sign, version = line.strip().partition("==")
        if sign and not line.startswith("#"):
            found[name.lower().replace("_", "-")] = version
    return found


def changed(pinned: dict[str, str], newest: dict[str, str]) -> list[str]:
    """Return the table's rows: package, pinned, newest."""
    return [
        f"| {name} | {pinned.get(name, '–')} | {newest.get(name, '–')} |"
        for name in sorted(pinned | newest)
        if pinned.get(name) != newest.get(name)
    ]


def failures(log: str) -> list[str]:
    """Return pytest's summary lines of what failed or did not start."""
    wanted = ("FAILED ", "ERROR ")
    lines = [s for s in log.splitlines() if s.startswith(wanted)]
    return list(dict.fromkeys(lines))


def report(folder: Path) -> str:
    """Return the issue's text."""

    def read(name: str) -> str | None:
        path = folder / name
        if not path.is_file():
            return None
        return path.read_text(encoding="utf-8", errors="replace")

    pinned, newest, log = map(read, ("pinned.txt", "newest.txt", "log.txt"))
    parts = ["The regression fails with the newest versions.", ""]
    if pinned is None:
        parts.append("The pinned packages could not be installed.")
    elif newest is None:
        parts.append("The newest packages could not be installed.")
    else:
        rows = changed(versions(pinned), versions(newest))
        parts += ["| package | pinned | newest |", "| --- | --- | --- |"]
        parts += rows or ["| nothing differs | | |"]
    parts += ["", "## What fails", ""]
    if log is None:
        return "\n".join([*parts, "The tests were not reached.", ""])
    if ENDED not in log.splitlines():
        parts += ["The regression was cut off: its time was up.", ""]
    names = failures(log)
    summary = "\n".join(names) if names else "no test is named; see the end"
    parts += [fenced(summary[: ROOM // 2]), "", "## The end of the log", ""]
    parts += [fenced(log[-ROOM // 2 :]), ""]
    return "\n".join(parts)


def fenced(text: str) -> str:
    """Return a code block that its own text cannot close."""
    fence = "````"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text.strip()}\n{fence}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: nightly_report.py FOLDER")
    sys.stdout.reconfigure(encoding="utf-8")
    print(report(Path(sys.argv[1])))
