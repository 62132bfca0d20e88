"""From the text of a grammar to a llguidance matcher, within limits; what its errors are in our words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from pie_core import ArgumentError, PieError, ResourceError

FUEL = 1_000_000  # for compiling: 20 ms or so
STEP_FUEL = 100_000  # for one mask: 7 ms or so
STEP_ITEMS = 25_000
LEXER_STATES = 10_000  # of one matcher, 2 kB each at most
GRAMMAR_SIZE = 100_000  # symbols
_OVER_LIMITS = ("ParserTooComplex", "LexerTooComplex")
_COMPLETE = '\n%llguidance {"no_forcing": true}\n'  # allow every token that fits, not one way to write what is forced


def make_tokenizer(words: Sequence[bytes], ends: Sequence[int], specials: Sequence[int]) -> Any:
    """llguidance's view of a vocabulary; takes a second for a large one. `ends` are among the `specials`."""
    wrapped = TokenizerWrapper(_Vocabulary(words, ends, specials))
    return LLTokenizer(wrapped, n_vocab=len(words), eos_token=list(ends))


def compile_grammar(tokenizer: Any, syntax: str, grammar: str) -> Any:
    """A matcher at the start. Raises `ArgumentError` or `ResourceError`."""
    limits = LLParserLimits(
        initial_lexer_fuel=FUEL,
        step_lexer_fuel=STEP_FUEL,
        step_max_items=STEP_ITEMS,
        max_lexer_states=LEXER_STATES,
        max_grammar_size=GRAMMAR_SIZE,
        verbose_errors=False,
    )
    source = LLMatcher.grammar_from_lark(_as_lark(syntax, grammar) + _COMPLETE)
    matcher = LLMatcher(tokenizer, source, log_level=0, limits=limits)
    if matcher.is_error():
        raise failure(matcher, f"set_grammar: the {syntax} cannot be used")
    return matcher


def failure(matcher: Any, what: str) -> PieError:
    """llguidance's own words, without what it adds for its authors."""
    said = matcher.get_error().partition("\n<")[0].strip()
    kind = ResourceError if matcher.stop_reason() in _OVER_LIMITS else ArgumentError
    return kind(f"{what}: {said:.500}")


def _as_lark(syntax: str, grammar: str) -> str:
    """Any syntax in Lark's."""
    if syntax == "regex":
        return str(json.loads(LLMatcher.grammar_from_regex(grammar))["grammars"][0]["lark_grammar"])
    if syntax == "json_schema":
        try:
            return f"start: %json {json.dumps(json.loads(grammar))}"
        except (ValueError, RecursionError) as error:
            raise ArgumentError(f"set_grammar: the schema is no JSON: {error}") from error
    return grammar


class _Vocabulary:
    """What llguidance wants of a tokenizer. It has it tokenize only what is forced, and nothing is (`_COMPLETE`)."""

    bos_token_id = None

    def __init__(self, words: Sequence[bytes], ends: Sequence[int], specials: Sequence[int]) -> None:
        self.tokens = list(words)
        self.eos_token_id = ends[0]
        self.special_token_ids = list(specials)

    def __call__(self, text: bytes | str) -> list[int]:
        return []
