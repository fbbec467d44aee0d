"""Every public function of `handmade`, called with what it cannot take.

A right call of each is in `valid_calls`. One argument at a time is replaced
by None, a list of two kinds, an object of no kind; a tensor also by one of
complex numbers and a NumPy array, a number by nan, a half and a bool. What
comes back must be a ValueError or TypeError that begins with the argument's
name and says what came and what is wanted. An empty or narrower value may be
taken, where it has a meaning, or be refused in the same words, and nothing
else. A new function is walked too: it fails here until it has a right call.
"""

import ast
import dataclasses
import importlib
import inspect
import math
import pkgutil
import re
from collections.abc import Iterator, Sized

import handmade
import pytest
import torch
import traitlets
from bookbinder.book import find_book
from bookbinder.imports import parse
from bookbinder.twin import page_cells
from torch import nn
from valid_calls import CALLS

# what is not walked, and why: names that no page imports
LEFT_OUT = {
    r".*\bcheck_\w+|(.*\.)?(\w*checks|outputs)\..+": (
        "refuses for others: the walk hears what it says"
    ),
    r"(cache\.mended|manifest\..+)": "called by the cache, in its folders",
    r"contracts\.(limit|device_of)": "asks anything for what it may lack",
    r"diagrams\.(block|columns|flow_table|layered|svg|writing)\..+": (
        "the drawing language: its drawings hear what is asked of them"
    ),
    r"exercises\.[a-z]\w*\..+": "mistakes, and what examines an answer",
    r"experiments\.core\.digest": "called with what JSON gave",
    r"experiments\.recipes\.how_it_ended": "called with what a run measured",
    r"inference\.beam\.(?!beam_search).+": "steps of beam_search",
    r"inference\.flash_attention\.FlashAttention.*": "called by autograd",
    r"inference\.flash_tiles\.(?!online_softmax).+": (
        "steps of flash_attention"
    ),
    r"inference\.drafters\.(certain|longer|read_on|Drafter\..+)": (
        "steps of speculative_generate"
    ),
    r"inference\.sampling\.is_number": "tells a number from anything",
    r"inference\.serve_(app\.Reply|fields|protocol|worker\.Job)\b.*": (
        "refuses what a client sends, in a client's words"
    ),
    r"inference\.serve_(text|service\.Service\.\w+|worker\.Worker\.\w+)"
    r"(\..*)?": "called by the endpoint",
    r"inference\.serve\.(Server\.\w+|main)": "called by uvicorn, by a shell",
    r"models\.(config\.read_config|(decoder|t5_(stacks|weights))\..+)": (
        "called by a model"
    ),
    r"models\.variants_(hf|keys)\..+": "called by VariantConfig",
    r"models\.load\.\w+\.(names|cut|join)": "called by load and export",
    r"parity_report\.(error|publish|shown)": "called by parity",
    r"plot_(axes|bars|cells|frame|svg)\..+": "what plots are drawn with",
    r"record\.(Name\.parse|unknown)": "called by recording, about names",
    r"record\.tensors_of": "takes whatever a module puts out",
    r"registered\.(HandmadeGPT2(Config)?(\.(forward|ours))?|TheirCache\..+|"
    r"attention_forward|whole_mask)": "called by transformers",
    r"scalar\.dot": "the inner loop of matmul",
    r"(strip\.brief|tables\.Table)": "what a strip and table() are made of",
    r"training\.(many_command|tensor_parallel|torchrun)\..+": (
        "of processes that torchrun starts: test_many starts them"
    ),
    r"training\.many\.planted_fault": "ends its process: the same",
    r"training\.mini_gpt_command\.main": "ends the program: see its tests",
    r"text\.((bpe|unigram)_json|keys|template)\..+": "reads a file's parts",
    r"text\.(added_tokens|batch|stream|word_cache)\..+": "of Tokenizer",
    r"text\.embeddings\.Lookup.*": "called by autograd",
    r"text\.tokenizer\.Tokenizer": "made by its three kinds",
    r"text\.unicode_classes\.\w+": "called with the tables above it",
    r"text\.unigram_train\.log_add": "the inner loop of forward_backward",
    r"weights\.(downloads|gguf_\w+|index|wheels)\..+": "of a checkpoint",
    r"weights\.\w+\.(build|read_\w+|save_weights|Pretrained)": "the same",
    r"widgets\.(base\..+|\w+\.(to_levels|(Panel|Run)\.packed))": (
        "of a drawing"
    ),
    r"widgets\.((next_token|merge_steps)\.pack|broken_model\.(bars|shown))": (
        "the same"
    ),
    r"widgets\.bert_search\.(pack|\w+_words)": "the same",
}
# what a page names all the same, to show how it is called by others
SHOWN = {
    "experiments.recipes.how_it_ended",
    "registered.HandmadeGPT2",
    "registered.whole_mask",
    "inference.serve_text.TextStream",
    "text.batch.fill_up",
    "text.embeddings.Lookup",
    "training.torchrun.torchrun",
    "weights.gguf_file.read_gguf",
    "weights.wheels.wheel_folder",
}
# "name argument: what it is given" that is right here, and why
TAKES = {
    r"blocks\.attention\.\w+ mask: another dtype": "floats are added",
    r"\S+\.(repeat_kv|rotate_half|head_split|flush_right|(split|merge)_heads)"
    r" x: another dtype": "any numbers can change places",
    r"\S+(angles|sinusoidal_positions|CharModel\.forward) positions: "
    r"another dtype": "a place between two tokens is one",
    r"record\.arguments inputs: (complex|another dtype)": "any tensor",
    r"\S+beam_search length_penalty: less than nothing": "short texts win",
    r"plots\.\w+ (labels|xticks): a list": "numbers are written, too",
    r"(text\.data\.\w+|\S+random_reference) seed: less than nothing": (
        "a seed is any whole number"
    ),
    r"scalar\.adamw (weight|grad|m): less than nothing": "any number",
    r"strip\.Step value: (complex|another dtype)": "any tensor",
    r"widgets\.attention_patterns\.explore query: less than nothing": (
        "-1 is the last token"
    ),
    r"training\.loop\.(train|Trainer) max_norm: infinity": "it cuts nothing",
}
# the name in a message, where it is not the argument's own
ALIASES = {
    "described": "described|tokenizer",  # the file's content is one
    "inputs": "inputs|x",  # the model names what it reads
    "size": "size|vocab_size",  # whose part it is
    "target": "target|model",  # what checks a prompt calls it
    "words": "words|texts",
}
REFUSED = r"({})\b.*: got .+, want |({}): got .+\bwant\b"
SOME_NAME = r"[A-Za-z_]\w*"


