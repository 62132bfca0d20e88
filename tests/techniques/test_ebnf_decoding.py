"""Text under a grammar: valid for parsers of other libraries, and greedy among what a brute-force search allows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import jsonschema
import lark
import pytest
import regex
from transformers.convert_slow_tokenizer import bytes_to_unicode

from .conftest import Reference
from .running import Cost, Ran, run, run_on, serving

JSON_PROMPT = "Country: {}\nJSON:"

SUM = """
start: term (("+" | "-") term)*
term: digit | "(" start ")"
digit: "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"
"""
PLACES = {
    "type": "object",
    "properties": {"where": {"enum": ["here", "there", "nowhere"]}, "sure": {"type": "boolean"}},
    "required": ["where", "sure"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
CAPITAL = rf'\{{"capital": "[A-Z][a-z]+", "latitude": {NUMBER}, "longitude": {NUMBER}\}}'  # of the program's schema
NAMES = ["Bogotá", "São Tomé", "Reykjavík", "Bogotá, Colombia"]

Check = Callable[[bytes], bool]


def by_regex(pattern: str) -> tuple[Check, Check]:
    """Whether bytes begin a text of an ASCII pattern, and whether they are one (library `regex`)."""

    def begins(text: bytes) -> bool:
        return text.isascii() and regex.fullmatch(pattern, text.decode(), partial=True) is not None

    return begins, lambda text: text.isascii() and regex.fullmatch(pattern, text.decode()) is not None


def by_lark(grammar: str) -> tuple[Check, Check]:
    """The same for a Lark grammar whose terminals are single characters (library `lark`, Earley)."""
    parser = lark.Lark(grammar, parser="earley", lexer="dynamic")

    def begins(text: bytes) -> bool:
        try:
            parser.parse(text.decode())
        except lark.UnexpectedEOF:
            return True
        except (lark.UnexpectedInput, UnicodeDecodeError):
            return False
        return True

    def whole(text: bytes) -> bool:
        try:
            parser.parse(text.decode())
        except lark.UnexpectedInput:
            return False
        return True

    return begins, whole


def by_list(sentences: list[str]) -> tuple[Check, Check]:
    """The same for a finite language, byte by byte."""
    known = [sentence.encode() for sentence in sentences]
    return lambda text: any(sentence.startswith(text) for sentence in known), lambda text: text in known


def brute_force(reference: Reference, prompt: str, begins: Check, whole: Check, most: int) -> str:
    """Greedy over the whole vocabulary among the tokens with which the text still begins a sentence."""
    tokenizer = reference.tokenizer
    back = {char: byte for byte, char in bytes_to_unicode().items()}
    specials = set(tokenizer.all_special_ids)
    words = {
        token: bytes(back[char] for char in written)
        for written, token in tokenizer.get_vocab().items()
        if token not in specials
    }
    tokens, text = reference.encode(prompt), b""
    for _ in range(most):
        logits = reference.logits(tokens)[-1]
        allowed = [token for token, word in words.items() if word and begins(text + word)]
        if whole(text):
            allowed.append(tokenizer.eos_token_id)
        best = max(allowed, key=lambda token: logits[token].item())
        if best == tokenizer.eos_token_id:
            return text.decode()
        tokens.append(best)
        text += words[best]
    return text.decode()


CASES = {
    "a schema": ("json_schema", "", JSON_PROMPT.format("Japan"), by_regex(CAPITAL)),
    "a schema of choices": (
        "json_schema",
        json.dumps(PLACES),
        "JSON:",
        by_list(
            [
                json.dumps({"where": w, "sure": s}, separators=(",", ":"))
                for w in PLACES["properties"]["where"]["enum"]
                for s in (True, False)
            ]
        ),  # type: ignore[index]
    ),
    "a regular expression": (
        "regex",
        r" [A-Z][a-z]{2,6}(-[A-Z]{1,3})?!",
        "The capital of France is",
        by_regex(r" [A-Z][a-z]{2,6}(-[A-Z]{1,3})?!"),
    ),
    "a recursive grammar": ("lark", SUM, "2 + 3 =", by_lark(SUM)),
    "characters of several bytes": (
        "lark",
        "start: " + " | ".join(f'"{n}"' for n in NAMES),
        "The capital of Iceland is",
        by_list(NAMES),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_greedy_text_is_the_likeliest_among_all_allowed_tokens_at_every_step(reference: Reference, case: str) -> None:
    syntax, grammar, prompt, checks = CASES[case]
    most = 10 if case == "a recursive grammar" else 64
    expected = brute_force(reference, prompt, *checks, most)
    arguments = ("--prompt", prompt, "--syntax", syntax, "--grammar", grammar, "--max-tokens", str(most))
    for drafts in ("0", "16"):
        ran = run("ebnf_decoding", *arguments, "--drafts", drafts)
        assert ran.output.split("\n[cut")[0].removesuffix("\n") == expected


def test_sampled_text_is_valid_for_other_parsers() -> None:
    async def go() -> list[tuple[str, str]]:
        async with serving() as controller:
            found = []
            for seed in range(2):
                for case, (syntax, grammar, prompt, _) in CASES.items():
                    arguments = ("--prompt", prompt, "--syntax", syntax, "--grammar", grammar, "--temperature", "1.5")
                    ran = await run_on(controller, "ebnf_decoding", *arguments, "--seed", str(seed))
                    found.append((case, ran.output))
            return found

    whole = [(case, text.removesuffix("\n")) for case, text in asyncio.run(go()) if "[cut off" not in text]
    assert len({text for _, text in whole}) > 5
    for case, text in whole:
        assert CASES[case][3][1](text.encode()), (case, text)
        if case == "a schema of choices":
            jsonschema.validate(json.loads(text), PLACES)


def test_the_default_is_valid_under_its_schema_and_says_what_the_model_knows() -> None:
    answer = json.loads(run("ebnf_decoding").output)
    schema = {
        "type": "object",
        "properties": {
            "capital": {"type": "string", "pattern": "^[A-Z][a-z]+$"},
            "latitude": {"type": "number"},
            "longitude": {"type": "number"},
        },
        "required": ["capital", "latitude", "longitude"],
        "additionalProperties": False,
    }
    jsonschema.validate(answer, schema)
    assert answer["capital"] == "Paris"


async def counted(*arguments: str) -> tuple[Ran, dict[str, int]]:
    """A run, and how many commands of each kind it made."""
    async with serving() as controller:
        ran = await run_on(controller, "ebnf_decoding", *arguments)
        (model,) = controller.models.values()
        return ran, {name: counters.commands for name, counters in model.layer.statistics.calls.items()}


def test_drafts_of_forced_text_save_passes_and_change_nothing_else() -> None:
    alone, drafted = run("ebnf_decoding", "--drafts", "0"), run("ebnf_decoding")
    assert drafted.output == alone.output
    assert drafted.cost.forwards < alone.cost.forwards * 0.7


def test_a_draft_that_the_model_would_write_otherwise_is_rolled_back(reference: Reference) -> None:
    """The text is forced, but its tokens are not: in the middle of a draft another token is likelier."""
    sentence = "zyxw vuts rqpo nmlk jihg fedc ba"
    arguments = ("--prompt", "Text:", "--syntax", "regex", "--grammar", sentence)
    ran, commands = asyncio.run(counted(*arguments))
    assert ran.output == sentence + "\n"
    assert commands["rollback"] > 0
    alone = run("ebnf_decoding", *arguments, "--drafts", "0")
    assert alone.output == ran.output


def test_text_that_reaches_the_bound_is_said_to_be_cut() -> None:
    ran = run("ebnf_decoding", "--max-tokens", "5")
    assert ran.output.endswith("[cut off after 5 tokens: --max-tokens]\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--syntax", "lark", "--grammar", "start: nothing"),
            'the lark cannot be used: at 1(8): unknown name: "nothing"',
        ),
        (("--syntax", "regex", "--grammar", r"[^\s\S]"), "no token can follow the 0 taken"),
        (("--syntax", "json_schema", "--grammar", '{"type": "integer", "minimum": 5, "maximum": 3}'), "minimum (5)"),
        (("--syntax", "bnf", "--grammar", "x"), "no syntax 'bnf'"),
        (("--grammar", "x"), "--grammar without --syntax"),
    ],
)
def test_an_impossible_grammar_is_an_error_that_says_so(arguments: tuple[str, ...], message: str) -> None:
    ran = run("ebnf_decoding", *arguments)
    assert ran.outcome.ended.status == "failed" and message in (ran.outcome.ended.error or "")
    assert ran.cost == Cost(0, 0, 0)
