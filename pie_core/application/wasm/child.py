"""How the server starts the processes that read what strangers send: without its secrets, in a group of their own."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

SITE = Path(__file__).parents[3]  # what a child must have on its path to import pie_core
INHERITED = ("PYTHON", "LD_", "DYLD_", "LANG", "LC_", "PATH", "VIRTUAL_ENV")  # a child needs no secrets of ours
NICENESS = 10  # of those that may compute for long: the server's own work goes first


def child_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of pie-core."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment(**more: str) -> Mapping[str, str]:
    """The environment of a child."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(INHERITED)}
    paths = [str(SITE), environment.get("PYTHONPATH", "")]
    return environment | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "MALLOC_ARENA_MAX": "1",  # glibc reserves 64 MiB of address space for every further one
        **more,
    }


def limit_memory(memory_bytes: int) -> None:
    """In a child: past `memory_bytes` of address space allocations fail; a crash leaves no file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
