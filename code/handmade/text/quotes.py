"""Sentences of Hamlet, and what somebody might type to find one of them.

Each question names its sentence by a few of its words. Those in `OTHER_WORDS`
share no word with it, those in `SAME_WORDS` are how people misremember it.
All were written before any search was run; a search that finds another
fitting sentence is counted as wrong. Left out: who speaks, and the verses'
line breaks.
"""

import re

from handmade import checks

OTHER_WORDS = {
    "hidden plan behind insanity": "there is a method in't",
    "clever people keep it short": "brevity is the soul of wit",
    "never take on debt": "Neither a borrower nor a lender be",
    "government corruption": "Something is rotten in the state",
    "listen more than you talk": "Give every man thine ear, but few",
    "clothes reveal character": "the apparel oft proclaims the man",
    "a rooster announces dawn": "cock, that is the trumpet to the morn",
    "freezing weather": "it is very cold.",
    "troubles never arrive alone": "When sorrows come, they come not",
    "join the convent": "Get thee to a nunnery:",
    "guilt turns people timid": "conscience does make cowards of us all",
    "this sin stinks": "my offence is rank, it smells to heaven",
    "religion forbids suicide": "His canon 'gainst self-slaughter",
    "is existence worth it?": "To be, or not to be",
    "nightmares after dying": "in that sleep of death what dreams",
    "nobody comes back after death": "from whose bourn No traveller",
    "a young woman died in the river": "your sister's drown'd",
    "remains of a court fool": "was Yorick's skull",
    "feeble female": "Frailty, thy name is woman",
    "the ghost of your dad": "I am thy father's spirit",
    "a drama will expose his guilt": "I'll catch the conscience of the",
    "humans are amazing creatures": "What a piece of work is man!",
    "stay honest and authentic": "to thine own self be true",
    "God governs fate": "There's a divinity that shapes our ends",
    "she wed again too soon": "The funeral bak'd meats",
    "farewell, my lord": "Good night, sweet prince",
    "praying insincerely": "My words fly up, my thoughts remain",
    "keep loyal companions close": "Grapple them unto thy soul",
    "corpses get eaten by insects": "we fat ourselves for maggots",
    "robbers pursued the ship": "a pirate of very warlike appointment",
    "then everything was quiet": "the rest is silence",
    "grins hide evil": "That one may smile, and smile",
    "old man's facial hair": "His beard was as white as snow",
    "science cannot explain everything": "There are more things in heaven",
    "murdered by a usurper": "The serpent that did sting thy father's",
    "harsh out of love": "I must be cruel, only to be kind",
}
SAME_WORDS = {
    "something rotten in Denmark": "Something is rotten in the state",
    "neither borrower nor lender": "Neither a borrower nor a lender be",
    "brevity is wit": "brevity is the soul of wit",
    "Yorick, the royal jester": "was Yorick's skull",
    "the lady doth protest too much": "The lady protests too much",
    "frailty is a woman's name": "Frailty, thy name is woman",
    "more things than dreamt of in philosophy": "There are more things in",
    "goodnight, sweet prince": "Good night, sweet prince",
    "to thine own self be true": "to thine own self be true",
    "smile and smile and be a villain": "That one may smile, and smile",
    "undiscovered country": "from whose bourn No traveller",
    "conscience makes cowards of us": "conscience does make cowards of",
    "method in the madness": "there is a method in't",
    "cruel to be kind": "I must be cruel, only to be kind",
    "what a piece of work is a man": "What a piece of work is man!",
    "consummation to be wished": "a consummation Devoutly",
    "the play is the thing": "I'll catch the conscience of the",
    "slings and arrows of fortune": "slings and arrows of outrageous",
}

# headings and stage directions stand in paragraphs of their own
NO_SPEECH = re.compile(r"\[|ACT\b|SCENE\b", re.IGNORECASE)
SPEAKER = re.compile(r"[A-Z][\w., &']{0,24}\.\n")
DIRECTION = re.compile(r"\[[^]]*\]")
PAUSE = re.compile(r"(?<=[.?!;:])(?:--|\s+|(?=[A-Z]))|--")


def sentences(play: str, at_least: int = 4) -> list[str]:
    """Cut the speeches of a play at their pauses, each sentence once.

    A pause is ``. ? ! ; :`` or a dash; ``at_least`` so many words remain.
    """
    checks.text("play", play)
    checks.whole("at_least", at_least)
    found = []
    for paragraph in re.split(r"\n\s*\n", play):
        if NO_SPEECH.match(paragraph.strip()):
            continue
        speech = SPEAKER.sub("", paragraph.strip(), count=1)
        speech = " ".join(DIRECTION.sub(" ", speech).split())
        found += [part.strip() for part in PAUSE.split(speech)]
    return [*dict.fromkeys(s for s in found if len(s.split()) >= at_least)]


def words_in(text: str) -> set[str]:
    """Return the words of a text, small, without apostrophes at their ends."""
    checks.text("text", text)
    found = re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.casefold())
    return {word.replace("’", "'") for word in found}
