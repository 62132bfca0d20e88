"""The settings of the backend, and the checks that need no device. Imports no torch: `--help` reads them."""

from __future__ import annotations

import msgspec

from pie_core.errors import ConfigError, nearest

DTYPES = ("auto", "float32", "bfloat16", "float16")
IMPLEMENTATIONS = ("auto", "lean", "generic")
ATTENTIONS = ("auto", "flashinfer", "sdpa")
PAGE_SIZES = (8, 16, 32)


class TorchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the torch backend (`--option name=value`).

    dtype: what weights, keys and values are kept in: auto, float32, bfloat16, float16. auto is float32 on a CPU, where
        results then do not depend on the batch, and the checkpoint's own on a GPU.
    device: auto, cpu, cuda or cuda:<n>. auto takes the first GPU if there is one.
    threads: CPU threads of one operation; None leaves torch's own choice.
    page_size: token slots in a KvPage: 8, 16 or 32.
    pages: KvPages in the pool; None takes `memory` of what is free, at most 131072 tokens.
    memory: share of the free memory, 0 to 1, that the pool may take when `pages` is None.
    embeds: Embeds in the pool.
    max_batch_tokens: the most tokens of one forward batch; a longer single call still runs, alone.
    implementation: lean (hand-written, Llama family), generic (any transformers decoder) or auto.
    attention: flashinfer, sdpa (torch's own), or auto: FlashInfer on a GPU where it is installed and takes the model.
        The log says which and why.
    adapters: LoRA adapters that programs may choose (PEFT directories with safetensors), as DIRECTORY or NAME=DIRECTORY
        between commas; without a name the directory's own counts.
    image_bytes: the largest image file that is taken.
    image_pixels: the largest image that is taken, width times height.
    """

    dtype: str = "auto"
    device: str = "auto"
    threads: int | None = None
    page_size: int = 16
    pages: int | None = None
    memory: float = 0.4
    embeds: int = 16384
    max_batch_tokens: int = 2048
    implementation: str = "auto"
    attention: str = "auto"
    adapters: str = ""
    image_bytes: int = 8 << 20
    image_pixels: int = 50_000_000


def check_options(options: TorchOptions, backend: str) -> None:
    """Raise `ConfigError` with backend, option, value and what is allowed. Devices are checked where torch is."""
    _one_of(backend, "dtype", options.dtype, DTYPES)
    _one_of(backend, "implementation", options.implementation, IMPLEMENTATIONS)
    _one_of(backend, "attention", options.attention, ATTENTIONS)
    if options.page_size not in PAGE_SIZES:
        raise ConfigError(f"{backend}: page_size is {options.page_size}; a KvPage has 8, 16 or 32 slots")
    if not 0.0 < options.memory <= 1.0:
        raise ConfigError(f"{backend}: memory is {options.memory}; give a share of the free memory above 0 and up to 1")
    for name in ("threads", "pages"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"{backend}: {name} is {value}; give 1 or more, or leave it out")
    for name in ("embeds", "max_batch_tokens", "image_bytes", "image_pixels"):
        if getattr(options, name) < 1:
            raise ConfigError(f"{backend}: {name} is {getattr(options, name)}; give 1 or more")


def _one_of(backend: str, name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{backend}: {name} is {value!r}{nearest(value, allowed)}")
