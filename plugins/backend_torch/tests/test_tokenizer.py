"""Text to tokens and back equals transformers; the vocabulary's bytes join to the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pie_backend_torch.tokenizer import FastTokenizer
from pie_traits_text.tokenize import Detokenize, GetVocabs, Tokenize
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from pie_core.errors import ArgumentError

from .conftest import VOCAB, Driver, byte_tokenizer

TEXTS = ["hello help", "</s>he", "", "  two  spaces", "line\nbreak\ttab"]


@pytest.fixture(scope="module")
def driver(start: Any) -> Driver:
    made: Driver = start("llama")
    return made


def whole_byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE({token: place for place, token in enumerate([*alphabet, "he", "hel"])}, [("h", "e"), ("he", "l")])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>"])
    return tokenizer


def sentencepiece_tokenizer() -> Tokenizer:
    """Llama 2's kind: metaspace by normalizer, bytes as <0x..>."""
    words = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "h",
        "e",
        "▁h",
        "▁he",
        "he",
        "l",
        "▁hel",
    ]
    merges = [("▁", "h"), ("h", "e"), ("▁h", "e"), ("▁he", "l")]
    tokenizer = Tokenizer(
        models.BPE(
            {word: place for place, word in enumerate(words)},
            merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def metaspace_tokenizer() -> Tokenizer:
    words = [
        ("<unk>", 0.0),
        ("▁", -2.0),
        ("▁hello", -1.0),
        ("he", -3.0),
        ("l", -4.0),
        ("o", -4.0),
        ("w", -4.0),
        ("▁w", -3.0),
    ]
    tokenizer = Tokenizer(models.Unigram(words, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return tokenizer


def test_tokenize_and_detokenize_are_those_of_transformers(driver: Driver, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    stock = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(), clean_up_tokenization_spaces=False)
    handler = driver.handlers["tokenize"]
    for text in TEXTS:
        ids = handler.tokenize(Tokenize(text))
        assert ids == stock.encode(text, add_special_tokens=False)
        assert handler.detokenize(Detokenize(ids)) == stock.decode(ids)


def test_a_token_outside_the_vocabulary_is_an_error(driver: Driver) -> None:
    with pytest.raises(ArgumentError, match=f"{VOCAB}"):
        driver.handlers["tokenize"].detokenize(Detokenize([VOCAB]))


def test_partial_utf8_becomes_a_replacement_character() -> None:
    tokenizer = FastTokenizer(whole_byte_tokenizer())
    assert tokenizer.decode(tokenizer.encode("é")[:1]) == "\ufffd"


def test_get_vocabs_has_a_place_for_every_id(driver: Driver) -> None:
    words = driver.handlers["tokenize"].get_vocabs(GetVocabs())
    assert len(words) == VOCAB
    assert words[2] == b"</s>"
    assert b"hel" in words


@settings(deadline=None)
@given(st.text())
def test_byte_level_vocabularies_join_to_the_text(text: str) -> None:
    tokenizer = FastTokenizer(whole_byte_tokenizer())
    words = tokenizer.vocabulary(300)
    assert b"".join(words[token] for token in tokenizer.encode(text)) == text.encode()


@settings(deadline=None)
@given(st.text(alphabet="hel é\n漢", min_size=1))
def test_byte_fallback_vocabularies_join_to_the_text(text: str) -> None:
    tokenizer = FastTokenizer(sentencepiece_tokenizer())
    words = tokenizer.vocabulary(300)
    assert b"".join(words[token] for token in tokenizer.encode(text)) == b" " + text.encode()


def test_metaspace_vocabularies_join_to_the_text() -> None:
    tokenizer = FastTokenizer(metaspace_tokenizer())
    words = tokenizer.vocabulary(8)
    assert b"".join(words[token] for token in tokenizer.encode("hello wo")) == b" hello wo"


def test_special_tokens_keep_their_written_form_in_any_kind() -> None:
    raw = sentencepiece_tokenizer()
    raw.add_special_tokens([AddedToken("<|x▁y|>", special=True)])
    assert FastTokenizer(raw).vocabulary(raw.get_vocab_size())[-1] == "<|x▁y|>".encode()


def test_tokens_that_are_no_text_are_those_added_as_special() -> None:
    tokenizer = whole_byte_tokenizer()
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    tokenizer.add_special_tokens(["<pad>"])
    specials = FastTokenizer(tokenizer).specials()
    assert specials == [tokenizer.token_to_id("</s>"), tokenizer.token_to_id("<pad>")]


def test_the_prefix_is_what_the_post_processor_adds() -> None:
    assert FastTokenizer(sentencepiece_tokenizer()).prefix() == [1]
    assert FastTokenizer(byte_tokenizer()).prefix() == []
