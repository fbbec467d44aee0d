"""tokenizer.json: each option is done as the library does it, or refused.

The library writes the files. A table holds every option that its components
have; a tokenizer is built with a few of them off their usual value, written,
and read by us. Then either an error names the option, or ids and decoded
text are the library's on text that is hard on just these options.
"""

import json
import random

import pytest
from handmade.text import (
    added_tokens,
    bpe_json,
    hf_json,
    template,
    unigram_json,
)
from handmade.text import wordpiece as wp
from handmade.text.bpe import BPETokenizer
from handmade.text.keys import Keys
from handmade.text.samples import HARD
from handmade.text.unigram import UnigramTokenizer
from handmade.text.wordpiece import WordPieceTokenizer
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

CASES = 400  # of each kind

# -- the table: option -> its values, the usual one first

ENDS = [("<s>", 0), ("</s>", 1)]


def templates(single):
    return lambda: processors.TemplateProcessing(
        single=single, pair="$A $B", special_tokens=ENDS
    )


POST = {
    "none": lambda: None,
    "one end": templates("<s> $A"),
    "the other": templates("$A </s>"),
    "both": templates("<s> $A </s>"),
    "neither": templates("$A"),
    "twice": templates("<s> </s> $A <s>"),
    "text twice": templates("$A $A"),
    "no text": templates("<s>"),
    "roberta": lambda: processors.RobertaProcessing(ENDS[1], ENDS[0]),
    "bert": lambda: processors.BertProcessing(ENDS[1], ENDS[0]),
    "level": lambda: processors.ByteLevel(trim_offsets=True),
    "several": lambda: processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            templates("<s> $A </s>")(),
        ]
    ),
    "several, turned": lambda: processors.Sequence(
        [templates("<s> $A </s>")(), processors.ByteLevel()]
    ),
    "two templates": lambda: processors.Sequence(
        [templates("<s> $A")(), templates("$A </s>")()]
    ),
    "foreign id": lambda: processors.BertProcessing(("x", 9999), ENDS[0]),
}
SHARED = {
    "post": list(POST),
    "truncation": [None, 3],
    "padding": [None, 5],
}
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
CONTENTS = ("COVID19", "CoV", "<m>", "é", "new york", " x", "<s>", "ab", "Ġ")

BPE = {
    **SHARED,
    "dropout": [None, 0.0, 0.1],
    "unk_token": [None, "<s>"],
    "fuse_unk": [False, True],
    "byte_fallback": [False, True],
    "ignore_merges": [False, True],
    "continuing_subword_prefix": [None, "", "##"],
    "end_of_word_suffix": [None, "", "</w>"],
    "lacking": [False, True],
    "normalizer": [None, "NFC", "Lowercase"],
    "pre_tokenizer": [
        "level",
        "digits",
        "alone",
        "digits together",
        "prefix space",
        "no regex",
        "offsets",
        "none",
        "spaces",
        "reversed",
    ],
    "decoder": ["level", "level with flags", "none", "bpe", "wordpiece"],
}
WORDPIECE = {
    **SHARED,
    "unk_token": ["[UNK]", "<s>", "missing"],
    "continuing_subword_prefix": ["##", "@@", ""],
    "max_input_chars_per_word": [100, 3, 0],
    "clean_text": [True, False],
    "handle_chinese_chars": [True, False],
    "strip_accents": [None, True, False],
    "lowercase": [True, False],
    "normalizer": ["bert", "none", "NFC"],
    "pre_tokenizer": ["bert", "none", "spaces"],
    "decoder": ["same", "no cleanup", "other prefix", "none", "level"],
}
UNIGRAM = {
    **SHARED,
    "unk_id": [2, 5, None],
    "byte_fallback": [False, True],
    "bytes": [False, True],
    "normalizer": [None, "NFC", "Lowercase"],
    "pre_tokenizer": ["always", "never", "first", "whole", "sign", "none"],
    "decoder": ["same", "bytes", "never", "first", "none", "wordpiece"],
}


def normalizer(name):
    return {
        "NFC": normalizers.NFC,
        "Lowercase": normalizers.Lowercase,
        "none": lambda: None,
        None: lambda: None,
    }[name]()


