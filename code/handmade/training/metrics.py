"""What a run tells while it goes on: a file of JSON lines, a bar, boards.

Left out: services that want an account. A JSON line a step is read by
everything, also by a program that is older than this one.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from handmade import checks


class Metrics:
    """Append one JSON object a line, with the step it belongs to.

    A run that goes on from an earlier step first drops the lines after it
    (`resume_at`), so that no step stands there twice; a line that was cut by
    a crash goes too. Each line is on the disk when `write` returns. Where
    `board` is True and TensorBoard is installed, numbers go there as well.
    Raises ValueError for what JSON cannot hold (NaN is no JSON).
    """

    def __init__(
        self,
        path: Path | str,
        *,
        resume_at: int | None = None,
        board: bool = False,
    ) -> None:
        checks.path("path", path)
        checks.flag("board", board)
        self.path = Path(path)
        kept = []
        if resume_at is not None:
            checks.whole("resume_at", resume_at, at_least=0)
            kept = [x for x in read_metrics(path) if x["step"] < resume_at]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with _named(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, self.path)
            self._file = self.path.open("ab", buffering=0)
        self._board = _board(self.path.parent) if board else None

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append a line. Raises ValueError for a value that is no JSON."""
        checks.whole("step", step, at_least=0)
        checks.mapping("values", values, "a dict that JSON can hold")
        try:
            line = json.dumps({"step": step, **values}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"values: got {values!r} ({error}), want what JSON can hold"
            ) from error
        data = f"{line}\n".encode()
        with _named(self.path):
            while data:  # a disk that fills up takes a part of it
                data = data[self._file.write(data) :]
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """Read the lines of a run's file, without one that was cut at the end.

    No file is no line. Raises ValueError for a broken line within, naming
    its number.
    """
    checks.path("path", path)
    path = Path(path)
    if not path.exists():
        return []
    return list(_lines(path))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1], 1):  # the last ends in no \n
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or "step" not in found:
            raise ValueError(
                f"{path}: got {line[:40]!r} in line {number}, want a JSON "
                "object with a step"
            )
        yield found


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file where it cannot be written: a full disk does not."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        said = f"{path} cannot be written: {reason}"
        raise OSError(error.errno, said) from error


def _board(folder: Path) -> Any:
    """Return a TensorBoard writer; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "board"))


class Progress:
    """Show how far a run is: step, loss, tokens/s, time left.

    A bar of tqdm's (`pip install handmade[train]`), which on no terminal
    writes a line every `every` seconds, so that a log stays readable.
    """

    def __init__(
        self, steps: int, tokens: int, *, start: int = 0, every: float = 10.0
    ) -> None:
        from tqdm import tqdm

        checks.whole("steps", steps)
        checks.whole("tokens", tokens)
        checks.whole("start", start, at_least=0)
        checks.positive("every", every)
        self.tokens, live = tokens, sys.stderr.isatty()
        self._bar = tqdm(
            total=steps * tokens,
            initial=start * tokens,
            unit=" tokens",
            unit_scale=True,
            mininterval=0.2 if live else every,
            file=sys.stderr,
        )

    def __call__(self, step: int, loss: float) -> None:
        """Tell that `step` (from 0) is done, with its loss in nats."""
        shown = f"step {step + 1}, loss {loss:.3f}"
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(self.tokens)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
