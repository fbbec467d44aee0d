"""Right calls of what a run of the capstone is checked and marked by."""

from handmade.training import characters
from handmade.training.checkpoint import load_checkpoint
from handmade.training.mini_gpt_model import MiniGPT

from valid_calls import call
from valid_calls.capstone import SMALL, TEXT, a_run


def its_model():
    return MiniGPT(SMALL.config(len(characters.Alphabet.of(TEXT))))


CALLS = {
    "training.mini_gpt_checks.check_text": lambda: call(
        text=TEXT, settings=SMALL
    ),
    "training.mini_gpt_checks.put_weights": lambda folder: call(
        model=its_model(), checkpoint=load_checkpoint(a_run(folder))
    ),
    "training.mini_gpt_text.beginning": lambda: call(
        alphabet=characters.Alphabet("ab\n")
    ),
    "training.mini_gpt_text.mark_of": lambda: call(text=TEXT),
}
