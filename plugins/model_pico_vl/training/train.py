"""Train pico-vl on generated pictures and pico's text, for a given time, and write its checkpoint.

The defaults are for a GPU. A CPU does it overnight: `--rows 8 --shares 1 --seconds 40000`.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from model import build_model, build_processor, save
from optimizers import Optimizers
from steps import Stepper
from supply import Batches, Clock, Size, batches

CHECKPOINT = Path(__file__).parents[1] / "src" / "pie_model_pico_vl" / "checkpoint"
REPORT_S = 10.0
WARM_UP, TEXT_WARM_UP, FULL = 0.01, 0.04, 0.4  # shares of the time; from FULL on the rates fall to zero


def scales(progress: float) -> tuple[float, float]:
    """Of the rates of vision and of text, which starts more gently: at first the pictures mean nothing."""
    falling = min(1.0, max(0.0, (1 - progress) / (1 - FULL)))
    return tuple(min(1.0, 0.01 + progress / warm) * falling for warm in (WARM_UP, TEXT_WARM_UP))  # type: ignore[return-value]


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    torch.set_float32_matmul_precision("high")
    processor = build_processor()
    model = build_model(processor, arguments.device).train()
    stepper = Stepper(model, optimizers := Optimizers(model))
    facts = {"parameters": model.num_parameters(), "device": arguments.device, "workers": arguments.workers}
    print(json.dumps(facts | {"rows": arguments.rows, "shares": arguments.shares}), flush=True)
    clock = Clock(time.monotonic(), arguments.seconds)
    size = Size(arguments.rows, arguments.shares)
    fed = batches(Batches(processor.tokenizer.backend_tokenizer, clock, size, arguments.seed), arguments.workers)
    steps, reported, saved, waited = 0, time.monotonic(), False, 0.0
    while (progress := clock.progress()) < 1:
        asked = time.monotonic()
        batch = next(fed)
        waited += time.monotonic() - asked
        optimizers.set_rates(*scales(progress))
        stepper.step(batch)
        steps += 1
        if time.monotonic() - reported > REPORT_S:
            reported = time.monotonic()
            pictures, text = stepper.losses.tolist()
            line = {"step": steps, "seconds": round(reported - clock.started, 1), "waited": round(waited, 1)}
            print(json.dumps(line | {"pictures": round(pictures, 4), "text": round(text, 4)}), flush=True)
        if progress > 0.5 and not saved:
            saved = True
            save(model, processor, arguments.out)
    save(model, processor, arguments.out)
    print(json.dumps({"steps": steps, "seconds": round(time.monotonic() - clock.started, 1)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=380)
    parser.add_argument("--rows", type=int, default=128, help="of 512 tokens and two pictures, in a batch")
    parser.add_argument("--shares", type=int, default=16, help="of 2,048 tokens of text, in a batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 1), help="that make batches")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="folder of the checkpoint")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments)


if __name__ == "__main__":
    main()
