"""Shows how far the loading of a model is: one line that changes on a terminal, log events elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

import structlog

log = structlog.get_logger(__name__)

_STEP = 0.25  # of a stage, between two log events


class LoadingProgress:
    """A `Progress`; called from the thread that loads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._reported: tuple[str, float] | None = None

    def __call__(self, stage: str, share: float | None) -> None:
        if self._terminal:
            self._draw(f"loading: {stage}" + ("" if share is None else f" {share:4.0%}"))
        else:
            self._report(stage, share or 0.0)

    def done(self) -> None:
        """Take the line away."""
        if self._terminal:
            self._draw("")

    def _draw(self, text: str) -> None:
        self._stream.write(f"\x1b[2K{text}\r")  # ends at column 0, so that a log line overwrites it
        self._stream.flush()

    def _report(self, stage: str, share: float) -> None:
        if self._reported is None or self._reported[0] != stage or share >= self._reported[1] + _STEP:
            self._reported = stage, share
            log.info("model.loading", stage=stage, share=round(share, 2))
