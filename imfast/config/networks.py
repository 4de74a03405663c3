"""Networks as people write them, and as the engine compares them: as prefixes of IPv6 addresses."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network

__all__ = ["UNIX", "packed_network", "parse_networks", "parse_proxies"]

UNIX = "unix"
"""Whoever comes over the Unix socket, among proxies."""

_MAPPED = 0xFFFF << 32
"""Where IPv4 addresses are among those of IPv6 (RFC 4291, section 2.5.5.2)."""


def parse_networks(value: object) -> object:
    """Turns ``10.0.0.0/8, ::1`` into networks; ``none`` is none. Other types are the schema's."""
    if isinstance(value, str):
        names = [part.strip() for part in value.split(",") if part.strip()]
        value = () if names == ["none"] else tuple(names)
    if isinstance(value, tuple | list):
        return tuple(str(ip_network(name)) for name in value)
    return value


def parse_proxies(value: object) -> object:
    """As `parse_networks`, with ``unix`` for whoever comes over the Unix socket."""
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or UNIX not in names:
        return parse_networks(value)
    networks = parse_networks([name for name in names if name not in (UNIX, "")])
    return (*networks, UNIX) if isinstance(networks, tuple) else networks


def packed_network(name: str) -> tuple[bytes, int]:
    """An IPv6 address in network order, and how many of its bits count."""
    network = ip_network(name)
    if network.version == 6:
        return network.network_address.packed, network.prefixlen
    address = IPv6Address(_MAPPED | int(network.network_address))
    return address.packed, 96 + network.prefixlen
