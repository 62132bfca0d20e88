"""Train pico and write its checkpoint: its language model from nothing, then with a vision tower on pictures, too.

The defaults are for a GPU (minutes). A CPU takes days: `--shares 1 --rows 8 --seconds 40000`.
"""

import argparse
import os
from pathlib import Path

import torch
from language import train_language
from model import read_language
from sight import train_sight
from supply import Size

CHECKPOINT = Path(__file__).parents[1] / "src" / "pie_model_pico" / "checkpoint"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1700, help="of the language model by itself")
    parser.add_argument("--language", type=Path, help="a checkpoint to take that from, instead of training it")
    parser.add_argument("--seconds", type=float, default=330, help="of training with pictures")
    parser.add_argument("--rows", type=int, default=128, help="of 512 tokens and two pictures, in a batch")
    parser.add_argument("--shares", type=int, default=16, help="of 2,048 tokens of text, in a batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 1), help="that make batches")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="folder of the checkpoint")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.language is not None:
        language, tokenizer = read_language(given.language)
    else:
        language, tokenizer = train_language(given.seed, given.steps, given.shares, given.workers, given.device)
    size = Size(given.rows, given.shares)
    train_sight(language, tokenizer, given.seed, given.seconds, size, given.workers, given.device, given.out)


if __name__ == "__main__":
    main()
