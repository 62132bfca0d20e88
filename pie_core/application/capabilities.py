"""What an inferlet may do beyond its own models and messages: reach hosts, start programs. Denied unless allowed.

The server allows something at most, a launch may allow less, and a program's manifest has to say what it wants: an
inferlet is granted what all of them name. A child is granted no more than its parent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pie_core.application.manifest import Manifest
from pie_core.application.network.reach import HostPattern, Reach, parse_patterns
from pie_core.errors import CapabilityError, ConfigError

_MANIFEST_HOSTS = "its manifest does not name it; add it to `hosts` in the `# /// inferlet` block"
_MANIFEST_SPAWN = "its manifest does not say so; add `spawn = true` to the `# /// inferlet` block"


@dataclass(frozen=True)
class Capabilities:
    """What a server or a launch allows."""

    hosts: tuple[HostPattern, ...] = ()
    spawn: bool = False

    @classmethod
    def of(cls, hosts: Iterable[str] = (), spawn: bool = False) -> Capabilities:
        """From the texts of host patterns. Raises `ConfigError`."""
        try:
            return cls(parse_patterns(hosts), spawn)
        except ValueError as error:
            raise ConfigError(f"a host to allow: {error}", "allow_hosts") from None


@dataclass(frozen=True)
class Grant:
    """What one inferlet may do. `no_spawn`: why it may not start programs; None if it may."""

    reach: Reach
    no_spawn: str | None

    def for_program(self, manifest: Manifest) -> Grant:
        """No more than the manifest names. (A manifest that was read holds host patterns only.)"""
        reach = self.reach.narrow(_MANIFEST_HOSTS, parse_patterns(manifest.hosts))
        return Grant(reach, self.no_spawn or (None if manifest.spawn else _MANIFEST_SPAWN))

    def check_spawn(self) -> None:
        """Raise `CapabilityError` if it may not start programs."""
        if self.no_spawn is not None:
            raise CapabilityError(f"spawn: this program may not start others: {self.no_spawn}")


def grant(server: Capabilities, launch: Capabilities | None) -> Grant:
    """What server and launch allow together; without `launch`, all that the server allows."""
    reach = Reach(server.hosts)
    if launch is not None:
        reach = reach.narrow("its launch does not allow it", launch.hosts)
    if not server.spawn:
        return Grant(reach, "the server was not started with --allow-spawn")
    return Grant(reach, "its launch does not allow it" if launch is not None and not launch.spawn else None)
