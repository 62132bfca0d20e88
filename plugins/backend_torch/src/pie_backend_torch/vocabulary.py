"""The exact bytes of every token, for tokenizers of the byte-level, byte-fallback and plain kinds."""

from __future__ import annotations

import json
import re
from typing import Any

import tokenizers

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def token_bytes(tokenizer: tokenizers.Tokenizer, size: int) -> list[bytes]:
    """Bytes of tokens 0 to size - 1 as they appear in running text; empty for an id that is no token.

    Added tokens (specials) are their written form. Of the rest, byte-level ones are mapped back to bytes, `<0x0A>`
    of byte-fallback tokenizers is its byte, and the stand-in for a space ("▁") is a space.
    """
    facts = json.loads(tokenizer.to_str())
    added = {entry["id"]: str(entry["content"]) for entry in facts.get("added_tokens", [])}
    byte_level = _mentions(facts.get("pre_tokenizer"), "ByteLevel") or _mentions(facts.get("decoder"), "ByteLevel")
    table = byte_alphabet() if byte_level else {}
    fallback = bool(facts.get("model", {}).get("byte_fallback"))
    spaces = _space_marks(facts)
    found = [b""] * size
    for token, index in tokenizer.get_vocab(with_added_tokens=True).items():
        if index >= size:
            continue
        if index in added:
            found[index] = added[index].encode()
        elif byte_level:
            found[index] = b"".join(table.get(char) or char.encode() for char in token)
        elif fallback and (match := _BYTE.fullmatch(token)):
            found[index] = bytes([int(match[1], 16)])
        else:
            for mark, text in spaces:
                token = token.replace(mark, text)
            found[index] = token.encode()
    return found


def byte_alphabet() -> dict[str, bytes]:
    """The printable character that byte-level BPE writes for each byte, mapped back (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): bytes([byte]) for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    return table | {chr(256 + place): bytes([byte]) for place, byte in enumerate(others)}


def _space_marks(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What the decoder replaces inside tokens: pairs of mark and text, the metaspace among them."""
    pairs = []
    for part in (*_parts(facts.get("decoder")), *_parts(facts.get("pre_tokenizer"))):
        if part.get("type") == "Metaspace":
            pairs.append((str(part.get("replacement", "▁")), " "))
        elif part.get("type") == "Replace" and isinstance(part.get("pattern"), dict) and "String" in part["pattern"]:
            pairs.append((str(part["pattern"]["String"]), str(part.get("content", ""))))
    return [pair for place, pair in enumerate(pairs) if pair[0] != " " and pair not in pairs[:place]]


def _parts(node: Any) -> list[dict[str, Any]]:
    """A pre-tokenizer or decoder and, if it is a sequence, what it is made of."""
    if not isinstance(node, dict):
        return []
    inner = node.get("decoders") or node.get("pretokenizers") or []
    return [node, *(part for child in inner for part in _parts(child))]


def _mentions(node: Any, kind: str) -> bool:
    return any(part.get("type") == kind for part in _parts(node))
