"""Find the address of a client, also behind proxies, for the log and limits.

Every client can send `X-Forwarded-For` and `Forwarded` (RFC 7239). They count only from a trusted
peer, and are read from the right, where the nearest proxy has written: the first address that is
no trusted proxy's is the client's. Whatever stands to the left of it, the client may have made up.
An invalid header, or two that disagree, leave the peer's own address: such clients share one limit.

An IPv6 address counts as its network of 64 bits, because one subscriber has at least that many.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiohttp import web

    Address = IPv4Address | IPv6Address

MAX_HOPS = 32
"""Maximum header entries that are read; more than any chain of proxies has."""

MAX_FORWARDED = 4096
"""Characters of all `Forwarded` headers; more are not read, and the peer's own address counts."""

_PAIR = re.compile(
    r"[ \t]*(?:(?P<name>[!#$%&'*+.^_`|~0-9a-z-]+)="
    r'(?:(?P<token>[!#$%&\'*+.^_`|~0-9a-z-]+)|"(?P<quoted>(?:[^"\\]|\\.)*)"))?'
    r"[ \t]*(?P<end>[;,]|$)",
    re.IGNORECASE,
)
"""A `forwarded-pair` and its delimiter (RFC 7239, §4); pairs and elements may be empty."""

_NODE = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<v4>[0-9.]+))(?::[0-9]{1,5})?", re.IGNORECASE)
"""An address as `Forwarded` writes it (RFC 7239, §6), without names and obfuscated ones."""


class Addresses:
    """Finds clients' addresses for limits. `trusted` are networks of proxies."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = [ip_network(network) for network in trusted]

    def client(self, request: web.Request) -> str:
        """Return the address that limits count; empty if the client disconnected."""
        peer = _peer(request)
        if not self._trusted and ":" not in peer:
            return peer  # an IPv4 address; parsing costs 4 µs and would not change it
        address = _address(peer)
        if address is None:
            return ""
        if self._trusts(address):
            said = [self._origin(hops) for hops in _chains(request) if hops]
            if said and said.count(said[0]) == len(said):
                address = said[0] or address
        return _counted(address)

    def by_proxy(self, request: web.Request) -> bool:
        """Return whether the request came through a trusted proxy."""
        address = _address(_peer(request)) if self._trusted else None
        return address is not None and self._trusts(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _origin(self, hops: Sequence[str]) -> Address | None:
        """Return the right-most address that is not trusted, or the left-most if all are."""
        address = None
        for hop in reversed(hops[-MAX_HOPS:]):
            address = _node(hop)
            if address is None or not self._trusts(address):
                return address
        return address if len(hops) <= MAX_HOPS else None


def _peer(request: web.Request) -> str:
    """Return the address at the other end of the connection; empty after it was closed."""
    transport = request.transport
    peer = None if transport is None else transport.get_extra_info("peername")
    return peer[0].partition("%")[0] if peer else ""


def _chains(request: web.Request) -> tuple[list[str], list[str]]:
    """Return the hops that each of the two headers lists, starting at the client."""
    listed = ",".join(request.headers.getall("X-Forwarded-For", []))
    forwarded = request.headers.getall("Forwarded", [])
    # The client controls the left end and its length; only the entries that count are read.
    if sum(map(len, forwarded)) > MAX_FORWARDED:
        hops = [""]
    else:
        hops = [hop for line in forwarded for hop in _forwarded(line)]
    return [hop.strip() for hop in listed.rsplit(",", MAX_HOPS)] if listed else [], hops


def _forwarded(line: str) -> list[str]:
    """Return `for` of each element of a `Forwarded` header; empty for an invalid one."""
    hops, hop, position = [], "", 0
    while True:
        pair = _PAIR.match(line, position)
        if pair is None:
            return [""]  # an open quotation mark may hide an entry of a proxy
        if (pair["name"] or "").lower() == "for":
            hop = pair["token"] or pair["quoted"] or ""
        if pair["end"] != ";":
            hops.append(hop)
            hop = ""
        position = pair.end()
        if not pair["end"]:
            return hops


def _node(text: str) -> Address | None:
    """Return the address of a hop, with or without brackets and port."""
    node = _NODE.fullmatch(text)
    return _address(text if node is None else node["v6"] or node["v4"])


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def _counted(address: Address) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False))
    return str(address)
