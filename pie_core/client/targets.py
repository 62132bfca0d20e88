"""What people name: a program and a server."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from pie_core.application.program import SUFFIXES, Program, read_program
from pie_core.errors import ConfigError
from pie_core.server.address import DEFAULT_URL
from pie_core.server.protocol import PATH


def local_program(program: str | Path | Program) -> Program | None:
    """The program if it is here, None if the name is for the server. Raises `ProgramError` for a missing file."""
    if isinstance(program, Program):
        return program
    if isinstance(program, Path) or program.endswith(SUFFIXES) or os.sep in program:
        return read_program(Path(program))
    return None


def socket_url(url: str) -> str:
    """`http://host:port` (or `ws://`) as the address of the protocol. Raises `ConfigError`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "ws": "ws", "https": "wss", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise ConfigError(f"{url!r} is not the address of a server; write it like {DEFAULT_URL}")
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(PATH)}{PATH}"
