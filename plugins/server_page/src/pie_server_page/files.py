"""The files that a browser loads: read once, served from memory, under a policy that lets them load nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # ask whether it has changed, so that an upgrade is seen at once
}


class Files:
    """The files of a directory, by name. No path ever comes from a request."""

    def __init__(self, directory: Path) -> None:
        self._contents = {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix in TYPES}
        self._tags = {name: f'"{hashlib.blake2b(data).hexdigest()[:32]}"' for name, data in self._contents.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._contents

    def answer(self, request: Request, name: str) -> Response:
        """A file, or 304 if the browser has it."""
        headers = {**HEADERS, "ETag": self._tags[name]}
        if self._tags[name] in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self._contents[name], headers=headers, media_type=TYPES[Path(name).suffix])
