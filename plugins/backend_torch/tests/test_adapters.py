"""LoRA adapters give what PEFT gives, whatever shares their batch. Oracle: peft over transformers, in fp32."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pie_backend_torch.linear import LinearMaker
from pie_backend_torch.low_rank import Blocked, Segments
from pie_backend_torch.selection import BLOCK, Selection
from safetensors.torch import load_file, save_file

from pie_core.errors import CheckpointError, ConfigError, UnsupportedError

from .conftest import EAGER, ROUNDING, VOCAB, Driver, same, their_warnings, write_adapter

PROJECTIONS = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
TARGETS: dict[str, list[str]] = {
    "llama": PROJECTIONS,
    "llama-bias": PROJECTIONS,
    "qwen3": PROJECTIONS,
    "gemma2": PROJECTIONS,
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    "gpt2": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"],
    "mixtral": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
}
PATHS = [
    *((family, "lean") for family in ("llama", "llama-bias", "qwen3")),
    *((family, "generic") for family in TARGETS),
]
Folders = Callable[[str], dict[str, Path]]


@pytest.fixture(scope="session")
def adapters(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Three adapters of a family: small on two layers; wide with rslora on all; one with patterns, on one layer."""
    made: dict[str, dict[str, Path]] = {}

    def get(family: str) -> dict[str, Path]:
        if family not in made:
            folder, targets, checkpoint = tmp_path_factory.mktemp(f"lora-{family}"), TARGETS[family], make(family)
            pattern = {"rank_pattern": {targets[0]: 5}, "alpha_pattern": {targets[1]: 7}}
            made[family] = {
                "small": write_adapter(folder / "small", checkpoint, 1, r=3, lora_alpha=5, target_modules=targets[::2]),
                "wide": write_adapter(
                    folder / "wide", checkpoint, 2, 0.1, r=24, lora_alpha=8, use_rslora=True, target_modules=targets
                ),
                "patterns": write_adapter(
                    folder / "patterns", checkpoint, 3, r=8, target_modules=targets, layers_to_transform=[1], **pattern
                )
                if family not in ("gpt2", "gpt_neox")  # PEFT does not know where their layers' numbers are
                else write_adapter(folder / "patterns", checkpoint, 3, r=8, target_modules=targets, **pattern),
            }
        return made[family]

    return get


def option(folders: dict[str, Path]) -> str:
    return ",".join(f"{name}={path}" for name, path in folders.items())


def random_tokens(count: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(3, VOCAB) for _ in range(count)]


def by_peft(make: Any, family: str, folder: Path | None, tokens: list[int]) -> torch.Tensor:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    kind = "eager" if family in EAGER else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(make(family), dtype=torch.float32, attn_implementation=kind)
    if folder is not None:
        with their_warnings():
            model = PeftModel.from_pretrained(model, folder)
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=torch.tensor([tokens])).logits[0]
    return logits


