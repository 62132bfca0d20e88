"""What a program writes goes to its client."""

from __future__ import annotations

import io
from collections.abc import Callable

from inferlet.errors import from_code


class Output(io.TextIOBase):
    """A text stream over the import `output`; each `write` is one crossing."""

    def __init__(self, emit: Callable[[str], object], failure: type[Exception]) -> None:
        self._emit = emit
        self._failure = failure

    def write(self, text: str) -> int:
        """Show text. Raises the SDK's errors if the server does not take it."""
        if text:
            try:
                self._emit(whole_text(text))
            except self._failure as error:
                refused = error.value  # type: ignore[attr-defined]  # generated
                raise from_code(refused.code, refused.message) from None
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True


def whole_text(text: str) -> str:
    """Text that UTF-8 can carry: half a surrogate pair becomes U+FFFD, as at the server's own edge."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
