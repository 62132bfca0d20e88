"""From a checkpoint directory to a backend that is ready: check, choose the path, read, size the pools, allocate."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import torch
from msgspec.structs import replace
from safetensors import safe_open
from torch import Tensor

from pie_backend_torch import lean_config, memory
from pie_backend_torch.adapter_files import open_adapters
from pie_backend_torch.adapters import Adapters
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.blas import choose_kernels_by_shape
from pie_backend_torch.checkpoint import Checkpoint, open_checkpoint
from pie_backend_torch.decoder import Decoder
from pie_backend_torch.device import choose_attention_by_shape, choose_device, choose_dtype
from pie_backend_torch.families import replaceable_attention
from pie_backend_torch.flash.choice import choose_attention
from pie_backend_torch.flash.selfcheck import Asked
from pie_backend_torch.generic import check_config, load_generic
from pie_backend_torch.huge_pages import use_huge_pages
from pie_backend_torch.kernels import Attention, Kernels, Recipe
from pie_backend_torch.lean import LeanDecoder, adaptable_layers, expected_tensors
from pie_backend_torch.lean_config import LeanConfig
from pie_backend_torch.options import TorchOptions, check_options
from pie_backend_torch.pool import token_bytes
from pie_backend_torch.text_part import text_part
from pie_backend_torch.tokenizer import Tokenizer, bos_token, eos_tokens, open_tokenizer, prompt_template
from pie_backend_torch.torch_kernels import torch_recipe
from pie_backend_torch.vision.opening import Sight
from pie_backend_torch.vision.seeing import Limits
from pie_core.errors import CheckpointError, ConfigError, UnsupportedError
from pie_core.inference.backend import Progress
from pie_core.model import ModelInfo, ModelSpec

log = structlog.get_logger(__name__)


def load_backend(
    spec: ModelSpec, options: TorchOptions, progress: Progress, recipe: Recipe | None = None
) -> TorchBackend:
    """The backend of `BackendSpec.load`; see there for what it raises. `recipe` makes another backend of this one."""
    if recipe is not None and options.attention != "auto":
        raise ConfigError(f"{recipe.name}: it brings its own attention; leave attention={options.attention} out")
    recipe = recipe or torch_recipe(options.attention)
    name = recipe.name
    check_options(options, name)
    choose_kernels_by_shape()
    use_huge_pages()
    started = time.perf_counter()
    progress("checkpoint", None)
    checkpoint = open_checkpoint(spec.path)
    device = choose_device(options.device, name)
    choose_attention_by_shape(device)
    dtype = choose_dtype(options.dtype, checkpoint.config, device)
    adapters = Adapters(open_adapters(options.adapters, name), dtype, device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    tokenizer = open_tokenizer(checkpoint)
    memory.check_weights(checkpoint.parameters, dtype, device, name)
    reading = f"the weights were read ({memory.weights_in(checkpoint.parameters, dtype)})"
    # not in inference mode: handlers of other packages may write to the pools outside it
    with (
        memory.told(device, name, reading, partial(memory.weights_that_fit, checkpoint.parameters, dtype, device)),
        torch.no_grad(),
    ):
        decoder = _read_decoder(checkpoint, options, dtype, device, adapters, progress, recipe)
        adapters.loaded()
    slot, embed = token_bytes(decoder.layers, dtype), decoder.hidden_size * dtype.itemsize
    pages = memory.choose_pages(options, slot, embed, device, name)
    progress("pools", None)
    info = _info(spec, checkpoint, decoder, tokenizer, options.page_size, adapters.selection.names)
    fitting = partial(memory.pools_that_fit, replace(options, pages=pages), slot, embed, device)
    with memory.told(device, name, "the pools were allocated", fitting), torch.no_grad():
        backend = TorchBackend(
            info,
            decoder,
            tokenizer,
            pages,
            options.embeds,
            options.max_batch_tokens,
            adapters.selection,
            Sight(checkpoint, Limits(options.image_bytes, options.image_pixels)),
        )
    log.info(
        "model.loaded",
        model=spec.name,
        device=backend.device,
        pages=pages,
        adapters=len(info.adapters),
        seconds=round(time.perf_counter() - started, 2),
    )
    return backend


def _read_decoder(
    checkpoint: Checkpoint,
    options: TorchOptions,
    dtype: torch.dtype,
    device: torch.device,
    adapters: Adapters,
    progress: Progress,
    recipe: Recipe,
) -> Decoder:
    text = text_part(checkpoint)
    implementation, reason = options.implementation, lean_config.why_not(text.config)
    if not recipe.generic and (reason is not None or implementation == "generic"):
        why = reason or "implementation=generic is transformers' own modules"
        instead = _where_else(checkpoint, recipe.name, implementation)
        raise UnsupportedError(f"{checkpoint.path}: backend {recipe.name} does not cover this model: {why}; {instead}")
    if implementation == "lean" and reason is not None:
        check_config(checkpoint)  # says what auto does not take either
        raise UnsupportedError(f"{checkpoint.path}: implementation=lean does not cover this model: {reason}; use auto")
    lean = reason is None and implementation != "generic"
    log.info("model.path", path="lean" if lean else "generic", why=reason or f"implementation={implementation}")
    if lean:
        config = lean_config.read_config(text.config, str(text.path / "config.json"))
        kernels = recipe.kernels(config, dtype, device, options.page_size)
        return _read_lean(text, config, dtype, device, adapters, progress, kernels)

    def choose(asked: Sequence[Asked]) -> Attention:
        return choose_attention(options.attention, asked, dtype, device, options.page_size)

    return load_generic(checkpoint, dtype, device, adapters, progress, choose)


def _where_else(checkpoint: Checkpoint, backend: str, implementation: str) -> str:
    """What to do with a model that runs on transformers' modules only. Raises `UnsupportedError` if it runs nowhere."""
    try:
        config = check_config(checkpoint)
    except UnsupportedError as error:
        raise UnsupportedError(f"{error}; neither backend {backend} nor torch takes this checkpoint") from error
    option = " --option implementation=auto" if implementation == "lean" else ""
    if replaceable_attention(config):
        return f"use --backend torch{option}"
    return f"--backend torch{option} may take it, and tells when it has read and tried it"


