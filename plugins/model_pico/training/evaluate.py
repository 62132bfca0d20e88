"""Held-out accuracy of a checkpoint, skill by skill, through `transformers` generate, greedily.

Pictures go the way of every client's: a PIL image through the checkpoint's own processor. An item is right when every
stretch the model should say is exactly what it says, `</s>` included at the end.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import picture_suites
import text_suites
import torch
from questions import Question, Suite
from train import CHECKPOINT
from transformers import AutoModelForImageTextToText, AutoProcessor, logging

BATCH = 50
SUITES = {"text": text_suites.suites, "pictures": picture_suites.suites}


class Checkpoint:
    def __init__(self, folder: Path, device: str) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(folder)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder).to(device)

    @torch.inference_mode()
    def answers(self, batch: list[Question]) -> list[str]:
        """Greedy continuations, as long as the longest wanted one and a little, special tokens kept."""
        longest = max(len(self.processor.tokenizer(question.wanted).input_ids) for question in batch)
        images = [image for question in batch for image in question.images]
        texts = [question.before for question in batch]
        inputs = self.processor(text=texts, images=images or None, padding=True, return_tensors="pt")
        inputs = inputs.to(self.model.device, self.model.dtype)
        tokens = self.model.generate(**inputs, max_new_tokens=longest + 2, do_sample=False)
        return list(self.processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :]))

    def wrong_items(self, suite: Suite) -> dict[int, tuple[Question, str]]:
        """The items with a wrong stretch, each with the first one."""
        wrong: dict[int, tuple[Question, str]] = {}
        ordered = sorted(suite.questions, key=lambda question: len(question.wanted))
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            for question, answer in zip(batch, self.answers(batch), strict=True):
                if not answer.startswith(question.wanted):
                    wrong.setdefault(question.item, (question, answer))
        return wrong


def evaluate(checkpoint: Checkpoint, suites: Iterator[Suite], skills: list[str] | None, show: int) -> list[str]:
    """Print a line for each skill, and `show` of its wrong answers; the rows of the table."""
    rows = ["| skill | unseen | right | share |", "|---|---|---|---|"]
    for suite in suites:
        if skills and suite.skill not in skills:
            continue
        started = time.monotonic()
        wrong = checkpoint.wrong_items(suite)
        right, share = suite.items - len(wrong), 1 - len(wrong) / suite.items
        line = {"skill": suite.skill, "right": right, "items": suite.items, "share": round(share, 4)}
        print(json.dumps({**line, "seconds": round(time.monotonic() - started, 1)}), flush=True)
        for question, answer in list(wrong.values())[:show]:
            told = {"before": question.before[-200:], "wanted": question.wanted, "said": answer}
            print(json.dumps(told, ensure_ascii=False))
        rows.append(f"| {suite.skill} | {suite.unseen} | {right}/{suite.items} | {share:.1%} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=SUITES, help="text or pictures; both otherwise")
    parser.add_argument("--skills", nargs="*", help="only these")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=0, help="wrong answers to show of each skill")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    checkpoint = Checkpoint(given.checkpoint, given.device)
    chosen = [given.only] if given.only else list(SUITES)
    tables = [evaluate(checkpoint, SUITES[name](given.seed), given.skills, given.show) for name in chosen]
    print("\n\n".join("\n".join(rows) for rows in tables))


if __name__ == "__main__":
    main()
