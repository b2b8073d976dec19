"""Answering for public addresses on the uplink's own network: the host says that they are behind its MAC."""

import socket
import struct
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network

from pileus.drivers.network.linux.namespace import Namespace, write_settings

_ARP, _REQUEST = 0x0806, 1


class ArpAnnouncer:
    """Proxy ARP on the host's link ``link``, for the addresses that are in use and for no others."""

    def __init__(self, link: str) -> None:
        self._link = link
        self._host = Namespace(None)
        self._applied: tuple[tuple[IPv4Network, ...], frozenset[str]] | None = None

    async def apply(self, pools: Collection[IPv4Network], addresses: frozenset[str]) -> None:
        """Answers for exactly these addresses out of the pools. Those that are new are told to everybody."""
        if self._applied == (tuple(pools), addresses):
            return
        self._applied = None
        found = await self._found(pools) if pools else frozenset[str]()
        fresh = sorted(addresses - found)
        await self._host.ip(
            [
                *(f"neighbour delete proxy {address} dev {self._link}" for address in sorted(found - addresses)),
                *(f"neighbour add proxy {address} dev {self._link}" for address in fresh),
            ]
        )
        if fresh:
            # By default the kernel waits up to 0.8 s before it answers for somebody else.
            write_settings([(f"ipv4/neigh/{self._link}/proxy_delay", "0")])
            await self._host.call(lambda: _tell(self._link, fresh))
        self._applied = tuple(pools), addresses

    async def works(self) -> bool:
        """Whether the kernel still answers for what was applied; otherwise the next ``apply`` looks again."""
        if self._applied is None or not self._applied[0]:
            return True
        pools, addresses = self._applied
        if await self._found(pools) != addresses:
            self._applied = None
        return self._applied is not None

    async def _found(self, pools: Iterable[IPv4Network]) -> frozenset[str]:
        """The addresses of the pools that the kernel answers for."""
        (entries,) = await self._host.show(f"neighbour show proxy dev {self._link}")
        addresses = (entry["dst"] for entry in entries if ":" not in entry["dst"])
        return frozenset(address for address in addresses if any(IPv4Address(address) in pool for pool in pools))


def _tell(link: str, addresses: Iterable[str]) -> None:
    """Gratuitous ARP (RFC 5227, 3): who talked to an address elsewhere learns where it is now."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((link, 0))
        mac: bytes = raw.getsockname()[4]
        for address in addresses:
            packed = socket.inet_aton(address)
            body = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, _REQUEST, mac, packed, bytes(6), packed)
            raw.send(b"\xff" * 6 + mac + struct.pack(">H", _ARP) + body)
