"""`Context`: a growing text with its KV cache. The convenient way to generate; go below it at any point."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from inferlet import calls, generating, speculating
from inferlet.attention import Attention, mask_rows
from inferlet.chat import render_image_turn, render_turn
from inferlet.dist import Dist
from inferlet.drafting import Drafter
from inferlet.drawing import Burst, Drawing
from inferlet.errors import ArgumentError, PieError
from inferlet.guiding import Grammar
from inferlet.handles import Embed, Queue
from inferlet.host import Host, host
from inferlet.images import IMAGE, Images
from inferlet.model import Model
from inferlet.pages import PageTable
from inferlet.queues import leave_queue, take_queue
from inferlet.sampling import Constraint, Sampler, greedy
from inferlet.stopping import Stop, any_of, cut, ends_with, max_tokens

CHUNK = 1024  # tokens run in one forward pass while filling
WHOLE = Burst(32, 256, 128)  # tokens drawn by one call for who waits for the whole text
SOON = Burst(1, 8)  # for who waits for the next token


class Context:
    """Tokens, the pages that hold their keys and values, and the tokens still to be run.

    Filling is lazy: tokens are run when the next distribution is needed, all but the last when the context is forked
    or exported. Freed by `close`, at the end of a `with` block, or with the object.
    """

    _closed = True  # until there is something to give back

    def __init__(self, model: Model, adapter: str | None = None) -> None:
        if adapter is not None and adapter not in model.adapters:
            known = ", ".join(model.adapters) or "none"
            raise ArgumentError(f"model {model.name!r} has no adapter {adapter!r}; it has {known}")
        self._host = host()
        self.model = model
        self.adapter = adapter  # every token of the context goes through it
        self.queue = take_queue(model)
        self.tokens: list[int] = []  # all of them, pending ones included
        self.attention: Attention | None = None  # what the tokens that are run from now on see; None: all before them
        self._images = Images()
        self._table = PageTable(self.queue, model.kvpage_size)
        self._out: list[Embed] = []  # for the tokens to be run, and their hidden states afterwards
        self._states = range(0)  # positions of the tokens whose hidden states are in `_out`, in order
        self._hidden: set[int] = set()  # positions that are masked
        self.drawing: Drawing | None = None  # as long as nothing else uses the context
        self._ahead: Embed | None = None  # into which the server draws ahead of `tokens`
        self._closed = False

    # filling

    async def fill(self, text: str) -> None:
        """Append text."""
        self.fill_tokens(calls.tokenize(self.queue, text))

    def fill_tokens(self, tokens: Iterable[int]) -> None:
        """Append tokens."""
        self._check_open()
        if not self.tokens and self.model.bos_token is not None:
            self.tokens.append(self.model.bos_token)
        self.tokens += tokens

    async def fill_image(self, blob: bytes) -> None:
        """Append an image, the bytes of a PNG, JPEG or WebP file. In `tokens` it is so many `-1`."""
        self.fill_tokens(())
        measure = await calls.measure_img(self.queue, blob)
        image, seen = self._images.add(self.queue, blob, len(self.tokens), measure)
        try:
            await seen
        except BaseException:
            calls.dealloc_emb(self.queue, image.embeds)
            raise
        self._images.all.append(image)
        self.tokens += [IMAGE] * image.count

    async def system(self, text: str) -> None:
        """Append a system turn, in the model's chat template."""
        await self._turn("system", text)

    async def user(self, text: str, images: Sequence[bytes] = ()) -> None:
        """Append a user turn, images in front of its text, and open the assistant's."""
        if not images:
            await self._turn("user", text)
            return
        before, *pieces = render_image_turn(self.model.prompt_template, text, len(images))
        await self.fill(before)
        for blob, piece in zip(images, pieces, strict=True):
            await self.fill_image(blob)
            await self.fill(piece)

    # generating

    async def next_dist(self, top_k: int | None = 256) -> Dist:
        """The distribution of the next token. The context must not be empty."""
        (dist,) = await self.next_dists(1, top_k)
        return dist

    async def next_dists(self, count: int, top_k: int | None = 256) -> list[Dist]:
        """The distributions of what follows each of the last `count` tokens, from one forward pass.

        So tokens that were guessed and filled in are all judged at once; `truncate` takes back what is not wanted.
        """
        asked = [calls.get_next_dist(self.queue, [state], top_k) for state in self.hidden_states(count)]
        return [await dist for dist in asked]

    def hidden_states(self, count: int = 1) -> list[Embed]:
        """Embeds with the hidden states of the last `count` tokens, for calls that read such.

        They are the context's own, and hold until it runs again: make the calls at once; what is enqueued stays right.
        """
        self._check_filled()
        if not 1 <= count <= len(self.tokens):
            raise ArgumentError(f"hidden_states: {count} of a context of {len(self.tokens)} tokens")
        first = len(self.tokens) - count
        if first < self._states.start or self._states.stop < len(self.tokens):
            self._images.check_uncut(first, "hidden_states")
            self._forget(first)
            self._run(len(self.tokens), count)
        at = first - self._states.start
        return self._out[at : at + count]

    async def generate(
        self,
        sampler: Sampler | None = None,
        stop: Stop | None = None,
        constraints: Sequence[Constraint | Grammar] = (),
        drafter: Drafter | None = None,
    ) -> str:
        """Generate until `stop` says so, the model ends its answer, or the model's range is full; the text."""
        pieces = self._pieces(sampler, stop, constraints, drafter, WHOLE)
        return "".join([piece async for piece in pieces])

    async def generate_until(
        self,
        max_token: int | None = None,
        stop: str | Sequence[str] = (),
        sampler: Sampler | None = None,
        constraints: Sequence[Constraint | Grammar] = (),
    ) -> str:
        """Generate at most `max_token` tokens, up to the first of the `stop` strings, which is not part of the text."""
        endings = [stop] if isinstance(stop, str) else list(stop)
        conditions = [max_tokens(max_token)] if max_token is not None else []
        text = await self.generate(sampler, any_of(*conditions, ends_with(*endings)), constraints)
        return cut(text, endings)

    async def stream(
        self,
        sampler: Sampler | None = None,
        stop: Stop | None = None,
        constraints: Sequence[Constraint | Grammar] = (),
        drafter: Drafter | None = None,
    ) -> AsyncIterator[str]:
        """The text in pieces, as whole characters, while it is generated; some tokens at a time.

        drafter: guesses tokens that one pass judges (`prompt_lookup`); the text is the same. Not with constraints.
        """
        async for piece in self._pieces(sampler, stop, constraints, drafter, SOON):
            yield piece

    def _pieces(
        self,
        sampler: Sampler | None,
        stop: Stop | None,
        constraints: Sequence[Constraint | Grammar],
        drafter: Drafter | None,
        burst: Burst,
    ) -> AsyncIterator[str]:
        if drafter is None:
            return generating.stream(self, sampler or greedy(), stop, constraints, burst)
        if constraints:
            raise ArgumentError("a drafter and constraints do not go together: leave one of them out")
        return speculating.stream(self, drafter, sampler or greedy(), stop)

    # shaping

    def fork(self) -> Context:
        """A second context with the same tokens: full pages are shared, the partial one is copied."""
        self._check_open()
        self._run(len(self.tokens) - 1)
        child = Context(self.model, self.adapter)
        child._table = self._table.fork(child.queue)
        child._images = Images(self._images.all)
        child.tokens = list(self.tokens)
        child._hidden = set(self._hidden)
        child.attention = self.attention
        return child

    def truncate(self, count: int) -> None:
        """Keep the first `count` tokens; what is kept is not computed again.

        But for the last of them, if its distribution is wanted and it was not asked for before.
        """
        self._check_open()
        if not 0 <= count <= len(self.tokens):
            raise ArgumentError(f"truncate: {count} is outside the context of {len(self.tokens)} tokens")
        if (image := self._images.at(count)) is not None and image.start < count:
            raise ArgumentError(f"truncate: {count} is inside an image, of tokens {image.start}..{image.stop - 1}")
        self._table.truncate(min(self._table.tokens, count))
        if gone := self._images.truncate(count):
            calls.dealloc_emb(self.queue, gone)
        self._states = range(min(self._states.start, count), min(self._states.stop, count))
        del self.tokens[count:]
        self._hidden = {position for position in self._hidden if position < count}

    def mask(self, positions: Iterable[int], visible: bool = False) -> None:
        """Hide the tokens at `positions` from the next distribution and all that follows (or show them again).

        A token always sees itself. Positions outside the context: error.
        """
        self._check_open()
        chosen = set(positions)
        if any(not 0 <= position < len(self.tokens) for position in chosen):
            raise ArgumentError(f"mask: {min(chosen)}..{max(chosen)} reaches outside the {len(self.tokens)} tokens")
        self._run(len(self.tokens) - 1)
        self._forget(max(len(self.tokens) - 1, 0))  # what the last one saw may have changed
        self._hidden = self._hidden - chosen if visible else self._hidden | chosen
        self._table.hide(self._hidden, chosen)

    def drop_masked_pages(self) -> int:
        """Free for good the pages whose tokens are all hidden or unseen by the last token and the next; how many.

        All tokens are run for it, in as few passes as may be.
        """
        self._check_open()
        self._run(len(self.tokens))
        last = max(len(self.tokens) - 1, 0)
        seen = [range(last)] if self.attention is None else [*self.attention(last), *self.attention(last + 1)]
        return self._table.drop_unless(set().union(*seen) - self._hidden, last)

    def export(self, name: str, ttl: float | None = None) -> None:
        """Publish the pages of all tokens under a name; `Context.open` starts from them."""
        self._check_filled()
        self._run(len(self.tokens))
        if any(page is None for page in self._table.pages):
            raise PieError("export: pages of this context were dropped; export before dropping")
        calls.export_kvpage(self._table.handles(), name, ttl)
        fresh = self._table.fork(self.queue)  # the exported partial page is read-only now; go on with a copy
        self._table.drop(range(len(self._table.pages)))
        self._table = fresh

    @classmethod
    def open(
        cls,
        model: Model,
        name: str,
        tokens: Sequence[int],
        adapter: str | None = None,
        images: Sequence[tuple[int, int, int]] = (),
    ) -> Context:
        """A context that starts with the exported pages of `tokens`, and goes on through `adapter`.

        images: of those among the tokens (as `-1`), the index of the first token, how many there are, and how many
        positions they take (`measure_img`).
        """
        context = cls(model, adapter)
        context._images = Images.elsewhere(images)
        imported = PageTable(context.queue, model.kvpage_size)
        imported.adopt(calls.import_kvpage(name), len(tokens))
        context._table = imported.fork(context.queue)  # the partial page is read-only; go on with a copy
        imported.drop(range(len(imported.pages)))
        context.tokens = list(tokens)
        return context

    def close(self) -> None:
        """Give everything back. Idempotent."""
        if self._closed:
            return
        self._closed = True
        _release(self._host, self.queue, self._table, self._out, self._images)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            self._host.defer(partial(_release, self._host, self.queue, self._table, self._out, self._images))

    # running

    def _run(self, upto: int, states: int = 1) -> None:
        """Enqueue forward passes for the tokens before `upto` that were not run; keep the last hidden `states`."""
        self._check_open()
        upto = self._images.behind(upto)
        table, start = self._table, upto - states
        if table.tokens >= upto:
            return
        self._states = range(0)
        if len(self._out) < states:
            self._out += calls.alloc_emb(self.queue, states - len(self._out))
        while table.tokens < upto:
            first = table.tokens
            last = self._images.whole(first, min(upto, first + CHUNK))
            if self._hidden:  # a token that is hidden from those after it ends its chunk
                last = next((at + 1 for at in range(first, last) if at in self._hidden), last)
            self._run_chunk(first, self.tokens[first:last], self._out[max(first - start, 0) : max(last - start, 0)])
            if last - 1 in self._hidden:
                table.hide(self._hidden, {last - 1})
        self._states = range(start, upto)

    def draw_over(self, drawing: Drawing) -> None:
        """Its draws use up the hidden state of the last token."""
        self.drawing, self._states = drawing, range(0)

    def run_draft(self, draft: Sequence[int]) -> list[Embed]:
        """Run tokens that may be none of the context's; the pages are ahead then. The hidden states before each of them
        and behind the last."""
        before = len(self.tokens)
        self.fill_tokens(draft)
        try:
            return self.hidden_states(len(draft) + 1)
        finally:
            del self.tokens[before:]

    def keep_draft(self, count: int) -> None:
        """Of those, the pages are to hold so many."""
        self._table.truncate(len(self.tokens) + count)

    def start_ahead(self, state: Embed, first: int | None, most: int, settings: Mapping[str, object]) -> Awaitable[Any]:
        """Have up to `most` tokens drawn behind `state`, after `first` was run there; the pages are ahead then.

        What `decode` gives, or `decode_guided` where a matcher is among the settings.
        """
        table, draw = self._table, calls.decode_guided if "matcher" in settings else calls.decode
        before, context, runs = table.tokens, table.handles(), most - (first is None)
        mask = mask_rows(self.attention, table.held(), range(before, before + runs)) if runs else None
        pages = table.reserve(runs)
        try:
            drawn: Awaitable[Any] = draw(
                *(self.queue, context, state, pages, state, most),
                first=first,
                adapter=self.adapter,
                mask=mask,
                **settings,
            )
        except BaseException:
            table.settle(before)
            raise
        self._ahead, self._before = state, before
        return drawn

    def end_ahead(self, state: Embed, run: int) -> None:
        """So many tokens were run, the last of them with its hidden state in `state`."""
        self._ahead = None
        self._table.settle(self._before + run)
        self._out.insert(0, self._out.pop(self._out.index(state)))
        self._states = range(self._table.tokens - 1, self._table.tokens)

    def run_drawn(self, token: list[Embed]) -> None:
        """Run the token whose embedding was drawn into an Embed, which gets its hidden state."""
        self._forward(self._table.tokens, token, token)

    def _run_chunk(self, first: int, tokens: list[int], states: list[Embed]) -> None:
        embeds, unwanted = self._inputs(first, tokens, states)
        try:
            self._forward(first, embeds, states)
        finally:
            if unwanted:
                calls.dealloc_emb(self.queue, unwanted)

    def _inputs(self, first: int, tokens: list[int], states: list[Embed]) -> tuple[list[Embed], list[Embed]]:
        """The Embeds to run for tokens, and those of them to be freed then."""
        if len(states) < len(tokens) or IMAGE in tokens:
            return self._images.inputs(self.queue, tokens, first)
        position = self._images.position(first)
        calls.embed_txt(self.queue, tokens, list(range(position, position + len(tokens))), states)
        return states, []

    def _forward(self, first: int, embeds: list[Embed], states: list[Embed]) -> None:
        table, queue = self._table, self.queue
        context = table.handles()
        mask = mask_rows(self.attention, table.held(), range(first, first + len(embeds)))
        pages = table.reserve(len(embeds))
        if self.adapter is None:
            calls.forward(queue, context, embeds, pages, states, mask)
        else:
            calls.forward_with_adapter(queue, self.adapter, context, embeds, pages, states, mask)

    def _forget(self, first: int) -> None:
        """Have the tokens from `first` on run again."""
        if self._table.tokens > first:
            self._table.truncate(first)
        self._states = range(0)

    async def _turn(self, role: str, text: str) -> None:
        await self.fill(render_turn(self.model.prompt_template, role, text, first=not self.tokens))

    def _check_open(self) -> None:
        """Before every use but for a drawing, which ends with it."""
        if self._closed:
            raise PieError("this context was closed")
        if self.drawing is not None:
            left, self.drawing = self.drawing.left, None
            if left:  # nobody took it; and whoever took the last token did not have it run
                self._forget(len(self.tokens) - 1)
        if self._ahead is not None:  # nobody waited for what the server draws
            self._table.truncate(self._before)
            self._out.remove(self._ahead)
            calls.dealloc_emb(self.queue, [self._ahead])
            self._ahead = None

    def _check_filled(self) -> None:
        self._check_open()
        if not self.tokens:
            raise ArgumentError("the context is empty; fill something first")


def _release(host: Host, queue: Queue, table: PageTable, embeds: list[Embed], images: Images) -> None:
    leave_queue(host, queue)
    table.drop(range(len(table.pages)))
    if embeds := embeds + images.drop():
        calls.dealloc_emb(queue, embeds)
