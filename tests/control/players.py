"""Random programs over a rig: as likely to conflict as they can be, and played in either of two ways."""

from hypothesis import strategies as st

from pie_core import Embed, KvPage, PieError

PAGES, EMBEDS, QUEUES, SIZE = 4, 4, 3, 4
ADAPTERS = ("poet", "judge")

handle = st.integers(0, PAGES - 1)
embed = st.integers(0, EMBEDS - 1)
pages = st.lists(handle, min_size=1, max_size=3)
embeds = st.lists(embed, min_size=1, max_size=3, unique=True)
adapter = st.sampled_from([None, None, *ADAPTERS])
command = st.one_of(
    st.tuples(st.just("embed_txt"), st.lists(st.integers(0, 256), min_size=1, max_size=3), st.integers(0, 40), embeds),
    st.tuples(
        st.just("forward"),
        pages,
        embeds,
        pages,
        embeds,
        st.sampled_from(["causal", "random mask", "as drawn"]),
        adapter,
    ),
    st.tuples(st.just("forward"), pages, embeds, pages, embeds, st.just("causal"), adapter),
    st.tuples(st.just("copy_kvpage"), pages, pages, st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)),
    st.tuples(st.just("mask_kvpage"), pages, st.integers(0, 2**12 - 1)),
    st.tuples(st.just("get_next_dist"), embed),
    st.tuples(st.just("replace page"), handle),
)
turns = st.sampled_from([0, 0, 0, 0, 1, 4])  # steps of the loop after a command
step = st.tuples(st.integers(0, 1), st.integers(0, QUEUES - 1), command, turns)
program = st.lists(step, min_size=15, max_size=50)


class Player:
    """Plays a random program for one inferlet; refused commands are noted, not hidden."""

    def __init__(self, rig, name):
        self.program = rig.open(name)
        self.queues = [self.program.q, *(self.program.space.create_queue() for _ in range(QUEUES - 1))]
        self.pages = self.program.call("alloc_kvpage", PAGES)
        self.embeds = self.program.call("alloc_emb", EMBEDS)
        self.log = []
        self._size = rig.backend.info.kvpage_size

    def play(self, queue, command):
        try:
            self.log.append(self._issue(self.queues[queue], *command))
        except PieError as error:
            # physical indices and handles may differ between runs; the kind of refusal may not
            self.log.append(type(error).__name__)

    def _issue(self, q, name, *rest):
        call, page, emb = self.program.call, self._page, self._embed
        if name == "embed_txt":
            tokens, first, targets = rest
            count = min(len(tokens), len(targets))
            positions = list(range(first, first + count))
            return call("embed_txt", tokens[:count], positions, emb(targets[:count]), q=q)
        if name == "forward":
            *rest, adapter = rest
            context, inputs, outputs, hidden, how = self._feasible(*rest)
            mask = self._mask(context, len(inputs)) if how == "random mask" else None
            how = ["forward"] if adapter is None else ["forward_with_adapter", adapter]
            return call(*how, page(context), emb(inputs), page(outputs), emb(hidden[: len(inputs)]), mask, q=q)
        if name == "copy_kvpage":
            sources, targets, *where = rest
            count = min(len(sources), len(targets))
            return call("copy_kvpage", page(sources[:count]), page(targets[:count]), *where, q=q)
        if name == "mask_kvpage":
            chosen, bits = rest
            return call(
                "mask_kvpage", page(chosen), [bool(bits >> i & 1) for i in range(self._size * len(chosen))], q=q
            )
        if name == "get_next_dist":
            return call("get_next_dist", emb([rest[0]]), 3, q=q)
        old, self.pages[rest[0]] = self.pages[rest[0]], call("alloc_kvpage", 1, q=q)[0]
        return call("dealloc_kvpage", [old], q=q)

    def _feasible(self, context, inputs, outputs, hidden, how):
        """Most random forwards would be refused; bend this one to Embeds that are written and pages with room."""
        records = self.program.space.resolve(Embed, self.embeds, "test")
        written = [place for place, record in enumerate(records) if record.position is not None]
        roomy = [
            place
            for place, page in enumerate(self.program.space.resolve(KvPage, self.pages, "test"))
            if page.free >= 2 and page.holders == 1
        ]
        if written and roomy and how != "as drawn":
            inputs = [written[place % len(written)] for place in inputs[:2]] or written[:1]
            outputs = [roomy[place % len(roomy)] for place in outputs[:1]] or roomy[:1]
            hidden = hidden[:1]
        return context, inputs, outputs, hidden, how

    def _mask(self, context, count):
        records = self.program.space.resolve(KvPage, self._page(context), "test")
        columns = sum(record.tokens for record in records) + count
        return [[(row * 7 + column * 5) % 3 != 0 for column in range(columns)] for row in range(count)]

    def _page(self, places):
        return [self.pages[place] for place in places]

    def _embed(self, places):
        return [self.embeds[place] for place in places]

    def results(self):
        return [
            (str(entry.error and type(entry.error)), _plain(entry.value)) if hasattr(entry, "done") else entry
            for entry in self.log
        ]

    def state(self, read):
        """What the pages hold (`read(page index, slot)` gives the backend's content) and the books on them."""
        held = self.program.space.resolve(KvPage, self.pages, "test")
        contents = [[read(page.index, slot) for slot in range(page.size) if page.used >> slot & 1] for page in held]
        return contents, [(page.used, page.hidden) for page in held]


def _plain(value):
    return None if value is None else (list(value.ids), list(value.probs))


def play(rig, read, steps, alone):
    """Results and final contents of two inferlets; `alone` drains the loop after every command."""
    players = [Player(rig, "a"), Player(rig, "b")]
    for who, queue, command, turns in steps:
        players[who].play(queue, command)
        if alone:
            rig.loop.run()
        else:
            for _ in range(turns):
                rig.loop.step()
    rig.loop.run()
    outcome = [player.results() for player in players], [player.state(read) for player in players]
    for player in players:
        rig.layer.close(player.program.space)
    rig.loop.run()
    assert all(pool.free == pool.capacity and pool.draining == 0 for pool in rig.layer.pools.values())
    return outcome
