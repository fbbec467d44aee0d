"""Read a checkpoint whole: which tensor of theirs is which parameter of ours.

A table says it in one line a kind of parameter, Hugging Face's name first.
``{}`` stands for a number, of a layer or of an expert. Where a tensor has to
be changed on the way, a rule says how; it is read in both directions:

    "wte.weight": "tok_emb.weight",
    "h.{}.mlp.c_fc.weight": Transposed("blocks.{}.ffn.up_proj.weight"),
    "h.{}.attn.c_attn.bias": Split(*(f"blocks.{{}}.attn.{p}_proj.bias"
                                     for p in "qkv")),
    "layers.{}.experts.down_proj":
        Stacked("blocks.{}.ffn.experts.{}.down_proj.weight"),

Left out: files of several shards and quantized tensors, which are told apart
from these by their dtype and refused.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Protocol

import torch
from torch import Tensor, nn

from handmade import checks
from handmade.models.load_checks import (
    check_load,
    check_rule,
    check_table,
    check_weights,
)

Shape = tuple[int, ...]


class Rule(Protocol):
    """How one tensor of theirs becomes one or several of ours, and back."""

    patterns: tuple[str, ...]

    def names(self, numbers: Shape, ours: Mapping[str, Tensor]) -> list[str]:
        """Return the names of our parameters that the tensor holds."""

    def cut(self, theirs: Tensor, shapes: list[Shape]) -> list[Tensor]:
        """Cut their tensor into ours, which have these shapes."""

    def join(self, ours: list[Tensor]) -> Tensor:
        """Make their tensor out of ours: undo ``cut``."""


Table = Mapping[str, "str | Rule"]


class Same:
    """Another name for the same tensor: what a plain string stands for."""

    def __init__(self, pattern: str) -> None:
        checks.text("pattern", pattern)
        self.patterns: tuple[str, ...] = (pattern,)

    def names(self, numbers: Shape, ours: Mapping[str, Tensor]) -> list[str]:
        return [pattern.format(*numbers) for pattern in self.patterns]

    def cut(self, theirs: Tensor, shapes: list[Shape]) -> list[Tensor]:
        return [theirs]

    def join(self, ours: list[Tensor]) -> Tensor:
        return ours[0]


class Split(Same):
    """One above the other in one tensor: fused q, k, v; gate and up."""

    def __init__(self, *patterns: str) -> None:
        for pattern in patterns:
            checks.text("patterns", pattern)
        self.patterns = patterns

    def cut(self, theirs: Tensor, shapes: list[Shape]) -> list[Tensor]:
        return list(torch.split(theirs, [shape[0] for shape in shapes]))

    def join(self, ours: list[Tensor]) -> Tensor:
        return torch.cat(ours)


class Transposed:
    """Rows and columns exchanged, as in GPT-2's Conv1D."""

    def __init__(self, inner: "str | Rule") -> None:
        self.inner = _as_rule("inner", inner)
        self.patterns = self.inner.patterns

    def names(self, numbers: Shape, ours: Mapping[str, Tensor]) -> list[str]:
        return self.inner.names(numbers, ours)

    def cut(self, theirs: Tensor, shapes: list[Shape]) -> list[Tensor]:
        return self.inner.cut(theirs.mT, shapes)

    def join(self, ours: list[Tensor]) -> Tensor:
        return self.inner.join(ours).mT


class Stacked:
    """All experts in one tensor, whose first axis is our last ``{}``."""

    def __init__(self, inner: "str | Rule") -> None:
        self.inner = _as_rule("inner", inner)
        self.patterns = self.inner.patterns

    def names(self, numbers: Shape, ours: Mapping[str, Tensor]) -> list[str]:
        found: list[str] = []
        for expert in count():
            names = self.inner.names((*numbers, expert), ours)
            if expert and names[0] not in ours:
                break
            found += names
        return found

    def cut(self, theirs: Tensor, shapes: list[Shape]) -> list[Tensor]:
        each = len(self.patterns)
        return [
            part
            for expert, x in enumerate(theirs)
            for part in self.inner.cut(x, shapes[each * expert :][:each])
        ]

    def join(self, ours: list[Tensor]) -> Tensor:
        each = len(self.patterns)
        starts = range(0, len(ours), each)
        return torch.stack([self.inner.join(ours[i:][:each]) for i in starts])


