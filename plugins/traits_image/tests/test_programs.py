"""What programs get from the calls, and what wrong ones are told; that the package stays out of the way of others."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from pie_traits_image.testing.fake import FakeVision, SeeingBackend
from pie_traits_image.testing.pictures import png
from pie_traits_image.vision import Extent, ImageLimits

from pie_core import ArgumentError, TraitError
from pie_core.application.wasm.wit import package_of
from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry
from pie_core.testing import FakeBackend, fake_handlers, fake_model, run_inferlet
from pie_core.testing.run import Outcome

START = """
from inferlet import *
import json

BLOB, OTHER = {blob!r}, {other!r}
"""


def run(*sources: str, backend: FakeBackend | None = None) -> list[Outcome]:
    """Run programs at the same time, on one model; a picture of 40x30 pixels is `BLOB`, one of 20x50 is `OTHER`."""

    async def main() -> list[Outcome]:
        specs = [*fake_handlers(), *load_handlers("fake", "", Selection())]
        model = fake_model(backend or SeeingBackend(), load_registry(Selection()), specs)
        start = START.format(blob=png(40, 30), other=png(20, 50))
        try:
            runs = (run_inferlet(start + source, models={"fake": model}) for source in sources)
            return list(await asyncio.gather(*runs))
        finally:
            await asyncio.to_thread(model.close)

    return asyncio.run(main())


def finished(source: str, **options: Any) -> Any:
    """What a program returned."""
    (outcome,) = run(source, **options)
    assert outcome.ended.status == "finished", outcome.ended.error
    return json.loads(outcome.ended.value or "null")


def test_a_program_sees_two_images_with_every_call() -> None:
    said = finished("""
async def main():
    model = get_auto_model()
    q = model.create_queue()
    first, second = await measure_img(q, BLOB), await measure_img(q, OTHER)
    assert await image_placeholder(q) == "<image>"
    assert first.embeds == num_embs_needed(model, (first.width, first.height))
    assert first.positions == num_positions_needed(model, [first.width, first.height])
    emb, last = alloc_emb(q, first.embeds + second.embeds), alloc_emb(q, 1)
    embed_img(q, BLOB, emb[:first.embeds])
    embed_img(q, OTHER, emb[first.embeds:], pos=first.positions)
    forward(q, [], emb, alloc_kvpage(q, 1), last)
    dist = await get_next_dist(q, last)
    return json.dumps([first.width, first.height, first.embeds, second.embeds, len(dist.ids)])
""")
    assert said == [40, 30, 7, 9, 256]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("num_embs_needed(model, [1])", "size is (width, height), got 1 numbers"),
        ("num_embs_needed(model, (0, 4))", "an image of 0x4 pixels has none"),
        ("num_positions_needed(model, (20000, 20000))", "an image of 20000x20000 pixels; at most 50000000"),
        ("await measure_img(q, b'GIF89a')", "the 6 bytes are no PNG, JPEG or WebP image"),
        ("await measure_img(q, BLOB + bytes(9 << 20))", "at most 8388608 are taken"),
        ("await embed_img(q, BLOB[:100], alloc_emb(q, 7))", "the image is broken or cut off"),
        ("await embed_img(q, BLOB, alloc_emb(q, 6))", "an image of 40x30 pixels takes 7 Embeds, 6 were given"),
        ("await embed_img(q, 'picture.png', alloc_emb(q, 7))", "argument `blob`: expected bytes"),
        ("embed_img(q, BLOB, [])", "num_embs_needed tells how many"),
        ("embed_img(q, BLOB, alloc_emb(q, 1) * 2)", "an Embed is named twice"),
        ("embed_img(q, BLOB, alloc_emb(q, 7), 4090)", "positions 4090..4096 reach outside the model's range of 4096"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong_and_another_program_is_none_the_worse(call: str, message: str) -> None:
    source = """
async def main():
    model = get_auto_model()
    q = model.create_queue()
    CALL
