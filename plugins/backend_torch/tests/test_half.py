"""bfloat16 and float16 are as close to float32 as transformers' own are. Oracle: transformers on the same device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import DEVICE, EAGER, VOCAB

CASES = [
    *(("llama", "lean"), ("llama-rope3", "lean"), ("qwen3", "lean"), ("mistral", "lean")),
    *(("llama", "generic"), ("gemma2", "generic"), ("deepseek_v3", "generic"), ("gpt2", "generic")),
]
TOKENS, DECODED = 60, 10


def error(logits: torch.Tensor, exact: torch.Tensor) -> float:
    """||logits - exact|| / ||exact||"""
    return float((logits.float() - exact).norm() / exact.norm())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("family", "implementation"), CASES)
def test_half_precision_is_as_close_to_float32_as_that_of_transformers(
    start: Any, make: Any, reference: Any, family: str, implementation: str, dtype: str
) -> None:
    from transformers import AutoModelForCausalLM

    ids = torch.randint(3, VOCAB, (TOKENS,), generator=torch.Generator().manual_seed(2))
    kind = "eager" if family in EAGER else "sdpa"
    stock = AutoModelForCausalLM.from_pretrained(make(family), dtype=getattr(torch, dtype), attn_implementation=kind)
    with torch.no_grad():
        exact = reference(family)(ids[None]).logits[0]
        theirs = stock.eval().to(DEVICE)(ids[None].to(DEVICE)).logits[0].cpu()
    driver = start(family, implementation=implementation, dtype=dtype)
    tokens, pages, rows = ids.tolist(), driver.pages_for(TOKENS), []
    for first, end in [(0, TOKENS - DECODED), *((at, at + 1) for at in range(TOKENS - DECODED, TOKENS))]:
        call = driver.forward(tokens[first:end], range(first, end), pages, pages)
        driver.run(call)
        rows.append(driver.logits(call))
    ours, stock_error = error(torch.cat(rows), exact), error(theirs, exact)
    print(f"{family:12s} {implementation:8s} {dtype}: ours {ours:.1e}, transformers {stock_error:.1e}")
    assert ours < 1.5 * stock_error
    assert stock_error < 0.1
