"""Images through the torch backend: what transformers' own processor and model say of the same pictures and texts.

The oracle is the family's own processor class with its own model, in float32, from the same random checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
import torch
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from pie_traits_image.handler import InputImageHandler
from pie_traits_image.input_image import EmbedImg, ImagePlaceholder, NumEmbsNeeded, NumPositionsNeeded
from pie_traits_image.testing import InputImageSuite
from pie_traits_image.testing.pictures import encoded, picture
from pie_traits_text.allocate import CopyKvpage
from pie_traits_text.forward import Forward

from pie_core import Embed, Foundation, KvPage, Mask, UnsupportedError
from pie_core.model import ModelSpec

from .conftest import DEVICE
from .vision_families import CONFIGS, processor_of, write

SIZES = ((40, 30), (30, 90), (64, 64))
PICTURES = [picture(*size, seed) for seed, size in enumerate(SIZES)]


def mark_of(family: str) -> str:
    """What the family's own processor replaces."""
    return "<begin>" if family == "gemma3" else "<image>"


def said(path: Path, family: str, text: str, images: Sequence[Any]) -> tuple[list[int], torch.Tensor]:
    """The oracle: token ids of a prompt ("@" stands for an image), and the logits [tokens, vocab] after each."""
    from transformers import AutoModelForImageTextToText

    mark = mark_of(family)
    nested = family.startswith(("idefics3", "smolvlm", "gemma3", "paligemma"))
    inputs = processor_of(family)(
        text=text.replace("@", mark), images=[list(images)] if nested else list(images), return_tensors="pt"
    )
    inputs.pop("labels", None)
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
    with torch.inference_mode():
        return inputs["input_ids"][0].tolist(), model(**inputs).logits[0]