def load(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    table: Table,
    *,
    tied: Mapping[str, str] | None = None,
    ignored: Iterable[str] = (),
    dtype: torch.dtype | None = None,
) -> None:
    """Give the model copies of the tensors, in one dtype.

    The model may live on the meta device. ``tied`` maps a parameter of ours
    to the one that is the same tensor; a file may have one or both. The
    patterns ``ignored`` name what may lie in a file unused. Without
    ``dtype`` the tensors' own is taken; it must then be one.
    Raises ValueError that names every tensor which is missing, unexpected or
    misshapen; then nothing was loaded.
    """
    check_weights(weights)
    check_load(model, table, tied, ignored, dtype)
    ours = dict(model.state_dict())
    found, faults = _take(ours, weights, table, tuple(ignored))
    for one, other in (tied or {}).items():
        have = [name for name in (one, other) if name in found]
        if len(have) == 2 and not torch.equal(found[one], found[other]):
            faults.append(f"unequal: {one} and {other}, which the config ties")
        for name in (one, other):
            if have and name not in found:
                found[name] = found[have[0]]
    faults += [
        f"missing: {_their_name(n, table)}" for n in ours.keys() - found
    ]
    dtypes = {x.dtype for x in found.values()}
    if dtype is None and len(dtypes) > 1 and not faults:
        faults.append(f"several dtypes: {sorted(map(str, dtypes))}")
    if faults:
        got = "; ".join(sorted(faults))
        raise ValueError(f"weights: got {got}, want each parameter once")
    copies = {
        name: x.detach()
        .to(dtype or x.dtype)
        .clone(memory_format=torch.contiguous_format)
        for name, x in found.items()
    }
    model.load_state_dict(copies, assign=True)


def export(model: nn.Module, table: Table) -> dict[str, Tensor]:
    """Return copies of the model's tensors by Hugging Face's names.

    The same table, read from right to left: ``load`` of the result gives the
    model back, bit for bit.
    """
    check_table(model, table)
    ours = model.state_dict()
    theirs: dict[str, Tensor] = {}
    left = set(ours)
    for pattern, entry in table.items():
        rule = as_rule(entry)
        deep = pattern.count("{}")
        found = {_numbers(rule.patterns[0], name) for name in ours}
        for numbers in sorted({n[:deep] for n in found if n is not None}):
            names = rule.names(numbers, ours)
            joined = rule.join([ours[name] for name in names])
            theirs[pattern.format(*numbers)] = joined.clone(
                memory_format=torch.contiguous_format
            )
            left -= set(names)
    if left:
        got = f"no line for {sorted(left)}"
        raise ValueError(f"table: got {got}, want one for each parameter")
    return theirs


def checkpoint_dtype(
    weights: Mapping[str, Tensor], config: Mapping[str, object]
) -> torch.dtype | None:
    """Return the dtype that transformers loads a checkpoint in.

    Where the tensors differ, as where norms are kept in float32, it is the
    one the config states, else that of the first floating tensor.
    """
    check_weights(weights)
    checks.mapping("config", config, "a dict of config.json")
    dtypes = [x.dtype for x in weights.values() if x.is_floating_point()]
    if len(set(dtypes)) < 2:
        return None
    stated = config.get("dtype") or config.get("torch_dtype")
    if isinstance(stated, str):
        stated = getattr(torch, stated.removeprefix("torch."), None)
    return stated if isinstance(stated, torch.dtype) else dtypes[0]


def as_rule(entry: "str | Rule") -> Rule:
    """Return the rule that an entry of a table stands for."""
    return _as_rule("entry", entry)


def _as_rule(name: str, entry: "str | Rule") -> Rule:
    if isinstance(entry, str):
        return Same(entry)
    check_rule(name, entry)
    return entry


def _take(
    ours: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    table: Table,
    ignored: tuple[str, ...],
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors by our names, and what is wrong with the file."""
    found: dict[str, Tensor] = {}
    faults: list[str] = []
    for name, tensor in weights.items():
        if any(_numbers(pattern, name) is not None for pattern in ignored):
            continue
        names, rule = _rule_for(name, table, ours)
        if rule is None or not all(n in ours for n in names):
            faults.append(f"unexpected: {name}")
            continue
        parts = [torch.empty_like(ours[n], device="meta") for n in names]
        want, shapes = rule.join(parts).shape, [p.shape for p in parts]
        if tensor.shape != want:
            got = f"{tuple(tensor.shape)}, want {tuple(want)}"
            faults.append(f"misshapen: {name} {got}")
        if not tensor.is_floating_point():
            faults.append(f"not of floats: {name} {tensor.dtype}")
        # what is misshapen is there all the same, and not missing
        fits = tensor.shape == want
        cut = rule.cut(tensor, [tuple(s) for s in shapes]) if fits else parts
        found.update(zip(names, cut, strict=True))
    return found, faults


def _rule_for(
    name: str, table: Table, ours: Mapping[str, Tensor]
) -> tuple[list[str], Rule | None]:
    for pattern, entry in table.items():
        numbers = _numbers(pattern, name)
        if numbers is not None:
            rule = as_rule(entry)
            return rule.names(numbers, ours), rule
    return [], None


def _their_name(our_name: str, table: Table) -> str:
    """Say where in a checkpoint a parameter of ours should have stood."""
    for pattern, entry in table.items():
        for ours in as_rule(entry).patterns:
            numbers = _numbers(ours, our_name)
            if numbers is not None:
                theirs = pattern.format(*numbers[: pattern.count("{}")])
                return f"{theirs} (our {our_name})"
    return f"our {our_name}, which the table does not have"


def _numbers(pattern: str, name: str) -> Shape | None:
    """Return the numbers at ``{}``, or None where the name is another."""
    digits = re.escape(pattern).replace(r"\{\}", r"(0|[1-9]\d*)")
    match = re.fullmatch(digits, name)
    return tuple(map(int, match.groups())) if match else None
