"""Copying and editing given text. Most of it is random, so that the model learns to look back, not to remember."""

from random import Random
from string import ascii_lowercase

from corpus.example import Example, Split, held_out, said
from corpus.words import ADJECTIVES, NOUNS, PLACES, VERBS, any_word, letters, made_up_word

REPEATS = [
    "Repeat: {t}",
    "Repeat this: {t}",
    "Repeat after me: {t}",
    "Repeat the text: {t}",
    "Copy: {t}",
    "Copy this text: {t}",
    "Copy the following text: {t}",
    "Say: {t}",
    "Write this again: {t}",
    "Echo: {t}",
    "Repeat the following text exactly:\n{t}",
]
RAW_REPEATS = ["Text: {t}\nCopy:", "{t}\nAgain:", "Input: {t}\nOutput:", "Original: {t}\nCopy:"]
REPLACES = [
    "Replace {a} with {b}: {t}",
    "Replace {a} by {b}: {t}",
    "Replace the word {a} with {b}: {t}",
    "Change {a} to {b}: {t}",
]
REVERSES = [
    "Reverse: {t}",
    "Reverse the words: {t}",
    "Reverse the order of the words: {t}",
    "Reverse this list of words: {t}",
]
RENAMES = [
    "Rename {a} to {b}: {t}",
    "Rename {a} to {b}:\n{t}",
    "Rename the variable {a} to {b}:\n{t}",
    "Rename the variable {a} to {b}: {t}",
]
VARIABLES = """
a b c d i j k n m p q r s t x y z total count index value result items data name size left right first last node key
text line score price sum limit start stop width height offset step user path file
""".split()
CODE_LINES = [
    "{0} = {1} + {2}",
    "{0} = {1} * {9}",
    "{0} = {1} - {2}",
    "{0} = {1}[{2}]",
    "{0} += {9}",
    "{0} += {1}",
    "print({0})",
    "print({0}, {1})",
    "return {0}",
    "return {0} + {1}",
    "if {0} > {9}:\n    print({1})",
    "for {0} in {1}:\n    print({0})",
    "while {0} < {1}:\n    {0} += {9}",
    "{0} = max({1}, {2})",
    "{0} = len({1})",
    "{0}.append({1})",
    "{0} = [{1}, {2}]",
    "{0} = {9}",
]


def _length(rng: Random, longest: int) -> int:
    """Mostly short; about one text in eight is long, for prompt-lookup speculation to work on."""
    return rng.randrange(2, 13) if rng.random() < 0.87 else rng.randrange(13, longest + 1)


def _list_of_words(rng: Random, split: Split, count: int) -> list[str]:
    if rng.random() < 0.12:  # few distinct words: the next word is found by position, not by the last word alone
        few = [any_word(rng, split) for _ in range(max(2, count // 3))]
        return [rng.choice(few) for _ in range(count)]
    return [any_word(rng, split) for _ in range(count)]


def sentence(rng: Random) -> str:
    subject, thing, place = (f"the {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}" for _ in range(3))
    text = f"{subject} {rng.choice(VERBS)} {thing} {rng.choice(PLACES)} {place}."
    return text[0].upper() + text[1:]


def _anything(rng: Random) -> str:
    """A token-like scrap of any kind: numbers, codes, punctuation, capitals, accents."""
    alphabet = "0123456789-.:/_#@%&+=*()[]{}<>\"'!?,;abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüéèñçøßåœ€°"
    kind = rng.random()
    if kind < 0.3:
        return str(rng.randrange(10 ** rng.randrange(1, 8)))
    if kind < 0.5:
        return made_up_word(rng).capitalize()
    if kind < 0.6:
        return letters(rng).upper()
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 7)))


