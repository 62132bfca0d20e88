"""Whatever is wrong with a checkpoint or a setting is said before memory is taken, with the file and the way out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load, pie_backend, pie_handlers
from safetensors.torch import load_file, save_file

from pie_core.errors import CheckpointError, ConfigError, PieError, ResourceError, UnsupportedError
from pie_core.model import ModelSpec
from pie_core.resource import Embed, KvPage

from .conftest import COMMON, DEVICE, ON_CPU, VOCAB, byte_tokenizer

WEIGHTS = "model.safetensors"
HUGE = """
import sys
from pathlib import Path
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from pie_core.model import ModelSpec
load(ModelSpec("tiny", Path(sys.argv[1])), TorchOptions(device="cpu"), lambda *_: None)
import torch
assert torch.empty(1 << 20).data_ptr() % 4096 == 0
"""


def try_load(path: Path, **options: Any) -> Any:
    settings = {"pages": 64, "embeds": 64, "device": DEVICE} | options
    return load(ModelSpec("tiny", path), TorchOptions(**settings), lambda stage, share: None)


@pytest.fixture
def copy(make: Any, tmp_path: Path) -> Path:
    """A llama checkpoint to break."""
    return Path(shutil.copytree(make("llama"), tmp_path / "broken"))


def edit_config(path: Path, **fields: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path / WEIGHTS)
    change(tensors)
    save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})


def shape_of(name: str, *shape: int) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.update({name: torch.zeros(*shape)})


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no directory": (shutil.rmtree, r"does not exist"),
    "no config": (lambda path: (path / "config.json").unlink(), r"config\.json is missing"),
    "config no json": (lambda path: (path / "config.json").write_text("{"), r"config\.json cannot be read as JSON"),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), r"no tokenizer"),
    "bad tokenizer": (lambda path: (path / "tokenizer.json").write_text("{}"), r"tokenizer cannot be read"),
    "no weights": (lambda path: (path / WEIGHTS).unlink(), r"no weights"),
    "only a pickle": (
        lambda path: (path / WEIGHTS).rename(path / "pytorch_model.bin"),
        r"pytorch_model\.bin is a pickle",
    ),
    "truncated": (
        lambda path: (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:-100]),
        r"model\.safetensors is truncated",
    ),
    "not safetensors": (lambda path: (path / WEIGHTS).write_bytes(b"hello world, no tensors"), r"damaged"),
    "empty": (lambda path: (path / WEIGHTS).write_bytes(b""), r"damaged"),
    "a tensor missing": (
        lambda path: edit_weights(path, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight")),
        r"lack .*model\.layers\.1\.mlp\.up_proj\.weight",
    ),
    "a tensor too many": (lambda path: edit_weights(path, shape_of("model.extra", 3)), r"also have .*model\.extra"),
    "a tensor misshaped": (
        lambda path: edit_weights(path, shape_of("model.norm.weight", 7)),
        r"model\.norm\.weight|size mismatch|mismatch",
    ),
    "another model's config": (lambda path: edit_config(path, num_hidden_layers=5), r"lack .*layers\.[34]"),
    "a shard missing": (
        lambda path: (
            (path / WEIGHTS).unlink(),
            (path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}'),
        ),
        r"lacks 1 of 1 shards \(model-1\.safetensors",
    ),
}


@pytest.mark.parametrize("implementation", ["lean", "generic"])
@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_checkpoint_is_refused_with_the_file_and_the_way_out(
    copy: Path, damage: str, implementation: str
) -> None:
    change, message = BROKEN[damage]
    change(copy)
    with pytest.raises(CheckpointError) as caught:
        try_load(copy, implementation=implementation)
    assert re.search(message, str(caught.value))
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_attention_heads": 5}, r"5 query heads .* cannot share 2 key heads"),
        ({"num_key_value_heads": 3}, r"4 query heads .* cannot share 3 key heads"),
        ({"head_dim": 15}, r"15 wide"),
    ],
)
def test_heads_that_no_attention_can_run_on_are_refused(copy: Path, fields: dict[str, Any], message: str) -> None:
    edit_config(copy, **fields)
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{message}"):
        try_load(copy)


def test_a_sharded_checkpoint_loads(copy: Path, make: Any) -> None:
    tensors = load_file(copy / WEIGHTS)
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, copy / file, metadata={"format": "pt"})
    (copy / WEIGHTS).unlink()
    where = {name: file for file, part in shards.items() for name in part}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    ids = torch.arange(9, device=DEVICE)
    for implementation in ("lean", "generic"):
        ours = try_load(copy, implementation=implementation).decoder.embed(ids)
        assert torch.equal(ours, try_load(make("llama")).decoder.embed(ids))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("dtype", "float8", "auto, bfloat16, float16, float32"),
        ("device", "tpu", "this machine has auto, cpu"),
        ("page_size", 12, "8, 16 or 32"),
        ("pages", 0, "1 or more"),
        ("embeds", 0, "1 or more"),
        ("threads", 0, "1 or more"),
        ("max_batch_tokens", -1, "1 or more"),
        ("memory", 1.5, "up to 1"),
        ("implementation", "leen", "did you mean 'lean'"),
    ],
)
def test_a_bad_option_is_refused_with_what_is_allowed(make: Any, option: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        try_load(make("llama"), **{option: value})
    assert option in str(caught.value)


def test_a_pool_that_does_not_fit_is_refused_with_how_many_pages_would(make: Any) -> None:
    with pytest.raises(ResourceError, match=r"1000000000 pages .* \d+ pages would fit"):
        try_load(make("llama"), pages=1_000_000_000)
    with pytest.raises(ResourceError, match="not one page"):
        try_load(make("llama"), pages=None, embeds=1 << 40)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "dynamic rope": (
        "llama",
        COMMON | {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        "dynamic rope depends on the longest sequence",
    ),
    "recurrent layers": (
        "qwen3_5_text",
        {
            "vocab_size": VOCAB,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "head_dim": 16,
        },
        "recurrent state",
    ),
    "own attention": (
        "falcon",
        {"vocab_size": VOCAB, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
        "AttentionInterface",
    ),
    "no keywords": (
        "stablelm",
        {
            "vocab_size": VOCAB,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        "keywords|AttentionInterface",
    ),
    "encoder-decoder": (
        "t5",
        {"vocab_size": VOCAB, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4},
        "encoder-decoder",
    ),
    "no causal model": (
        "bert",
        {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        "not a causal language model",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_family_that_cannot_work_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    family, fields, message = REFUSED[case]
    config = AutoConfig.for_model(family, **fields)
    maker = AutoModel if family in ("t5", "bert") else AutoModelForCausalLM
    maker.from_config(config).save_pretrained(tmp_path)
    byte_tokenizer().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UnsupportedError, match=message) as caught:
        try_load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_lean_does_not_advise_auto_for_what_auto_refuses_too(copy: Path) -> None:
    edit_config(copy, quantization_config={"quant_method": "gptq"})
    with pytest.raises(UnsupportedError, match="gptq") as caught:
        try_load(copy, implementation="lean")
    assert "use auto" not in str(caught.value)


def test_an_unknown_model_type_is_refused(copy: Path) -> None:
    edit_config(copy, model_type="nonesuch")
    with pytest.raises(UnsupportedError, match="nonesuch"):
        try_load(copy)


def test_quantized_weights_are_refused(copy: Path) -> None:
    edit_config(copy, quantization_config={"quant_method": "gptq"})
    with pytest.raises(UnsupportedError, match="gptq"):
        try_load(copy)


def test_attention_that_differs_from_the_models_own_is_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pie_backend_torch import paged

    def without_window(*args: Any) -> torch.Tensor:
        return paged.attend(*args[:-1], paged.Flavour(args[-1].scale))

    genuine = paged.over_pool
    monkeypatch.setattr(
        paged,
        "over_pool",
        lambda step, pool: (
            lambda layer, q, k, v, flavour: genuine(step, pool)(layer, q, k, v, paged.Flavour(flavour.scale))
        ),
    )
    with pytest.raises(UnsupportedError, match="differ from its own"):
        try_load(make("gemma2"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"hidden_act": "gelu"}, "silu"), ({"novelty": 3}, "novelty"), ({"model_type": "phi3"}, "model type")],
)
def test_what_lean_does_not_cover_takes_the_generic_path_or_is_refused_where_lean_was_asked_for(
    copy: Path, fields: dict[str, Any], message: str
) -> None:
    edit_config(copy, **fields)
    with pytest.raises(UnsupportedError, match=message):
        try_load(copy, implementation="lean")
    if "model_type" not in fields:
        assert try_load(copy).decoder.implementation == "generic"


def test_facts_are_read_from_the_checkpoint(copy: Path) -> None:
    (copy / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "add_bos_token": True, "chat_template": "{{ messages }}"})
    )
    backend = try_load(copy, page_size=8, pages=10, embeds=20, threads=1)
    info = backend.info
    assert (info.vocab_size, info.max_position, info.kvpage_size) == (VOCAB, 512, 8)
    assert (info.bos_token, info.eos_tokens, info.prompt_template) == (1, (2,), "{{ messages }}")
    added = json.loads((copy / "tokenizer.json").read_text())["added_tokens"]
    assert info.special_tokens == tuple(entry["id"] for entry in added if entry["special"]) != ()
    assert backend.capacity == {KvPage: 10, Embed: 20}
    assert not ON_CPU or backend.device == "cpu (1 threads, float32)"
    (copy / "generation_config.json").unlink()
    (copy / "chat_template.jinja").write_text("{# a file wins #}")
    (copy / "tokenizer_config.json").write_text("{}")
    info = try_load(copy).info
    assert (info.bos_token, info.eos_tokens, info.prompt_template) == (None, (2,), "{# a file wins #}")


def test_progress_is_reported(make: Any) -> None:
    seen: list[tuple[str, float | None]] = []
    load(ModelSpec("tiny", make("llama")), TorchOptions(pages=4, embeds=4), lambda *event: seen.append(event))
    assert ("weights", 1.0) in seen and "pools" in dict(seen)


def test_the_plugin_registers_without_importing_torch() -> None:
    code = (
        "import sys; from pie_backend_torch.plugin import pie_backend, pie_handlers;"
        "pie_backend(); pie_handlers(); assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert pie_backend().name == "torch"
    assert [spec.trait for spec in pie_handlers()] == [
        f"{name}>=1,<2" for name in ("allocate", "forward", "input_text", "tokenize", "output_text")
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has them")
def test_large_tensors_are_laid_out_in_huge_pages(make: Any) -> None:
    """Torch asks for them for memory that begins with a page; otherwise malloc's own words come first."""
    subprocess.run([sys.executable, "-c", HUGE, str(make("llama"))], check=True)


def test_every_error_is_one_of_pies(tmp_path: Path) -> None:
    with pytest.raises(PieError):
        try_load(tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("implementation", ["lean", "generic"])
def test_half_precision_runs(make: Any, dtype: str, implementation: str) -> None:
    from pie_backend_torch.loop import greedy

    backend = try_load(make("llama"), dtype=dtype, implementation=implementation)
    assert backend.pool.keys[0].dtype == getattr(torch, dtype)
    assert len(greedy(backend, [[5, 6, 7], [8]], 4)[1]) == 4
