"""A backend without tensors: exact, deterministic, and sensitive to every mistake in order or addressing.

The "vector" of a token is a hash of all it depends on: its own Embed and every context token it may see, with their
positions. Two executions that agree on every hash have run the same computation; one wrong page, position, mask or
order gives other numbers. Text is UTF-8 bytes, one token each.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from pie_core.command import Command
from pie_core.errors import ArgumentError
from pie_core.inference.backend import Backend, HandlerSpec
from pie_core.model import ModelInfo
from pie_core.resource import Embed, KvPage, Resource

END = 256  # token that ends an answer
VOCABULARY = 257

Slot = tuple[int, bytes]  # position, key and value


def digest(*parts: object) -> bytes:
    """A short hash of the parts' representations."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()


class FakeBackend(Backend):
    """Pools of hashes. `pages` and `embeds` size them; `answer` makes the model recite a text after any prompt.

    Of an adapter only the name counts: it is part of every hash that a pass through it makes.
    swaps: whether it offers a `Swapper`.
    """

    def __init__(
        self,
        pages: int = 64,
        embeds: int = 256,
        page_size: int = 16,
        answer: str | None = None,
        batch: int = 4096,
        adapters: Sequence[str] = (),
        swaps: bool = True,
    ) -> None:
        self._info = ModelInfo(
            name="fake",
            vocab_size=VOCABULARY,
            max_position=4096,
            kvpage_size=page_size,
            description="Hashes instead of tensors.",
            prompt_template="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
            eos_tokens=(END,),
            adapters=tuple(adapters),
        )
        self._capacity: dict[type[Resource], int] = {KvPage: pages, Embed: embeds}
        self._batch = batch
        self.answer: list[int] | None = None if answer is None else [*answer.encode(), END]
        self.slots: dict[tuple[int, int], Slot] = {}  # (page, offset)
        self.embeds: dict[int, bytes] = {}
        self.behind: dict[bytes, int] = {}  # hidden state -> where the next token goes; only with an answer
        self.closed = False
        self._swapper = FakeSwapper(self) if swaps else None

    @property
    def info(self) -> ModelInfo:
        """See `Backend.info`."""
        return self._info

    @property
    def capacity(self) -> Mapping[type[Resource], int]:
        """See `Backend.capacity`."""
        return self._capacity

    @property
    def device(self) -> str:
        """See `Backend.device`."""
        return "no device"

    def batch_limit(self, command: type[Command]) -> int:
        """See `Backend.batch_limit`."""
        return self._batch

    @property
    def swapper(self) -> FakeSwapper | None:
        """See `Backend.swapper`."""
        return self._swapper

    def close(self) -> None:
        """See `Backend.close`."""
        self.closed = True


class FakeSwapper:
    """Moves hashes. What has left is gone from the pool, so that whoever reads it there fails."""

    bytes_of: Mapping[type[Resource], int] = {KvPage: 64, Embed: 8}

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def swap_out(self, kind: type[Resource], indices: Sequence[int]) -> list[dict[int, Any]]:
        """See `Swapper.swap_out`. For each index, what it held by slot."""
        return [self._take(kind, index) for index in indices]

    def swap_in(self, kind: type[Resource], copy: Any, indices: Sequence[int | None]) -> None:
        """See `Swapper.swap_in`."""
        for held, index in zip(copy, indices, strict=True):
            if index is None:
                continue
            self._take(kind, index)
            for slot, value in held.items():
                if kind is KvPage:
                    self._backend.slots[index, slot] = value
                else:
                    self._backend.embeds[index] = value

    def _take(self, kind: type[Resource], index: int) -> dict[int, Any]:
        backend = self._backend
        if kind is KvPage:
            slots = [slot for slot in range(backend.info.kvpage_size) if (index, slot) in backend.slots]
            return {slot: backend.slots.pop((index, slot)) for slot in slots}
        return {0: backend.embeds.pop(index)} if index in backend.embeds else {}