def is_record(value: type) -> bool:
    """Whether a class only holds what was found, or is no class of ours."""
    kinds = (tuple, dict, BaseException, traitlets.HasTraits)
    if issubclass(value, kinds) or getattr(value, "_is_protocol", False):
        return True
    made = dataclasses.is_dataclass(value)
    return made and not hasattr(value, "__post_init__")


def public() -> Iterator[tuple[str, object]]:
    """Yield all that is public: functions, classes, methods of classes."""
    for each in pkgutil.walk_packages(handmade.__path__, "handmade."):
        if each.name.endswith("__main__"):
            continue
        module = importlib.import_module(each.name)
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == each.name
            if not own or not callable(value) or name.startswith("_"):
                continue
            name = f"{each.name.removeprefix('handmade.')}.{name}"
            if not inspect.isclass(value):
                yield name, value
            elif not getattr(value, "_is_protocol", False):
                yield from of_class(name, value)


def of_class(name: str, value: type) -> Iterator[tuple[str, object]]:
    if not is_record(value):
        yield name, value
    if not issubclass(value, traitlets.HasTraits):
        for method, found in vars(value).items():
            if not method.startswith("_") and inspect.isroutine(found):
                yield f"{name}.{method}", getattr(value, method)


def takes_something(value: object) -> bool:
    try:
        names = [*inspect.signature(value).parameters]
    except (TypeError, ValueError):  # a property, a class written in C
        return False
    return names not in ([], ["self"])


PUBLIC = {name: value for name, value in public() if takes_something(value)}
WALKED = sorted(
    name
    for name in PUBLIC
    if not any(re.fullmatch(pattern, name) for pattern in LEFT_OUT)
)


def right_call(name, tmp_path):
    """Return what is called, its parameters, and a right call of it."""
    make = CALLS[name]
    call = make(tmp_path) if inspect.signature(make).parameters else make()
    fn = PUBLIC[name]
    if call.on is not None:
        fn = getattr(call.on, name.rpartition(".")[2])
    parameters = inspect.signature(fn).parameters
    # a module's forward runs as a reader runs it
    if isinstance(call.on, nn.Module) and name.endswith(".forward"):
        fn = call.on
    return fn, parameters, call


def run(name, tmp_path, key=None, change=None):
    """Make the right call, one argument of it replaced."""
    fn, parameters, call = right_call(name, tmp_path)
    given = dict(call.given)
    if key is not None:
        given[key] = change(given.get(key, parameters[key].default))
    bound = inspect.BoundArguments(inspect.Signature(parameters.values()), {})
    bound.arguments.update((k, given[k]) for k in parameters if k in given)
    return call.then(fn(*bound.args, **bound.kwargs))


