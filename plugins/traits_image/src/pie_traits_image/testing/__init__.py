"""The conformance suite of trait `input_image`: how many Embeds an image takes, and that what is on it counts.

from pie_traits_image.testing import InputImageSuite

class TestInputImage(InputImageSuite):
    backend_name = "acme"

    def make(self):
        return load_backend("tiny-vl", pages=64)
"""

from __future__ import annotations

from typing import Any, ClassVar

from pie_traits_text.testing.reading import Reading, TextSuite, Writer

from pie_core.errors import ArgumentError
from pie_core.hookspecs import hookimpl
from pie_core.testing.conformance import TraitSuite, quick
from pie_traits_image.input_image import INPUT_IMAGE, ImageMeasure
from pie_traits_image.testing.pictures import encoded, picture, png, refused_files

SIZES = ((40, 30), (30, 64), (1, 1), (120, 40))


class InputImageSuite(TextSuite):
    """Any backend that realizes `input_image`.

    vision_tolerance: as `tolerance`, for an image that is seen in different company: towers may round.
    """

    trait = INPUT_IMAGE
    vision_tolerance: ClassVar[float] = 1e-3

    @quick
    def test_an_image_takes_the_embeds_that_its_size_and_its_file_tell(self) -> None:
        p = self.writer()
        for width, height in SIZES:
            measure = self._measure(p, png(width, height))
            assert (measure.width, measure.height) == (width, height)
            assert measure.embeds == self._ask(p, "num_embs_needed", (width, height))
            assert measure.positions == self._ask(p, "num_positions_needed", (width, height))
            assert 1 <= measure.positions <= measure.embeds
            self._embed(p, png(width, height))

    @quick
    def test_something_stands_for_an_image_in_a_prompt(self) -> None:
        p = self.writer()
        ticket = p.call("image_placeholder")
        self.rig.loop.run()
        assert isinstance(ticket.result(), str) and ticket.result().strip()

    @quick
    def test_one_embed_more_or_less_is_an_error_and_says_how_many(self) -> None:
        p = self.writer()
        blob = png(40, 30)
        count = self._measure(p, blob).embeds
        for given in (count - 1, count + 1):
            if given:
                error = self._fails(p, "embed_img", blob, p.embeds(given))
                assert f"takes {count} Embeds, {given} were given" in str(error)

    @quick
    def test_what_is_on_an_image_counts(self) -> None:
        p = self.writer()
        one, same, other = (self._reading(p, png(40, 30, seed)) for seed in (1, 1, 2))
        self.check_same(one, same, self.vision_tolerance)
        self.check_differ(one, other)

    @quick
    def test_the_format_of_the_file_does_not_count(self) -> None:
        p = self.writer()
        image = picture(40, 30)
        files = [encoded(image), encoded(image, "WEBP", lossless=True), encoded(image.convert("RGBA"))]
        first, *others = [self._reading(p, file) for file in files]
        for other in others:
            self.check_same(first, other, self.vision_tolerance)

    @quick
    def test_an_image_lies_as_its_orientation_says(self) -> None:
        p = self.writer()
        upright = picture(40, 30)
        exif = upright.getexif()
        exif[0x0112] = 6  # to be turned clockwise by 90 degrees
        turned = encoded(upright.rotate(90, expand=True), exif=exif)
        assert self._measure(p, turned) == self._measure(p, encoded(upright))
        self.check_same(self._reading(p, turned), self._reading(p, encoded(upright)), self.vision_tolerance)

    @quick
    def test_images_of_different_sizes_seen_in_one_batch_are_those_seen_alone(self) -> None:
        p = self.writer()
        blobs = [png(*size) for size in SIZES]
        together = [self._embeds(p, blob, 0) for blob in blobs]  # enqueued at once
        self.rig.loop.run()
        for blob, embeds in zip(blobs, together, strict=True):
            alone = self._embeds(p, blob, 0)
            self.rig.loop.run()
            self.check_same(self._behind(p, embeds, 0), self._behind(p, alone, 0), self.vision_tolerance)

    @quick
    def test_an_image_between_texts_is_context_for_what_follows_and_for_nothing_before(self) -> None:
        p = self.writer()
        before, after = self.tokens(3, 90), self.tokens(2, 91)
        readings = []
        for seed in (1, 2):
            blob = png(40, 30, seed)
            measure = self._measure(p, blob)
            pages = p.pages(len(before) + measure.embeds + len(after))
            first = p.forward(before, range(len(before)), (), pages)
            embeds = self._embeds(p, blob, len(before))
            p.call("forward", pages, embeds, pages, [])
            start = len(before) + measure.positions
            last = p.forward(after, range(start, start + len(after)), pages, pages)
            readings.append((p.last(first), p.last(last)))
        (text, one), (same_text, other) = readings
        self.check_same(text, same_text)
        self.check_differ(one, other)

    @quick
    def test_a_prompt_in_one_pass_gives_what_it_gives_piece_by_piece(self) -> None:
        """Two images, text around each."""
        p = self.writer()
        pieces: list[list[int]] = []
        at = 0
        for seed, (width, height) in enumerate(SIZES[:2]):
            text, blob = self.tokens(2, 92 + seed), png(width, height)
            pieces.append(p.embed(text, range(at, at + len(text))))
            at += len(text)
            pieces.append(self._embeds(p, blob, at))
            at += self._measure(p, blob).positions
        pieces.append(p.embed(self.tokens(2, 95), [at, at + 1]))
        whole = [embed for piece in pieces for embed in piece]
        out = p.embeds(1)
        p.call("forward", [], whole, p.pages(len(whole)), out)
        pages, last = p.pages(len(whole)), p.embeds(1)
        for piece in pieces:
            p.call("forward", pages, piece, pages, last)
        self.check_same(p.last(out), p.last(last))

    @quick
    def test_a_file_that_is_no_image_or_too_much_of_one_is_an_error(self) -> None:
        p = self.writer()
        for what, (blob, words) in refused_files().items():
            measured = p.call("measure_img", blob)
            self.rig.loop.run()
            count = 1 if measured.error is not None else measured.result().embeds
            error = self._fails(p, "embed_img", blob, p.embeds(count))
            assert isinstance(error, ArgumentError) and words in str(error), (what, error)
            assert measured.error is None or words in str(measured.error), (what, measured.error)
        self.check_same(self._reading(p, png(40, 30)), self._reading(p, png(40, 30)), self.vision_tolerance)

    @quick
    def test_what_is_no_size_is_refused(self) -> None:
        p = self.writer()
        for size in ([], [3], [1, 2, 3], [0, 5], [5, 0], [20_000, 20_000], [5000, 2]):
            for call in ("num_embs_needed", "num_positions_needed"):
                self.check_refused(ArgumentError, self._ask, p, call, size)

    @quick
    def test_embeds_that_cannot_be_written_are_refused(self) -> None:
        p, info = self.writer(), self.subject.backend.info
        blob, one = png(8, 8), p.embeds(1)
        for arguments in ((blob, []), (blob, one * 2), (b"", one), (blob, one, info.max_position)):
            self.check_refused(ArgumentError, p.call, "embed_img", *arguments)

    # what the cases say

    def _ask(self, p: Writer, call: str, size: Any) -> int:
        answer: int = p.program.space.call(call, None, (list(size),))
        return answer

    def _measure(self, p: Writer, blob: bytes) -> ImageMeasure:
        ticket = p.call("measure_img", blob)
        self.rig.loop.run()
        measure: ImageMeasure = ticket.result()
        return measure

    def _embeds(self, p: Writer, blob: bytes, position: int) -> list[int]:
        """Enqueued only."""
        embeds = p.embeds(self._measure(p, blob).embeds)
        p.call("embed_img", blob, embeds, position)
        return embeds

    def _embed(self, p: Writer, blob: bytes) -> list[int]:
        embeds = p.embeds(self._measure(p, blob).embeds)
        ticket = p.call("embed_img", blob, embeds)
        self.rig.loop.run()
        ticket.result()
        return embeds

    def _behind(self, p: Writer, embeds: list[int], context: int) -> Reading:
        """The distribution behind an image."""
        out = p.embeds(1)
        p.call("forward", [], embeds, p.pages(len(embeds)), out)
        return p.last(out)

    def _reading(self, p: Writer, blob: bytes) -> Reading:
        return self._behind(p, self._embeds(p, blob, 0), 0)

    def _fails(self, p: Writer, call: str, *arguments: Any) -> Exception:
        ticket = p.call(call, *arguments)
        self.rig.loop.run()
        assert ticket.error is not None, f"{call} was served"
        error: Exception = ticket.error
        return error


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return InputImageSuite
