"""What a process that serves sets for itself: file descriptors, freed memory, the collection of garbage."""

from __future__ import annotations

import ctypes
import gc
import os
import resource

# of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT = 256 << 20  # bytes at the end of the heap
_OF_THE_HEAP = 32 << 20  # bytes, the most that glibc takes


def allow_many_connections() -> None:
    """Each takes a file descriptor, and many systems start a process with 1024 of those it may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def keep_freed_memory() -> None:
    """Have what a step frees ready for the next one; before other threads start.

    A step's tensors are large, so glibc gives their memory back to the system as soon as they are freed, and the next
    step gets it page by page, each a fault and to be filled with zeros: hundreds for a decode step of 32 rows.
    Blocks of up to 32 MiB are taken from one heap for all threads instead, whose end is kept up to 256 MiB. (The heap
    of a thread other than the first cannot grow over 64 MiB; what does not fit is mapped and unmapped each time.)
    Another C library than glibc is left as it is, and one that was set up by its variables.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _OF_THE_HEAP)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def spare_what_is_loaded() -> None:
    """Keep the collection of garbage from walking through models and libraries (0.1 s) while all programs wait."""
    gc.collect()
    gc.freeze()