class Eyes:
    """A driver that also sees: plays the control layer's part for the calls of trait `input_image`."""

    def __init__(self, driver: Any) -> None:
        self.driver, self.backend = driver, driver.backend
        self.handler = InputImageHandler(Foundation(driver.backend, driver.handlers))

    def images(self, images: Sequence[Any], positions: Sequence[int]) -> list[tuple[Any, ...]]:
        """Embeds of several images, seen in one batch."""
        commands = []
        for image, position in zip(images, positions, strict=True):
            count = self.handler.num_embs_needed(NumEmbsNeeded(size=list(image.size)))
            commands.append(EmbedImg(blob=encoded(image), emb=self.driver.embeds(count), pos=position))
        for command in commands:
            command.prepare(self.backend.info)
            self.handler.stage_embed_img(command)
        self.handler.embed_img(commands)
        return [command.emb for command in commands]

    def prompt(self, text: str, images: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The Embeds of a prompt, piece by piece; all images in one batch."""
        first, *behind = text.split("@")
        pieces, starts, at = [self._text(first, 0)], [], len(self._ids(first))
        for image, piece in zip(images, behind, strict=True):
            starts.append(at)
            at += self.handler.num_positions_needed(NumPositionsNeeded(size=list(image.size)))
            pieces.append(self._text(piece, at))
            at += len(self._ids(piece))
        for place, embeds in enumerate(self.images(images, starts)):
            pieces.insert(2 * place + 1, embeds)
        return pieces

    def logits(self, pieces: Sequence[tuple[Any, ...]], mask: Any = None) -> torch.Tensor:
        """Runs the pieces, each in a pass of its own over the pages of those before; the logits after each token."""
        driver = self.driver
        pages = driver.pages_for(sum(map(len, pieces)))
        found = []
        for piece in filter(None, pieces):
            command = Forward(ikv=pages, iemb=piece, okv=pages, oemb=driver.embeds(len(piece)), mask=mask)
            driver.run(command)
            found.append(driver.logits(command))
        return torch.cat(found)

    def _ids(self, text: str) -> list[int]:
        return self.backend.tokenizer.encode(text)

    def _text(self, text: str, at: int) -> tuple[Any, ...]:
        ids = self._ids(text)
        return self.driver.embed(ids, range(at, at + len(ids))) if ids else ()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = write(tmp_path_factory.mktemp(family), family)
        return made[family]

    return get


@pytest.mark.filterwarnings("ignore")  # transformers has much to say about processors
@pytest.mark.parametrize("family", CONFIGS)
def test_logits_are_those_of_transformers_for_several_images_of_several_sizes(
    family: str, checkpoint: Callable[[str], Path], start: Callable[..., Any]
) -> None:
    path = checkpoint(family)
    eyes = Eyes(start(path))
    text = "@@ Which?" if family == "paligemma" else "Look: @ and @, @ Which?"
    images = PICTURES[: text.count("@")]
    ids, wanted = said(path, family, text, images)
    pieces = eyes.prompt(text, images)
    mask = None
    if family == "paligemma":  # its prompt is "@@</s> Which?\n", and all of it sees all of it
        pieces = eyes.prompt("@@</s> Which?\n", images)
        count = sum(map(len, pieces))
        mask = Mask(count, count, b"\1" * count * count)
    whole = tuple(embed for piece in pieces for embed in piece)
    assert len(whole) == len(ids)
    assert eyes.handler.image_placeholder([ImagePlaceholder()]) == [mark_of(family)]
    assert close(eyes.logits([whole], mask), wanted)
    if mask is None:
        assert close(eyes.logits(pieces), wanted), "piece by piece"


@pytest.mark.parametrize("family", ["llava", "gemma3", "qwen2_vl"])
def test_what_is_said_of_an_image_travels_with_its_embeds_and_pages(
    family: str, checkpoint: Callable[[str], Path], start: Callable[..., Any]
) -> None:
    """Moved to host memory and back to other places, and copied; then the text behind it is run."""
    eyes = Eyes(start(checkpoint(family)))
    driver, swapper = eyes.driver, eyes.backend.swapper
    text, image, question = eyes.prompt("Look: @ Which?", PICTURES[:1])
    pages = driver.pages_for(len(text) + len(image) + len(question))
    wanted = eyes.logits([text, image, question])[-len(question) :]

    def moved(kind: type, records: Sequence[Any], fresh: Sequence[Any]) -> None:
        copy = swapper.swap_out(kind, [record.index for record in records])
        swapper.swap_in(kind, copy, [record.index for record in fresh])
        for record, other in zip(records, fresh, strict=True):
            record.index, other.index = other.index, record.index

    moved(Embed, image, driver.embeds(len(image)))
    driver.run(Forward(ikv=(), iemb=text + image, okv=pages, oemb=()))
    unseen = driver.forward([200], [1], pages, driver.pages(1))
    driver.run(unseen)
    before = driver.logits(unseen)
    moved(KvPage, pages, driver.pages(len(pages)))
    copies = driver.pages(len(pages))
    driver.run(CopyKvpage(src=pages, dst=copies))
    last = Forward(ikv=copies, iemb=question, okv=copies, oemb=question)
    driver.run(last)
    assert close(driver.logits(last), wanted)
    unseen = driver.forward([200], [1], copies, driver.pages(1))  # a token that stands before the image
    driver.run(unseen)
    assert close(driver.logits(unseen), before)


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool(((found - wanted).abs().max() / wanted.abs().max()) < 1e-4)


def test_a_llama_that_sees_runs_on_the_lean_path(checkpoint: Callable[[str], Path], start: Callable[..., Any]) -> None:
    for family in ("llava", "llava-clip", "idefics3", "smolvlm"):
        backend = start(checkpoint(family)).backend
        assert backend.decoder.implementation == "lean"
        backend.open_vision()
        assert backend.places is None, "its Embeds are nothing but vectors at positions"


def test_a_model_that_does_not_see_says_why(make: Callable[..., Path], start: Callable[..., Any]) -> None:
    with pytest.raises(UnsupportedError, match="has no vision tower"):
        start("llama").backend.open_vision()


class Seeing(InputImageSuite):
    """The suite over a family; its checkpoint is there until the tower has been read, too."""

    backend_name = "torch"
    family: ClassVar[str]
    folder: ClassVar[TemporaryDirectory[str]]

    def make(self) -> Any:
        type(self).folder = TemporaryDirectory()
        path = write(Path(self.folder.name) / self.family, self.family)
        options = TorchOptions(pages=128, embeds=2048, dtype="float32", threads=1, device=DEVICE)
        return load(ModelSpec(self.family, path), options, lambda stage, share: None)

    @classmethod
    def teardown_class(cls) -> None:
        super().teardown_class()
        cls.folder.cleanup()


class TestLlava(Seeing):
    family = "llava"


class TestQwen(Seeing):
    family = "qwen2_vl"


class TestGemma(Seeing):
    family = "gemma3"
