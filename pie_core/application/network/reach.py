"""Which hosts an inferlet may reach: those that the server allows, the launch allows and its manifest names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pie_core.application.network.addresses import Address, Refusal
from pie_core.application.network.url import USUAL_PORTS, Target, parse_authority
from pie_core.errors import CapabilityError


@dataclass(frozen=True)
class HostPattern:
    """One entry of a list of hosts: a name, an address, ``*.suffix``, or ``*`` for all; then maybe ``:port``.

    Without a port it is for http's and https's usual ones. A suffix is for the names below it, not for itself.
    """

    text: str
    host: str  # "*", ".suffix", or all of it
    port: int | None
    literal: bool

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Raises `ValueError`."""
        wild = text.startswith("*")
        if text == "*":
            return cls(text, "*", None, False)
        if text.startswith("*:"):
            return cls(text, "*", parse_authority(f"any{text[1:]}")[2], False)
        if wild and not text.startswith("*."):
            raise ValueError(f"{text!r}: a `*` stands alone or before a dot, as in *.example.org")
        host, literal, port = parse_authority(text.removeprefix("*."))
        if wild and literal is not None:
            raise ValueError(f"{text!r}: addresses have no suffixes; name each one")
        return cls(text, f".{host}" if wild else host, port, literal is not None)

    def matches(self, target: Target) -> bool:
        """Whether it is for this host and port."""
        if target.port != (USUAL_PORTS[target.scheme] if self.port is None else self.port):
            return False
        if self.host == "*":
            return True
        if self.host.startswith("."):
            return target.literal is None and target.host.endswith(self.host)
        return target.host == self.host

    def unlocks(self, target: Target, why: Refusal) -> bool:
        """Whether it lets this target lead to an address that is not public.

        An address that is named itself may be any. A name must come with a port, and does not open those addresses
        that no service of one's own has: link-local ones, multicast and the like.
        """
        if self.host.startswith(("*", ".")) or not self.matches(target):
            return False
        return self.literal or (self.port is not None and why.by_name)


def parse_patterns(texts: Iterable[str]) -> tuple[HostPattern, ...]:
    """Entries from their texts. Raises `ValueError`."""
    return tuple(map(HostPattern.parse, texts))


@dataclass(frozen=True)
class Reach:
    """`server` is what the server allows at most; each of `narrowed` (advice, entries) takes more away."""

    server: tuple[HostPattern, ...] = ()
    narrowed: tuple[tuple[str, tuple[HostPattern, ...]], ...] = ()

    def narrow(self, advice: str, patterns: tuple[HostPattern, ...]) -> Reach:
        """Only what `patterns` allow, too. `advice` says where an entry could be added."""
        return Reach(self.server, (*self.narrowed, (advice, patterns)))

    def check(self, target: Target) -> None:
        """Raise `CapabilityError` for a host that may not be reached. Nothing is looked up."""
        advice = "the server was not started with --allow-host for it"
        for told, patterns in ((advice, self.server), *self.narrowed):
            if not any(pattern.matches(target) for pattern in patterns):
                raise CapabilityError(f"{target.origin} may not be reached: {told}")

    def check_address(self, target: Target, address: Address, why: Refusal | None) -> None:
        """Raise `CapabilityError` if the host, which is allowed, leads to this address and may not."""
        if why is None or any(pattern.unlocks(target, why) for pattern in self.server):
            return
        hint = f"; --allow-host {target.host}:{target.port} would allow that" if why.by_name else ""
        raise CapabilityError(f"{target.origin} may not be reached: the host leads to {why.what}{hint}")