def wrong(parameter, value):
    """Yield (what, change) of all that no argument of this kind may be."""
    if None is not parameter.default and "None" not in str(
        parameter.annotation
    ):
        yield "None", lambda v: None
    yield "a list", lambda v: [1.5, "x"]
    yield "an object", lambda v: object()
    if isinstance(value, torch.Tensor):
        other = torch.int64 if value.is_floating_point() else torch.float32
        yield "complex", lambda v: v.detach().to(torch.complex64)
        yield "another dtype", lambda v: v.detach().to(other)
        yield "NumPy", lambda v: v.detach().numpy()
    elif type(value) in (int, float):
        yield "a word", lambda v: "three"
        yield "nan", lambda v: math.nan
        yield "infinity", lambda v: math.inf
        yield "a bool", lambda v: True
        yield "less than nothing", lambda v: -1
        if isinstance(value, int):
            yield "a half", lambda v: 1.5
    elif isinstance(value, str | Sized):
        yield "a number", lambda v: 3


def odd(parameter, value):
    """Yield (what, change) of what may be taken, or refused by name."""
    if isinstance(value, torch.Tensor):
        yield "empty", lambda v: v.detach().new_empty(0)
        yield "no axis", lambda v: v.detach().new_ones(())
        if value.ndim and value.shape[-1]:
            yield "narrow", lambda v: v.detach()[..., :-1]
    elif type(value) in (int, float):
        yield "nothing", lambda v: 0
    elif isinstance(value, str | list | tuple | dict | set):
        yield "empty", lambda v: type(v)()


def first(change):
    return lambda values: (change(values[0]), *values[1:])


def under(key, change):
    return lambda values: {**values, key: change(values[key])}


def cases(name, tmp_path, ways):
    """Yield (argument, what it is given, how to change the right one)."""
    _, parameters, call = right_call(name, tmp_path)
    for key, parameter in parameters.items():
        value = call.given.get(key, parameter.default)
        if parameter.kind is parameter.VAR_POSITIONAL:
            for what, change in ways(parameter, value[0]):
                yield key, what, key, first(change)
        elif parameter.kind is parameter.VAR_KEYWORD:
            for each in call.given.get(key, ()):
                for what, change in ways(parameter, value[each]):
                    yield each, what, key, under(each, change)
        else:
            for what, change in ways(parameter, value):
                yield key, what, key, change


def said(name, tmp_path, key, change):
    """Return how a call is refused: None where it is taken."""
    try:
        run(name, tmp_path, key, change)
    except (ValueError, TypeError) as error:
        return str(error)
    except Exception as error:
        return repr(error)
    return None


def walked(name, tmp_path):
    """Yield (label, message, whether it is as it should be)."""
    for argument, what, key, change in cases(name, tmp_path, wrong):
        short = re.sub(r"_[A-Z0-9]+$", "", argument)  # q_BHTK is named q
        label = f"{name} {short}: {what}"
        found = said(name, tmp_path, key, change)
        if any(re.fullmatch(each, label) for each in TAKES):
            yield label, found, found is None
        else:
            names = ALIASES.get(short, short)
            fits = REFUSED.format(names, names)
            yield label, found, bool(re.match(fits, found or "", re.S))
    for argument, what, key, change in cases(name, tmp_path, odd):
        found = said(name, tmp_path, key, change)
        fits = REFUSED.format(SOME_NAME, SOME_NAME)
        fine = found is None or bool(re.match(fits, found, re.S))
        yield f"{name} {argument}: {what}", found, fine


@pytest.mark.parametrize("name", WALKED)
def test_a_wrong_argument_is_named(name, tmp_path, monkeypatch):
    assert name in CALLS, f"{name}: a right call of it in tests/valid_calls"
    if name.startswith("cache."):
        monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path))
    _, _, call = right_call(name, tmp_path)
    if call.fails:
        with pytest.raises(ValueError, match=call.fails):
            run(name, tmp_path)
    else:
        run(name, tmp_path)
    failed = []
    for label, message, fine in walked(name, tmp_path):
        if not fine:
            failed.append(f"{label}: {message or 'it was taken'}")
    assert not failed, "\n".join(failed)


def test_what_is_walked_and_what_is_not():
    """The lists above hold nothing that is not there, or not so."""
    assert not CALLS.keys() - set(WALKED)
    for label in TAKES:
        name = label.partition(" ")[0]
        assert any(re.fullmatch(name, each) for each in WALKED), label
    for pattern in LEFT_OUT:
        left = {name for name in PUBLIC if re.fullmatch(pattern, name)}
        assert left, pattern
        assert not left & named_by_pages() - SHOWN, pattern


def named_by_pages() -> set[str]:
    """Return the names of handmade that the book's cells ask for."""
    found = set()
    for page in find_book().pages:
        if not page.twin.exists():  # a page without cells
            continue
        nodes = [
            node
            for cell in page_cells(page.read_twin())
            for node in ast.walk(parse(cell.source))
        ]
        imported = {
            each.asname or each.name: f"{node.module}.{each.name}"
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for each in node.names
        }
        found |= set(imported.values())
        found |= {
            f"{imported[node.value.id]}.{node.attr}"
            for node in nodes
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in imported
        }
    return {name.removeprefix("handmade.") for name in found}