def build_bpe(o):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    if o["lacking"]:
        letters = [letter for letter in letters if letter not in "xĊĠÃ"]
    merges = [("a", "b"), ("ab", "c"), ("c", "o"), ("n", "e"), ("ne", "w")]
    names = ["<s>", "</s>", *letters, *map("".join, merges), "abab"]
    model = models.BPE(
        {name: i for i, name in enumerate(names)},
        # the library's code stops where a merge has no prefix to drop
        [] if o["continuing_subword_prefix"] else merges,
        **{
            key: o[key]
            for key in (
                "dropout",
                "unk_token",
                "fuse_unk",
                "byte_fallback",
                "ignore_merges",
                "continuing_subword_prefix",
                "end_of_word_suffix",
            )
            if o[key] is not None
        },
    )
    made = Tokenizer(model)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    sequence = pre_tokenizers.Sequence
    cut = {
        "level": level,
        "digits": sequence([digits, level]),
        "alone": sequence([level]),
        "digits together": sequence([pre_tokenizers.Digits(), level]),
        "prefix space": pre_tokenizers.ByteLevel(add_prefix_space=True),
        "no regex": pre_tokenizers.ByteLevel(False, use_regex=False),
        "offsets": pre_tokenizers.ByteLevel(False, trim_offsets=False),
        "none": None,
        "spaces": pre_tokenizers.Whitespace(),
        "reversed": sequence([level, digits]),
    }[o["pre_tokenizer"]]
    if cut is not None:
        made.pre_tokenizer = cut
    if o["normalizer"]:
        made.normalizer = normalizer(o["normalizer"])
    join = {
        "level": decoders.ByteLevel(),
        "level with flags": decoders.ByteLevel(),
        "none": None,
        "bpe": decoders.BPEDecoder(),
        "wordpiece": decoders.WordPiece(),
    }[o["decoder"]]
    if join is not None:
        made.decoder = join
    return made


def build_wordpiece(o):
    names = ["<s>", "</s>", "[UNK]", "ab", "abc", "new", "co", "cov"]
    names += [chr(i) for i in range(97, 123)] + list("0123456789.,'?!é北<>[]")
    inside = [o["continuing_subword_prefix"] + n for n in names[3:]]
    names = list(dict.fromkeys([*names, *inside]))
    made = Tokenizer(
        models.WordPiece(
            {name: i for i, name in enumerate(names)},
            unk_token=o["unk_token"],
            continuing_subword_prefix=o["continuing_subword_prefix"],
            max_input_chars_per_word=o["max_input_chars_per_word"],
        )
    )
    bert = normalizers.BertNormalizer(
        **{
            key: o[key]
            for key in (
                "clean_text",
                "handle_chinese_chars",
                "strip_accents",
                "lowercase",
            )
        }
    )
    chosen = bert if o["normalizer"] == "bert" else normalizer(o["normalizer"])
    if chosen is not None:
        made.normalizer = chosen
    cut = {
        "bert": pre_tokenizers.BertPreTokenizer(),
        "none": None,
        "spaces": pre_tokenizers.WhitespaceSplit(),
    }[o["pre_tokenizer"]]
    if cut is not None:
        made.pre_tokenizer = cut
    prefix = o["continuing_subword_prefix"]
    join = {
        "same": decoders.WordPiece(prefix),
        "no cleanup": decoders.WordPiece(prefix, cleanup=False),
        "other prefix": decoders.WordPiece("%%"),
        "none": None,
        "level": decoders.ByteLevel(),
    }[o["decoder"]]
    if join is not None:
        made.decoder = join
    return made


def build_unigram(o):
    pieces = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(c, -4.0) for c in "abcdenowyxk19COVID."]
    pieces += [("ab", -3.0), ("▁ab", -4.5), ("▁new", -5.0), ("▁▁", -1.0)]
    if o["bytes"]:
        pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    made = Tokenizer(
        models.Unigram(
            pieces, unk_id=o["unk_id"], byte_fallback=o["byte_fallback"]
        )
    )
    if o["normalizer"]:
        made.normalizer = normalizer(o["normalizer"])
    space = pre_tokenizers.Metaspace
    cut = {
        "always": space(),
        "never": space(prepend_scheme="never"),
        "first": space(prepend_scheme="first"),
        "whole": space(split=False),
        "sign": space(replacement="_"),
        "none": None,
    }[o["pre_tokenizer"]]
    if cut is not None:
        made.pre_tokenizer = cut
    join = decoders.Metaspace
    scheme = "never" if o["pre_tokenizer"] == "never" else "always"
    own = join(prepend_scheme=scheme)
    out = {
        "same": own,
        "bytes": decoders.Sequence([decoders.ByteFallback(), own]),
        "never": join(prepend_scheme="never"),
        "first": join(prepend_scheme="first"),
        "none": None,
        "wordpiece": decoders.WordPiece(),
    }[o["decoder"]]
    if out is not None:
        made.decoder = out
    return made


