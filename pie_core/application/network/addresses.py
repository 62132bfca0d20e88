"""Which IP addresses are the public internet's. Every other one leads into somebody's own network, and is refused.

The lists are those of IANA's special-purpose registries (RFC 6890 and its successors). For IPv6 only global unicast
(2000::/3) is public at all; what embeds an IPv4 address in an IPv6 one (NAT64, 6to4, Teredo, mapped, compatible) is
refused whatever it embeds, because the packet could come out anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Refusal:
    """Why an address is not public. `by_name`: a host that is allowed by name and port may lead there all the same."""

    what: str
    by_name: bool = False


_PRIVATE = Refusal("a private address", by_name=True)
_LOOPBACK = Refusal("a loopback address", by_name=True)
_SHARED = Refusal("an address of a carrier's network (100.64.0.0/10)", by_name=True)
_LINK_LOCAL = Refusal("a link-local address, where clouds keep their metadata")
_UNSPECIFIED = Refusal("an unspecified address")
_MULTICAST = Refusal("a multicast address")
_RESERVED = Refusal("a reserved address")
_DOCUMENTATION = Refusal("an address for documentation or benchmarks")
_METADATA = Refusal("a cloud's metadata service")
_EMBEDDED = Refusal("an IPv6 address that embeds an IPv4 one")

_V4: tuple[tuple[IPv4Network, Refusal], ...] = tuple(
    (IPv4Network(network), refusal)
    for network, refusal in (
        ("0.0.0.0/8", _UNSPECIFIED),
        ("10.0.0.0/8", _PRIVATE),
        ("100.64.0.0/10", _SHARED),
        ("127.0.0.0/8", _LOOPBACK),
        ("168.63.129.16/32", _METADATA),  # Azure's, public by its number only
        ("169.254.0.0/16", _LINK_LOCAL),
        ("172.16.0.0/12", _PRIVATE),
        ("192.0.0.0/24", _RESERVED),
        ("192.0.2.0/24", _DOCUMENTATION),
        ("192.31.196.0/24", _RESERVED),
        ("192.52.193.0/24", _RESERVED),
        ("192.88.99.0/24", _RESERVED),
        ("192.168.0.0/16", _PRIVATE),
        ("192.175.48.0/24", _RESERVED),
        ("198.18.0.0/15", _DOCUMENTATION),
        ("198.51.100.0/24", _DOCUMENTATION),
        ("203.0.113.0/24", _DOCUMENTATION),
        ("224.0.0.0/4", _MULTICAST),
        ("240.0.0.0/4", _RESERVED),  # with the broadcast address
    )
)
_V6: tuple[tuple[IPv6Network, Refusal], ...] = tuple(
    (IPv6Network(network), refusal)
    for network, refusal in (
        ("::/128", _UNSPECIFIED),
        ("::1/128", _LOOPBACK),
        ("::/96", _EMBEDDED),
        ("::ffff:0:0/96", _EMBEDDED),
        ("::ffff:0:0:0/96", _EMBEDDED),
        ("64:ff9b::/96", _EMBEDDED),
        ("64:ff9b:1::/48", _EMBEDDED),
        ("2001::/32", _EMBEDDED),
        ("2001:db8::/32", _DOCUMENTATION),
        ("2001::/23", _RESERVED),
        ("2002::/16", _EMBEDDED),
        ("3fff::/20", _DOCUMENTATION),
        ("fd00:ec2::/32", _METADATA),
        ("fd20:ce::/32", _METADATA),
        ("fc00::/7", _PRIVATE),
        ("fe80::/10", _LINK_LOCAL),
        ("ff00::/8", _MULTICAST),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_ISATAP = 0x5EFE  # before the last 32 bits of an address that embeds an IPv4 one


def refusal(address: Address) -> Refusal | None:
    """Why this address may not be reached; None for a public one."""
    if isinstance(address, IPv4Address):
        return next((why for network, why in _V4 if address in network), None)
    for network, why in _V6:
        if address in network:
            return why
    if address not in _GLOBAL_UNICAST:
        return _RESERVED
    return _EMBEDDED if int(address) >> 32 & 0xFFFF == _ISATAP else None
