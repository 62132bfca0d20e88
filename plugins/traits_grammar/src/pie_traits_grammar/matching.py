"""Following a grammar with llguidance, within limits. For threads of the host; no two meet at one place.

llguidance counts its own work (fuel, items) and stops at a limit. That bounds what it does in one call; what it does in
one command is bounded by `BUDGET_S` of the thread's own processor time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from pie_core import ArgumentError, ResourceError
from pie_traits_grammar.admission import Admission
from pie_traits_grammar.compiling import compile_grammar, failure, make_tokenizer

BUDGET_S = 1.0  # of processor time, for one command; looked at between tokens


class Place:
    """How far into a grammar some tokens have led. An end token is not llguidance's business: it ends the sentence."""

    def __init__(self, matcher: Any, taken: int = 0, ended: bool = False) -> None:
        self.matcher = matcher  # llguidance.LLMatcher
        self.taken = taken  # tokens, the end token included
        self.ended = ended  # by the end token

    def copy(self) -> Place:
        """Another one at the same place."""
        return Place(self.matcher.deep_copy(), self.taken, self.ended)


class Matching:
    """A vocabulary, ready for grammars. Errors are `ArgumentError` or `ResourceError`; a place is lost then.

    words: the bytes of every token. ends: tokens that end a sentence. specials: tokens that are no text.
    """

    def __init__(self, words: Sequence[bytes], ends: Sequence[int], specials: Sequence[int]) -> None:
        self._words = words
        self._ends = frozenset(ends)
        self._specials = frozenset(specials) | self._ends
        self._admission = Admission()
        self._lock = threading.Lock()
        self._made: Any = None  # llguidance.LLTokenizer: takes a second for a large vocabulary, so when first wanted

    def close(self) -> None:
        """End the process that tries grammars."""
        self._admission.close()

    def start(self, syntax: str, grammar: str) -> Place:
        """Compile a grammar."""
        self._admission.check(syntax, grammar)
        return Place(compile_grammar(self._tokenizer(), syntax, grammar))

    def allowed(self, place: Place) -> bytes:
        """A bit for every token: those that may come next."""
        mask: bytes = place.matcher.compute_bitmask()
        if place.matcher.is_error():
            raise failure(
                place.matcher, f"no token can follow the {place.taken} taken; the grammar has no sentence here"
            )
        return mask

    def count(self, place: Place, tokens: Sequence[int]) -> int:
        """How many of the tokens can be taken."""
        if place.ended:
            return 0
        text = next((at for at, token in enumerate(tokens) if token in self._ends), len(tokens))
        count: int = place.matcher.validate_tokens(list(tokens[:text])) if text else 0
        if count < text or text == len(tokens):
            return count
        return count + self._may_end(place, tokens[:text])

    def advance(self, place: Place, tokens: Sequence[int]) -> None:
        """Take tokens."""
        deadline = time.thread_time() + BUDGET_S
        for at, token in enumerate(tokens):
            if self.count(place, [token]) == 0:
                word = self._words[token].decode("utf-8", "replace")
                raise ArgumentError(
                    f"advance: the grammar does not allow token {token} ({word!r:.40}), number {at} of {len(tokens)}; "
                    "count_allowed tells beforehand how many can be taken"
                )
            if token in self._ends:
                place.ended = True
            elif not place.matcher.consume_token(token):
                raise failure(place.matcher, f"advance: token {token} cannot be taken")
            place.taken += 1
            if time.thread_time() > deadline:
                raise ResourceError(f"advance: the grammar is too slow: {at + 1} tokens took over {BUDGET_S:g} s")

    def rollback(self, place: Place, count: int) -> None:
        """Take back tokens."""
        text = count - (place.ended and count > 0)
        place.ended = place.ended and count == 0
        place.taken -= count
        if text and not place.matcher.rollback(text):
            raise failure(place.matcher, f"rollback: {count} tokens cannot be taken back")

    def _may_end(self, place: Place, tokens: Sequence[int]) -> bool:
        if not tokens:
            return bool(place.matcher.is_accepting())
        ahead = place.matcher.deep_copy()
        return bool(ahead.consume_tokens(list(tokens)) and ahead.is_accepting())

    def _tokenizer(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = make_tokenizer(self._words, sorted(self._ends), sorted(self._specials))
            return self._made