class FakeHandler:
    """Every call of the text traits, over the pools of a `FakeBackend`."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def copy_kvpage(self, batch: Sequence[Any]) -> None:
        """Move slots; an empty source slot leaves an empty one."""
        slots = self._backend.slots
        for command in batch:
            for source, target, length in zip(command.src, command.dst, command.lengths, strict=True):
                for step in range(length):
                    slot = slots.get((source.index, command.src_start + step))
                    place = target.index, command.dst_start + step
                    if slot is None:
                        slots.pop(place, None)
                    else:
                        slots[place] = slot

    def embed_txt(self, batch: Sequence[Any]) -> None:
        """The hash of a token id."""
        for command in batch:
            for token, embed in zip(command.tok, command.emb, strict=True):
                self._backend.embeds[embed.index] = digest("token", token)

    def forward(self, batch: Sequence[Any]) -> None:
        """The hash of a token's Embed and of all it sees."""
        updates = [self._forward(command) for command in batch]  # all before the first write: it may be run again
        for slots, embeds in updates:
            self._backend.slots |= slots
            self._backend.embeds |= embeds

    forward_with_adapter = forward  # they come mixed

    def get_next_dist(self, batch: Sequence[Any]) -> list[Any]:
        """A distribution drawn from the hash, or the next token of the recited answer."""
        return [self._dist(command) for command in batch]

    def tokenize(self, query: Any) -> list[int]:
        """UTF-8 bytes."""
        return list(query.text.encode())

    def detokenize(self, query: Any) -> str:
        """UTF-8, with U+FFFD for what is not; the end token is no text."""
        if any(token >= VOCABULARY for token in query.ids):
            raise ArgumentError(f"detokenize: token {max(query.ids)} is outside the vocabulary of {VOCABULARY}")
        return bytes(token for token in query.ids if token < END).decode("utf-8", "replace")

    def get_vocabs(self, query: Any) -> list[bytes]:
        """One byte each, and the end token."""
        return [bytes([byte]) for byte in range(END)] + [b""]

    def _forward(self, command: Any) -> tuple[dict[tuple[int, int], Slot], dict[int, bytes]]:
        """What it writes: slots and Embeds."""
        backend, size = self._backend, self._backend.info.kvpage_size
        inputs = [backend.embeds[embed.index] for embed in command.iemb]
        keys = [
            digest("kv", value, position, command.adapter)
            for value, position in zip(inputs, command.positions, strict=True)
        ]
        new = list(zip(command.positions, keys, strict=True))
        held = command.held or command.live
        context = [
            (backend.slots[page.index, slot], bool(live >> slot & 1))
            for page, live, used in zip(command.ikv, command.live, held, strict=True)
            for slot in range(size)
            if used >> slot & 1
        ]
        outputs = []
        for row, (value, position) in enumerate(zip(inputs, command.positions, strict=True)):
            seen = _seen(context, new, row, position, command.mask)
            outputs.append(digest("hidden", value, position, command.adapter, sorted(seen)))
        slots = {(command.okv[place].index, at): entry for (place, at), entry in zip(command.slots, new, strict=True)}
        if backend.answer is not None:
            backend.behind |= zip(outputs, (position + 1 for position in command.positions), strict=True)
        kept = outputs[len(outputs) - len(command.oemb) :]
        return slots, {embed.index: output for embed, output in zip(command.oemb, kept, strict=True)}

    def _dist(self, command: Any) -> Any:
        record = type(command).signature().returns.record
        state = self._backend.embeds[command.emb[0].index]
        if self._backend.answer is not None:
            token = self._recite(self._backend.behind[state])
            return record(ids=array("I", [token]), probs=array("f", [1.0]), rest=0.0)
        draw = random.Random(state)
        weights = [draw.random() ** 8 for _ in range(VOCABULARY)]
        total = sum(weights)
        order = sorted(range(VOCABULARY), key=lambda token: (-weights[token], token))[: command.top_k]
        probs = array("f", [weights[token] / total for token in order])
        return record(ids=array("I", order), probs=probs, rest=max(0.0, 1.0 - sum(probs)))

    def _recite(self, position: int) -> int:
        answer: list[int] | None = self._backend.answer
        assert answer is not None
        return answer[position % len(answer)]


def _seen(context: list[tuple[Slot, bool]], new: list[Slot], row: int, position: int, mask: Any) -> list[Slot]:
    if mask is None:
        return [slot for slot, live in context if live and slot[0] <= position] + [s for s in new if s[0] <= position]
    allowed = mask.data[row * mask.cols : (row + 1) * mask.cols]
    visible = [live for _, live in context] + [True] * len(new)
    every = [slot for slot, _ in context] + new
    return list(compress(every, (a and v for a, v in zip(allowed, visible, strict=True))))


def fake_handlers() -> list[HandlerSpec]:
    """Handlers for the text traits on the fake backend."""
    traits = ("allocate", "forward", "input_text", "tokenize", "output_text")
    return [HandlerSpec(f"{trait}>=1,<2", "fake", FakeHandler) for trait in traits]
