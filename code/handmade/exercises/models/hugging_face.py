"""The exercises of the page on Hugging Face's machinery.

B rows · V vocabulary
"""

import json
from collections.abc import Callable, Mapping

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.inference import sampling
from handmade.models.device_map import device_map

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "I64": torch.int64,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}

# -- safetensors-tensor: fn(raw: bytes, name) -> the tensor


def _file(
    tensors: Mapping[str, torch.Tensor],
    *,
    metadata: bool = False,
    spaces: int = 0,
) -> bytes:
    """Write a safetensors file; its numbers stand in the header's order."""
    header: dict = {"__metadata__": {"format": "pt"}} if metadata else {}
    numbers = b""
    for name, x in tensors.items():
        own = x.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": CODES[x.dtype],
            "shape": list(x.shape),
            "data_offsets": [len(numbers), len(numbers) + len(own)],
        }
        numbers += own
    text = json.dumps(header).encode() + b" " * spaces
    return len(text).to_bytes(8, "little") + text + numbers


def _reader(
    *,
    begin: Callable[[int], int] = lambda length: 8 + length,
    order: str = "little",
    shaped: bool = True,
    dtype: torch.dtype | None = None,
) -> Callable:
    """Read a tensor, with one step replaced by another."""

    def fn(raw, name):
        length = int.from_bytes(raw[:8], order)  # type: ignore[arg-type]
        entry = json.loads(raw[8 : 8 + length])[name]
        start, end = (at + begin(length) for at in entry["data_offsets"])
        x = torch.frombuffer(
            bytearray(raw[start:end]), dtype=dtype or DTYPES[entry["dtype"]]
        )
        return x.reshape(entry["shape"]) if shaped else x

    return fn


def _file_case(label: str, name: str, **options) -> Case:
    def make() -> tuple:
        (a,) = randoms((2, 3), dtype=torch.float32)
        (b,) = randoms((4,), seed=5, dtype=torch.float16)
        (c,) = randoms((3, 1, 2), seed=7)
        tensors = {"a": a, "b": b, "c": c, "n": torch.tensor(9)}
        return _file(tensors, **options), name

    return Case(label, make)


SAFETENSORS_TENSOR = Exercise(
    name="safetensors-tensor",
    reference=_reader(),
    cases=(
        _file_case("the first of four tensors", "a"),
        _file_case("a tensor in the middle, in float16", "b"),
        _file_case("a tensor with three axes, in float64", "c"),
        _file_case("a single whole number, of shape ()", "n"),
        _file_case("a file with metadata", "c", metadata=True),
        _file_case("a header with spaces behind it", "a", spaces=11),
    ),
    mistakes=(
        Mistake(
            "the offsets are counted from the beginning of the file",
            _reader(begin=lambda length: 0),
        ),
        Mistake(
            "the eight bytes of the length are forgotten in the offsets",
            _reader(begin=lambda length: length),
        ),
        Mistake(
            "the length is read with its bytes in the other order",
            _reader(order="big"),
        ),
        Mistake("the shape is left out", _reader(shaped=False)),
        Mistake(
            "every tensor is read as float32", _reader(dtype=torch.float32)
        ),
    ),
)

# -- loading-report: fn(model, file, tied) -> missing, unexpected, misshapen


def _report(
    *,
    ties: bool = True,
    shapes: bool = True,
    misshapen_missing: bool = False,
    swapped: bool = False,
) -> Callable:
    def fn(model, file, tied):
        names = set(model)
        wrong = {n for n in names & set(file) if model[n] != file[n]}
        wrong = wrong if shapes else set()
        missing = names - set(file)
        unexpected = set(file) - names
        if misshapen_missing:
            missing |= wrong
        if ties:
            missing = {
                n for n in missing if n not in tied or tied[n] in missing
            }
        if swapped:
            missing, unexpected = unexpected, missing
        return sorted(missing), sorted(unexpected), sorted(wrong)

    return fn


MODEL = {
    "tok_emb.weight": (9, 4),
    "blocks.0.up.weight": (6, 4),
    "blocks.0.up.bias": (6,),
    "lm_head.weight": (9, 4),
}
TIED = {"lm_head.weight": "tok_emb.weight"}


def _report_case(
    label: str,
    *,
    without: tuple[str, ...] = (),
    tied: bool = True,
    **more: tuple[int, ...],
) -> Case:
    def make() -> tuple:
        file = {n: shape for n, shape in MODEL.items() if n not in without}
        file |= {name.replace("__", "."): x for name, x in more.items()}
        return dict(MODEL), file, dict(TIED) if tied else {}

    return Case(label, make)


