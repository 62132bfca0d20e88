"""Held-out accuracy of a checkpoint, skill by skill, through `transformers` generate, greedily.

Pictures go the way of every client's: a PIL image through the checkpoint's own processor. An item is right when the
whole answer and its `</s>` are. `--text` measures the language part by itself, with pico's own evaluation.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from model import save_language_model
from pico import PICO_TRAINING
from pictures import KINDS, draw, images
from PIL import Image
from train import CHECKPOINT
from transformers import AutoModelForImageTextToText, AutoProcessor, logging

BATCH = 200
UNSEEN = {
    "thing": "colour, shape and place together",
    "things": "colour, shape and place together, of one at least",
    "crowd": "whole pictures",
    "number": "numbers; single digits: drawings",
    "chart": "all values together",
    "change": "colour, shape and place together, of one at least",
    "two": "colour, shape and place together, of one in each",
    "numbers": "both numbers",
}


@dataclass(frozen=True)
class Item:
    images: list[Image.Image]
    prompt: str
    wanted: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        parts = [{"type": "image"} for _ in self.images]
        return [{"role": "user", "content": [*parts, {"type": "text", "text": self.prompt}]}]


def items(skill: str, seed: int, count: int) -> list[Item]:
    rng = Random(f"{seed} {skill}")
    drawn = [draw(skill, rng, "held_out") for _ in range(count)]
    return [Item(images(picture, rng), example.prompt, example.answer[0].text) for picture, example in drawn]


class Checkpoint:
    def __init__(self, folder: Path, device: str) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder).to(device)

    @torch.inference_mode()
    def answers(self, batch: list[Item]) -> list[str]:
        """Greedy continuations, as long as the longest wanted one and a little, special tokens kept."""
        longest = max(len(self.processor.tokenizer(item.wanted).input_ids) for item in batch)
        prompts = self.processor.apply_chat_template(
            [item.messages for item in batch], tokenize=False, add_generation_prompt=True
        )
        inputs = self.processor(
            text=prompts, images=[image for item in batch for image in item.images], padding=True, return_tensors="pt"
        ).to(self.model.device, self.model.dtype)
        tokens = self.model.generate(**inputs, max_new_tokens=longest + 2, do_sample=False)
        return list(self.processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :]))

    def wrong(self, asked: list[Item]) -> list[tuple[Item, str]]:
        ordered = sorted(asked, key=lambda item: len(item.wanted))
        wrong = []
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            answered = zip(batch, self.answers(batch), strict=True)
            wrong += [(item, answer) for item, answer in answered if not answer.startswith(f"{item.wanted}</s>")]
        return wrong


def evaluate(checkpoint: Checkpoint, arguments: argparse.Namespace) -> None:
    table = ["| skill | unseen | right | share |", "|---|---|---|---|"]
    for kind, about in KINDS.items():
        for skill in about.asks:
            if arguments.skills and skill not in arguments.skills:
                continue
            started = time.monotonic()
            asked = items(skill, arguments.seed, arguments.items)
            wrong = checkpoint.wrong(asked)
            right, share = len(asked) - len(wrong), 1 - len(wrong) / len(asked)
            line = {"skill": skill, "right": right, "items": len(asked), "share": round(share, 4)}
            print(json.dumps({**line, "seconds": round(time.monotonic() - started, 1)}), flush=True)
            for item, answer in wrong[: arguments.show]:
                print(json.dumps({"prompt": item.prompt, "wanted": item.wanted, "said": answer}))
            table.append(f"| {skill} | {UNSEEN[kind]} | {right}/{len(asked)} | {share:.1%} |")
    print("\n".join(table))


def evaluate_text(checkpoint: Checkpoint, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_language_model(checkpoint.model, checkpoint.processor, Path(folder) / "language")
        command = [sys.executable, str(PICO_TRAINING / "evaluate.py"), "--checkpoint", f"{folder}/language"]
        subprocess.run([*command, "--device", arguments.device, "--threads", str(arguments.threads)], check=True)  # noqa: S603 - our own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--items", type=int, default=200, help="of each skill")
    parser.add_argument("--skills", nargs="*", help="only these")
    parser.add_argument("--text", action="store_true", help="pico's evaluation of text instead")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=0, help="wrong answers to show of each skill")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    checkpoint = Checkpoint(arguments.checkpoint, arguments.device)
    (evaluate_text if arguments.text else evaluate)(checkpoint, arguments)


if __name__ == "__main__":
    main()
