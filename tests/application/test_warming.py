"""What a handler puts off is done before the first program that needs its trait, and only that program waits."""

import asyncio
import threading

import pytest

from pie_core import U32, HandlerSpec, PluginError, Query, Trait, UnsupportedError
from pie_core.plugins import Selection
from pie_core.registry import Registry, load_registry
from pie_core.testing import fake_handlers, fake_model, run_inferlet


class CountPages(Query):
    """How many pages the book has."""

    target = "model"
    returns = U32


BOOK = Trait(name="book", version="1.0.0", doc="A book that takes long to read.", calls=(CountPages,))
SHELF = Trait(name="shelf", version="1.0.0", doc="Stands on it.", calls=(), requires=("book>=1,<2",))
COUNTS = "from inferlet import *\nasync def main():\n    return str(count_pages(get_auto_model()))"
NAMES = '# /// inferlet\n# traits = ["shelf"]\n# ///\nasync def main():\n    return "read"'
NEITHER = "async def main():\n    return 'without'"


class Book:
    """Its pages are there once it was read. readings: the threads that did; fails: what the next ones raise."""

    def __init__(self):
        self.pages = None
        self.readings = []
        self.fails = []
        self.may_end = threading.Event()
        self.may_end.set()

    def warm_up(self):
        self.readings.append(threading.current_thread())
        assert self.may_end.wait(60), "nobody else got on meanwhile"
        if self.fails:
            raise self.fails.pop()
        self.pages = 7

    def count_pages(self, query):
        return self.pages


def play(book, scene):
    """Run `await scene(launch)`; `launch(source)` runs a program to its end and gives what it returned."""

    async def main():
        registry = Registry([*load_registry(Selection()).traits.values(), BOOK, SHELF])
        model = fake_model(None, registry, [*fake_handlers(), HandlerSpec("book", "fake", lambda _: book)])

        async def launch(source):
            ended = (await run_inferlet(source, models={"fake": model})).ended
            assert ended.status == "finished", ended.error
            return ended.value

        try:
            return await scene(launch)
        finally:
            await asyncio.to_thread(model.close)

    return asyncio.run(main())


def test_a_handler_warms_up_once_for_the_programs_that_use_its_calls_or_a_trait_on_top_of_its_own():
    async def scene(launch):
        said = [await launch(NEITHER)]
        assert book.readings == []
        return [*said, await launch(NAMES), await launch(COUNTS), await launch(COUNTS)]

    book = Book()
    assert play(book, scene) == ["without", "read", "7", "7"]
    assert len(book.readings) == 1


def test_while_a_handler_warms_up_other_programs_run():
    """It does not end before another program has begun and ended."""

    async def scene(launch):
        waits = asyncio.create_task(launch(COUNTS))
        while not book.readings:
            await asyncio.sleep(0)
        said = await launch(NEITHER)
        assert not waits.done()
        book.may_end.set()
        return said, await waits

    book = Book()
    book.may_end.clear()
    assert play(book, scene) == ("without", "7")
    assert threading.main_thread() not in book.readings


def test_what_a_handler_raises_then_refuses_the_program_and_the_next_one_tries_again():
    async def scene(launch):
        with pytest.raises(UnsupportedError, match="there is no light"):
            await launch(COUNTS)
        with pytest.raises(PluginError, match=r"program 'test' needs trait 'book'.*warm up: KeyError: 'glasses'"):
            await launch(NAMES)
        assert await launch(NEITHER) == "without"
        return await launch(COUNTS)

    book = Book()
    book.fails = [KeyError("glasses"), UnsupportedError("there is no light")]
    assert play(book, scene) == "7"