LOADING_REPORT = Exercise(
    name="loading-report",
    reference=_report(),
    cases=(
        _report_case("a file with every name", tied=False),
        _report_case("a bias that is missing", without=("blocks.0.up.bias",)),
        _report_case("a name too many", blocks__1__up__bias=(6,)),
        _report_case("a tied head, once in the file", without=(*TIED,)),
        _report_case(
            "a head that is not tied, and missing",
            without=(*TIED,),
            tied=False,
        ),
        _report_case(
            "a tied head, and neither of the two in the file",
            without=("tok_emb.weight", "lm_head.weight"),
        ),
        _report_case("a transposed matrix", blocks__0__up__weight=(4, 6)),
        _report_case(
            "a renamed module",
            without=("blocks.0.up.weight", "blocks.0.up.bias"),
            blocks__0__fc__weight=(6, 4),
            blocks__0__fc__bias=(6,),
        ),
    ),
    mistakes=(
        Mistake("a tied name counts as missing", _report(ties=False)),
        Mistake("shapes are not compared", _report(shapes=False)),
        Mistake(
            "a misshapen tensor counts as missing, too",
            _report(misshapen_missing=True),
        ),
        Mistake("missing and unexpected are exchanged", _report(swapped=True)),
        Mistake(
            "a tied name never counts as missing, even where nothing of the "
            "pair is in the file",
            lambda model, file, tied: _report()(
                {n: x for n, x in model.items() if n not in tied or n in file},
                file,
                {},
            ),
        ),
    ),
)

# -- device-map: fn(sizes, room) -> layer -> device


def _first_fit(sizes, room):
    free = dict(room)
    placed = {}
    for layer, size in sizes.items():
        device = next(d for d in free if size <= free[d])
        placed[layer] = device
        free[device] -= size
    return placed


def _never_quite_full(sizes, room):
    return device_map(sizes, {d: max(0, n - 1) for d, n in room.items()})


def _not_spent(sizes, room):
    devices = list(room)
    placed = {}
    for layer, size in sizes.items():
        while size > room[devices[0]]:
            devices.pop(0)
        placed[layer] = devices[0]
    return placed


def _largest_first(sizes, room):
    order = dict(sorted(sizes.items(), key=lambda item: -item[1]))
    placed = device_map(order, room)
    return {layer: placed[layer] for layer in sizes}


def _map_case(label: str, sizes: tuple[int, ...], room: dict) -> Case:
    layers = {f"layer {i}": size for i, size in enumerate(sizes)}
    return Case(label, lambda: (dict(layers), dict(room)))


DEVICE_MAP = Exercise(
    name="device-map",
    reference=device_map,
    cases=(
        _map_case("all on one device", (3, 2, 2), {"gpu": 9, "cpu": 9}),
        _map_case("a cut in the middle", (4, 4, 4, 4), {"gpu": 9, "cpu": 99}),
        _map_case(
            "a small layer after the cut", (5, 6, 1), {"gpu": 8, "cpu": 99}
        ),
        _map_case("a device that is just full", (4, 4, 4), {"a": 8, "b": 9}),
        _map_case(
            "a device too small for anything", (5, 5), {"tiny": 2, "cpu": 99}
        ),
        _map_case(
            "three devices", (5, 3, 4, 4, 2, 1), {"a": 9, "b": 9, "c": 9}
        ),
    ),
    mistakes=(
        Mistake(
            "a small layer goes back to a device that was left", _first_fit
        ),
        Mistake(
            "a layer that just fits is sent on: `<` instead of `<=`",
            _never_quite_full,
        ),
        Mistake("the room that is taken is not counted", _not_spent),
        Mistake("the largest layers are placed first", _largest_first),
    ),
)

# -- filters-in-order: fn(logits (B, V), t, k, p) -> probabilities (B, V)


def _filters(order: str = "tkp", renormalized: bool = True) -> Callable:
    def fn(logits, t, k, p):
        z = logits
        for step in order:
            if step == "t":
                z = sampling.temperature(z, t)
            elif step == "k":
                z = sampling.top_k(z, k)
            else:
                z = sampling.top_p(z, p)
        if renormalized:
            return z.softmax(-1)
        whole = sampling.temperature(logits, t).softmax(-1)
        return whole.masked_fill(z == -torch.inf, 0)

    return fn


def _too_short(logits, t, k, p):
    z = sampling.top_k(sampling.temperature(logits, t), k)
    probs, order = z.softmax(-1).sort(-1, descending=True)
    keep = probs.cumsum(-1) <= p
    keep[:, 0] = True
    z = z.masked_fill(~keep.gather(-1, order.argsort(-1)), -torch.inf)
    return z.softmax(-1)


def _filter_case(label: str, t: float, k: int, p: float) -> Case:
    return Case(label, lambda: (*randoms((3, 12), size=2.0), t, k, p))


FILTERS_IN_ORDER = Exercise(
    name="filters-in-order",
    reference=_filters(),
    cases=(
        _filter_case("everything off", 1.0, 12, 1.0),
        _filter_case("a temperature of 2", 2.0, 12, 1.0),
        _filter_case("the three likeliest", 1.0, 3, 1.0),
        _filter_case("a top-p of 0.7", 1.0, 12, 0.7),
        _filter_case("a warm top-p", 2.5, 12, 0.7),
        _filter_case("a cold top-p", 0.4, 12, 0.9),
        _filter_case("all three", 1.7, 6, 0.8),
    ),
    mistakes=(
        Mistake("top-p comes before the temperature", _filters("pkt")),
        Mistake("top-p comes before top-k", _filters("tpk")),
        Mistake(
            "what is left is not brought back to a sum of 1",
            _filters(renormalized=False),
        ),
        Mistake(
            "the token that crosses p is cut, too: it belongs to the set",
            _too_short,
        ),
        Mistake(
            "the logits are multiplied by the temperature",
            lambda z, t, k, p: _filters()(z, 1 / t, k, p),
        ),
    ),
)
