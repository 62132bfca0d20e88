"""Conversations with images, in the manners of the templates that there are: what transformers renders."""

from __future__ import annotations

from typing import Any

import pytest
from inferlet import PieError, render_around_images
from transformers.utils.chat_template_utils import render_jinja_template

IMAGE = {"type": "image"}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def turn(role: str, *parts: dict[str, str]) -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<a>"
PLACED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{% if p.type == 'image' %}<|vision_start|><image><|vision_end|>"
    "{% elif 'text' in p %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}<|im_start|>a\n"
)
PARTS_ONLY = (
    "{% for m in messages %}{{ m.role | capitalize }}{{ ':' if m.content[0]['type'] == 'image' else ': ' }}"
    "{% for p in m.content %}{% if p['type'] == 'text' %}{{ p['text'] }}{% elif p['type'] == 'image' %}{{ '<image>' }}"
    "{% endif %}{% endfor %}<end>\n{% endfor %}Assistant:"
)
IMAGES_FIRST = (
    "{% for m in messages %}{{ m.role | upper }}: {% for p in m.content | selectattr('type', 'equalto', 'image') %}"
    "<image>\n{% endfor %}{% for p in m.content | selectattr('type', 'equalto', 'text') %}{{ p.text }}{% endfor %} "
    "{% endfor %}ASSISTANT:"
)
SYSTEM_IS_TEXT = (
    "{% if messages[0].role == 'system' %}{{ '[' + messages[0].content + ']' }}{% set messages = messages[1:] %}"
    "{% endif %}{% for m in messages %}{{ m.role }} {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{{ '<image>' if p.type == 'image' else p.text }}{% endfor %}{% endif %};{% endfor %}"
)
CHAT = [
    {"role": "system", "content": "Be short."},
    turn("user", text("First "), IMAGE, text(", then "), IMAGE, text(". Same?")),
    {"role": "assistant", "content": "No."},
    turn("user", IMAGE, text("And this?")),
]
LISTED = [one if isinstance(one["content"], list) else turn(one["role"], text(one["content"])) for one in CHAT]


def rendered(template: str, messages: list[dict[str, Any]]) -> str:
    """By transformers."""
    (whole,), _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=True)
    return str(whole)


@pytest.mark.parametrize(
    ("template", "given"),
    [(PLACED, CHAT), (PLACED, LISTED), (PARTS_ONLY, LISTED), (IMAGES_FIRST, LISTED), (SYSTEM_IS_TEXT, CHAT)],
    ids=["placed", "placed, all parts", "parts only", "images first", "the system's is a text"],
)
def test_images_stand_where_the_template_places_them(template: str, given: list[dict[str, Any]]) -> None:
    """Whatever form of contents it takes: `given` is the form in which transformers loses nothing."""
    pieces = render_around_images(template, CHAT, "<image>")
    assert "<image>".join(pieces) == rendered(template, given)
    assert len(pieces) == 4


def test_a_template_of_texts_has_images_where_their_parts_are() -> None:
    pieces = render_around_images(TURNS, CHAT, "<image>")
    assert pieces == [
        "<system>Be short.<user>First ",
        ", then ",
        ". Same?<assistant>No.<user>",
        "And this?<a>",
    ]


@pytest.mark.parametrize("template", [PLACED, TURNS])
def test_a_text_that_looks_like_an_image_is_none(template: str) -> None:
    said = "Is \ue000<image>\ue001 one?"
    pieces = render_around_images(template, [turn("user", text(said), IMAGE)], "<image>")
    assert len(pieces) == 2 and pieces[0].partition("<|vision_start|>")[0].endswith(said)


def test_what_a_template_refuses_or_loses_is_an_error() -> None:
    with pytest.raises(PieError, match=r"does not take this conversation: no user here"):
        render_around_images("{{ raise_exception('no user here') }}", CHAT, "<image>")
    images_only = "{% for m in messages %}{% for p in m.content if p.type == 'image' %}<image>{% endfor %}{% endfor %}"
    for template in ("{{ messages[0].content }}", images_only):
        with pytest.raises(PieError, match="loses what it is given"):
            render_around_images(template, CHAT, "<image>")
