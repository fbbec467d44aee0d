"""Our generate against Hugging Face's: same weights, same work, one run.

    python benchmarks/generate.py [--tokens 48] [--rounds 3]

Both sides take turns inside each round, so a busy machine slows both; the
table gives the median ratio, theirs / ours: above 1 ours is faster. Before
timing, the ids are checked to be equal. Their model runs the way it is
fastest here: float32 with scaled-dot-product attention.
"""

import argparse
import statistics
import time

import torch
from handmade.inference.beam import beam_search
from handmade.inference.generate import generate
from handmade.models.llama import Llama
from handmade.weights.smollm2 import smollm2

TEXT = "Once upon a time, in a small town by the sea, there lived an old man"


def main() -> None:
    """Time every case in turns and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    smol = smollm2()
    ours = Llama.from_weights(smol.weights, smol.config)
    theirs = smol.hf_model(attn="sdpa")
    prompt = torch.tensor([smol.tokenizer().encode(TEXT).ids])

    print(f"SmolLM2-135M, float32, {torch.get_num_threads()} thread(s), ")
    print(f"prompt {prompt.shape[1]}, new {args.tokens}; median ratio")
    print(f"{'':24} {'ours, s':>8} {'theirs, s':>9} {'theirs/ours':>11}")
    for name, mine, hf in cases(ours, theirs, prompt, args.tokens):
        assert mine().tolist() == hf().tolist(), f"{name}: ids differ"
        pairs = [(timed(mine), timed(hf)) for _ in range(args.rounds)]
        ratio = statistics.median(b / a for a, b in pairs)
        a, b = (
            statistics.median(column) for column in zip(*pairs, strict=True)
        )
        print(f"{name:24} {a:8.2f} {b:9.2f} {ratio:11.2f}", flush=True)


def cases(ours, theirs, prompt, tokens):
    """Yield (name, our call, their call): the same work, new ids returned."""
    quiet = {"pad_token_id": 0, "eos_token_id": None}
    new = {"max_new_tokens": tokens}
    filters = {"temperature": 0.8, "top_k": 50, "top_p": 0.95}
    settings = {
        "greedy": {},
        "greedy, no cache": {"use_cache": False},
        "sampled, three filters": filters,
        "4 beams": {"num_beams": 4},
    }
    for rows in (1, 8):
        ids = prompt.expand(rows, -1).contiguous()
        for name, options in settings.items():
            if rows > 1 and name != "greedy":
                continue
            yield (
                f"{name}, batch {rows}",
                lambda o=options, ids=ids: our_ids(ours, ids, o | new),
                lambda o=options, ids=ids: their_ids(
                    theirs, ids, o | new | quiet
                ),
            )


def our_ids(model, ids, options):
    """Run ours: beam search where beams are asked for."""
    torch.manual_seed(0)
    if "num_beams" in options:
        return beam_search(model, ids, **options).ids
    return generate(model, ids, **options)


def their_ids(model, ids, options):
    """Run theirs, sampling where a temperature is given."""
    torch.manual_seed(0)
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample="temperature" in options,
        **options,
    )


def timed(call) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