"""
    wrong, right = run(
        source.replace("CALL", call), source.replace("CALL", "await embed_img(q, BLOB, alloc_emb(q, 7))")
    )
    assert wrong.ended.status == "failed" and message in (wrong.ended.error or "")
    assert right.ended.status == "finished", right.ended.error


def test_an_image_is_seen_once_however_many_forks_read_it() -> None:
    backend = SeeingBackend()
    finished(
        """
async def main():
    model = get_auto_model()
    q = model.create_queue()
    emb, page = alloc_emb(q, 7), alloc_kvpage(q, 1)
    embed_img(q, BLOB, emb)
    forward(q, [], emb, page, [])
    for token in range(5):
        branch, last = alloc_kvpage(q, 1), alloc_emb(q, 1)
        embed_txt(q, token, 7, last)
        forward(q, page, last, branch, last)
        await get_next_dist(q, last)
""",
        backend=backend,
    )
    assert backend.vision.seen == 1


def test_a_picture_that_takes_long_to_decode_holds_up_nobody_else() -> None:
    """Its decoding does not end before the other program has finished, whose steps go to the device meanwhile."""
    let_go = threading.Event()

    class Slow(FakeVision):
        def prepare(self, image: Any) -> Any:
            assert let_go.wait(60), "the other program never finished"
            return super().prepare(image)

    backend = SeeingBackend()
    backend.vision = Slow(backend.embeds, ImageLimits())
    quick = """
async def main():
    with get_auto_model().create_context() as context:
        context.fill_tokens([1, 2, 3])
        for _ in range(20):
            context.fill_tokens([(await context.next_dist()).max_index()])
"""
    picture = """
async def main():
    q = get_auto_model().create_queue()
    seen = embed_img(q, BLOB, alloc_emb(q, 7))
    send("begun")
    await seen
"""

    async def main() -> tuple[Outcome, Outcome]:
        specs = [*fake_handlers(), *load_handlers("fake", "", Selection())]
        model = fake_model(backend, load_registry(Selection()), specs)
        start = START.format(blob=png(40, 30), other=b"")
        try:
            slow = asyncio.create_task(run_inferlet(start + picture, models={"fake": model}))
            other = await run_inferlet(
                quick.replace("async def", "from inferlet import *\nasync def", 1), models={"fake": model}
            )
            let_go.set()
            return await slow, other
        finally:
            let_go.set()
            await asyncio.to_thread(model.close)

    slow, other = asyncio.run(main())
    assert (slow.ended.status, other.ended.status) == ("finished", "finished"), (slow.ended.error, other.ended.error)


def test_a_backend_that_does_not_see_does_not_offer_the_trait_and_says_so() -> None:
    (outcome,) = run("import asyncio\nasync def main():\n    return json.dumps(available_traits(get_auto_model()))",
                     backend=FakeBackend())  # fmt: skip
    assert "input_image" not in json.loads(outcome.ended.value or "[]")
    with pytest.raises(TraitError, match="input_image: this backend has nothing to see images with"):
        run("async def main():\n    embed_img(get_auto_model().create_queue(), b'', [])", backend=FakeBackend())


def test_what_the_family_refuses_is_an_error_of_its_program() -> None:
    class Picky(FakeVision):
        def measure(self, width: int, height: int) -> Extent:
            raise ArgumentError("this family wants no such pictures")

    backend = SeeingBackend()
    backend.vision = Picky(backend.embeds, ImageLimits())
    (outcome,) = run("async def main():\n    num_embs_needed(get_auto_model(), (4, 4))", backend=backend)
    assert "wants no such pictures" in (outcome.ended.error or "")


def test_it_has_an_interface_in_wit() -> None:
    text = package_of(load_registry(Selection()).traits["input_image"]).text
    assert "embed-img: func(q: u32, blob: list<u8>, emb: list<u32>, pos: u32)" in text
    assert "num-embs-needed: func(model: string, size: list<u32>)" in text
    assert "record image-measure" in text