@pytest.mark.parametrize(("family", "implementation"), PATHS)
def test_logits_of_a_mixed_batch_are_those_of_peft(
    start: Any, make: Any, adapters: Folders, family: str, implementation: str
) -> None:
    folders = adapters(family)
    driver: Driver = start(family, implementation=implementation, adapters=option(folders))
    assert driver.backend.info.adapters == tuple(folders) == ("small", "wide", "patterns")
    texts = {name: random_tokens(9 + 5 * place, place) for place, name in enumerate([None, *folders])}
    pages = {name: driver.pages_for(len(text)) for name, text in texts.items()}
    wanted = {name: by_peft(make, family, name and folders[name], text) for name, text in texts.items()}
    prefills = [driver.forward(t[:-1], range(len(t) - 1), [], pages[n], adapter=n) for n, t in texts.items()]
    driver.run(*prefills)
    steps = [driver.forward(t[-1:], [len(t) - 1], pages[n], pages[n], adapter=n) for n, t in texts.items()]
    driver.run(*steps)
    scale = max(logits.abs().max().item() for logits in wanted.values())
    plain = by_peft(make, family, None, texts["wide"])
    for name, prefill, step in zip(texts, prefills, steps, strict=True):
        ours = torch.cat([driver.logits(prefill), driver.logits(step)])
        error = (ours - wanted[name]).abs().max().item()
        print(f"{family:10s} {implementation:8s} {name}: |dlogit| {error:.1e} of {scale:.1f}")
        assert error < ROUNDING * max(1.0, scale)
    assert (wanted["wide"] - plain).abs().max() > 0.05 * scale  # an adapter that is ignored would show


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("family", "implementation"),
    [("llama", "lean"), ("llama-bias", "lean"), ("llama", "generic"), ("phi3", "generic")],
)
def test_a_call_among_48_of_four_kinds_gives_the_bits_it_gives_alone(
    start: Any, adapters: Folders, family: str, implementation: str, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        driver: Driver = start(family, implementation=implementation, adapters=option(adapters(family)), pages=1024)
        plain: Driver = start(family, implementation=implementation, pages=1024)
        calls, bare = (_calls(one, [None, *driver.backend.info.adapters]) for one in (driver, plain))
        together = _results(driver, [calls])
        assert same(together, _results(driver, [[call] for call in calls]))
        unadapted = [place for place, call in enumerate(calls) if call.adapter is None]
        assert same([together[i] for i in unadapted], _results(plain, [[bare[i] for i in unadapted]]))
    finally:
        torch.set_num_threads(before)


def _calls(driver: Driver, adapters: list[str | None]) -> list[Any]:
    """Calls through each of the adapters in turn; contexts and new tokens of many lengths, some with a mask."""
    chance = random.Random(3)
    calls = []
    for index in range(48):
        name = adapters[index % len(adapters)] if driver.backend.info.adapters else None
        context, new = chance.choice([0, 3, 16, 31, 64, 90]), chance.choice([1, 1, 1, 2, 5, 8, 33])
        tokens = [chance.randrange(3, VOCAB) for _ in range(context + new)]
        mask = [[chance.random() < 0.8 for _ in range(context + new)] for _ in range(new)] if index % 5 == 0 else None
        pages = driver.pages_for(context + new)
        if context:
            driver.run(driver.forward(tokens[:context], range(context), [], pages))
        calls.append(driver.forward(tokens[context:], range(context, context + new), pages, pages, mask, name))
    for call in calls:
        call.prepare(driver.backend.info)
    return calls


def _results(driver: Driver, batches: list[list[Any]]) -> list[torch.Tensor]:
    saved = driver.backend.embeds.clone()
    for batch in batches:
        driver.handlers["forward"].forward(batch)
    out = [driver.hidden(call) for batch in batches for call in batch]
    driver.backend.embeds.copy_(saved)
    return out


def test_pages_written_through_one_adapter_may_be_read_through_another(start: Any, adapters: Folders) -> None:
    driver: Driver = start("llama", adapters=option(adapters("llama")))
    tokens, seen = random_tokens(12, 4), []
    for writer in (None, "small", "wide"):
        pages = driver.pages_for(12)
        driver.run(driver.forward(tokens[:11], range(11), [], pages, adapter=writer))
        call = driver.forward(tokens[11:], [11], pages, pages, adapter="small")
        driver.run(call)
        seen.append(driver.hidden(call))
    assert all(tensor.isfinite().all() for tensor in seen)
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])


def test_the_way_for_gpus_gives_what_the_way_for_cpus_gives() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    terms = {"a": (draw(16, 40), draw(56, 16)), "c": (draw(32, 40), draw(56, 32))}
    selection = Selection(["a", "b", "c"], torch.device("cpu"))
    segments, blocked = Segments(terms, selection, LinearMaker()), Blocked(terms, selection)
    for lengths in ({"a": 1}, {"c": 3, "a": 1, "b": 2}, {"b": 1, "a": BLOCK + 7, "c": 2 * BLOCK}):
        rows = iter(torch.randperm(300, generator=generator).tolist())
        chosen = {name: [next(rows) for _ in range(length)] for name, length in lengths.items()}
        x = draw(300, 40)
        with selection.of(chosen):
            sums = [_summed(low_rank, x) for low_rank in (segments, blocked)]
        wanted = torch.zeros(300, 56)
        for name in chosen.keys() & terms.keys():
            wanted[chosen[name]] = x[chosen[name]] @ terms[name][0].T @ terms[name][1].T
        assert all((total - wanted).abs().max() < 2e-3 for total in sums)
        assert wanted.abs().max() > 10


