"""The suite of trait `tokenize`: text to tokens and back. It touches no Embed and no page."""

from __future__ import annotations

from typing import Any, ClassVar

from pie_core.errors import ArgumentError
from pie_core.hookspecs import hookimpl
from pie_core.testing.conformance import TraitSuite, quick
from pie_traits_text.tokenize import TOKENIZE


class TokenizeSuite(TraitSuite):
    """Any backend that realizes `tokenize`.

    texts: what the tokenizer gives back unchanged. Change it for one that normalizes text.
    """

    trait = TOKENIZE
    texts: ClassVar[tuple[str, ...]] = ("hello", "hello world", "two  spaces", "a\nb\tc", "naïve café", "日本", "🎈 x")

    @quick
    def test_the_tokens_of_a_text_give_the_text_back(self) -> None:
        for text in self.texts:
            assert self._ask("detokenize", self._ask("tokenize", text)) == text

    @quick
    def test_tokens_are_of_the_vocabulary_and_always_the_same(self) -> None:
        vocab = self.subject.backend.info.vocab_size
        for text in self.texts:
            ids = self._ask("tokenize", text)
            assert ids and all(type(token) is int and 0 <= token < vocab for token in ids)
            assert self._ask("tokenize", text) == ids

    @quick
    def test_no_text_is_no_token_and_no_token_no_text(self) -> None:
        assert self._ask("tokenize", "") == []
        assert self._ask("detokenize", []) == ""

    @quick
    def test_a_character_in_pieces_is_replaced_until_it_is_whole(self) -> None:
        for text in self.texts:
            ids = self._ask("tokenize", text)
            for count in range(len(ids)):
                part = self._ask("detokenize", ids[:count])
                part.encode()  # raises if there is half a character in it
                assert text.startswith(part.rstrip("\ufffd"))

    @quick
    def test_the_vocabulary_has_the_bytes_of_every_token(self) -> None:
        words = self._ask("get_vocabs")
        assert len(words) == self.subject.backend.info.vocab_size
        assert all(isinstance(word, bytes) for word in words)
        for text in self.texts:
            joined = b"".join(words[token] for token in self._ask("tokenize", text))
            assert joined.removeprefix(b" ") == text.encode().removeprefix(b" ")  # some write the start as a space

    @quick
    def test_a_token_outside_the_vocabulary_is_refused(self) -> None:
        vocab = self.subject.backend.info.vocab_size
        for ids in ([vocab], [0, 2**32 - 1]):
            self.check_refused(ArgumentError, self.open_program(f"p{ids}").call, "detokenize", ids)

    @quick
    def test_it_launches_nothing(self) -> None:
        self._ask("tokenize", "hello")
        self.rig.loop.run()
        assert self.rig.layer.statistics.waves == 0

    def _ask(self, name: str, *arguments: Any) -> Any:
        return self.open_program(f"p{len(self.rig.layer.spaces)}").call(name, *arguments)


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return TokenizeSuite
