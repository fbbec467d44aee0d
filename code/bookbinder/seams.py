"""Where a rewritten block meets the lines around it."""

import re
from dataclasses import dataclass, field

# the quotes and lists that a line opens
MARGIN = re.compile(r"[\s>]*(?:(?:[-+*]|\d+[.)])\s+)*")


def margin(line: str) -> str:
    """Return what stands before a line's text: `> ` or `- `."""
    return MARGIN.match(line)[0]


def continued(prefix: str) -> str:
    """Return the same for the lines that follow: no second `- `."""
    return re.sub(r"[^\s>]", " ", prefix)


def is_blank(line: str) -> bool:
    return not line.strip(" \t>")


@dataclass
class Seams:
    """Lines, with one blank line on both sides of what is put between.

    Prose would run into a quote without it.
    """

    lines: list[str] = field(default_factory=list)
    blank: str | None = None  # the blank line that is still owed

    def keep(self, lines: list[str]) -> None:
        """Add lines as they are."""
        lines = [line for line in lines if line is not None]
        if self.blank is not None:
            while lines and is_blank(lines[0]):
                lines.pop(0)
        if lines:
            self._pay(lines[0])
            self.lines += lines

    def put(self, text: str, prefix: str) -> None:
        """Add a block inside the list or the quote that `prefix` opens."""
        rest = continued(prefix)
        if rest == prefix and self.blank is None:
            self.blank = rest.rstrip()
        if text or rest != prefix:
            first, *others = text.split("\n")
            first = prefix + first if first else prefix.rstrip()
            self._pay(first)
            self.lines.append(first)
            self.lines += [
                rest + line if line else rest.rstrip() for line in others
            ]
        self.blank = rest.rstrip()

    def _pay(self, line: str) -> None:
        """Add the blank line that is owed, unless one stands there."""
        owed = self.blank is not None and self.lines
        if owed and not is_blank(self.lines[-1]):
            inside = line.startswith(self.blank)  # still in the same quote
            self.lines.append(self.blank if inside else "")
        self.blank = None
