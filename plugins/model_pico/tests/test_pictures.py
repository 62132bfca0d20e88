"""What the generated pictures promise: answers are true of the pixels, pixels are what is served, splits stay apart."""

import json
from random import Random
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def pictures(training: Any) -> Any:
    return training.pictures


def _cells(image: Any) -> dict[tuple[int, int], np.ndarray]:
    """The pixels of each cell of the grid: [pixels, 3]."""
    pixels = np.asarray(image).astype(int)
    return {
        (row, column): third.reshape(-1, 3)
        for row, band in enumerate(np.array_split(pixels, 3, axis=0))
        for column, third in enumerate(np.array_split(band, 3, axis=1))
    }


def test_json_says_which_colours_are_where_in_the_pixels(pictures: Any) -> None:
    rng = Random(1)
    for _ in range(100):
        picture, example = pictures.draw("describe_json", rng, "train")
        (image,) = pictures.images(picture, rng)
        cells = _cells(image)
        most = np.median(np.asarray(image).reshape(-1, 3), axis=0)
        said = {shape["at"]: shape["colour"] for shape in json.loads(example.answer[0].text)["shapes"]}
        for place, pixels in zip(pictures.things.PLACES, cells.values(), strict=True):
            distances = {name: np.abs(pixels - colour).max(axis=1) for name, colour in pictures.canvas.COLOURS.items()}
            background = np.abs(pixels - most).max(axis=1) < 60  # with its grain
            assert (place in said) == (background.mean() < 0.97)
            if place in said:
                nearest = min(distances, key=lambda name: np.median(distances[name][~background]))
                assert nearest == said[place]


def test_a_chart_is_as_tall_as_its_values(pictures: Any) -> None:
    rng = Random(2)
    for _ in range(50):
        chart = pictures.chart.Chart(values=tuple(rng.sample(range(1, 10), 2)), colours=("red", "blue"))
        pixels = np.asarray(chart.draw(rng)).astype(int)
        tall = [
            (np.abs(pixels - pictures.canvas.COLOURS[colour]).max(axis=2) < 70).any(axis=1).sum()
            for colour in chart.colours
        ]
        assert tall[0] / tall[1] == pytest.approx(chart.values[0] / chart.values[1], rel=0.25)


def test_no_combination_of_the_held_out_ones_is_in_training(pictures: Any) -> None:
    rng = Random(3)
    for name, kind in pictures.KINDS.items():
        if name == "crowd":
            continue
        for picture in (kind.sample(rng, "train", 1.0) for _ in range(200)):
            for single in pictures.singles(picture):
                assert single.belongs_to("train"), (name, single)


@pytest.mark.parametrize("skill", ["describe_one", "describe_json", "count_crowd", "difference", "chart_json"])
def test_an_item_of_one_split_is_in_no_other(pictures: Any, skill: str) -> None:
    rng = Random(4)
    drawn = {split: {pictures.draw(skill, rng, split)[0] for _ in range(200)} for split in ("train", "held_out")}
    assert not drawn["train"] & drawn["held_out"]


def test_every_skill_has_questions_whatever_the_curriculum(pictures: Any) -> None:
    rng = Random(5)
    for kind in pictures.KINDS.values():
        for far in (0.0, 1.0):
            assert pictures.ask(rng, kind, kind.sample(rng, "train", far)).prompt
        for skill in kind.asks:
            assert pictures.draw(skill, rng, "held_out")[1].answer
