"""Pictures with many questions each, packed into rows of one length with two pictures in each: a batch has one shape.

The questions about a picture mostly do not see each other: they are branches after the picture, which is there once.
So each is answered from the picture alone, though the picture is computed once for all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from corpus.example import Example, Span, conversation
from model import IMAGE_TOKENS
from numpy.typing import NDArray
from packing import IGNORED, encode
from pictures import Kind, Picture, ask, images, kind_of, share_of_pairs
from pictures.canvas import SIDE, pixels
from tokenizer import IMAGE_TOKEN
from tokenizers import Tokenizer

LENGTH = 512  # tokens of a row
CURRICULUM = (0.05, 0.35)  # of training: pictures get harder in between
SYSTEMS = ["You are a helpful assistant.", "Answer the question.", "Be brief.", "You see pictures."]
IN_TURN, QUESTION_FIRST, WITH_SYSTEM = 0.2, 0.5, 0.1  # shares of pictures; the second, of those asked in turn
Encoded = tuple[list[int], list[int]]  # tokens, and for each the next one if that is trained, else IGNORED


@dataclass
class Rows:
    """All int16 [rows, length]. A token sees those before it of its document that are in its branch or in branch 0."""

    tokens: NDArray[np.int16]
    labels: NDArray[np.int16]
    positions: NDArray[np.int16]
    documents: NDArray[np.int16]
    branches: NDArray[np.int16]

    @staticmethod
    def empty(rows: int, length: int) -> "Rows":
        tokens, positions, branches = (np.zeros((rows, length), np.int16) for _ in range(3))
        labels, documents = (np.full((rows, length), IGNORED, np.int16) for _ in range(2))
        return Rows(tokens, labels, positions, documents, branches)


@dataclass
class PictureRows:
    """`pixels` is uint8 [images, SIDE, SIDE, 3]; `places` int32 [images, IMAGE_TOKENS], in the flattened rows."""

    rows: Rows
    pixels: NDArray[np.uint8]
    places: NDArray[np.int32]


class CachedTokenizer:
    """The few texts that make up questions and answers come again and again."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, _Ids] = {}

    def encode(self, text: str) -> "_Ids":
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = _Ids(self._tokenizer.encode(text).ids)
            if len(self._known) > 100_000:
                self._known.clear()
        return found


@dataclass(frozen=True)
class _Ids:
    ids: list[int]


class PicturePacker:
    def __init__(self, tokenizer: Tokenizer, rng: Random, rows: int) -> None:
        self._tokenizer = CachedTokenizer(tokenizer)
        self._image_token = tokenizer.token_to_id(IMAGE_TOKEN)
        self._rng, self._rows = rng, rows

    def next_batch(self, progress: float) -> PictureRows:
        rows = Rows.empty(self._rows, LENGTH)
        drawn: list[NDArray[np.uint8]] = []
        start, end = CURRICULUM
        far = min(1.0, max(0.0, (progress - start) / (end - start)))
        pairs = share_of_pairs(far)
        for row in range(self._rows):
            paired = self._rng.random() < 2 * pairs / (1 + pairs)  # a row has room for one pair or two single pictures
            room = LENGTH if paired else LENGTH // 2
            for document in range(LENGTH // room):
                kind = kind_of(self._rng, far, paired)
                picture = kind.sample(self._rng, "train", far)
                drawn += [pixels(image) for image in images(picture, self._rng)]
                self._write(rows, row, document * room, room, self._branches(kind, picture, paired, room))
        places = np.flatnonzero(rows.tokens == self._image_token).astype(np.int32).reshape(-1, IMAGE_TOKENS)
        return PictureRows(rows, np.stack(drawn).reshape(-1, SIDE, SIDE, 3), places)

    @staticmethod
    def _write(rows: Rows, row: int, start: int, room: int, branches: list[Encoded]) -> None:
        """The first branch is what the others share."""
        shared, place = len(branches[0][0]), start
        for number, (tokens, labels) in enumerate(branches):
            here = slice(place, place + len(tokens))
            rows.tokens[row, here], rows.labels[row, here] = tokens, labels
            first = shared if number else 0
            rows.positions[row, here] = range(first, first + len(tokens))
            rows.documents[row, here] = start // room
            rows.branches[row, here] = number
            place += len(tokens)

    def _branches(self, kind: Kind, picture: Picture, paired: bool, room: int) -> list[Encoded]:
        system = self._rng.choice(SYSTEMS) if self._rng.random() < WITH_SYSTEM else ""
        image = IMAGE_TOKEN * (2 if paired else 1)
        if self._rng.random() < IN_TURN:
            return [self._in_turn(kind, picture, system, image, room)]
        begin = f"<|system|>{system}" if system else ""
        branches = [self._encoded([Span(f"{begin}<|user|>{image}", trained=False)])]
        left = room - len(branches[0][0])
        for example in self._questions(kind, picture):
            branch = self._encoded(_turn(example))
            if len(branch[0]) > left:
                break
            branches.append(branch)
            left -= len(branch[0])
        return branches

    def _in_turn(self, kind: Kind, picture: Picture, system: str, image: str, room: int) -> Encoded:
        """One conversation, in which the first question may come before the picture."""
        turns: list[Example] = []
        fitting: Encoded = ([], [])
        for example in self._questions(kind, picture):
            if not turns:
                first_is_question = self._rng.random() < QUESTION_FIRST
                prompt = example.prompt + image if first_is_question else image + example.prompt
                example = replace(example, prompt=prompt, system=system)
            turns.append(example)
            longer = self._encoded(conversation(turns))
            if len(longer[0]) > room:
                break
            fitting = longer
        return fitting

    def _questions(self, kind: Kind, picture: Picture) -> Iterator[Example]:
        """Different ones, until a dozen in a row were asked before."""
        asked: set[str] = set()
        repeated = 0
        while repeated < 12:
            example = ask(self._rng, kind, picture)
            if example.prompt in asked:
                repeated += 1
                continue
            asked.add(example.prompt)
            repeated = 0
            yield example

    def _encoded(self, spans: list[Span]) -> Encoded:
        """With as many tokens for each image as it has."""
        tokens, labels = encode(self._tokenizer, spans)  # type: ignore[arg-type]  # which only encodes
        if self._image_token not in tokens:
            return tokens, labels
        counts = [IMAGE_TOKENS if token == self._image_token else 1 for token in tokens]
        return _repeated(tokens, counts), _repeated(labels, counts)


def _repeated(values: list[int], counts: list[int]) -> list[int]:
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def _turn(example: Example) -> list[Span]:
    """A question and its answer after the picture: what `conversation` has after the user's marker and the picture."""
    return [Span(f"{example.prompt}<|assistant|>", trained=False), *example.answer, Span("</s>", trained=True)]
