"""A checkpoint directory as facts: config, tensors and where they lie, checked before anything is loaded.

Reads JSON and safetensors headers only. Never the network, never code from the checkpoint. Imports no torch.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from pie_core.errors import CheckpointError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
FETCH = "fetch the whole checkpoint again"


@dataclass(frozen=True)
class TensorFacts:
    """One tensor as the header of its file describes it."""

    file: Path
    dtype: str  # safetensors' name: "F32", "BF16", ...
    shape: tuple[int, ...]
    name: str  # in the file


@dataclass(frozen=True)
class Checkpoint:
    """A directory that passed the checks. `config` is config.json; `tensors` are by name, from every shard."""

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorFacts]

    @property
    def parameters(self) -> int:
        """How many numbers the weights are made of."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    def optional_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the directory, or an empty dict where there is none. Raises `CheckpointError` if broken."""
        file = self.path / name
        return read_json(file) if file.is_file() else {}


def open_checkpoint(path: Path) -> Checkpoint:
    """Check the directory and read its facts. Raises `CheckpointError` naming the file and the way out."""
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        raise CheckpointError(f"checkpoint {path} {what}; give a directory with config.json and *.safetensors")
    config = path / "config.json"
    if not config.is_file():
        raise CheckpointError(f"{config} is missing; give a directory saved with save_pretrained, or {FETCH}")
    if not any((path / name).is_file() for name in TOKENIZERS):
        raise CheckpointError(
            f"{path} has no tokenizer ({', '.join(TOKENIZERS[:2])}); copy the model's tokenizer files there"
        )
    return Checkpoint(path, read_json(config), _read_tensors(path))


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises `CheckpointError` if the file holds anything else."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON ({error}); {FETCH}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds a {type(value).__name__}, not an object; {FETCH}")
    return value


def _read_tensors(path: Path) -> dict[str, TensorFacts]:
    tensors: dict[str, TensorFacts] = {}
    for file in _weight_files(path):
        for name, facts in read_header(file).items():
            if name in tensors:
                raise CheckpointError(f"{file} holds tensor {name!r}, and so does {tensors[name].file}; {FETCH}")
            tensors[name] = facts
    return tensors


def _weight_files(path: Path) -> list[Path]:
    index = path / INDEX
    if (path / SINGLE).is_file():
        return [path / SINGLE]
    if not index.is_file():
        found = sorted(entry.name for entry in path.glob("*.bin")) + sorted(e.name for e in path.glob("*.pt*"))
        hint = f"; {found[0]} is a pickle and is not read, convert it to safetensors" if found else f"; {FETCH}"
        raise CheckpointError(f"{path} has no weights: neither {SINGLE} nor {INDEX}{hint}")
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(f"{index} has no weight_map; {FETCH}")
    files = [path / name for name in sorted(set(shards.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{path} lacks {len(missing)} of {len(files)} shards ({missing[0]}, ...); {FETCH}")
    return files


def read_header(file: Path) -> dict[str, TensorFacts]:
    """The tensors of a safetensors file. Raises `CheckpointError` if it is damaged."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError(f"header of {length} bytes in a file of {size}")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        facts = {name: TensorFacts(file, entry["dtype"], tuple(entry["shape"]), name) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise CheckpointError(f"{file} is not a safetensors file or is damaged ({error}); {FETCH}") from error
    if 8 + length + end != size:
        word = "truncated" if size < 8 + length + end else "longer than its header says"
        raise CheckpointError(f"{file} is {word}: {size} bytes, its header says {8 + length + end}; {FETCH}")
    return facts
