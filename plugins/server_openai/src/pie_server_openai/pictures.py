"""The pictures of a chat, as bytes for the program. They come as data URLs: the server fetches nothing on its own.

What kind of picture it is, and whether it is sound, is for the trait to say; nobody looks at the media type of the URL.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pie_core.errors import TraitError
from pie_core.loaded import LoadedModel
from pie_server_openai import requests as r
from pie_server_openai.errors import RequestError

MOST = 500  # of a request, as OpenAI has it
_TRAIT = "input_image"
_BASE64 = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_FORM = "data:image/png;base64,..."


class Picture(NamedTuple):
    """The bytes of a file, and the field of the request that they came in."""

    data: bytes
    param: str


def pictures_of(messages: Sequence[r.Message], model: LoadedModel) -> list[Picture]:
    """In their order. Raises `RequestError` for what is no data URL, and if the model does not see."""
    urls = list(_urls(messages))
    if len(urls) > MOST:
        raise RequestError(f"{len(urls)} pictures; at most {MOST} are taken", param="messages")
    if urls and _TRAIT not in model.traits:
        _refuse(model, urls[0][0])
    return [Picture(_decoded(url, param), param) for param, url in urls]


def check_sizes(pictures: Sequence[Picture], most: int | None) -> None:
    """Raise `RequestError` for one that a program cannot hand on, which can do that with `most` bytes."""
    for data, param in pictures:
        if most is not None and len(data) > most:
            raise RequestError(
                f"a picture of {len(data)} bytes; a program can show the model {most} here: make it smaller, or "
                "have the server run programs with --native",
                param=param,
            )


def _urls(messages: Sequence[r.Message]) -> Iterator[tuple[str, str]]:
    for at, message in enumerate(messages):
        content = message.content if isinstance(message, r.UserMessage) else ""
        for place, part in enumerate([] if isinstance(content, str) else content):
            if isinstance(part, r.ImagePart):
                yield f"messages[{at}].content[{place}].image_url.url", part.image_url.url


def _refuse(model: LoadedModel, param: str) -> None:
    try:
        model.realization.require([_TRAIT], "a picture", model.info.name)
    except TraitError as error:
        raise RequestError(str(error), param=param, code=error.code) from None


def _decoded(url: str, param: str) -> bytes:
    head = _BASE64.match(url)
    if head is None:
        if url[:8].lower().startswith(("http://", "https://")):
            raise RequestError(f"the server fetches no pictures; send the bytes in the URL ({_FORM})", param=param)
        raise RequestError(f"{url[:40]!r} is no data URL in base64 ({_FORM})", param=param)
    try:
        return binascii.a2b_base64("".join(url[head.end() :].split()), strict_mode=True)
    except ValueError as error:
        raise RequestError(f"the data URL has no sound base64: {error}", param=param) from None
