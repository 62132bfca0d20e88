"""The suite of trait `allocate`: copies that serve like their originals, sharing, and books that add up."""

from __future__ import annotations

from pie_core.errors import ArgumentError, HandleError, ResourceError
from pie_core.hookspecs import hookimpl
from pie_core.resource import Embed, KvPage
from pie_core.testing.conformance import TraitSuite, quick
from pie_traits_text.allocate import ALLOCATE
from pie_traits_text.testing.reading import TextSuite


class AllocateSuite(TextSuite):
    """Any backend that realizes `allocate`."""

    trait = ALLOCATE

    @quick
    def test_the_page_size_is_that_of_the_model(self) -> None:
        assert self.open_program().space.call("get_kvpage_size", None, ()) == self.size

    @quick
    def test_a_copied_page_serves_like_the_original(self) -> None:
        tokens = self.tokens(self.size + 4, 60)
        p = self.writer()
        pages, _ = p.whole(tokens[:-1])
        copies = p.call("alloc_kvpage", 2)
        p.call("copy_kvpage", pages, copies)
        original, copied = (p.forward(tokens[-1:], [len(tokens) - 1], kv, kv) for kv in (pages, copies))
        self.check_same(p.last(original), p.last(copied))

    @quick
    def test_tokens_are_copied_to_any_slots(self) -> None:
        """Three pieces of two pages, put where they were not, are the same context: order of slots means nothing."""
        tokens = self.tokens(self.size + 4, 61)
        p = self.writer()
        pages, _ = p.whole(tokens[:-1])
        low, high = p.call("alloc_kvpage", 2)
        p.call("copy_kvpage", pages[:1], [high])
        p.call("copy_kvpage", pages[1:], [low], 0, 2, 1)
        p.call("copy_kvpage", pages[1:], [low], 1, 0, 2)
        assert [page.used for page in p.program.space.resolve(KvPage, [low], "test")] == [0b111]
        original, copied = (p.forward(tokens[-1:], [len(tokens) - 1], kv) for kv in (pages, [low, high]))
        self.check_same(p.last(original), p.last(copied))

    @quick
    def test_a_copy_is_independent_of_its_source(self) -> None:
        tokens = self.tokens(7, 62)
        p = self.writer()
        pages, _ = p.whole(tokens[:3], room=3)
        wanted = p.last(p.forward(tokens[3:4], [3], pages))
        copy = p.call("alloc_kvpage", 1)
        p.call("copy_kvpage", pages[:1], copy)
        p.forward(tokens[4:], range(3, 6), copy, copy if self.size >= 6 else None)
        self.check_same(wanted, p.last(p.forward(tokens[3:4], [3], pages)))

    @quick
    def test_a_copy_brings_masks_along_and_empties_what_it_covers(self) -> None:
        p = self.writer()
        tokens = self.tokens(4, 63)
        source, target = p.call("alloc_kvpage", 2)
        p.forward(tokens[:3], range(3), (), [source])
        p.call("mask_kvpage", [source], [True, False, True])
        p.call("copy_kvpage", [source], [target], 1, 2, 2)
        (books,) = p.program.space.resolve(KvPage, [target], "test")
        assert (books.used, books.hidden) == (0b1100, 0b0100)
        p.call("copy_kvpage", [source], [target], 2, 1, 2)  # slot 3 of the source is empty, so slot 2 becomes empty
        assert (books.used, books.hidden) == (0b1010, 0b0000)

    @quick
    def test_holes_that_a_copy_leaves_are_filled_by_the_next_forward(self) -> None:
        tokens = self.tokens(5, 64)
        p = self.writer()
        pages, _ = p.whole(tokens[:2])
        page = p.call("alloc_kvpage", 1)
        p.call("copy_kvpage", pages, page, 0, 0, 1)
        p.call("copy_kvpage", pages, page, 1, 2, 1)  # slot 1 stays free
        p.forward(tokens[2:4], [2, 3], page, page)
        assert [books.used for books in p.program.space.resolve(KvPage, page, "test")] == [0b1111]
        found = p.forward(tokens[4:], [4], page)
        self.check_same(p.last(found), p.last(p.whole(tokens)[1]))

    @quick
    def test_copies_of_one_batch_are_kept_apart(self) -> None:
        texts = [self.tokens(4, seed) for seed in (65, 66, 67)]
        p = self.writer()
        sources = [p.whole(text[:-1])[0] for text in texts]
        targets = [p.call("alloc_kvpage", len(source)) for source in sources]
        self.rig.loop.run()
        for source, target in zip(sources, targets, strict=True):
            p.call("copy_kvpage", source, target)
        ends = [p.forward(text[-1:], [3], target) for text, target in zip(texts, targets, strict=True)]
        for text, end in zip(texts, ends, strict=True):
            self.check_same(p.last(end), p.last(p.whole(text)[1]))

    @quick
    def test_copies_outside_a_page_or_onto_themselves_are_refused(self) -> None:
        p, size = self.writer(), self.size
        source, _ = p.whole(self.tokens(3, 68))
        target, other = p.call("alloc_kvpage", 2)
        for arguments in (
            (source, [target, other]),
            (source, source),
            ([*source, other], [target, target]),
            (source, [target], size - 1, 0, 2),
            (source, [target], 0, size - 2),
            (source, [target], size + 1),
            (source, [target], 0, 0, size + 1),
        ):
            self.check_refused(ArgumentError, p.call, "copy_kvpage", *arguments)

    @quick
    def test_the_first_and_the_last_page_and_embed_of_the_pools_work_and_are_kept_apart(self) -> None:
        tokens = self.tokens(3, 69)
        p = self.writer()
        wanted = [p.last(p.whole([token, tokens[2]])[1]) for token in tokens[:2]]
        whole = {kind: self.rig.layer.pools[kind].free for kind in (KvPage, Embed)}
        pages, embeds = p.program.space.allocate(KvPage, whole[KvPage]), p.embeds(whole[Embed])
        for page, embed, token in zip(pages[:: len(pages) - 1], embeds[:: len(embeds) - 1], tokens, strict=False):
            p.call("embed_txt", [token], [0], [embed])
            p.call("forward", [], [embed], [page], [])
        ends = embeds[1:3]
        p.call("embed_txt", [tokens[2]] * 2, [1, 1], ends)
        for page, end, into in zip(pages[:: len(pages) - 1], ends, pages[1:3], strict=True):
            p.call("forward", [page], [end], [into], [end])
        for one, other in zip(p.read(ends), wanted, strict=True):
            self.check_same(one, other)

    @quick
    def test_what_is_given_back_while_it_is_used_serves_to_the_end(self) -> None:
        tokens = self.tokens(self.size + 1, 70)
        p = self.writer()
        wanted = p.last(p.whole(tokens)[1])
        pages, _ = p.whole(tokens[:-1], room=1)
        end = p.forward(tokens[-1:], [self.size], pages, pages)
        ticket = p.call("get_next_dist", end, None)
        p.call("dealloc_kvpage", pages)
        p.call("dealloc_emb", end)
        p.forward(self.tokens(self.size, 71), range(self.size))
        again = p.last(p.whole(tokens)[1])
        best = max(range(len(wanted)), key=wanted.__getitem__)
        assert ticket.result().ids[0] == best
        self.check_same(wanted, again)

    @quick
    def test_a_wrong_free_frees_nothing(self) -> None:
        p, other = self.open_program("a"), self.open_program("b")
        for kind, alloc, free in ((KvPage, "alloc_kvpage", "dealloc_kvpage"), (Embed, "alloc_emb", "dealloc_emb")):
            good, gone = p.call(alloc, 2)
            p.call(free, [gone])
            for wrong in ([good, gone], [good, good], [good, *other.call(alloc, 1)]):
                self.check_refused(HandleError, p.call, free, wrong)
            self.check_refused(ResourceError, p.call, alloc, self.rig.layer.pools[kind].capacity)
            p.call(free, [good])

    @quick
    def test_exported_pages_serve_another_inferlet_after_their_exporter_has_ended(self) -> None:
        tokens = self.tokens(self.size + 1, 72)
        author, reader = self.writer("author"), self.writer("reader")
        wanted = reader.last(reader.whole(tokens)[1])
        pages, _ = author.whole(tokens[:-1])
        author.call("export_kvpage", pages, "prefix")
        self.check_refused(HandleError, author.call, "mask_kvpage", pages, [True] * self.size)
        self.rig.layer.close(author.program.space)
        shared = reader.call("import_kvpage", "prefix")
        self.check_same(wanted, reader.last(reader.forward(tokens[-1:], [self.size], shared)))
        (listed,) = reader.call("exported_kvpages")
        assert (listed.name, listed.pages, listed.tokens, listed.owner) == ("prefix", 1, self.size, "author")
        for kind, name in ((HandleError, "import_kvpage"), (HandleError, "release_kvpage")):
            assert "did you mean 'prefix'" in str(self.check_refused(kind, reader.call, name, "prefx"))
        self.check_refused(ArgumentError, reader.call, "export_kvpage", shared, "prefix")
        reader.call("release_kvpage", "prefix")
        self.check_refused(HandleError, reader.call, "import_kvpage", "prefix")


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return AllocateSuite
