"""`Context`: a growing text with its KV cache. The convenient way to generate; go below it at any point."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial

from inferlet import calls, generating
from inferlet.ahead import Ahead
from inferlet.attention import Attention
from inferlet.cache import Cache
from inferlet.chat import render_turn
from inferlet.chat_images import render_image_turn
from inferlet.dist import Dist
from inferlet.drafting import Drafter
from inferlet.errors import ArgumentError, PieError
from inferlet.generating import SOON, WHOLE
from inferlet.guiding import Grammar
from inferlet.handles import Embed, Queue
from inferlet.host import Host, host
from inferlet.images import IMAGE
from inferlet.model import Model
from inferlet.queues import leave_queue, take_queue
from inferlet.sampling import Constraint, Sampler
from inferlet.stopping import Stop, any_of, cut, ends_with, max_tokens


class Context:
    """Tokens, the pages that hold their keys and values, and the tokens still to be run.

    Filling is lazy: tokens are run when the next distribution is needed, all but the last when the context is forked
    or exported. Freed by `close`, at the end of a `with` block, or with the object.

    adapter: every token goes through it. queue: of the commands. tokens: all of them, pending ones included. attention:
    what the tokens that are run from now on see; None: all before them.
    """

    model: Model
    adapter: str | None
    queue: Queue
    tokens: list[int]
    attention: Attention | None

    _closed = True  # until there is something to give back

    def __init__(self, model: Model, adapter: str | None = None) -> None:
        if adapter is not None and adapter not in model.adapters:
            known = ", ".join(model.adapters) or "none"
            raise ArgumentError(f"model {model.name!r} has no adapter {adapter!r}; it has {known}")
        self._host = host()
        self.model = model
        self.adapter = adapter
        self.queue = take_queue(model)
        self.tokens = []
        self.attention = None
        self._cache = Cache(self.queue, model.kvpage_size, adapter)
        self._ahead = Ahead(self._cache)
        self._closed = False

    # filling

    async def fill(self, text: str) -> None:
        """Append text."""
        self.fill_tokens(calls.tokenize(self.queue, text))

    def fill_tokens(self, tokens: Iterable[int]) -> None:
        """Append tokens."""
        self._use()
        if not self.tokens and self.model.bos_token is not None:
            self.tokens.append(self.model.bos_token)
        self.tokens += tokens

    async def fill_image(self, blob: bytes) -> None:
        """Append an image, the bytes of a PNG, JPEG or WebP file. In `tokens` it is so many `-1`."""
        self.fill_tokens(())
        measure = await calls.measure_img(self.queue, blob)
        image = await self._cache.images.add(self.queue, blob, len(self.tokens), measure)
        self.tokens += [IMAGE] * image.count

    async def system(self, text: str) -> None:
        """Append a system turn, in the model's chat template."""
        await self._turn("system", text)

    async def user(self, text: str, images: Sequence[bytes] = ()) -> None:
        """Append a user turn, images in front of its text, and open the assistant's."""
        if not images:
            await self._turn("user", text)
            return
        placeholder = await calls.image_placeholder(self.queue)
        before, *pieces = render_image_turn(self.model.prompt_template, text, len(images), placeholder)
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
        self._use_filled()
        if not 1 <= count <= len(self.tokens):
            raise ArgumentError(f"hidden_states: {count} of a context of {len(self.tokens)} tokens")
        return self._cache.hidden_states(self.tokens, count, self.attention)

    async def generate(
        self,
        sampler: Sampler | None = None,
        stop: Stop | None = None,
        constraints: Sequence[Constraint | Grammar] = (),
        drafter: Drafter | None = None,
    ) -> str:
        """Generate until `stop` says so, the model ends its answer, or the model's range is full; the text."""
        pieces = generating.pieces(self, self._ahead, sampler, stop, constraints, drafter, WHOLE, True)
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
        together: bool = False,
    ) -> AsyncIterator[str]:
        """The text in pieces, as whole characters, while it is generated: what each token completes.

        drafter: guesses tokens that one pass judges (`prompt_lookup`); the text is the same, in pieces of what came by
            one pass. Not with constraints.
        together: a piece is all that is there by now, for who only hands the text on: as many tokens as came while
            nobody looked, and so not the same ones each time. It costs the server a fraction where tokens come fast. It
            is for answers that only the model or `max_tokens` ends; in others a piece is what each token completes.
        """
        async for piece in generating.pieces(self, self._ahead, sampler, stop, constraints, drafter, SOON, together):
            yield piece

    # shaping

    def fork(self) -> Context:
        """A second context with the same tokens: full pages are shared, the partial one is copied."""
        self._run(len(self.tokens) - 1)
        child = Context(self.model, self.adapter)
        child._cache.start_as(self._cache)
        child.tokens = list(self.tokens)
        child.attention = self.attention
        return child

    def truncate(self, count: int) -> None:
        """Keep the first `count` tokens; what is kept is not computed again.

        But for the last of them, if its distribution is wanted and it was not asked for before.
        """
        self._use()
        if not 0 <= count <= len(self.tokens):
            raise ArgumentError(f"truncate: {count} is outside the context of {len(self.tokens)} tokens")
        self._cache.truncate(count)
        del self.tokens[count:]

    def mask(self, positions: Iterable[int], visible: bool = False) -> None:
        """Hide the tokens at `positions` from the next distribution and all that follows (or show them again).

        A token always sees itself. Positions outside the context: error.
        """
        self._use()
        chosen = set(positions)
        if any(not 0 <= position < len(self.tokens) for position in chosen):
            raise ArgumentError(f"mask: {min(chosen)}..{max(chosen)} reaches outside the {len(self.tokens)} tokens")
        self._run(len(self.tokens) - 1)
        self._cache.forget(max(len(self.tokens) - 1, 0))  # what the last one saw may have changed
        self._cache.hide(chosen, visible)

    def drop_masked_pages(self) -> int:
        """Free for good the pages whose tokens are all hidden or unseen by the last token and the next; how many.

        All tokens are run for it, in as few passes as may be.
        """
        self._run(len(self.tokens))
        last = max(len(self.tokens) - 1, 0)
        seen = [range(last)] if self.attention is None else [*self.attention(last), *self.attention(last + 1)]
        return self._cache.drop_unseen(set().union(*seen), last)

    def export(self, name: str, ttl: float | None = None) -> None:
        """Publish the pages of all tokens under a name; `Context.open` starts from them."""
        self._use_filled()
        self._run(len(self.tokens))
        self._cache.export(name, ttl)

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
        context._cache.start_from(name, len(tokens), images)
        context.tokens = list(tokens)
        return context

    def close(self) -> None:
        """Give everything back. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._ahead.leave()  # who draws with it is told so
        _release(self._host, self.queue, self._ahead)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            self._host.defer(partial(_release, self._host, self.queue, self._ahead))

    # using

    async def _turn(self, role: str, text: str) -> None:
        await self.fill(render_turn(self.model.prompt_template, role, text, first=not self.tokens))

    def _use(self) -> None:
        """Before every use but by a drawing, which ends with it."""
        if self._closed:
            raise PieError("this context was closed")
        self._ahead.end(len(self.tokens))

    def _use_filled(self) -> None:
        self._use()
        if not self.tokens:
            raise ArgumentError("the context is empty; fill something first")

    def _run(self, upto: int) -> None:
        """Have the tokens before `upto` run, without those that were drawn ahead."""
        self._use()
        self._cache.run(self.tokens, upto, self.attention)


def _release(host: Host, queue: Queue, ahead: Ahead) -> None:
    ahead.cancel()
    leave_queue(host, queue)
    ahead.cache.release()
