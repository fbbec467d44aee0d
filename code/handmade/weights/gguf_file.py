"""Read a GGUF file: what it says of itself, and where its tensors lie.

From the format's definition, little-endian versions 2 and 3: a header of keys
and values, a table of tensors, then the tensors' bytes, aligned. The file is
not trusted: every length in it is held against what is left of it before
anything of that length is made. gguf's own reader walks an array of 2^60
numbers until memory ends.

Left out: arrays of arrays, which no file uses, and big-endian files.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SCALARS = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
STRING, ARRAY = 8, 9
MOST_STRINGS = 2**22  # of one array; the largest vocabularies have 2**18
ALIGNMENT = "general.alignment"


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: its shape, its kind of numbers, its bytes."""

    shape: tuple[int, ...]
    kind: int
    start: int
    stop: int


@dataclass(frozen=True)
class GGUFFile:
    """A file's keys and values, and its tensors, read when asked for."""

    path: Path
    meta: dict[str, Any]
    places: dict[str, Place]

    def tensor(self, name: str) -> np.ndarray:
        """Return a tensor as float32, a copy."""
        from gguf import GGMLQuantizationType, dequantize

        place = self.places[name]
        kind = GGMLQuantizationType(place.kind)
        data = np.memmap(self.path, mode="r")[place.start : place.stop]
        try:
            flat = dequantize(
                data.reshape(math.prod(place.shape[:-1]), -1), kind
            )
        except NotImplementedError as error:
            raise ValueError(
                f"{self.path}: {name}: got {kind.name} numbers, which cannot "
                "be read"
            ) from error
        return np.array(flat, dtype=np.float32).reshape(place.shape)


def read_gguf(path: Path) -> GGUFFile:
    """Read the header of a file.

    Raises ValueError, naming the file, for anything but a whole GGUF file.
    """
    try:
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _read(Path(path), _Cursor(data))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a whole GGUF file: {error}") from (
            error
        )


class _Cursor:
    """A place in the file that never runs over its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        left = len(self.data) - self.at
        if count > left:
            raise ValueError(f"{count} bytes wanted at {self.at}, {left} left")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code: str) -> int:
        found: int = struct.unpack(
            f"<{code}", self.take(struct.calcsize(code))
        )[0]
        return found

    def string(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self.array(self.number("I"), self.number("Q"))
        return self.array(kind, 1).item()

    def array(self, kind: int, count: int) -> Any:
        if kind == STRING:
            if count > MOST_STRINGS:
                raise ValueError(f"an array of {count} strings")
            return [self.string() for _ in range(count)]
        if kind not in SCALARS:
            raise ValueError(f"a value of kind {kind} at {self.at}")
        dtype = np.dtype(SCALARS[kind])
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)


def _read(path: Path, cursor: _Cursor) -> GGUFFile:
    magic, version = cursor.take(4), cursor.number("I")
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError(f"it begins with {magic!r}, version {version}")
    n_tensors, n_keys = cursor.number("Q"), cursor.number("Q")
    meta: dict[str, Any] = {}
    for _ in range(n_keys):
        key, kind = cursor.string(), cursor.number("I")
        _new(key, meta)
        meta[key] = cursor.value(kind)
    table: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(n_tensors):
        name = cursor.string()
        _new(name, table)
        n_axes = cursor.number("I")
        if not 1 <= n_axes <= 4:
            raise ValueError(f"{name} has {n_axes} axes")
        # the fastest axis comes first: the other way round than NumPy's
        shape = tuple(cursor.number("Q") for _ in range(n_axes))[::-1]
        table[name] = shape, cursor.number("I"), cursor.number("Q")
    step = meta.get(ALIGNMENT, 32)
    if type(step) is not int or step < 1 or step & (step - 1):
        raise ValueError(f"{ALIGNMENT}: got {step!r}, want a power of two")
    begin = -(-cursor.at // step) * step
    size = len(cursor.data)
    places = {n: _place(n, *t, begin, size) for n, t in table.items()}
    return GGUFFile(path, meta, places)


def _new(name: str, seen: dict[str, Any]) -> None:
    if name in seen:
        raise ValueError(f"{name!r} comes twice")


def _place(
    name: str,
    shape: tuple[int, ...],
    kind: int,
    offset: int,
    begin: int,
    size: int,
) -> Place:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    known = {int(k) for k in GGMLQuantizationType}
    if kind not in known:
        raise ValueError(f"{name} has numbers of kind {kind}")
    block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    if 0 in shape or shape[-1] % block:
        raise ValueError(f"{name} has shape {shape}, want rows of n x {block}")
    start = begin + offset
    stop = start + math.prod(shape) // block * block_bytes
    if stop > size:
        raise ValueError(f"{name} ends at byte {stop}, the file at {size}")
    return Place(shape, kind, start, stop)
