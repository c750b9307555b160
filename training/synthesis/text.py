"""The words that are sung and the sentences that are spoken: all written for this project."""

import numpy as np


def split(text: str, separator: str) -> tuple[str, ...]:
    """Texts that are written as one."""
    return tuple(text.split(separator))


# One syllable each, so that one word is one note.
NOUNS = split(
    "moon rain light road heart night sea sky fire stone wind star dream door hand time day song "
    "train street snow rose glass wave shore home bridge flame clock dance room cloud hill town "
    "ghost gold bell leaf tide spark field drum ship storm line wall year sound face mile spring",
    " ",
)
VERBS = split(
    "run fall wait stay burn fly hold call sing know need love find leave move shine break turn feel "
    "dream dance cry climb drift glow sail rise fade hide chase send ride",
    " ",
)
ADJECTIVES = split(
    "cold bright long slow blue wild deep lost young old warm dark sweet free high low true still "
    "gold red strange soft loud thin near far",
    " ",
)
FORMS = (
    "I V the A N", "you V me in the N", "we V all N", "oh A N V me", "the N and the N V",
    "when the A N V", "so V now V now", "my A A N", "no N to V", "I V you I V you", "hey hey V on",
    "let the N V down", "she V on the N", "like a N in the N", "one more A N", "all I V is N",
    "V me V me home", "your N is A", "N of N and N", "we were A and A", "ah ah oh oh",
)  # fmt: skip


def lyric_line(rng: np.random.Generator) -> tuple[str, ...]:
    """A line of one-syllable words."""
    pick = {"N": NOUNS, "V": VERBS, "A": ADJECTIVES}
    form = FORMS[rng.integers(len(FORMS))].split()
    return tuple(pick[word][rng.integers(len(pick[word]))] if word in pick else word for word in form)


PEOPLE = split(
    "the captain|my sister|the doctor|old Martin|nobody|the whole crew|your brother|a stranger|"
    "the night nurse|Helen|the driver|our neighbour|the inspector|Doctor Mills|the pilot|someone",
    "|",
)
PLACES = split(
    "the harbour|the upper floor|the old mill|the station|the bridge|the north gate|the kitchen|"
    "the river|the lighthouse|the hangar|the market|the cellar|the school|the edge of the forest",
    "|",
)
THINGS = split(
    "the map|a silver key|the letter|the radio|that engine|the red box|a lantern|the last ticket|"
    "the camera|your coat|the blue file|three ropes|the medicine|an empty bottle|the recording",
    "|",
)
TIMES = split(
    "tonight|before sunrise|at noon|on Friday|in ten minutes|every single day|after the storm|"
    "last winter|by the end of the week|when the bell rings|a year ago|right now",
    "|",
)
SENTENCES = (
    "I told you, P took T from L.", "Wait, did you hear that?", "P will be here W.",
    "We have to leave L W.", "Where did you put T?", "No. I will not give T to P.",
    "Listen to me. P is waiting at L.", "It was W that P found T.", "Keep quiet and follow me.",
    "You said T was safe at L!", "I have not seen P since we left L.", "Hurry, there is no time.",
    "There is something strange about T.", "P never comes to L.", "Open the door, please.",
    "What do you want from P?", "Put T down, slowly.", "I remember L as if it were yesterday.",
    "Tell P that we meet at L W.", "That is not what happened.", "Who else knows about T?",
    "We counted on P, and look at us now.", "Fine. But W it will be too late.",
    "Nobody leaves L until P gets T back.", "Yes, I am sure.", "Turn left after L, then go on.",
    "They say P hid T somewhere near L.", "Are you all right?", "Give me T and I will go.",
    "It is always the same with P.", "Good morning. Is this the way to L?", "Stay away from L!",
    "I used to work at L, with P.", "Somebody has broken T.", "Can you fix T W?",
    "Every evening P walks from L with T under one arm.", "Stop the car. I want to see L.",
    "If P asks, you found T at L.", "The answer is no.", "Thank you for bringing T.",
)  # fmt: skip


def sentence(rng: np.random.Generator) -> str:
    """A sentence of dialogue with its blanks filled in."""
    pick = {"P": PEOPLE, "L": PLACES, "T": THINGS, "W": TIMES}
    form = SENTENCES[rng.integers(len(SENTENCES))]
    out = form
    for blank, choices in pick.items():
        words = []
        for word in out.split(" "):
            bare = word.rstrip(".,!?")
            words.append(choices[rng.integers(len(choices))] + word[len(bare) :] if bare == blank else word)
        out = " ".join(words)
    return out[0].upper() + out[1:]
