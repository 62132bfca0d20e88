"""Images in a `Context`, over hashes: whatever is forked, cut and hidden, it is what filling anew would give."""

from __future__ import annotations

import asyncio
import json

import pytest
from pie_traits_image.testing.fake import SeeingBackend
from pie_traits_image.testing.pictures import png
from pie_traits_image.vision import Extent

from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry
from pie_core.resource import Embed, KvPage
from pie_core.testing import fake_handlers, fake_model, run_inferlet

START = f"""
from inferlet import *
import json

BLOB, OTHER = {png(40, 30)!r}, {png(50, 40)!r}

async def seen(context):
    return (await context.next_dist(None)).ids

async def anew(*parts):
    with get_auto_model().create_context() as context:
        for part in parts:
            if isinstance(part, bytes):
                await context.fill_image(part)
            else:
                await context.fill(part)
        return await seen(context)

"""


class Squeezing(SeeingBackend):
    """Whose images take fewer positions than Embeds."""

    def __init__(self) -> None:
        super().__init__(embeds=512)
        self.vision.measure = lambda width, height: Extent(7 if width == 40 else 9, 3)  # type: ignore[method-assign]


def finished(source: str, backend: SeeingBackend | None = None) -> tuple[object, SeeingBackend]:
    """What a program returned; all that it held is free again."""
    backend = backend or SeeingBackend(embeds=512)

    async def main() -> object:
        specs = [*fake_handlers(), *load_handlers("fake", "", Selection())]
        model = fake_model(backend, load_registry(Selection()), specs)
        try:
            outcome = await run_inferlet(START + source, models={"fake": model})
            assert outcome.ended.status == "finished", outcome.ended.error
            assert [model.layer.pools[kind].free for kind in (KvPage, Embed)] == [64, 512]
            return json.loads(outcome.ended.value or "null")
        finally:
            await asyncio.to_thread(model.close)

    return asyncio.run(main()), backend


@pytest.mark.parametrize("kind", [SeeingBackend, Squeezing])
def test_forks_share_an_image_that_was_seen_once(kind: type[SeeingBackend]) -> None:
    _, backend = finished(
        """
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("look: ")
        await context.fill_image(BLOB)
        forks = [context.fork() for _ in range(3)]
        for number, fork in enumerate(forks):
            await fork.fill(f" number {number}")
            await fork.fill_image(OTHER)
            await fork.fill("?")
        found = [await seen(fork) for fork in forks]
        for fork in forks:
            fork.close()
    assert found == [await anew("look: ", BLOB, f" number {number}", OTHER, "?") for number in range(3)]
""",
        kind() if kind is Squeezing else None,
    )
    assert backend.vision.seen == 1 + 3 + 6  # here, in the forks, and anew


def test_a_context_may_end_with_an_image_and_be_forked_hidden_and_cut_there() -> None:
    finished("""
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("a")
        await context.fill_image(BLOB)
        wanted = await anew("a", BLOB)
        assert await seen(context) == wanted
        with context.fork() as fork:
            assert await seen(fork) == wanted
            await fork.fill("bc")
            assert await seen(fork) == await anew("a", BLOB, "bc")
            fork.truncate(8)
            assert await seen(fork) == wanted
            fork.truncate(1)
            assert await seen(fork) == await anew("a")
        context.mask([0])
        assert await seen(context) != wanted
        context.mask([0], visible=True)
        assert await seen(context) == wanted
""")


def test_an_image_is_run_in_one_piece_though_chunks_are_shorter() -> None:
    finished("""
import inferlet.cache
async def main():
    inferlet.cache.CHUNK = 4
    parts = ["some text", BLOB, "and", OTHER, OTHER, "more of it"]
    found = await anew(*parts)
    inferlet.cache.CHUNK = 1024
    try:
        assert found == await anew(*parts)
    finally:
        inferlet.cache.CHUNK = 1024
""")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("context.truncate(3)", "truncate: 3 is inside an image, of tokens 1..7"),
        ("context.hidden_states(4)", "hidden_states: token 5 is inside an image, of tokens 1..7"),
        ("await context.fill_image(b'no')", "the 2 bytes are no PNG, JPEG or WebP image"),
        ("await context.fill_image(BLOB[:90])", "broken or cut off"),
        ("await context.fill_image('a.png')", "argument `blob`: expected bytes"),
    ],
)
def test_what_cannot_be_done_with_an_image_is_an_error_and_the_context_stays_as_it_was(call: str, message: str) -> None:
    said, _ = finished(f"""
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("a")
        await context.fill_image(BLOB)
        await context.fill("b")
        before = await seen(context)
        try:
            {call}
        except PieError as error:
            assert await seen(context) == before
            return json.dumps(str(error))
""")
    assert message in str(said)


def test_exported_images_are_found_and_go_on_at_the_same_positions() -> None:
    finished(
        """
async def main():
    model = get_auto_model()
    with model.create_context() as context:
        await context.fill("a")
        await context.fill_image(BLOB)
        await context.fill("b")
        context.export("pictures")
        tokens = list(context.tokens)
    with Context.open(model, "pictures", tokens, images=[(1, 7, 3)]) as found:
        await found.fill("c")
        assert await seen(found) == await anew("a", BLOB, "b", "c")
    release_kvpage("pictures")
""",
        Squeezing(),
    )


def test_a_user_turn_has_its_images_in_front_of_the_text() -> None:
    finished("""
async def main():
    with get_auto_model().create_context() as context:
        await context.user("same?", images=[BLOB, OTHER])
        assert await seen(context) == await anew("<user>", BLOB, OTHER, "same?")
    in_parts = "{% for m in messages %}{{ m.role }}:{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
    assert render_image_turn(in_parts, "same?", 2, "<image>") == ["user:", "", "same?"]
""")


def test_text_behind_an_image_stands_where_the_image_ends() -> None:
    """Against the calls themselves; an image of 7 Embeds takes 3 positions here."""
    finished(
        """
async def main():
    model = get_auto_model()
    q = model.create_queue()
    emb, last = alloc_emb(q, 10), alloc_emb(q, 1)
    pages = alloc_kvpage(q, 1)
    embed_txt(q, [97, 98, 99], [0, 4, 5], [emb[0], *emb[8:]])
    embed_img(q, BLOB, emb[1:8], 1)
    forward(q, [], emb, pages, last)
    wanted = (await get_next_dist(q, last, None)).ids
    dealloc_emb(q, emb + last)
    assert await anew("a", BLOB, "bc") == wanted
""",
        Squeezing(),
    )
