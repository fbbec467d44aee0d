"""Right calls of what a run of the capstone is checked and marked by."""

from handmade.training import characters

from valid_calls import call
from valid_calls.capstone import TEXT

CALLS = {
    "training.mini_gpt_text.beginning": lambda: call(
        alphabet=characters.Alphabet("ab\n")
    ),
    "training.mini_gpt_text.mark_of": lambda: call(text=TEXT),
}
