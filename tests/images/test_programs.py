"""The programs with images, in both tiers, on a small random LLaVA: what transformers says of the same pictures."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pie_traits_image.testing.pictures import encoded, picture, png
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from pie_core import TraitError
from pie_core.application.program import find_program
from pie_core.application.wasm.tier import WasmTier
from pie_core.controller import Controller, Settings, find_model
from pie_core.plugins import Selection
from pie_core.testing.run import Outcome, run_inferlet

from ..checkpoints import write_llava

FIRST, SECOND = png(40, 30, 1), encoded(picture(50, 90, 2), "JPEG")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava(tmp_path_factory.mktemp("llava"))


class Oracle:
    """The same checkpoint in transformers, float32."""

    def __init__(self, path: Path) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(path)

    def logits(self, prompt: str, files: Sequence[bytes]) -> torch.Tensor:
        """Of the token behind a prompt."""
        images = [Image.open(io.BytesIO(file)) for file in files]
        with torch.inference_mode():
            inputs = self.processor(text=prompt, images=images, return_tensors="pt")
            return self.model(**inputs).logits[0, -1]

    def answer(self, question: str, files: Sequence[bytes], count: int) -> str:
        """The most probable tokens, one after the other."""
        text = f"<user>{'<image>' * len(files)}{question}<a>"
        images = [Image.open(io.BytesIO(file)) for file in files] or None
        inputs = self.processor(text=text, images=images, return_tensors="pt")
        with torch.inference_mode():
            made = self.model.generate(**inputs, max_new_tokens=count, do_sample=False)
        return str(self.processor.tokenizer.decode(made[0, inputs["input_ids"].shape[1] :])).partition("</s>")[0]


@pytest.fixture(scope="module")
def oracle(checkpoint: Path) -> Oracle:
    return Oracle(checkpoint)


def run(checkpoint: Path, tier: str, *launches: tuple[str, Sequence[str], Sequence[bytes]]) -> list[Outcome]:
    """Run installed programs one after the other on one model: (name, arguments, blobs)."""

    async def go() -> list[Outcome]:
        options = {"pages": "256", "embeds": "1024", "dtype": "float32"}
        async with Controller(Settings(str(checkpoint), "torch", options, tier="native")) as controller:
            (model,) = controller.models.values()
            outcomes = []
            for name, arguments, blobs in launches:
                path = Path(find_program(name, Selection()).filename)
                sandbox = WasmTier(model.known_traits) if tier == "wasm" else None
                outcomes.append(
                    await run_inferlet(path, arguments, models=controller.models, tier=sandbox, blobs=blobs)
                )
                assert outcomes[-1].ended.status == "finished", outcomes[-1].ended.error
            counted = model.layer.statistics.calls.get("embed_img")
            outcomes[-1].messages.append(str(0 if counted is None else counted.commands))
            return outcomes

    return asyncio.run(go())


@pytest.mark.parametrize("tier", ["native", "wasm"])
def test_a_description_is_what_transformers_generates(checkpoint: Path, oracle: Oracle, tier: str) -> None:
    arguments = ["--prompt", "What?", "--max-tokens", "12"]
    (outcome,) = run(checkpoint, tier, ("image_description", arguments, [FIRST, SECOND]))
    wanted = [oracle.answer("What?", [file], 12) for file in (FIRST, SECOND)]
    assert outcome.output == "".join(f"{answer}\n" for answer in wanted)
    assert wanted[0] != wanted[1]


@pytest.mark.parametrize("tier", ["native", "wasm"])
def test_two_pictures_are_seen_once_for_all_questions_and_for_a_later_program(
    checkpoint: Path, oracle: Oracle, tier: str
) -> None:
    questions = ["Same?", "What is in the second one?"]
    arguments = ["--questions", "\n".join(questions), "--max-tokens", "6", "--keep", "600"]
    launch = ("image_compare", arguments, [FIRST, SECOND])
    first, later = run(checkpoint, tier, launch, launch)
    wanted = "".join(f"{question} {oracle.answer(question, [FIRST, SECOND], 6)}\n" for question in questions)
    assert first.output == wanted + "[the pictures were seen: 38 tokens]\n"
    assert later.output == wanted + "[the pictures were found: 38 tokens]\n"
    assert later.messages == ["2"], "each picture was seen once, in all"


def test_an_answer_in_json_is_the_most_probable_that_the_schema_allows(checkpoint: Path, oracle: Oracle) -> None:
    words = ['"red"', '"rose"', '"blue"', '"green"', '"grey"']
    schema = json.dumps({"enum": [json.loads(word) for word in words]})
    (outcome,) = run(checkpoint, "native", ("image_json", ["--schema", schema, "--prompt", "Colour?"], [SECOND]))
    said = ""
    while said not in words:  # the alphabet is bytes: which may come next, brute force
        logits = oracle.logits(f"<user><image>Colour?<a>{said}", [SECOND])
        allowed = {word[len(said)] for word in words if word.startswith(said)}
        said += max(allowed, key=lambda char: logits[oracle.processor.tokenizer.convert_tokens_to_ids(char)])
    assert outcome.ended.value == said


def test_without_pictures_there_are_examples(checkpoint: Path, oracle: Oracle) -> None:
    arguments = ["--max-tokens", "4"]
    described, compared = run(
        checkpoint, "native", ("image_description", arguments, []), ("image_compare", arguments, [])
    )
    assert described.output.count("\n") >= 1 and "Are the pictures the same?" in compared.output
    assert compared.messages == ["3"]


def test_without_the_trait_text_is_served_as_ever_and_the_tower_is_not_read(checkpoint: Path, oracle: Oracle) -> None:
    options = {"pages": "64", "embeds": "256", "dtype": "float32"}
    without = Selection(without=frozenset({"traits.input_image"}))

    async def go() -> Outcome:
        settings = Settings(str(checkpoint), "torch", options, selection=without, tier="native")
        async with Controller(settings) as controller:
            (model,) = controller.models.values()
            assert "input_image" not in model.traits
            path = Path(find_program("text_completion", Selection()).filename)
            arguments = ["--prompt", "Say it.", "--max-tokens", "12", "--chat"]
            return await run_inferlet(path, arguments, models=controller.models)

    outcome = asyncio.run(go())
    assert outcome.ended.status == "finished", outcome.ended.error
    assert outcome.output == oracle.answer("Say it.", [], 12) + "\n"


def test_a_checkpoint_without_an_image_processor_serves_text_and_says_why_it_does_not_see(checkpoint: Path) -> None:
    bare = checkpoint.parent / "bare"
    shutil.copytree(checkpoint, bare, ignore=shutil.ignore_patterns("*processor_config.json"))
    with pytest.raises(TraitError, match=r"input_image: .*bare has no preprocessor_config.json; copy"):
        run(bare, "native", ("image_description", [], [FIRST]))


def test_what_the_docs_show_beside_pictures_is_what_the_bundled_model_says() -> None:
    model = find_model("pico", Selection()).path
    pictures = ROOT / "docs" / "pictures"
    rows = re.findall(
        r"`pie-core run (\w+)((?: --blob \w+\.png)+)` \| (.+) \|", (ROOT / "docs/images.md").read_text("utf-8")
    )
    assert {name for name, _, _ in rows} == {"image_description", "image_json", "image_compare"}
    launches = [
        (name, [], [(pictures / file).read_bytes() for file in re.findall(r"\w+\.png", blobs)])
        for name, blobs, _ in rows
    ]
    outcomes = run(model, "native", *launches, *[(name, [], []) for name, _, _ in rows])
    said = [(outcome.output or outcome.ended.value or "").splitlines() for outcome in outcomes]
    shown = [answer.strip("`").split("`<br>`") for _, _, answer in rows]
    assert said[: len(rows)] == shown
    assert [lines[0] for lines in said[len(rows) :: 2]] == [shown[0][0], shown[2][0]], "the examples are these pictures"


UNSEEING = """
import asyncio, sys, threading
from pathlib import Path
from pie_core.application.program import find_program
from pie_core.controller import Controller, Settings
from pie_core.testing.run import run_inferlet

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "transformers":
            print("by the control thread:", threading.current_thread() is threading.main_thread())

COUNTS = "from inferlet import *\\nasync def main():\\n    return str(num_embs_needed(get_auto_model(), [9, 9]))"

async def main():
    sys.meta_path.insert(0, Watch())
    async with Controller(Settings("pico", "torch", {"pages": "64"}, tier="native")) as controller:
        for program in (Path(find_program("text_completion").filename), COUNTS):
            outcome = await run_inferlet(program, [], models=controller.models)
            print("said:", outcome.output.strip() or outcome.ended.value, "transformers" in sys.modules)

asyncio.run(main())
"""


def test_transformers_comes_with_the_first_program_for_images_and_holds_up_no_other() -> None:
    """Even if that begins with a question that is answered at once."""
    ran = subprocess.run([sys.executable, "-c", UNSEEING], stdout=subprocess.PIPE, text=True, check=True)
    told = re.findall(r"^(?:said|by the control thread): .*", ran.stdout, re.MULTILINE)
    text, thread, count = told
    assert text.endswith("Paris. False")
    assert thread == "by the control thread: False"
    assert count == "said: 64 True"