def _text(rng: Random, split: Split) -> str:
    count = _length(rng, 60)
    kind = rng.random()
    if kind < 0.6:
        return " ".join(_list_of_words(rng, split, count))
    if kind < 0.75:
        return " ".join(sentence(rng) for _ in range(max(1, count // 8)))
    if kind < 0.85:
        return ", ".join(_list_of_words(rng, split, min(count, 40)))
    return " ".join(_anything(rng) if rng.random() < 0.5 else any_word(rng, split) for _ in range(min(count, 25)))


def repeat(rng: Random, split: Split) -> Example:
    text = _text(rng, split)
    if rng.random() < 0.25:
        return Example(rng.choice(RAW_REPEATS).format(t=text), said(f" {text}"), chat=False, key=text)
    return Example(rng.choice(REPEATS).format(t=text), said(text), key=text)


def short_copy(rng: Random) -> Example:
    """The first thing to learn: half plain letters, where only looking back can help, and nothing long."""
    if rng.random() < 0.5:
        text = "".join(rng.choice(ascii_lowercase) for _ in range(rng.randrange(5, 60)))
        return Example(rng.choice(REPEATS).format(t=text), said(text), key=text)
    while True:
        example = repeat(rng, "train")
        if len(example.prompt) < 160 and not held_out(example.key or ""):
            return example


def change_case(rng: Random, split: Split) -> Example:
    text = " ".join(any_word(rng, split) for _ in range(rng.randrange(1, 7)))
    if rng.random() < 0.75:
        template = rng.choice(
            ["Uppercase: {t}", "Write in uppercase: {t}", "Convert to uppercase: {t}", "Make uppercase: {t}"]
        )
        return Example(template.format(t=text), said(text.upper()), key=text)
    template = rng.choice(["Lowercase: {t}", "Write in lowercase: {t}", "Convert to lowercase: {t}"])
    return Example(template.format(t=text.upper()), said(text), key=text)


def spell(rng: Random, split: Split) -> Example:
    """A word letter by letter: it shows the letters inside the tokens, which change of case needs too."""
    word = any_word(rng, split)
    template = rng.choice(["Spell: {t}", "Spell {t}.", "Spell the word {t}.", "How do you spell {t}?"])
    return Example(template.format(t=word), said("-".join(word)), key=word)


def replace(rng: Random, split: Split) -> Example:
    if rng.random() < 0.35:
        words = " ".join(sentence(rng) for _ in range(rng.choice([1, 1, 1, 2, 4, 6]))).split(" ")
        old = rng.choice([word for word in words if word.isalpha() and word.islower()])
    else:
        words = _list_of_words(rng, split, _length(rng, 40))
        old = rng.choice(words)
    new = any_word(rng, split)
    text = " ".join(words)
    edited = " ".join(new if word == old else word for word in words)
    return Example(rng.choice(REPLACES).format(a=old, b=new, t=text), said(edited), key=f"{old} {new} {text}")


def reverse(rng: Random, split: Split) -> Example:
    words = [any_word(rng, split) for _ in range(rng.randrange(2, 8))]
    separator = ", " if rng.random() < 0.3 else " "
    text = separator.join(words)
    return Example(rng.choice(REVERSES).format(t=text), said(separator.join(reversed(words))), key=text)


def rename(rng: Random, split: Split) -> Example:
    names = rng.sample(VARIABLES, 4) if rng.random() < 0.5 else [made_up_word(rng) for _ in range(4)]
    lines = [rng.choice(CODE_LINES) for _ in range(rng.choice([1, 1, 1, 2, 3, 5]))]
    numbers = [str(rng.randrange(100)) for _ in lines]

    def write(variables: list[str]) -> str:
        filled = [line.format(*variables[:3], *[""] * 6, number) for line, number in zip(lines, numbers, strict=True)]
        return "\n".join(filled)

    old = rng.choice([slot for slot in range(3) if f"{{{slot}}}" in "".join(lines)])
    renamed = [*names[:3]]
    renamed[old] = names[3]
    code = write(names)
    prompt = rng.choice(RENAMES).format(a=names[old], b=names[3], t=code)
    return Example(prompt, said(write(renamed)), key=prompt)