def _summed(low_rank: Any, x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(300, 56)
    for rows, delta in low_rank(x):
        out.index_add_(0, rows, delta)
    return out


def test_half_precision_takes_adapters_too(start: Any, make: Any, adapters: Folders) -> None:
    """float16 is not packed on a CPU: this is the way that a GPU goes, through a whole model."""
    folders = adapters("llama")
    driver: Driver = start("llama", dtype="float16", adapters=option(folders))
    tokens, names = random_tokens(20, 8), (None, "small", "wide")
    calls = [driver.forward(tokens, range(20), [], driver.pages_for(20), adapter=name) for name in names]
    driver.run(*calls)
    for name, call in zip(names, calls, strict=True):
        wanted = by_peft(make, "llama", name and folders[name], tokens)
        assert (driver.logits(call) - wanted).abs().max() < 0.02 * wanted.abs().max()


# what is refused


def _drop_side(tensors: dict[str, torch.Tensor]) -> None:
    tensors.pop(next(name for name in tensors if "lora_B" in name))


def _cut(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[name] = tensors[name][:, :2].contiguous() if "lora_A" in name else tensors[name]


def _to_head(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.lm_head.lora_A.weight"] = torch.zeros(3, 64)
    tensors["base_model.model.lm_head.lora_B.weight"] = torch.zeros(160, 3)


def _to_table(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = torch.zeros(3, 160)


BAD_CONFIGS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "dora": ({"use_dora": True}, UnsupportedError, "use_dora is True, which is not served; train without it"),
    "another method": ({"peft_type": "IA3"}, UnsupportedError, "peft_type is 'IA3'; only LORA adapters are served"),
    "biases": ({"bias": "all"}, UnsupportedError, "bias is 'all'"),
    "biases of the terms": ({"lora_bias": True}, UnsupportedError, "lora_bias is True"),
    "saved modules": ({"modules_to_save": ["lm_head"]}, UnsupportedError, "modules_to_save is ['lm_head']"),
    "experts": ({"target_parameters": ["experts.up"]}, UnsupportedError, "target_parameters is"),
    "a changed base": ({"init_lora_weights": "pissa"}, UnsupportedError, "'pissa' changes the base model too; convert"),
    "something new": ({"use_magic": 3}, UnsupportedError, "use_magic is 3, which is not served"),
    "another rank": ({"r": 4}, CheckpointError, "are not of rank 4, as adapter_config.json says"),
    "no rank": ({"r": None}, CheckpointError, "r, lora_alpha or a pattern is missing or wrong"),
    "rank 0": ({"r": 0}, CheckpointError, "is missing or wrong (ZeroDivisionError"),
    "a broken pattern": ({"rank_pattern": {"(": 3}}, CheckpointError, "a pattern is missing or wrong"),
}
BAD_TENSORS: dict[str, tuple[Any, type[Exception], str]] = {
    "one side only": (_drop_side, CheckpointError, "has only one of lora_A and lora_B"),
    "another shape": (_cut, CheckpointError, "are for a weight of (64, 2), this model's is (64, 96)"),
    "the head": (_to_head, CheckpointError, "'lm_head' is no layer of this model that can be adapted (those are down_"),
    "the table": (_to_table, UnsupportedError, "is no low-rank term of a linear layer; train on linear layers only"),
    "nothing": (dict.clear, CheckpointError, "holds no tensors"),
}


@pytest.mark.parametrize("implementation", ["lean", "generic"])
@pytest.mark.parametrize("what", [*BAD_CONFIGS, *BAD_TENSORS])
def test_an_adapter_that_cannot_be_served_is_refused_with_file_reason_and_way_out(
    start: Any, adapters: Folders, tmp_path: Path, what: str, implementation: str
) -> None:
    folder = shutil.copytree(adapters("llama")["small"], tmp_path / "bad")
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    changes, kind, message = BAD_CONFIGS.get(what) or BAD_TENSORS[what]
    if what in BAD_CONFIGS:
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    else:
        tensors = load_file(weights)
        changes(tensors)
        save_file(tensors, weights)
    with pytest.raises(kind) as caught:
        start("llama", adapters=str(folder), implementation=implementation)
    assert message in str(caught.value) and str(folder) in str(caught.value)


def test_an_adapter_of_another_model_is_refused(start: Any, adapters: Folders) -> None:
    with pytest.raises(CheckpointError, match=r"'model.layers.0.mlp.down_proj' is no layer of this model"):
        start("gpt2", adapters=str(adapters("llama")["small"]))


def test_a_folder_that_is_none_is_refused_by_what_it_lacks(start: Any, adapters: Folders, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no directory"):
        start("llama", adapters=f"{tmp_path}/none")
    with pytest.raises(CheckpointError, match=r"adapter_config.json is missing"):
        start("llama", adapters=str(tmp_path))
    folder = shutil.copytree(adapters("llama")["small"], tmp_path / "pickled")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="is a pickle and is not read; save it anew as safetensors"):
        start("llama", adapters=str(folder))
    weights = shutil.copy(adapters("llama")["small"] / "adapter_model.safetensors", folder)
    Path(weights).write_bytes(Path(weights).read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="truncated"):
        start("llama", adapters=str(folder))


def test_names_are_those_of_the_directories_unless_given_and_differ(start: Any, adapters: Folders) -> None:
    small, wide = (adapters("llama")[name] for name in ("small", "wide"))
    assert start("llama", adapters=f"{small}, poet={wide},{wide}/").backend.info.adapters == ("small", "poet", "wide")
    with pytest.raises(ConfigError, match="names 'small' twice"):
        start("llama", adapters=f"{small},small={wide}")
    with pytest.raises(ConfigError, match="write DIRECTORY or NAME=DIRECTORY"):
        start("llama", adapters=f"={small}")
