"""A checkpoint through the whole backend says what transformers and the torch backend say of it, in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pie_backend_torch import plugin as torch_plugin
from pie_backend_torch.building import Span, TorchBackend, build_step
from pie_backend_torch.options import TorchOptions
from pie_backend_triton import plugin
from pie_backend_triton.coverage import check_device
from transformers import AutoConfig

from pie_core.errors import ConfigError, ResourceError, UnsupportedError
from pie_core.model import ModelSpec

from .checkpoints import VOCAB, write_adapter, write_checkpoint
from .conftest import DEVICE, worst

LENGTHS = (14, 3)  # tokens of each prompt


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    return lambda family, **how: write_checkpoint(tmp_path_factory.mktemp("made") / family, family, **how)


def loaded(kind: Any, path: Path, **options: Any) -> TorchBackend:
    settings = {"pages": 64, "embeds": 64, "dtype": "float32", "device": str(DEVICE)} | options
    return kind.load(ModelSpec("m", path), TorchOptions(**settings), lambda stage, share: None)


@torch.inference_mode()
def run(
    backend: TorchBackend, prompts: list[torch.Tensor], decoded: int, adapter: str | None = None
) -> list[torch.Tensor]:
    """Logits [tokens, vocab] of each prompt: all but its last tokens in one ragged batch, then one by one.

    adapter: the first prompt goes through it.
    """
    decoder, pool, size = backend.decoder, backend.pool, backend.pool.page_size
    tables = [[3 + 7 * place + 20 * call for place in range(3)] for call in range(len(prompts))]
    found: list[list[torch.Tensor]] = [[] for _ in prompts]
    starts = [0] * len(prompts)
    for ends in [[len(prompt) - decoded + step for prompt in prompts] for step in range(decoded + 1)]:
        spans, new = [], []
        for table, prompt, start, end in zip(tables, prompts, starts, ends, strict=True):
            live = [(1 << min(size, max(0, start - size * place))) - 1 for place in range(len(table))]
            slots = [table[at // size] * size + at % size for at in range(start, end)]
            spans.append(Span(table, live, slots, range(start, end)))
            new.append(prompt[start:end])
        step = build_step(decoder.kernels.attention, spans, size, decoder.device)
        step.place(pool)
        with backend.selection.of({adapter: range(len(new[0]))} if adapter else {}):
            hidden = decoder.hidden(decoder.embed(torch.cat(new).to(DEVICE)), step, pool)
        logits = decoder.logits(hidden)
        for one, part in zip(found, logits.split([len(part) for part in new]), strict=True):
            one.append(part.cpu())
        starts = ends
    return [torch.cat(parts) for parts in found]


@pytest.mark.parametrize("family", ["llama", "llama-bias", "mistral", "qwen2", "qwen3"])
def test_logits_are_those_of_transformers_and_of_the_torch_backend(make: Callable[..., Path], family: str) -> None:
    from transformers import AutoModelForCausalLM

    path = make(family)
    prompts = [
        torch.randint(3, VOCAB, (length,), generator=torch.Generator().manual_seed(length)) for length in LENGTHS
    ]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    ours, theirs = (run(loaded(kind, path), prompts, decoded=2) for kind in (plugin, torch_plugin))
    for prompt, got, other in zip(prompts, ours, theirs, strict=True):
        with torch.inference_mode():
            exact = model(prompt[None]).logits[0].double()
        assert worst(got, exact) < 1e-5
        assert worst(got, other.double()) < 1e-5
    alone = run(loaded(plugin, path), prompts[:1], decoded=1)  # a step of one row takes other kernels
    assert worst(alone[0], theirs[0].double()) < 1e-5


def test_rows_go_through_an_adapter_or_through_none_as_in_the_torch_backend(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    path = make("llama-bias", num_hidden_layers=1)
    folder = write_adapter(tmp_path / "poet", path)
    ours, theirs = (loaded(kind, path, adapters=str(folder)) for kind in (plugin, torch_plugin))
    prompts = [torch.arange(3, 3 + length) for length in LENGTHS]
    expected = run(theirs, prompts, 1, "poet")
    plain = run(theirs, prompts[:1], 1)
    for got, exact in zip(run(ours, prompts, 1, "poet"), expected, strict=True):  # the other prompt beside it
        assert worst(got, exact.double()) < 1e-5
    for adapter, exact in (("poet", expected[0]), (None, plain[0])):  # steps of one row
        assert worst(run(ours, prompts[:1], 1, adapter)[0], exact.double()) < 1e-5
    assert ((expected[0] - plain[0]).abs().amax(1) > 0.05 * plain[0].abs().max()).all()  # an adapter shows


def test_what_the_kernels_do_not_cover_is_refused_with_the_backend_that_takes_it(make: Callable[..., Path]) -> None:
    crowded = {"hidden_size": 65, "num_attention_heads": 65, "num_key_value_heads": 1}
    for path, options, reason in (
        (make("gemma"), {}, "model type 'gemma'"),
        (make("llama"), {"implementation": "generic"}, "implementation=generic"),
        (make("llama", head_dim=160), {}, "heads 160 wide"),
        (make("llama", **crowded), {}, "65 query heads over 1 key heads"),
    ):
        with pytest.raises(UnsupportedError, match=f"triton.*{reason}.*use --backend torch"):
            loaded(plugin, path, **options)
        loaded(torch_plugin, path, **options)


def test_a_model_that_no_backend_takes_is_refused_by_both_with_the_reason_and_no_advice_that_fails(
    make: Callable[..., Path],
) -> None:
    for family, fields, reason in (
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "dynamic rope"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, r"quantized \(gptq\)"),
        ("mamba", {}, "recurrent state"),
        ("t5", {}, "encoder-decoder"),
    ):
        path = make("llama")
        AutoConfig.for_model(family, **fields).save_pretrained(path)
        for kind in (torch_plugin, plugin):
            with pytest.raises(UnsupportedError, match=f"{path}.*cannot be served.*{reason}") as caught:
                loaded(kind, path)
            assert "use --backend" not in str(caught.value)
        assert "neither backend triton nor torch" in str(caught.value)


def test_torch_is_no_promise_where_transformers_does_not_say_that_attention_can_be_replaced(
    make: Callable[..., Path],
) -> None:
    AutoConfig.for_model("falcon").save_pretrained(path := make("llama"))
    with pytest.raises(UnsupportedError, match=r"model type 'falcon'.*; --backend torch may take it"):
        loaded(plugin, path)


def test_advice_to_take_torch_names_the_option_that_it_wants_too(make: Callable[..., Path]) -> None:
    with pytest.raises(UnsupportedError, match=r"use --backend torch --option implementation=auto$"):
        loaded(plugin, path := make("gemma"), implementation="lean")
    with pytest.raises(UnsupportedError, match="use auto"):
        loaded(torch_plugin, path, implementation="lean")
    loaded(torch_plugin, path, implementation="auto")


def test_a_machine_without_cuda_is_refused_unless_the_interpreter_is_on(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ConfigError, match=r"CUDA.*--backend torch.*TRITON_INTERPRET=1"):
        loaded(plugin, make("llama"), device="cpu")


def test_a_gpu_that_is_too_old_is_refused_with_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ConfigError, match=r"cuda:1 has .* 7\.5, 8\.0 or more is wanted; use --backend torch"):
        check_device(torch.device("cuda:1"))
    for recent in ((8, 0), (12, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, recent=recent: recent)
        check_device(torch.device("cuda:1"))


def test_a_pool_that_does_not_fit_is_refused_with_the_size_that_does(make: Callable[..., Path]) -> None:
    path = make("llama")
    with pytest.raises(ResourceError, match=r"^triton: .* pages would fit \(--option pages=\d+\)"):
        loaded(plugin, path, pages=1 << 40)
