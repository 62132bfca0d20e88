"""The second stage of training: a vision tower from nothing, and the language model on, for a given time."""

import json
import time
from pathlib import Path

import torch
from model import build_model, build_processor, save
from optimizers import Optimizers
from steps import Stepper
from supply import Batches, Clock, Size, batches
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

REPORT_S = 10.0
WARM_UP, TEXT_WARM_UP, FULL = 0.01, 0.04, 0.4  # shares of the time; from FULL on the rates fall to zero


def scales(progress: float) -> tuple[float, float]:
    """Of the rates of vision and of text, which starts more gently: at first the pictures mean nothing."""
    falling = min(1.0, max(0.0, (1 - progress) / (1 - FULL)))
    return tuple(min(1.0, 0.01 + progress / warm) * falling for warm in (WARM_UP, TEXT_WARM_UP))  # type: ignore[return-value]


def train_sight(
    language: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    seconds: float,
    size: Size,
    workers: int,
    device: str,
    out: Path,
) -> None:
    """Write the checkpoint to `out`, and once at half time, too. workers: processes that make batches."""
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    processor = build_processor(tokenizer)
    model = build_model(processor, language, device).train()
    stepper = Stepper(model, optimizers := Optimizers(model))
    facts = {"parameters": model.num_parameters(), "device": device, "workers": workers}
    print(json.dumps(facts | {"rows": size.rows, "shares": size.shares}), flush=True)
    clock = Clock(time.monotonic(), seconds)
    fed = batches(Batches(processor.tokenizer.backend_tokenizer, clock, size, seed), workers)
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
            save(model, processor, out)
    save(model, processor, out)
    print(json.dumps({"steps": steps, "seconds": round(time.monotonic() - clock.started, 1)}), flush=True)
