"""The model's own tokenizer: the `tokenizers` library on tokenizer.json, transformers where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tokenizers

from pie_backend_torch.checkpoint import Checkpoint
from pie_backend_torch.vocabulary import token_bytes
from pie_core.errors import CheckpointError


class Tokenizer(Protocol):
    """Text to ids and back. Thread-safe and free of state."""

    def encode(self, text: str) -> list[int]:
        """Ids of the text; nothing added at either end, special tokens in the text become their ids."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens included."""

    def vocabulary(self, size: int) -> list[bytes]:
        """The bytes of tokens 0 to size - 1; empty for an id that is no token."""

    def token_id(self, token: str) -> int | None:
        """The id of a token by its written form."""

    def specials(self) -> list[int]:
        """The ids of tokens that stand for no text, rising."""

    def prefix(self) -> list[int]:
        """The ids it would put before a text."""


class FastTokenizer:
    """tokenizer.json without transformers."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def vocabulary(self, size: int) -> list[bytes]:
        return token_bytes(self._tokenizer, size)

    def token_id(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def specials(self) -> list[int]:
        return sorted(index for index, token in self._tokenizer.get_added_tokens_decoder().items() if token.special)

    def prefix(self) -> list[int]:
        plain, full = self.encode("a"), list(self._tokenizer.encode("a", add_special_tokens=True).ids)
        return _prefix(plain, full)


class SlowTokenizer:
    """Whatever transformers makes of the directory; for tokenizers that have no tokenizer.json."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def vocabulary(self, size: int) -> list[bytes]:
        known = len(self._tokenizer)
        return [self._tokenizer.decode([index]).encode() if index < known else b"" for index in range(size)]

    def token_id(self, token: str) -> int | None:
        index = self._tokenizer.convert_tokens_to_ids(token)
        return None if index is None else int(index)

    def specials(self) -> list[int]:
        return sorted(self._tokenizer.all_special_ids)

    def prefix(self) -> list[int]:
        return _prefix(self.encode("a"), list(self._tokenizer.encode("a")))


def open_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """Read the tokenizer of a checkpoint. Raises `CheckpointError` if it is damaged."""
    file = checkpoint.path / "tokenizer.json"
    try:
        if file.is_file():
            return FastTokenizer(tokenizers.Tokenizer.from_file(str(file)))
        from transformers import AutoTokenizer

        loaded = AutoTokenizer.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # both libraries raise bare Exceptions
        raise CheckpointError(
            f"{file.parent}: the tokenizer cannot be read ({error}); fetch its files again"
        ) from error
    backend = getattr(loaded, "backend_tokenizer", None)
    return FastTokenizer(backend) if isinstance(backend, tokenizers.Tokenizer) else SlowTokenizer(loaded)


def bos_token(tokenizer: Tokenizer, config: Mapping[str, Any]) -> int | None:
    """The id that the tokenizer puts before a text, or None. `config` is tokenizer_config.json."""
    explicit, token = config.get("add_bos_token"), config.get("bos_token")
    if explicit is False:
        return None
    prefix = tokenizer.prefix()
    if prefix or not explicit or token is None:
        return prefix[0] if prefix else None
    return tokenizer.token_id(_content(token))


def eos_tokens(tokenizer: Tokenizer, *configs: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that end an answer: of the first of `configs` that says so, by id or by written form."""
    for config in configs:
        ids = config.get("eos_token_id")
        if ids is not None:
            return tuple(ids) if isinstance(ids, list) else (int(ids),)
        if config.get("eos_token") is not None:
            found = tokenizer.token_id(_content(config["eos_token"]))
            if found is not None:
                return (found,)
    return ()


def prompt_template(checkpoint: Checkpoint) -> str:
    """The Jinja source of the chat template; "" if there is none."""
    file = checkpoint.path / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = checkpoint.optional_json("tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several by name
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default") or next(iter(named.values()), None)
    return template if isinstance(template, str) else ""


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _prefix(plain: list[int], full: list[int]) -> list[int]:
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start]
    return []
