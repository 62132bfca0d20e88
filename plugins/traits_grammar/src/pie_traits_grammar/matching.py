"""Following a grammar with llguidance, within limits. No two threads meet at one place.

llguidance counts its own work (fuel, items) and stops at a limit. That bounds what it does in one call; what it does in
one command of the host is bounded by `BUDGET_S` of the thread's own processor time. The device thread is kept waiting
for masks that are made quickly, and for no others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pie_core import ArgumentError, ResourceError
from pie_traits_grammar.admission import Admission
from pie_traits_grammar.compiling import compile_grammar, failure, make_tokenizer

BUDGET_S = 1.0  # of processor time, for one command; looked at between tokens
QUICK_S = 0.2e-3  # of processor time; a place that has had a mask which took longer has the next made beside the device
THREADS = 2  # that make those


class Matching:
    """A vocabulary, ready for grammars.

    words: the bytes of every token. ends: tokens that end a sentence. specials: tokens that are no text.
    """

    def __init__(self, words: Sequence[bytes], ends: Sequence[int], specials: Sequence[int]) -> None:
        self.words = words
        self.ends = frozenset(ends)
        self._specials = frozenset(specials) | self.ends
        self._admission = Admission()
        self._lock = threading.Lock()
        self._made: Any = None  # llguidance.LLTokenizer: takes a second for a large vocabulary, so when first wanted
        self._threads = ThreadPoolExecutor(THREADS, "pie-grammar")  # makes its threads when there is work

    def close(self) -> None:
        """End the process that tries grammars, and the threads."""
        self._admission.close()
        self._threads.shutdown(cancel_futures=True)

    def start(self, syntax: str, grammar: str) -> Place:
        """Compile a grammar. Raises `ArgumentError` or `ResourceError`."""
        self._admission.check(syntax, grammar)
        return Place(self, compile_grammar(self._tokenizer(), syntax, grammar))

    def beside(self, work: Callable[[], bytes]) -> Future[bytes]:
        """Have something made on a thread of ours."""
        return self._threads.submit(work)

    def _tokenizer(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = make_tokenizer(self.words, sorted(self.ends), sorted(self._specials))
            return self._made


class Place:
    """How far into a grammar some tokens have led. An end token is not llguidance's business: it ends the sentence.

    taken: tokens, the end token included. accepting: whether they are a whole sentence. ended: whether nothing may
    follow but the end token, or it was taken.

    Errors are `ArgumentError` or `ResourceError`; the place is lost then. A place is what the device thread may be
    guided by (`pie_traits_decode.guiding.Guide`): `allowed`, `take`, `ended`.
    """

    def __init__(self, matching: Matching, matcher: Any, taken: int = 0, closed: bool = False) -> None:
        self.taken = taken
        self._matching = matching
        self._matcher = matcher  # llguidance.LLMatcher
        self._closed = closed  # by the end token
        self._mask: bytes | None = None  # of what may follow, once it was asked for
        self._slow = False
        self._making: Future[bytes] | None = None  # until it is done, nobody asks the matcher anything
        self._look()

    def copy(self) -> Place:
        """Another one at the same place."""
        twin = Place(self._matching, self._matcher.deep_copy(), self.taken, self._closed)
        twin._mask, twin._slow = self._mask, self._slow
        return twin

    @property
    def forced(self) -> bytes:
        """The text that must follow."""
        return b"" if self._closed else bytes(self._matcher.compute_ff_bytes())

    def mask(self) -> bytes:
        """A bit for every token: those that may come next."""
        if self._mask is None:
            began = time.thread_time()
            mask = bytes(self._matcher.compute_bitmask())
            self._slow = self._slow or time.thread_time() - began > QUICK_S
            if self._matcher.is_error():
                raise failure(
                    self._matcher, f"no token can follow the {self.taken} taken; the grammar has no sentence here"
                )
            self._mask = mask
        return self._mask

    def allowed(self, patience_s: float) -> bytes | None:
        """The same; None if it is being made and not there after so many seconds: ask nothing else meanwhile."""
        if self._mask is not None or not self._slow:
            return self.mask()
        self._making = self._making or self._matching.beside(self.mask)
        try:
            return self._making.result(patience_s)
        except TimeoutError:
            return None

    def count(self, tokens: Sequence[int]) -> int:
        """How many of the tokens can be taken."""
        if self._closed:
            return 0
        ends = self._matching.ends
        text = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
        count: int = self._matcher.validate_tokens(list(tokens[:text])) if text else 0
        if count < text or text == len(tokens):
            return count
        return count + self._may_end(tokens[:text])

    def advance(self, tokens: Sequence[int]) -> None:
        """Take tokens."""
        deadline = time.thread_time() + BUDGET_S
        for at, token in enumerate(tokens):
            if self.count([token]) == 0:
                word = self._matching.words[token].decode("utf-8", "replace")
                raise ArgumentError(
                    f"advance: the grammar does not allow token {token} ({word!r:.40}), number {at} of {len(tokens)}; "
                    "count_allowed tells beforehand how many can be taken"
                )
            self.take(token)
            if time.thread_time() > deadline:
                raise ResourceError(f"advance: the grammar is too slow: {at + 1} tokens took over {BUDGET_S:g} s")

    def take(self, token: int) -> None:
        """Take one that is allowed."""
        if self._closed:
            raise ArgumentError("an end token was taken, and nothing follows one; roll it back, or set_grammar anew")
        if token in self._matching.ends:
            self._closed = True
        elif not self._matcher.consume_token(token):
            raise failure(self._matcher, f"token {token} cannot be taken")
        self._move(1)

    def rollback(self, count: int) -> None:
        """Take back tokens."""
        text = count - (self._closed and count > 0)
        self._closed = self._closed and count == 0
        if text and not self._matcher.rollback(text):
            raise failure(self._matcher, f"rollback: {count} tokens cannot be taken back")
        self._move(-count)

    def _move(self, tokens: int) -> None:
        self.taken += tokens
        if tokens:
            self._mask = self._making = None
            self._look()

    def _look(self) -> None:
        self.accepting = self._closed or bool(self._matcher.is_accepting())
        self.ended = self._closed or bool(self._matcher.is_stopped())

    def _may_end(self, tokens: Sequence[int]) -> bool:
        if not tokens:
            return bool(self._matcher.is_accepting())
        ahead = self._matcher.deep_copy()
        return bool(ahead.consume_tokens(list(tokens)) and ahead.is_accepting())