def _read_lean(
    checkpoint: Checkpoint,
    config: LeanConfig,
    dtype: torch.dtype,
    device: torch.device,
    adapters: Adapters,
    progress: Progress,
    kernels: Kernels,
) -> LeanDecoder:
    expected = expected_tensors(config)
    _check_tensors(checkpoint, expected)
    adapters.check(adaptable_layers(config))
    done = 0
    with ExitStack() as stack:
        files: dict[Path, Any] = {}

        def read(name: str) -> Tensor:
            nonlocal done
            file = checkpoint.tensors[name].file
            if file not in files:
                files[file] = stack.enter_context(safe_open(str(file), framework="pt", device="cpu"))
            done += 1
            progress("weights", min(1.0, done / len(expected)))
            # a copy, so that nothing keeps the file mapped
            loaded = files[file].get_tensor(checkpoint.tensors[name].name)
            return torch.empty_like(loaded, dtype=dtype, device=device).copy_(loaded)

        return LeanDecoder(config, read, dtype, device, adapters, kernels)


def _check_tensors(checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `CheckpointError` unless the weights are those that the config describes."""
    present = {name: tensor.shape for name, tensor in checkpoint.tensors.items() if not _derived(name)}
    missing = sorted(expected.keys() - present.keys())
    surplus = sorted(present.keys() - expected.keys() - {"lm_head.weight"})
    wrong = sorted(name for name in expected.keys() & present.keys() if present[name] != expected[name])
    problems = [
        f"{word} {names[0]!r} ({len(names)} in all)"
        for word, names in (("lack", missing), ("also have", surplus))
        if names
    ]
    problems += [f"have {name!r} as {present[name]} instead of {expected[name]}" for name in wrong[:1]]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path}: the weights do not fit config.json: they {', '.join(problems)}; "
            "use config and weights of the same model"
        )


def _derived(name: str) -> bool:
    """Buffers that old checkpoints carry and nobody reads."""
    return name.endswith("rotary_emb.inv_freq")


def _info(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    decoder: Decoder,
    tokenizer: Tokenizer,
    page_size: int,
    adapters: tuple[str, ...],
) -> ModelInfo:
    own = checkpoint.optional_json("tokenizer_config.json")
    text = checkpoint.config.get("text_config") or {}
    return ModelInfo(
        name=spec.name,
        vocab_size=decoder.vocab_size,
        max_position=decoder.max_position,
        kvpage_size=page_size,
        description=spec.description,
        version=spec.version,
        license=spec.license,
        prompt_template=prompt_template(checkpoint),
        bos_token=bos_token(tokenizer, own),
        eos_tokens=eos_tokens(
            tokenizer, checkpoint.optional_json("generation_config.json"), checkpoint.config, text, own
        ),
        special_tokens=tuple(token for token in tokenizer.specials() if token < decoder.vocab_size),
        adapters=adapters,
    )
