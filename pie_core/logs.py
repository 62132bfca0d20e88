"""How log events are written, decided in one place: for people on a terminal, as JSON lines otherwise. On stderr."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog

from pie_core.errors import ConfigError, nearest

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
VARIABLE = "PIE_LOG"
_KEY = re.compile(r"(?i)(?<=authorization: ).*|pie-key\.\S*")


def configure(level: str, stream: TextIO | None = None) -> None:
    """Write events of `level` and above. Call once, before the first event. Raises `ConfigError`."""
    if level not in LEVELS:
        raise ConfigError(f"no log level is named {level!r}{nearest(level, LEVELS)}")
    stream = stream or sys.stderr
    shared = _shared_processors()
    structlog.configure(
        processors=[*shared, *_renderers(stream)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    _configure_libraries(LEVELS[level], stream, shared)


def _configure_libraries(level: int, stream: TextIO, shared: list[structlog.typing.Processor]) -> None:
    """Events of libraries that use `logging` (uvicorn, websockets) look the same, from warnings on."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, _without_keys, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(stream)],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING) if level > logging.DEBUG else level)


def _without_keys(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """websockets tells all headers of a handshake, when it is asked for everything."""
    event["event"] = _KEY.sub("...", str(event["event"]))
    return event


def _shared_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderers(stream: TextIO) -> list[structlog.typing.Processor]:
    if stream.isatty():
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