KINDS = {
    "BPE": (BPETokenizer, BPE, build_bpe),
    "WordPiece": (WordPieceTokenizer, WORDPIECE, build_wordpiece),
    "Unigram": (UnigramTokenizer, UNIGRAM, build_unigram),
}


def build(kind, options, added):
    made = KINDS[kind][2](options)
    if (post := POST[options["post"]]()) is not None:
        made.post_processor = post
    made.add_tokens(added)
    if options["truncation"]:
        made.enable_truncation(options["truncation"])
    if options["padding"]:
        made.enable_padding(length=options["padding"])
    return made


def draw_case(draw, kind):
    """A few options off their usual value, and some added tokens."""
    table = KINDS[kind][1]
    options = {key: values[0] for key, values in table.items()}
    for key in draw.sample(list(table), draw.choice([0, 0, 1, 1, 2])):
        options[key] = draw.choice(table[key])
    if draw.random() < 0.5:
        options["post"] = draw.choice(list(POST)[:6])
    added = [
        AddedToken(name, **{f: draw.random() < 0.4 for f in FLAGS})
        for name in draw.sample(CONTENTS, draw.choice([0, 1, 2, 3]))
    ]
    return options, added


WORDS = [
    *CONTENTS,
    "covid19",
    "abab",
    "abc",
    "NEW",
    "York",
    "cov",
    "É",
    "e\u0301",
]
WORDS += [
    " ",
    "  ",
    "\n",
    "\t",
    "\u3000",
    "x",
    "ж",
    "北京",
    "😀",
    ".",
    "n't",
    "'",
    "1",
    "_",
]


def draw_text(draw):
    return "".join(draw.choices(WORDS, k=draw.randint(0, 12)))


def outcome(call):
    try:
        return call()
    except Exception:
        return "error"
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        # the library's Rust code gave up: there is nothing to compare with
        return "panic"


def differences(ours, theirs, texts):
    """Yield what the two give for a text, where it is not the same."""
    for text in texts:
        for switched in (False, True):
            theirs.encode_special_tokens = switched
            for add in (True, False):
                want = outcome(
                    lambda t=text, a=add: (
                        theirs.encode(t, add_special_tokens=a).ids
                    )
                )
                got = outcome(
                    lambda t=text, a=add, s=switched: ours.encode(
                        t, add_special=a, allow_special=not s
                    )
                )
                if got != want != "panic":
                    yield text, switched, add, got, want
        theirs.encode_special_tokens = False
        ids = outcome(lambda t=text: theirs.encode(t).ids)
        if ids in ("error", "panic"):
            continue
        for skip in (False, True):
            want = theirs.decode(ids, skip_special_tokens=skip)
            got = ours.decode(ids, skip_special=skip)
            if got != want:
                yield text, ids, skip, got, want


