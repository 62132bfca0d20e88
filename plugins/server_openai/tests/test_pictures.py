"""Pictures in chats: what transformers says of the same conversation, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai as client_library
import pytest
import torch
from pie_traits_image.testing.pictures import encoded, picture, png, refused_files
from PIL import Image
from transformers import AutoProcessor

from pie_core.controller import find_model
from pie_core.plugins import Selection

PICTURES = Path(__file__).parents[3] / "docs" / "pictures"
BEFORE, AFTER = ((PICTURES / f"{name}.png").read_bytes() for name in ("before", "after"))
JPEG = encoded(picture(50, 90, 2), "JPEG")
DESCRIBE = "Describe the picture."


def url(data: bytes, media: str = "image/png") -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def part(content: str | bytes, **more: Any) -> dict[str, Any]:
    """Of a message: a text, or the file of a picture."""
    if isinstance(content, str):
        return {"type": "text", "text": content}
    return {"type": "image_url", "image_url": {"url": url(content), **more}}


def user(*contents: str | bytes) -> dict[str, Any]:
    return {"role": "user", "content": [part(content) for content in contents]}


CHATS: dict[str, list[dict[str, Any]]] = {
    "in front of the text": [user(BEFORE, DESCRIBE)],
    "behind the text": [user(DESCRIBE, AFTER)],
    "between texts": [user("What is different? ", BEFORE, " is the first, this the second: ", AFTER, " Say it.")],
    "alone": [user(JPEG)],
    "in two turns": [
        {"role": "system", "content": "Be short."},
        user(BEFORE, DESCRIBE),
        {"role": "assistant", "content": "A red circle left of a blue square."},
        user(AFTER, "And this one?"),
    ],
}


@dataclass(frozen=True)
class Oracle:
    """The bundled model and its own processor in transformers, fp32."""

    model: Any
    processor: Any

    def inputs(self, messages: Sequence[dict[str, Any]], behind: str = "") -> Any:
        """What the model takes of a conversation, and of what the answer begins with."""
        found = re.findall(r"data:image/png;base64,([^\"]+)", json.dumps(messages))
        images = [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]
        text = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return self.processor(text=text + behind, images=images, return_tensors="pt")

    def answer(self, messages: Sequence[dict[str, Any]], most: int) -> tuple[int, str]:
        """Tokens of the prompt, and the most probable text."""
        inputs = self.inputs(messages)
        count = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            made = self.model.generate(**inputs, max_new_tokens=most, do_sample=False)
        return count, self.processor.decode(made[0, count:], skip_special_tokens=True)

    def enum(self, messages: Sequence[dict[str, Any]], words: Sequence[str]) -> str:
        """The word of which each token is the most probable that leads to one of them, by brute force."""
        tokens = [self.processor.decode([token]) for token in range(self.model.config.text_config.vocab_size)]
        said = ""
        while said not in words:
            with torch.inference_mode():
                logits = self.model(**self.inputs(messages, said)).logits[0, -1]
            fit = [at for at, t in enumerate(tokens) if t and any(word.startswith(said + t) for word in words)]
            said += tokens[max(fit, key=lambda at: float(logits[at]))]
        return said


@pytest.fixture(scope="module")
def oracle(reference: Any) -> Oracle:
    return Oracle(reference.model, AutoProcessor.from_pretrained(find_model("pico", Selection()).path))


def seen(server: Any) -> int:
    """How many pictures the model has looked at."""
    (model,) = server.state.controller.models.values()
    counted = model.layer.statistics.calls.get("embed_img")
    return 0 if counted is None else int(counted.commands)


@pytest.mark.parametrize("name", CHATS)
def test_an_answer_about_pictures_is_that_of_transformers(openai, oracle, name):
    messages = CHATS[name]
    given = openai.chat.completions.create(model="pico", messages=messages, temperature=0, max_tokens=24)
    prompt, text = oracle.answer(messages, 24)
    assert given.choices[0].message.content == text
    assert given.usage.prompt_tokens == prompt


def test_what_is_streamed_n_times_was_seen_once(server, openai, oracle):
    before, texts = seen(server), ["", ""]
    asked = {"messages": CHATS["between texts"], "temperature": 0, "n": 2, "stream_options": {"include_usage": True}}
    for chunk in openai.chat.completions.create(model="pico", max_tokens=16, stream=True, **asked):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    prompt, text = oracle.answer(asked["messages"], 16)
    assert texts == [text] * 2
    assert chunk.usage.prompt_tokens == prompt
    assert seen(server) - before == 2, "two pictures, each once"


def test_an_answer_about_a_picture_follows_its_schema(openai, oracle):
    words = ["red", "blue", "green", "grey"]
    schema = {"type": "json_schema", "json_schema": {"name": "colour", "schema": {"enum": words}}}
    answers = []
    for file in (BEFORE, AFTER):
        messages = [user(file, "What colour is the square?")]
        given = openai.chat.completions.create(model="pico", messages=messages, temperature=0, response_format=schema)
        answers.append(given.choices[0].message.content)
        assert answers[-1] == oracle.enum(messages, [json.dumps(word) for word in words])
    assert answers[0] != answers[1]


def test_a_call_that_must_be_made_goes_with_a_picture(openai):
    tool = {
        "type": "function",
        "function": {"name": "show", "parameters": {"type": "object", "additionalProperties": False}},
    }
    given = openai.chat.completions.create(
        model="pico", messages=CHATS["behind the text"], tools=[tool], tool_choice="required", temperature=0
    )
    assert given.choices[0].message.tool_calls[0].function.name == "show"


@pytest.mark.parametrize(
    ("wrapped", "detail"),
    [
        ("data:image/png;base64,", "auto"),
        ("DATA:;BASE64,", "low"),
        ("data:text/plain;charset=utf-8;base64,", "high"),
    ],
)
def test_forms_that_mean_the_same_give_the_same(openai, wrapped, detail):
    lines = base64.encodebytes(BEFORE).decode()  # of 76 characters, as programs for mail and shells write them
    image = {"type": "image_url", "image_url": {"url": wrapped + lines, "detail": detail}}
    messages = [{"role": "user", "content": [image, part(DESCRIBE)]}]
    given = openai.chat.completions.create(model="pico", messages=messages, temperature=0, max_tokens=24)
    assert given.choices[0].message.content == "A red circle left of a blue square."


def refusal(server, messages, status=400, model="pico", **more):
    """The error that a chat gets; nothing is left of it."""
    body = {"model": model, "messages": messages, "max_tokens": 4} | more
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body, trust_env=False, timeout=60)
    assert response.status_code == status, response.text
    server.until(lambda: not server.inferlets and not any(server.used))
    return response.json()["error"]


URL = "messages[0].content[1].image_url.url"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://example.com/cat.png", "the server fetches no pictures; send the bytes in the URL (data:image/png"),
        ("HTTP://127.0.0.1/cat.png", "the server fetches no pictures"),
        ("file:///etc/passwd", "'file:///etc/passwd' is no data URL in base64"),
        ("", "'' is no data URL"),
        ("data:image/png,%89PNG", "is no data URL in base64"),
        ("data:image/png;base64,AAA", "no sound base64"),
        ("data:image/png;base64,AA=A", "no sound base64"),
        ("data:image/png;base64,AAÄA", "no sound base64"),
        ("data:image/png;base64,AAAA-_-_", "no sound base64"),
        ("data:image/png;base64,", "the 0 bytes are no PNG, JPEG or WebP image"),
    ],
)
def test_what_is_no_picture_is_told_and_where(server, address, words):
    error = refusal(
        server, [{"role": "user", "content": [part("What?"), {**part(b""), "image_url": {"url": address}}]}]
    )
    assert words in error["message"]
    assert (error["param"], error["type"]) == (URL, "invalid_request_error")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_file_that_is_broken_or_too_much_gets_the_words_of_the_trait(server, streamed):
    files = list(refused_files().items())
    for what, (data, words) in files[:2] if streamed else files:
        error = refusal(server, [user(BEFORE, "This is fine."), user("This not:", data)], stream=streamed)
        assert words in error["message"], what
        assert error["param"] == URL.replace("[0]", "[1]"), what


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "tool"])
def test_pictures_are_for_users_to_show(server, role):
    message = {"role": role, "content": [part(BEFORE)]} | ({"tool_call_id": "1"} if role == "tool" else {})
    error = refusal(server, [user("Hello"), message])
    assert "pictures are taken in messages of the role user" in error["message"]
    assert error["param"] == "messages[1].content[0].type"


@pytest.mark.parametrize(
    ("more", "param"),
    [({"detail": "fine"}, "detail"), ({"fidelity": 1}, "fidelity"), ({"url": None}, "url"), ({"url": 3}, "url")],
)
def test_other_fields_are_refused(server, more, param):
    error = refusal(server, [{"role": "user", "content": [part(BEFORE, **more)]}])
    assert error["param"] == f"messages[0].content[0].image_url.{param}"


def test_a_model_that_does_not_see_says_why(reciter):
    error = refusal(reciter, [user("What?", BEFORE)], model="fake")
    assert "a picture needs input_image, which model 'fake' does not have" in error["message"]
    assert "nothing to see images with" in error["message"]
    assert (error["param"], error["code"]) == (URL, "trait")


def test_more_than_the_model_has_room_for_is_refused(server):
    small = png(8, 8)
    error = refusal(server, [user(*[small] * 33)])
    assert "outside the model's range" in error["message"]
    assert error["param"] == "messages[0].content[31].image_url.url"
    assert refusal(server, [user(*[small] * 501)])["param"] == "messages"
    assert "more than 8388608 bytes" in refusal(server, [user(bytes(7 << 20))], 413)["message"]


def test_a_picture_has_at_most_the_bytes_that_a_program_in_the_sandbox_can_hand_on(server, openai):
    most = 5 << 19
    file = BEFORE + bytes(most - len(BEFORE))  # what follows the end of a PNG is not looked at
    given = openai.chat.completions.create(model="pico", messages=[user(file, DESCRIBE)], temperature=0, max_tokens=24)
    assert given.choices[0].message.content == "A red circle left of a blue square."
    error = refusal(server, [user(DESCRIBE, file + b"0")])
    assert f"a picture of {most + 1} bytes; a program can show the model {most} here" in error["message"]
    assert error["param"] == URL


def test_the_client_library_gets_a_bad_request(openai):
    with pytest.raises(client_library.BadRequestError, match="broken or cut off"):
        openai.chat.completions.create(model="pico", messages=[user(BEFORE[:100])])
