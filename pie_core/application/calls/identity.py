"""Calls: who the inferlet is and what it was launched with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pie_core.application.calls.base import RuntimeCall
from pie_core.version import __version__

if TYPE_CHECKING:
    from pie_core.application.host import Host


class GetVersion(RuntimeCall):
    """The version of the server."""

    returns = str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return __version__


class GetInstanceId(RuntimeCall):
    """The id of this inferlet; the same that `pie-core ps` shows."""

    returns = str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return host.inferlet.id


class GetArg(RuntimeCall):
    """The arguments the program was launched with."""

    returns = list[str]

    def apply(self, host: Host, model: str | None, queue: int | None) -> list[str]:
        return list(host.inferlet.arguments)


class GetFlags(RuntimeCall):
    """The flags that the program's manifest declares, with the values of this launch, as a JSON object."""

    returns = str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return msgspec.json.encode(host.inferlet.flags).decode()


CALLS = (GetVersion, GetInstanceId, GetArg, GetFlags)
