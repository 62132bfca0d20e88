"""The images of a context: which of its tokens are theirs, and the Embeds they are run from.

An image is run in one piece. Then its Embeds are let go, but for the last, which may have to be run again for the
distribution behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inferlet import calls
from inferlet.errors import ArgumentError
from inferlet.handles import Embed, Queue

IMAGE = -1
"""Stands in a list of tokens for each Embed of an image."""


class Image:
    """One image, shared by forks. start: the index of its first token; positions: how many it takes of the model's."""

    __slots__ = ("count", "embeds", "holders", "positions", "start")

    def __init__(self, start: int, count: int, positions: int, embeds: list[Embed]) -> None:
        self.start, self.count, self.positions = start, count, positions
        self.embeds = embeds  # of its last tokens: all of them until it was run
        self.holders = 1

    @property
    def stop(self) -> int:
        """The index behind its last token."""
        return self.start + self.count


class Images:
    """The images of one context, in order."""

    def __init__(self, shared: Sequence[Image] = ()) -> None:
        self.all = list(shared)
        for image in shared:
            image.holders += 1

    @classmethod
    def elsewhere(cls, spans: Sequence[tuple[int, int, int]]) -> Images:
        """Images that somebody else has run: (start, count, positions) of each."""
        made = cls()
        made.all = [Image(start, count, positions, []) for start, count, positions in spans]
        return made

    async def add(self, queue: Queue, blob: bytes, start: int, measure: Any) -> Image:
        """Have an image seen that begins at index `start`, measured before."""
        image = Image(start, measure.embeds, measure.positions, calls.alloc_emb(queue, measure.embeds))
        try:
            await calls.embed_img(queue, blob, image.embeds, self.position(start))
        except BaseException:
            calls.dealloc_emb(queue, image.embeds)
            raise
        self.all.append(image)
        return image

    def position(self, index: int) -> int:
        """Where a token of text stands: its index, but where images before it take fewer positions than tokens."""
        return index - sum(image.count - image.positions for image in self.all if image.stop <= index)

    def at(self, index: int) -> Image | None:
        """The image that a token belongs to."""
        return next((image for image in self.all if image.start <= index < image.stop), None)

    def behind(self, index: int) -> int:
        """The index, or the end of the image that it cuts."""
        image = self.at(index)
        return index if image is None or image.start == index else image.stop

    def whole(self, first: int, last: int) -> int:
        """Where to end a chunk from `first` to about `last`, so that no image is cut."""
        image = self.at(last)
        return image.start if image is not None and first < image.start else self.behind(last)

    def check_between(self, index: int, what: str) -> None:
        """Raise `ArgumentError` if an image would be cut before index `index`."""
        image = self.at(index)
        if image is not None and image.start < index:
            raise ArgumentError(f"{what}: {index} is inside an image, of tokens {image.start}..{image.stop - 1}")

    def check_uncut(self, index: int, what: str) -> None:
        """Raise `ArgumentError` if tokens from `index` on cannot be run without those of the same image before."""
        image = self.at(index)
        if image is not None and image.stop - index not in (1, image.count):
            raise ArgumentError(f"{what}: token {index} is inside an image, of tokens {image.start}..{image.stop - 1}")

    def inputs(self, queue: Queue, tokens: Sequence[int], first: int) -> tuple[list[Embed], list[Embed]]:
        """The Embeds to run for tokens that begin at index `first`, and those of them that are to be freed then."""
        inputs: list[Embed] = []
        at, end = first, first + len(tokens)
        fresh: list[Embed] = []
        while at < end:
            image = self.at(at)
            if image is None:
                stop = min([image.start for image in self.all if image.start > at] + [end])
                text = calls.alloc_emb(queue, stop - at)
                position = self.position(at)
                positions = list(range(position, position + stop - at))
                calls.embed_txt(queue, list(tokens[at - first : stop - first]), positions, text)
                fresh += text
            else:
                stop = image.stop
                if len(image.embeds) < stop - at:
                    raise ArgumentError(
                        f"tokens {at}..{stop - 1} are of an image that was run; they cannot be run again"
                    )
                text = image.embeds[len(image.embeds) - (stop - at) :]
                fresh += image.embeds[:-1]
                del image.embeds[:-1]
            inputs += text
            at = stop
        return inputs, fresh

    def truncate(self, count: int) -> list[Embed]:
        """Keep those before index `count`; the Embeds to be freed."""
        gone = [image for image in self.all if image.start >= count]
        self.all = [image for image in self.all if image.start < count]
        return _let_go(gone)

    def drop(self) -> list[Embed]:
        """Keep none; the Embeds to be freed."""
        gone, self.all = self.all, []
        return _let_go(gone)


def _let_go(images: Sequence[Image]) -> list[Embed]:
    freed: list[Embed] = []
    for image in images:
        image.holders -= 1
        if image.holders == 0:
            freed += image.embeds
    return freed
