"""The tree of what an inferlet has had computed, read from its commands as they are enqueued.

Every token that is run through the model is a node; its parent is the token before it among those in the pages that the
pass names. So a fork shows as a node with several children, whichever language and library the program is written
with, and so do drafts that were rejected and answers that were thrown away: they were computed, too.

Commands are known by the fields of their declarations, so that those of other packages which say the same by the same
names are understood (`_rule_for`): what embeds tokens, a pass, what draws a token, what draws and runs many in steps,
what copies slots. Tokens whose number nobody says (of pictures, of vectors that are fed back) are nodes without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pie_core import Embed, KvPage
from pie_core.command import Command
from pie_core.control.submission import Submission
from pie_core.control.ticket import Ticket
from pie_server_page.tree import Node, Vector

MOST_TOKENS = 8192
"""Of one inferlet; what it has computed after them is left out."""

_PURGE = 1024  # records of pages and Embeds after which those that are gone are looked for


class Branches:
    """Of one inferlet on one model."""

    def __init__(self, user: str, now: Callable[[], float], most: int = MOST_TOKENS) -> None:
        self.user = user
        self.root = Node(Vector(), -1, run=False)
        self.tokens = 0  # nodes that were run
        self.complete = True  # nothing was left out
        self.first_s: float | None = None  # from its first use of the model until something was drawn
        self._most = most
        self._nodes = 0
        self._now = now
        self._since = now()
        self._vectors: dict[Embed, Vector] = {}
        self._states: dict[Embed, Node] = {}  # behind which token an Embed has the hidden state
        self._slots: dict[KvPage, dict[int, Node]] = {}
        self._purge_at = _PURGE
        self._rules: dict[type[Command], Callable[[Any, Ticket], None] | None] = {}

    def enqueued(self, submission: Submission) -> None:
        """A command of the inferlet, in its order; what it will fill is planned."""
        command, ticket = submission.command, submission.ticket
        if self.first_s is None and submission.reads:
            ticket.watch(self._note_first)
        if not self.complete:
            return
        kind = type(command)
        if kind not in self._rules:
            self._rules[kind] = self._rule_for(kind)
        rule = self._rules[kind]
        if rule is not None:
            rule(command, ticket)
            self._purge()

    def _rule_for(self, kind: type[Command]) -> Callable[[Any, Ticket], None] | None:
        rules: list[tuple[set[str], bool, Callable[[Any, Ticket], None]]] = [
            ({"ikv", "okv", "oemb", "first", "slots", "start"}, True, self._decode),
            ({"ikv", "iemb", "okv", "oemb", "slots", "positions"}, False, self._pass),
            ({"emb", "into"}, False, self._draw),
            ({"tok", "emb"}, False, self._embed),
            ({"src", "dst", "src_start", "dst_start", "lengths"}, False, self._copy),
        ]
        fields = set(kind.__struct_fields__)
        return next((rule for names, steps, rule in rules if names <= fields and kind.stepwise == steps), None)

    def _note_first(self, ticket: Ticket) -> None:
        if self.first_s is None and ticket.value is not None:
            self.first_s = self._now() - self._since

    def _embed(self, command: Any, _: Ticket) -> None:
        for token, embed in zip(command.tok, command.emb, strict=True):
            self._put(embed, Vector(token))

    def _draw(self, command: Any, ticket: Ticket) -> None:
        vector, state = Vector(), self._states.get(command.emb[0])
        if state is not None:
            self._grow(state, vector, state.position + 1, run=False)
        for embed in command.into:
            self._put(embed, vector)

        def drawn(ticket: Ticket) -> None:
            vector.token = ticket.value

        ticket.watch(drawn)

    def _pass(self, command: Any, _: Ticket) -> None:
        vectors = [self._vectors.get(embed) or Vector() for embed in command.iemb]
        sees = _visible(command.mask, len(vectors)) if getattr(command, "mask", None) is not None else None
        nodes = self._run(command.ikv, vectors, command.positions, sees)
        self._fill(command.okv, command.slots, nodes)
        self._give_states(command.oemb, nodes[len(nodes) - len(command.oemb) :])

    def _decode(self, command: Any, ticket: Ticket) -> None:
        state = self._states.get(command.emb[0], self.root)
        pages, context = command.okv, command.ikv

        def drawn(ticket: Ticket) -> None:
            if ticket.value and self.complete:
                *run, last = ([] if command.first is None else [command.first]) + list(ticket.value)
                before = self._before(context, command.start) if command.first is not None else state
                nodes = self._chain(before, run, command.start)
                self._fill(pages, command.slots[: len(nodes)], nodes)
                end = nodes[-1] if nodes else before
                self._grow(end, Vector(last), command.start + len(run), run=False)
                self._give_states(command.oemb, [end])

        ticket.watch(drawn)

    def _chain(self, node: Node, tokens: Iterable[int], start: int) -> list[Node]:
        nodes = []
        for position, token in enumerate(tokens, start):
            node = self._grow(node, Vector(token), position, run=True)
            nodes.append(node)
        return nodes

    def _copy(self, command: Any, _: Ticket) -> None:
        first, to = command.src_start, command.dst_start
        for source, target, length in zip(command.src, command.dst, command.lengths, strict=True):
            held = self._slots.get(source, {})
            kept = {at: node for at, node in self._slots.get(target, {}).items() if not to <= at < to + length}
            moved = {to + at: held[first + at] for at in range(length) if first + at in held}
            self._slots[target] = kept | moved

    def _run(
        self,
        context: Sequence[KvPage],
        vectors: Sequence[Vector],
        positions: Sequence[int],
        sees: Callable[[int, int], bool] | None,
    ) -> list[Node]:
        """Nodes for the tokens of a pass. sees: whether one may attend to another one of them."""
        nodes: list[Node] = []
        for at, (vector, position) in enumerate(zip(vectors, positions, strict=True)):
            inside = (
                nodes[other]
                for other in range(at - 1, -1, -1)
                if positions[other] < position and (sees is None or sees(at, other))
            )
            parent = next(inside, None) or self._before(context, position)
            nodes.append(self._grow(parent, vector, position, run=True))
        return nodes

    def _before(self, pages: Sequence[KvPage], position: int) -> Node:
        """The last token in pages that stands before a position."""
        best = self.root
        for page in reversed(pages):  # mostly it is in the last one
            for node in self._slots.get(page, {}).values():
                if best.position < node.position < position:
                    best = node
            if best.position == position - 1:
                break
        return best

    def _fill(self, pages: Sequence[KvPage], slots: Sequence[tuple[int, int]], nodes: Sequence[Node]) -> None:
        for (place, slot), node in zip(slots, nodes, strict=True):
            self._slots.setdefault(pages[place], {})[slot] = node

    def _put(self, embed: Embed, vector: Vector) -> None:
        self._vectors[embed] = vector
        self._states.pop(embed, None)

    def _give_states(self, embeds: Sequence[Embed], nodes: Sequence[Node]) -> None:
        for embed, node in zip(embeds, nodes, strict=True):
            self._states[embed] = node
            self._vectors.pop(embed, None)

    def _grow(self, parent: Node, vector: Vector, position: int, run: bool) -> Node:
        node = Node(vector, position, run)
        self._nodes += 1
        if self._nodes > self._most:
            self.complete = False
        else:
            parent.children.append(node)
            self.tokens += run
        return node

    def _purge(self) -> None:
        """Forget records that nobody holds or uses any more."""
        tables: list[dict[Any, Any]] = [self._vectors, self._states, self._slots]
        if sum(map(len, tables)) > self._purge_at:
            for table in tables:
                for record in [record for record in table if not (record.holders or record.uses)]:
                    del table[record]
            self._purge_at = _PURGE + 2 * sum(map(len, tables))


def _visible(mask: Any, count: int) -> Callable[[int, int], bool]:
    """Of the `count` tokens of a pass, which are the last columns of its mask."""
    first = mask.cols - count
    return lambda row, column: bool(mask.data[row * mask.cols + first + column])
