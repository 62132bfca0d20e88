"""What a checkpoint is asked: a text, the pictures in it, and what must come next."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corpus.example import Example, spans
from PIL import Image


@dataclass(frozen=True)
class Question:
    """One stretch to generate. `item` is the number of the item that it belongs to.

    `before` is the text in front, each image one image token; `wanted` has the `</s>` if it ends the answer.
    """

    item: int
    before: str
    wanted: str
    images: Sequence[Image.Image]


@dataclass(frozen=True)
class Suite:
    """All items of a skill, and what of them training never saw. An item is right if all of its questions are."""

    skill: str
    unseen: str
    questions: list[Question]

    @property
    def items(self) -> int:
        return len({question.item for question in self.questions})


def stretches(item: int, example: Example, images: Sequence[Image.Image] = ()) -> Iterator[Question]:
    """One question for each stretch that the model should say, with the true observations of tools between."""
    before = ""
    parts = spans(example)
    for place, span in enumerate(parts):
        if span.trained and span.text != "</s>":
            end = "</s>" if parts[place + 1].text == "</s>" else ""
            yield Question(item, before, span.text + end, images)
        before += span.text