# options that a message may not name, since another key tells them
NAMES = {
    "post": ("post_processor",),
    "lacking": ("model.unk_token", "model.byte_fallback"),
    "normalizer": ("normalizer",),
    "unk_token": ("unknown", "unk_token"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_option_is_done_as_the_library_does_it_or_named(kind, tmp_path):
    read = KINDS[kind][0]
    table = KINDS[kind][1]
    accepted = refused = 0
    for seed in range(CASES):
        draw = random.Random(f"{kind}{seed}")
        options, added = draw_case(draw, kind)
        theirs = build(kind, options, added)
        texts = [draw_text(draw) for _ in range(12)]
        changed = {k for k in options if options[k] != table[k][0]}
        try:
            ours = read.from_hf(theirs)
        except ValueError as error:
            refused += 1
            message = str(error)
            named = [n for k in changed for n in NAMES.get(k, (k,))]
            named += ["added_tokens"] if added else []
            assert any(n in message for n in named), (options, message)
            assert "got" in message
            assert "want" in message
            continue
        accepted += 1
        case = {k: options[k] for k in changed}, added
        assert not list(differences(ours, theirs, texts)), case
        # written by us, the library reads the same tokenizer
        path = ours.save(tmp_path / "t.json")
        again = Tokenizer.from_file(str(path))
        assert not list(differences(read.load(path), again, texts)), case
        assert not list(differences(ours, again, texts)), case
    print(f"{kind}: {accepted} accepted, {refused} refused")
    assert accepted > CASES / 4
    assert refused > CASES / 10


@pytest.mark.parametrize("kind", KINDS)
def test_hard_text_with_each_option_alone(kind):
    """One option at a time: what is accepted is right on all of HARD."""
    read, table, _ = KINDS[kind]
    usual = {key: values[0] for key, values in table.items()}
    for key, values in table.items():
        for value in values:
            theirs = build(kind, {**usual, key: value}, [])
            try:
                ours = read.from_hf(theirs)
            except ValueError as error:
                message = str(error)
            else:
                message = ""
            if message:
                assert value != usual[key]
                names = NAMES.get(key, (key,))
                assert any(name in message for name in names), message
                continue
            assert not list(differences(ours, theirs, HARD.values())), key


# -- three lists, held against what the library writes

OBJECTS = {  # where an object stands in a file -> our lists of it
    "tokenizer": hf_json.FILE,
    "added_tokens": added_tokens.KEYS,
    "post_processor ByteLevel": template.BYTE_LEVEL,
    "post_processor BertProcessing": template.BERT,
    "post_processor RobertaProcessing": template.ROBERTA,
    "post_processor TemplateProcessing": template.TEMPLATE,
    "post_processor Sequence": template.SEQUENCE,
    "BPE model BPE": bpe_json.MODEL,
    "BPE pre_tokenizer ByteLevel": bpe_json.LEVEL,
    "BPE pre_tokenizer Digits": bpe_json.DIGITS,
    "BPE pre_tokenizer Sequence": bpe_json.STEPS,
    "BPE decoder ByteLevel": bpe_json.DECODER,
    "WordPiece model WordPiece": wp.MODEL,
    "WordPiece normalizer BertNormalizer": wp.NORMALIZER,
    "WordPiece pre_tokenizer BertPreTokenizer": wp.PRETOKENIZER,
    "Unigram model Unigram": unigram_json.MODEL,
    "Unigram pre_tokenizer Metaspace": unigram_json.CUT,
    "Unigram decoder Metaspace": unigram_json.JOIN,
    "Unigram decoder Sequence": unigram_json.STEPS,
    "Unigram decoder ByteFallback": unigram_json.BYTES,
}
OLDER = {"add_prefix_space"}  # of Metaspace, no longer written


def written_keys():
    """Where -> the keys that the library writes there, over all options."""
    found = {}
    for kind, (_, table, _) in KINDS.items():
        usual = {key: values[0] for key, values in table.items()}
        cases = [{**usual, k: v} for k, vs in table.items() for v in vs]
        for options in cases:
            made = build(kind, options, [AddedToken("new")])
            described = json.loads(made.to_str())
            found.setdefault("tokenizer", set()).update(described)
            for token in described["added_tokens"]:
                found.setdefault("added_tokens", set()).update(token)
            for part in ("normalizer", "pre_tokenizer", "decoder", "model"):
                gather(found, f"{kind} {part}", described[part])
            gather(found, "post_processor", described["post_processor"])
    return found


def gather(found, where, part):
    if part is None:
        return
    found.setdefault(f"{where} {part['type']}", set()).update(part)
    for steps in ("pretokenizers", "decoders", "processors"):
        for step in part.get(steps, ()):
            gather(found, where, step)


def test_the_three_lists_name_each_key_that_the_library_writes():
    found = written_keys()
    for where, keys in OBJECTS.items():
        lists = [set(keys.taken), set(keys.fixed), set(keys.inert)]
        ours = set().union(*lists)
        assert sum(map(len, lists)) == len(ours), f"{where}: a key twice"
        assert found[where] <= ours | {"type"}, where
        assert ours - found[where] <= OLDER, where


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_nobody_knows_is_named_wherever_it_stands(kind):
    read, table, _ = KINDS[kind]
    usual = {key: values[0] for key, values in table.items()}
    usual["post"] = "both"
    added = [AddedToken("new")]
    described = json.loads(build(kind, usual, added).to_str())
    read.from_description(described)
    places = [described, described["added_tokens"][0]]
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    places += [described[p] for p in (*parts, "model") if described[p]]
    for place in places:
        place["invented_later"] = {"x": 1}
        with pytest.raises(ValueError, match=r"\.invented_later: got {'x': 1"):
            read.from_description(described)
        del place["invented_later"]
    read.from_description(described)


def test_keys_hold_type_and_value():
    keys = Keys(fixed={"on": (True, None)}, taken={"n": ((int,), 3)})
    assert keys.read({"on": True}, "part") == {"n": 3}
    wrong = {"on": 1}, {"on": False}, {"n": True}, {"n": "3"}, {"m": 0}
    for found in wrong:
        (key,) = found
        with pytest.raises(ValueError, match=rf"part\.{key}: got .* want"):
            keys.read(found, "part")
    with pytest.raises(ValueError, match="part: got null, want an object"):
        keys.read(None, "part")


# -- damaged and hostile files


def usual(kind):
    table = KINDS[kind][1]
    options = {key: values[0] for key, values in table.items()}
    return json.loads(build(kind, options, []).to_str())


HOSTILE = {
    "ids as text": ("BPE", lambda d: d["model"]["vocab"].update(a="66")),
    "an id twice": ("BPE", lambda d: d["model"]["vocab"].update(a=1)),
    "a negative id": ("WordPiece", lambda d: d["model"]["vocab"].update(a=-1)),
    "half an id": ("WordPiece", lambda d: d["model"]["vocab"].update(a=0.5)),
    "true as id": ("WordPiece", lambda d: d["model"]["vocab"].update(q=True)),
    "a huge id": ("BPE", lambda d: d["model"]["vocab"].update(a=1 << 40)),
    "no vocabulary": ("BPE", lambda d: d["model"].update(vocab={})),
    "a merge of three": (
        "BPE",
        lambda d: d["model"].update(merges=[["a", "b", "c"]]),
    ),
    "a huge piece": (
        "Unigram",
        lambda d: d["model"]["vocab"].append(["a" * 1_000_000, -1.0]),
    ),
    "a huge part of a word": (
        "WordPiece",
        lambda d: d["model"]["vocab"].update({"a" * 1_000_000: 900}),
    ),
    "endless words": (
        "WordPiece",
        lambda d: d["model"].update(max_input_chars_per_word=10**9),
    ),
    "a piece twice": (
        "Unigram",
        lambda d: d["model"]["vocab"].append(["ab", -1.0]),
    ),
    "an empty piece": (
        "Unigram",
        lambda d: d["model"]["vocab"].append(["", -1.0]),
    ),
    "a score that is none": (
        "Unigram",
        lambda d: d["model"]["vocab"].append(["q", float("nan")]),
    ),
    "half a character": (
        "Unigram",
        lambda d: d["model"]["vocab"].append(["\ud800", -1.0]),
    ),
    "a wrong added id": (
        "Unigram",
        lambda d: d["added_tokens"].append(added_item("new", 5)),
    ),
    "a missing flag": (
        "BPE",
        lambda d: d["added_tokens"].append({"id": 0, "content": "<s>"}),
    ),
    "an added token twice": (
        "BPE",
        lambda d: d["added_tokens"].extend([added_item("<s>", 0)] * 2),
    ),
}


def added_item(content, i, **flags):
    return {"id": i, "content": content, **dict.fromkeys(FLAGS, False)} | flags


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_at_once(name, tmp_path):
    kind, spoil = HOSTILE[name]
    described = usual(kind)
    path = tmp_path / "t.json"
    path.write_text(json.dumps(described), encoding="utf-8")
    KINDS[kind][0].load(path)
    spoil(described)
    path.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.json.*got .*want"):
        KINDS[kind][0].load(path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "7", "[" * 50_000, '{"model": 3}', '{"a": 1, "a": 2}'],
)
def test_what_is_no_tokenizer_is_refused(text, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    for read, _, _ in KINDS.values():
        with pytest.raises(ValueError, match=r"t\.json"):
            read.load(path)


def test_ids_with_holes_are_kept_and_a_hole_is_told():
    described = usual("WordPiece")
    described["model"]["vocab"]["zebra"] = 500
    ours = WordPieceTokenizer.from_description(described)
    theirs = Tokenizer.from_str(json.dumps(described))
    assert ours.encode("zebra new", add_special=False) == (
        theirs.encode("zebra new").ids
    )
    assert ours.vocab_size == 501
    with pytest.raises(ValueError, match="ids: got 499"):
        ours.decode([499])


def test_truncation_and_padding_are_passed_over_only_when_told():
    made = build("BPE", {k: v[0] for k, v in BPE.items()}, [])
    made.enable_truncation(3)
    made.enable_padding(length=9)
    with pytest.raises(ValueError, match=r"tokenizer\.(truncation|padding)"):
        BPETokenizer.from_hf(made)
    with pytest.raises(ValueError, match=r"tokenizer\.padding"):
        BPETokenizer.from_hf(made, ignore=["truncation"])
    ours = BPETokenizer.from_hf(made, ignore=["truncation", "padding"])
    made.no_truncation()
    made.no_padding()
    assert ours.encode("a new cab") == made.encode("a new cab").ids
    for wrong in ("padding", ["decoder"]):
        with pytest.raises(ValueError, match="ignore: got"):
            BPETokenizer.from_hf(made, ignore=wrong)
