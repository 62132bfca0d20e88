"""What the shipped checkpoint promises of pictures: it reads such as training never saw."""

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pie_model_pico
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

ROOT = Path(__file__).parents[1]
CHECKPOINT = pie_model_pico.pie_model().path
MEGABYTE = 1_000_000
Asked = tuple[list[Image.Image], str]


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def model() -> Any:
    """In float32, which is faster on a CPU without bfloat16 arithmetic."""
    return AutoModelForImageTextToText.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


@pytest.fixture
def answers(model: Any, processor: Any) -> Any:
    """What is said to (pictures, prompt), greedily, up to `</s>`; in one batch."""

    @torch.inference_mode()
    def ask(asked: list[Asked]) -> list[str]:
        messages = [
            [{"role": "user", "content": [*({"type": "image"} for _ in images), {"type": "text", "text": prompt}]}]
            for images, prompt in asked
        ]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        images = [image for images, _ in asked for image in images]
        inputs = processor(text=text, images=images or None, padding=True, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=200)
        said = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :])
        assert all("</s>" in answer for answer in said)
        return [answer.split("</s>")[0] for answer in said]

    return ask


@pytest.fixture
def drawn(training: Any) -> Any:
    """Pictures that training never saw, drawn now: what is in them, and their images."""

    def draw(kind: str, count: int) -> list[tuple[Any, list[Image.Image]]]:
        rng = Random(f"a test's {kind}")
        pictures = [training.pictures.KINDS[kind].sample(rng, "held_out", 1.0) for _ in range(count)]
        return [(picture, training.pictures.images(picture, rng)) for picture in pictures]

    return draw


def _listed(picture: Any) -> list[dict[str, str]]:
    return [{"colour": thing.colour, "shape": thing.shape, "at": thing.place} for thing in picture.things]


def test_a_picture_of_any_size_takes_64_tokens(processor: Any) -> None:
    for size in [(96, 96), (7, 300), (640, 480)]:
        inputs = processor(text="<|image|>", images=[Image.new("RGB", size)])
        assert inputs["input_ids"] == [[processor.image_token_id] * 64]
        assert inputs["pixel_values"][0].shape == (3, 96, 96)


def test_unseen_shapes_are_described_with_their_places(drawn: Any, answers: Any) -> None:
    """What is in the picture is read back from the sentence."""
    shown = [(picture, images) for picture, images in drawn("things", 12) if len(picture.things) > 2]
    said = answers([(images, "Describe the picture.") for _, images in shown])
    for (picture, _), sentence in zip(shown, said, strict=True):
        found = re.findall(r"an? (\w+) (\w+) (?:at the|in the) ([\w ]+?)(?=,| and|\.)", sentence.lower())
        assert found == [(thing.colour, thing.shape, thing.place) for thing in picture.things]


def test_unseen_shapes_are_listed_in_json_that_parses(drawn: Any, answers: Any) -> None:
    shown = drawn("things", 5)
    said = answers([(images, "Describe the picture. Answer in JSON.") for _, images in shown])
    assert [json.loads(answer) for answer in said] == [{"shapes": _listed(picture)} for picture, _ in shown]


def test_shapes_of_an_unseen_picture_are_counted(drawn: Any, answers: Any) -> None:
    shown = drawn("crowd", 12)
    said = answers([(images, "How many shapes are there?") for _, images in shown])
    assert [int(answer) for answer in said] == [len(picture.things) for picture, _ in shown]


def test_unseen_numbers_and_charts_are_read(drawn: Any, answers: Any) -> None:
    numbers, charts = drawn("number", 8), drawn("chart", 8)
    asked = [(images, "Read the number.") for _, images in numbers]
    asked += [(images, "Read the chart. Answer in JSON.") for _, images in charts]
    said = answers(asked)
    assert said[: len(numbers)] == [picture.digits for picture, _ in numbers]
    assert [list(json.loads(answer).items()) for answer in said[len(numbers) :]] == [
        list(zip("ABCDE", picture.values, strict=False)) for picture, _ in charts
    ]


def test_two_unseen_pictures_are_told_apart(drawn: Any, answers: Any) -> None:
    shown, numbers = drawn("two", 6), drawn("numbers", 4)
    said = answers([(images, "Which picture has more shapes?") for _, images in shown])
    more = [len(pair.first.things) - len(pair.second.things) for pair, _ in shown]
    assert said == ["neither" if not by else "the first" if by > 0 else "the second" for by in more]
    said = answers([(images, "What are the numbers?") for _, images in numbers])
    assert said == [f"{pair.first.digits} and {pair.second.digits}" for pair, _ in numbers]


def test_the_examples_are_unseen_and_are_read_right(training: Any, answers: Any) -> None:
    examples = training.examples.EXAMPLES
    files = {name: Image.open(pie_model_pico.EXAMPLES / f"{name}.png") for name in examples}
    assert all(picture.belongs_to("held_out") for picture, _ in examples.values())
    asked = {"shapes": "What is in the centre?", "crowd": "Count the shapes.", "chart": "Which bar is the tallest?"}
    said = answers([([files[name]], prompt) for name, prompt in asked.items()])
    assert said == ["a blue square", "7", "C"]
    assert answers([([files["number"]], "Read the number.")]) == [examples["number"][0].digits]
    moved = "The blue square is at the right in the first and in the centre in the second."
    assert answers([([files["before"], files["after"]], "What is different?")]) == [moved]


def test_the_readme_shows_how_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == code.rsplit("# ", 1)[1]
