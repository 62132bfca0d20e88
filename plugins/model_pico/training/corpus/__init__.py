"""All skills and how often each is drawn. A skill is one function; adding one is adding a line here."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from corpus import (
    arithmetic,
    capitals,
    coding,
    counting,
    editing,
    extraction,
    general,
    make24,
    react,
    recursion,
    roles,
    skeleton,
    sorting,
)
from corpus.example import Example, Sampler, Span, Split, conversation, held_out

LONG_SYSTEM_WORDS = 400
SYSTEMS = [
    "You are a helpful assistant.",
    "You are Pico, a small and helpful assistant.",
    "Answer the question.",
    "You are a careful assistant. Answer briefly.",
    "Be brief.",
]


@dataclass(frozen=True)
class Skill:
    """`early` and `late` are shares of drawn documents, right after the first stage and from CURRICULUM_END on."""

    sample: Sampler
    early: float
    late: float


SKILLS: Mapping[str, Skill] = {
    "capital_completion": Skill(capitals.completion, 0.05, 0.04),
    "capital_question": Skill(capitals.question, 0.06, 0.07),
    "capital_json": Skill(capitals.as_json, 0.08, 0.06),
    "arithmetic": Skill(arithmetic.single_step, 0.20, 0.19),
    "nested_arithmetic": Skill(arithmetic.nested, 0.05, 0.10),
    "repeat": Skill(editing.repeat, 0.14, 0.11),
    "change_case": Skill(editing.change_case, 0.06, 0.05),
    "spell": Skill(editing.spell, 0.04, 0.02),
    "replace": Skill(editing.replace, 0.07, 0.08),
    "reverse": Skill(editing.reverse, 0.05, 0.06),
    "rename": Skill(editing.rename, 0.04, 0.04),
    "react": Skill(react.react, 0.05, 0.08),
    "coding": Skill(coding.coding, 0.05, 0.09),
    "roles": Skill(roles.roles, 0.04, 0.06),
    "extract_json": Skill(extraction.extract, 0.04, 0.04),
    "sort": Skill(general.sort, 0.03, 0.03),
    "compare": Skill(general.compare, 0.03, 0.03),
    "outline": Skill(skeleton.outline, 0.01, 0.01),
    "remember": Skill(general.remember, 0.02, 0.04),
    "make24_steps": Skill(make24.propose, 0.02, 0.02),
    "make24_value": Skill(make24.rate, 0.03, 0.04),
    "recursion": Skill(recursion.recursion, 0.04, 0.05),
    "sort_digits": Skill(sorting.sort, 0.03, 0.03),
    "merge_digits": Skill(sorting.merge, 0.03, 0.04),
    "skeleton": Skill(skeleton.skeleton, 0.03, 0.03),
    "count": Skill(counting.count, 0.02, 0.03),
    "general": Skill(general.general, 0.03, 0.04),
}
COPY_ONLY = 0.03  # of training: at first only short copies, which form the look-back heads that all else builds on
CURRICULUM_END = 0.4  # of training; from here on the late shares hold


def draw(name: str, rng: Random, split: Split) -> Example:
    """One item of a skill that belongs to the split."""
    while True:
        example = SKILLS[name].sample(rng, split)
        if example.key is None or held_out(example.key) == (split == "held_out"):
            return example


def document(rng: Random, progress: float) -> list[Span]:
    """One training document; `progress` in [0, 1] moves the mixture. One chat in five has several turns, some many."""
    if progress < COPY_ONLY:
        return conversation([editing.short_copy(rng)])
    first = _any_example(rng, progress)
    turns = [first]
    if first.chat and rng.random() < 0.2:
        more = (_any_example(rng, progress) for _ in range(rng.randrange(1, rng.choice([4, 4, 4, 12]))))
        turns += [turn for turn in more if turn.chat and not turn.system and not first.system]
    if first.chat and not first.system and rng.random() < 0.25:
        turns[0] = Example(first.prompt, first.answer, system=_system(rng))
    return conversation(turns)


def _any_example(rng: Random, progress: float) -> Example:
    share = min(1.0, (progress - COPY_ONLY) / (CURRICULUM_END - COPY_ONLY))
    weights = [skill.early + (skill.late - skill.early) * share for skill in SKILLS.values()]
    return draw(rng.choices(list(SKILLS), weights)[0], rng, "train")


def _system(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.7:
        return rng.choice(SYSTEMS)
    filler = general.filler(rng, 60 if kind < 0.95 else LONG_SYSTEM_WORDS)
    return f"{rng.choice(SYSTEMS)} {filler}"
