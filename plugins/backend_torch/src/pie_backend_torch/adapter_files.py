"""LoRA adapters on disk, as PEFT saves them: names, ranks, scales and shapes, checked before anything is loaded.

What is not plain low-rank terms on linear layers is refused with the reason, so that an adapter that was taken means
what it means in PEFT. Reads JSON and safetensors headers only; imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from pie_backend_torch.checkpoint import TensorFacts, read_header, read_json
from pie_core.errors import CheckpointError, ConfigError, UnsupportedError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # before every name of the base model's
_TENSOR = re.compile(re.escape(PREFIX) + r"(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
READ = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "peft_type", "bias", "init_lora_weights"}
HARMLESS = {  # fields that say nothing about inference, or what the tensors say themselves
    *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "fan_in_fan_out"),
    *("megatron_config", "megatron_core", "loftq_config", "eva_config", "qalora_group_size", "runtime_config"),
}
HARMLESS_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # of training; others change the base model too


@dataclass(frozen=True)
class Target:
    """The terms of one linear layer of the base model: `scale * up @ down` is added to its weight."""

    down: str  # name of the tensor [rank, in]
    up: str  # name of the tensor [out, rank]
    scale: float
    shape: tuple[int, int]  # of the weight they are added to: (out, in)


@dataclass(frozen=True)
class AdapterFacts:
    """An adapter that passed the checks; `targets` by the name of the layer in the base model."""

    name: str
    weights: Path
    targets: Mapping[str, Target]


def open_adapters(option: str, backend: str) -> list[AdapterFacts]:
    """The adapters of option `adapters`: directories, or `name=directory`, between commas.

    Raises `ConfigError` for the option, `CheckpointError` or `UnsupportedError` for what is in a directory.
    """
    found: dict[str, Path] = {}
    for entry in filter(None, (part.strip() for part in option.split(","))):
        name, equals, rest = entry.partition("=")
        path = Path(rest if equals and "/" not in name else entry)
        name = name if equals and "/" not in name else path.resolve().name
        if not name:
            raise ConfigError(f"{backend}: adapters has {entry!r}; write DIRECTORY or NAME=DIRECTORY")
        if name in found:
            raise ConfigError(f"{backend}: adapters names {name!r} twice: {found[name]} and {path}; use NAME=DIRECTORY")
        found[name] = path
    return [_open(name, path) for name, path in found.items()]


def check_fit(adapter: AdapterFacts, layers: Mapping[str, Sequence[int]]) -> None:
    """Raise `CheckpointError` unless every target is one of these layers, given by name with shape (out, in)."""
    for name, target in adapter.targets.items():
        if name not in layers:
            kinds = sorted({layer.rpartition(".")[2] for layer in layers})
            raise CheckpointError(
                f"{adapter.weights}: {name!r} is no layer of this model that can be adapted (those are "
                f"{', '.join(kinds)}); train on these, or use the base model the adapter was made for"
            )
        if target.shape != tuple(layers[name]):
            raise CheckpointError(
                f"{adapter.weights}: the terms of {name!r} are for a weight of {target.shape}, this model's is "
                f"{tuple(layers[name])}; use the base model the adapter was made for"
            )


def _open(name: str, path: Path) -> AdapterFacts:
    if not path.is_dir():
        raise CheckpointError(f"adapter {name!r}: {path} is no directory; give one saved by PEFT's save_pretrained")
    if not (path / CONFIG).is_file():
        raise CheckpointError(f"adapter {name!r}: {path / CONFIG} is missing; give a directory saved by PEFT")
    if not (path / WEIGHTS).is_file():
        hint = "adapter_model.bin is a pickle and is not read; " if (path / "adapter_model.bin").is_file() else ""
        raise CheckpointError(f"adapter {name!r}: {path / WEIGHTS} is missing; {hint}save it anew as safetensors")
    config = read_json(path / CONFIG)
    _check_config(config, path / CONFIG)
    return AdapterFacts(name, path / WEIGHTS, _read_targets(config, path))


def _check_config(config: Mapping[str, Any], file: Path) -> None:
    """Raise `UnsupportedError` if the config asks for more than low-rank terms."""
    kind, start = config.get("peft_type"), config.get("init_lora_weights", True)
    if kind != "LORA":
        raise UnsupportedError(f"{file}: peft_type is {kind!r}; only LORA adapters are served")
    if start not in HARMLESS_STARTS:
        raise UnsupportedError(
            f"{file}: init_lora_weights {start!r} changes the base model too; convert the adapter to plain LoRA "
            "(PEFT's save_pretrained with path_initial_model_for_weight_conversion)"
        )
    if config.get("bias", "none") != "none":
        raise UnsupportedError(f"{file}: bias is {config['bias']!r}; only adapters with bias 'none' are served")
    for key in sorted(config.keys() - READ - HARMLESS):
        if config[key]:
            raise UnsupportedError(f"{file}: {key} is {config[key]!r:.60}, which is not served; train without it")


def _read_targets(config: Mapping[str, Any], path: Path) -> dict[str, Target]:
    file = path / WEIGHTS
    sides: dict[str, dict[str, tuple[str, TensorFacts]]] = {}
    for name, facts in read_header(file).items():
        match = _TENSOR.fullmatch(name)
        if match is None or len(facts.shape) != 2:
            raise UnsupportedError(
                f"{file}: tensor {name!r} {facts.shape} is no low-rank term of a linear layer; train on "
                "linear layers only"
            )
        sides.setdefault(match["layer"], {})[match["side"]] = (name, facts)
    if not sides:
        raise CheckpointError(f"{file} holds no tensors; save the adapter anew")
    return {layer: _target(layer, pair, config, path) for layer, pair in sides.items()}


def _target(layer: str, pair: Mapping[str, tuple[str, TensorFacts]], config: Mapping[str, Any], path: Path) -> Target:
    if len(pair) != 2:
        raise CheckpointError(f"{path / WEIGHTS}: {layer!r} has only one of lora_A and lora_B; save the adapter anew")
    (down, a), (up, b) = pair["A"], pair["B"]
    try:
        rank = int(_for_layer(config.get("rank_pattern"), layer, config["r"]))
        alpha = float(_for_layer(config.get("alpha_pattern"), layer, config["lora_alpha"]))
        scale = alpha / (sqrt(rank) if config.get("use_rslora") else rank)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError, re.error) as error:
        raise CheckpointError(
            f"{path / CONFIG}: r, lora_alpha or a pattern is missing or wrong ({error!r}); save the adapter anew"
        ) from error
    if a.shape[0] != rank or b.shape[1] != rank:
        raise CheckpointError(
            f"{path / WEIGHTS}: lora_A {a.shape} and lora_B {b.shape} of {layer!r} are not of rank {rank}, as "
            f"{CONFIG} says; use config and weights of the same adapter"
        )
    return Target(down, up, scale, (b.shape[0], a.shape[1]))


def _for_layer(pattern: Mapping[str, Any] | None, layer: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that matches the end of the layer's name, from a dot on."""
    return next((value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", layer)), default)
