"""What training computes is what `transformers` serves: the same pixels, the same loss, the same checkpoint."""

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from pie_model_pico import pie_model
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor

CHECKPOINT = pie_model().path


@pytest.fixture(scope="module")
def language(training: Any) -> Any:
    """The language model of the shipped checkpoint, and its tokenizer."""
    return training.model.read_language(CHECKPOINT)


@pytest.fixture(scope="module")
def processor(training: Any, language: Any) -> Any:
    return training.model.build_processor(language[1])


@pytest.fixture(scope="module")
def model(training: Any, processor: Any, language: Any) -> Any:
    torch.manual_seed(0)
    return training.model.build_model(processor, language[0], "cpu").eval()


def test_training_sees_the_pixels_that_the_processor_makes(training: Any, processor: Any) -> None:
    rng = Random(1)
    for kind in training.pictures.KINDS.values():
        for image in training.pictures.images(kind.sample(rng, "train", 1.0), rng):
            served = processor.image_processor(image, return_tensors="pt").pixel_values[0]
            trained = torch.from_numpy(training.pictures.canvas.pixels(image).copy()).permute(2, 0, 1) / 127.5 - 1
            torch.testing.assert_close(trained, served, atol=1e-5, rtol=0)


def _documents(rows: Any, row: int) -> list[tuple[list[int], bool]]:
    """The tokens of each document of a row, read off the positions, and whether it is one conversation."""
    starts = [*(place for place in range(rows.tokens.shape[1]) if _begins(rows, row, place)), rows.tokens.shape[1]]
    found = []
    for start, end in pairwise(starts):
        tokens = [int(token) for token in rows.tokens[row, start:end] if token != 0]  # 0 is <pad>
        found.append((tokens, not rows.branches[row, start:end].any()))
    return found


def _begins(rows: Any, row: int, place: int) -> bool:
    return bool(rows.positions[row, place] == 0 and rows.tokens[row, place] != 0)


def _asked_alone(tokens: list[int], whole: bool, tokenizer: Any, image: int) -> list[list[int]]:
    """What a client would send for each question and get back; a whole conversation is one of those."""
    if whole:
        return [tokens]
    end = tokenizer.convert_tokens_to_ids("</s>")
    after = max(place for place, token in enumerate(tokens) if token == image) + 1
    ends = [after, *(place + 1 for place, token in enumerate(tokens) if token == end)]
    return [tokens[:after] + tokens[first:last] for first, last in pairwise(ends)]


def _answers(model: Any, tokens: list[int], tokenizer: Any, pixels: Any) -> Any:
    """Log-probabilities of all that stands after <|assistant|>, up to </s>, by a plain call of the model."""
    logits = model(input_ids=torch.tensor([tokens]), pixel_values=pixels).logits[0]
    assistant, end = tokenizer.convert_tokens_to_ids(["<|assistant|>", "</s>"])
    answering, found = False, []
    for place, token in enumerate(tokens):
        if answering:
            found.append(torch.log_softmax(logits[place - 1], -1)[token])
        answering = token == assistant or (answering and token != end)
    return torch.stack(found)


@pytest.mark.parametrize("seed", [1, 3])
def test_the_loss_of_packed_rows_is_that_of_each_question_alone(
    training: Any, processor: Any, model: Any, seed: int
) -> None:
    tokenizer, image = processor.tokenizer, processor.image_token_id
    batch = training.rows.PicturePacker(tokenizer.backend_tokenizer, Random(seed), rows=2).next_batch(1.0)
    text = training.rows.Rows.empty(1, 16)
    scaled = torch.from_numpy(batch.pixels).permute(0, 3, 1, 2) / 127.5 - 1
    found, drawn = [], 0
    with torch.inference_mode():
        packed, _ = training.steps.Loss(model)(training.steps.Inputs.of(training.supply.Batch(batch, text)))
        for tokens, whole in (document for row in range(2) for document in _documents(batch.rows, row)):
            images = tokens.count(image) // training.model.IMAGE_TOKENS
            pixels, drawn = scaled[drawn : drawn + images], drawn + images
            alone = _asked_alone(tokens, whole, tokenizer, image)
            found += [_answers(model, asked, tokenizer, pixels) for asked in alone]
    torch.testing.assert_close(packed, -torch.cat(found).mean(), atol=1e-4, rtol=1e-4)


def test_what_muon_applies_is_orthogonal(training: Any) -> None:
    torch.manual_seed(1)
    for shape in [(3, 64, 128), (2, 128, 64)]:
        singular = torch.linalg.svdvals(training.optimizers.orthogonal(torch.randn(shape)).float())
        assert singular.min() > 0.5 and singular.max() < 1.4  # what its coefficients promise


def test_a_saved_checkpoint_is_read_back_by_transformers(
    training: Any, processor: Any, model: Any, tmp_path: Path
) -> None:
    training.model.save(model, processor, tmp_path / "checkpoint")
    read = AutoModelForImageTextToText.from_pretrained(tmp_path / "checkpoint")
    assert read.dtype == torch.bfloat16
    for name, weight in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], weight.bfloat16()), name
    again = AutoProcessor.from_pretrained(tmp_path / "checkpoint")
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Count the shapes."}]}]
    text = again.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|><|image|>Count the shapes.<|assistant|>"


def test_training_goes_on_from_the_language_model_of_the_checkpoint(model: Any, language: Any) -> None:
    """A model with an untrained tower says of a text what the shipped one says."""
    shipped = AutoModelForImageTextToText.from_pretrained(CHECKPOINT, dtype=torch.float32)
    tokens = torch.arange(8, 40)[None]
    with torch.inference_mode():
        wanted = shipped(tokens).logits
        torch.testing.assert_close(model(tokens).logits, wanted, atol=1e-3, rtol=0)
        torch.testing.assert_close(language[0](tokens).logits, wanted, atol=1e-3, rtol=0)


def _shapes(folder: Path) -> dict[str, list[int]]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.offset_keys()}


def test_a_saved_checkpoint_has_the_tensors_and_the_template_of_the_shipped_one_and_no_path(
    training: Any, processor: Any, model: Any, tmp_path: Path
) -> None:
    training.model.save(model, processor, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in CHECKPOINT.iterdir()}
    assert _shapes(tmp_path) == _shapes(CHECKPOINT)
    template = "chat_template.jinja"
    assert (tmp_path / template).read_text("utf-8") == (CHECKPOINT / template).read_text("utf-8")
    for file in [*tmp_path.glob("*.j*"), *CHECKPOINT.glob("*.j*")]:
        assert str(CHECKPOINT.parents[4]) not in file.read_text("utf-8"), file
