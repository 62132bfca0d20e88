"""Train pico from nothing and write its checkpoint: one command, one seed, a number of steps instead of a clock.

The defaults are for a GPU (minutes). A CPU does the same in days; `--shares 1` makes its steps sixteen times smaller.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from corpus import COPY_ONLY
from feeding import batches
from packing import IGNORED, Batch
from tokenizer import train_tokenizer
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHECKPOINT = Path(__file__).parents[1] / "src" / "pie_model_pico" / "checkpoint"
MATRIX_RATE, OTHER_RATE = 0.02, 3e-3
WARMUP_STEPS = 50
REPORT_EVERY = 50  # steps
MIXED_SCALE = 0.6  # of the rates once the skills are mixed: batches of many kinds are noisier than copies


def build_model(tokenizer: PreTrainedTokenizerFast, device: str) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(device)  # type: ignore[arg-type]  # transformers wraps `to`
    # On a CPU plain products are faster than its fused attention's backward pass.
    model.set_attn_implementation("eager" if device == "cpu" else "sdpa")
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def rate_scale(number: int, steps: int) -> float:
    """Warm-up, full rate while the model learns to copy, then a lower one that falls linearly to zero."""
    progress = number / steps
    if progress < COPY_ONLY:
        return min(1.0, (number + 1) / WARMUP_STEPS)
    return MIXED_SCALE * (1 - progress) / (1 - COPY_ONLY)


class Optimizers:
    """Muon for the matrices, AdamW for the embedding and the norms, under one schedule."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        named = list(model.named_parameters())
        matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
        others = [weight for name, weight in named if weight.ndim != 2 or "embed" in name]
        self._optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.01), MATRIX_RATE),
            (torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True), OTHER_RATE),
        ]

    def step(self, number: int, steps: int) -> None:
        scale = rate_scale(number, steps)
        for optimizer, rate in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


class Loss(torch.nn.Module):
    """Mean cross-entropy of the trained tokens; logits exist only for those."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model
        self._decoder = torch.compile(self._decode, dynamic=False)

    def _decode(self, tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        output = self.model.model(input_ids=tokens, position_ids=positions, attention_mask=mask, use_cache=False)
        hidden: Tensor = output.last_hidden_state  # [rows, length, hidden]
        return hidden

    def forward(self, batch: Batch) -> Tensor:
        with torch.autocast(batch.tokens.device.type, torch.bfloat16):
            hidden = self._decoder(batch.tokens, batch.positions, batch.attention_mask())
            trained = batch.labels != IGNORED
            logits = F.linear(hidden[trained], self.model.lm_head.weight)  # [trained tokens, vocabulary]
        return F.cross_entropy(logits.float(), batch.labels[trained])


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write bfloat16 weights beside the old files, then rename: a reader sees whole files only."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        copy = LlamaForCausalLM(model.config).bfloat16()
        copy.load_state_dict(model.state_dict())
        copy.generation_config = model.generation_config
        copy.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary, save_jinja_files=False)
        for file in Path(temporary).iterdir():
            file.chmod(0o644)
            file.replace(folder / file.name)


def train(arguments: argparse.Namespace) -> None:
    steps, device = arguments.steps, arguments.device
    torch.manual_seed(arguments.seed)
    tokenizer = train_tokenizer(arguments.seed)
    model = build_model(tokenizer, device)
    loss_of, optimizers = Loss(model), Optimizers(model)
    facts = {"parameters": model.num_parameters(), "vocabulary": len(tokenizer), "steps": steps, "device": device}
    print(json.dumps(facts), flush=True)
    fed = batches(tokenizer.backend_tokenizer, steps, arguments.seed, arguments.shares, arguments.workers, device)
    started, tokens, total = time.monotonic(), 0, torch.zeros((), device=device)
    for step, batch in enumerate(fed, 1):
        loss = loss_of(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(step - 1, steps)
        tokens += batch.tokens.numel()
        total += loss.detach()
        if step % REPORT_EVERY == 0:
            mean, seconds = total.item() / REPORT_EVERY, time.monotonic() - started
            line = {"step": step, "loss": round(mean, 4), "tokens": tokens, "seconds": round(seconds, 1)}
            print(json.dumps({**line, "tokens_per_s": round(tokens / seconds)}), flush=True)
            total.zero_()
        if step % arguments.save_every == 0:
            save(model, tokenizer, arguments.out)
    save(model, tokenizer, arguments.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--shares", type=int, default=16, help="size of a batch; one share is 2,048 tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=6, help="processes that make batches; part of the seed")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    parser.add_argument("--save-every", type=int, default=1000, help="steps between checkpoints")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="folder of the checkpoint")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments)


if __name__ == "__main__":
    main()
