"""The first stage of training: the language model by itself, from nothing, for a number of steps instead of a clock."""

import json
import time

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from corpus import COPY_ONLY
from feeding import batches
from packing import IGNORED, Batch
from tokenizer import train_tokenizer
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

MATRIX_RATE, OTHER_RATE = 0.02, 3e-3
WARMUP_STEPS = 50
REPORT_EVERY = 50  # steps
MIXED_SCALE = 0.6  # of the rates once the skills are mixed: batches of many kinds are noisier than copies


def build_language_model(tokenizer: PreTrainedTokenizerFast, device: str) -> LlamaForCausalLM:
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


def train_language(
    seed: int, steps: int, shares: int, workers: int, device: str
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """shares: of 2,048 tokens in a batch. workers: processes that make batches, on which the text depends, too."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(seed)
    model = build_language_model(tokenizer, device)
    loss_of, optimizers = Loss(model), Optimizers(model)
    facts = {"parameters": model.num_parameters(), "vocabulary": len(tokenizer), "steps": steps, "device": device}
    print(json.dumps(facts), flush=True)
    started, tokens, total = time.monotonic(), 0, torch.zeros((), device=device)
    for step, batch in enumerate(batches(tokenizer.backend_tokenizer, steps, seed, shares, workers, device), 1):
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
    return model, tokenizer
