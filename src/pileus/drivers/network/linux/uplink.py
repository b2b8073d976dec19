"""The way from the guests to what lies beyond the host: forwarding on one path, behind the uplink's own address."""

import re
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec

from pileus.base.config import BgpConfig
from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux import nft
from pileus.drivers.network.linux.announce import ArpAnnouncer
from pileus.drivers.network.linux.bgp import BgpAnnouncer
from pileus.drivers.network.linux.namespace import Namespace, write_settings
from pileus.drivers.network.linux.nft import Chain, Table
from pileus.hostapi.network_spec import PoolSpec

# Where systemd-resolved runs, /etc/resolv.conf names itself; its own servers are in the first one.
_RESOLVERS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
_FORCE = Path("/proc/sys/net/ipv6/conf/all/force_forwarding")
"""IPv6 forwarding by link (Linux 6.17). Without it, the host's operator must have switched it on for all links."""
_KEPT_CLOSED = "kept_closed"
"""The chain whose presence says that the uplink did not forward before: the kernel remembers it for ``destroy``."""


def table(
    name: str, link: str, uplink: str, pools: Iterable[PoolSpec], ipv6_pools: Iterable[str], *, was_closed: bool
) -> Table:
    """The host's own table for the cloud ``name``: guests pass to the uplink, answers come back.

    Where a pool is announced, its addresses are seen there, and others may begin to talk to them. Those of other pools
    hide behind the uplink's own address. IPv6 addresses are announced with BGP only.

    Where the uplink did not forward before, what arrives on it for others than the guests is dropped as it was.
    """
    pools = tuple(pools)
    hidden = [pool.cidr for pool in pools if not pool.announce]
    known = [pool.cidr for pool in pools if pool.announce]
    hidden6, known6 = ([], list(ipv6_pools)) if announces_ipv6(pools) else (list(ipv6_pools), [])
    chains = {
        "input": Chain(
            hook="type filter hook input priority filter; policy accept;",
            rules=(f'iifname "{link}" ct state established,related accept', f'iifname "{link}" drop'),
        ),
        "forward": Chain(
            hook="type filter hook forward priority filter; policy accept;",
            rules=(
                f'oifname "{link}" ct state established,related accept',
                *(f'iifname "{uplink}" oifname "{link}" {match} accept' for match in _matches("daddr", known, known6)),
                f'oifname "{link}" drop',
                f'iifname "{link}" oifname != "{uplink}" drop',
            ),
        ),
        "leave": Chain(
            hook="type nat hook postrouting priority srcnat; policy accept;",
            rules=tuple(f'oifname "{uplink}" {match} masquerade' for match in _matches("saddr", hidden, hidden6)),
        ),
    }
    if was_closed:
        chains[_KEPT_CLOSED] = Chain(
            hook="type filter hook forward priority filter; policy accept;",
            rules=(f'iifname "{uplink}" oifname != "{link}" drop',),
        )
    return Table(name=f"inet {_table_name(name)}", elements={}, chains=chains)


def announces_ipv6(pools: Iterable[PoolSpec]) -> bool:
    """Whether the uplink's network learns of IPv6 addresses."""
    return any(pool.announce == "bgp" for pool in pools)


def _matches(side: str, cidrs: Collection[str], cidrs6: Collection[str]) -> Iterator[str]:
    for family, networks in (("ip", cidrs), ("ip6", cidrs6)):
        if networks:
            yield f"{family} {side} {{ {', '.join(networks)} }}"


def host_resolvers(files: Iterable[Path] = _RESOLVERS) -> tuple[str, ...]:
    """The IPv4 name servers that the host's own network has, out of the first file that names any (resolv.conf(5)).

    Those on the host's loopback are left out: no guest's question gets there.
    """
    for file in files:
        lines = file.read_text().splitlines() if file.exists() else []
        named = (line.split()[1] for line in lines if re.match(r"nameserver\s+[0-9.]+\s*$", line))
        if found := tuple(address for address in named if not address.startswith("127.")):
            return found
    return ()


class Uplink:
    """The host's link ``link`` as the cloud ``name`` uses it. ``bgp``: where to tell routers of pools, if anywhere.

    ``directory`` is for bgpd's files.
    """

    def __init__(self, name: str, link: str, directory: Path, bgp: BgpConfig | None = None) -> None:
        self.link = link
        self._name = name
        self._host = Namespace(None)
        self._arp = ArpAnnouncer(link)
        self._bgp = BgpAnnouncer(directory, bgp) if bgp is not None else None

    async def open(self, link: str, pools: Iterable[PoolSpec], ipv6_pools: Iterable[str]) -> None:
        """Lets packets pass between ``link`` (the edge's) and the uplink. The rules come before the forwarding."""
        was_closed = _KEPT_CLOSED in await self._chains() or not await self._forwards()
        tables = [table(self._name, link, self.link, pools, ipv6_pools, was_closed=was_closed)]
        await self._host.run("nft", "--file", "-", stdin=nft.replace(tables).encode())
        for name in (link, self.link):
            _forward(name, "1")

    async def announce(self, pools: Iterable[PoolSpec], public: frozenset[str], ipv6: frozenset[str]) -> None:
        """Makes known what is in use: addresses of pools that are announced, and IPv6 CIDRs.

        Raises:
            PermanentError: a pool is to be announced with BGP, and nothing says to whom.
        """
        by_arp = [IPv4Network(pool.cidr) for pool in pools if pool.announce == "arp"]
        by_bgp = [IPv4Network(pool.cidr) for pool in pools if pool.announce == "bgp"]
        await self._arp.apply(by_arp, _within(public, by_arp))
        if self._bgp is not None:
            await self._bgp.apply(_within(public, by_bgp), ipv6 if by_bgp else frozenset())
        elif by_bgp:
            raise PermanentError("a pool is announced with BGP, but the configuration has no section [bgp]")

    async def announces(self) -> bool:
        """Whether what was announced still is."""
        return await self._arp.works() and (self._bgp is None or self._bgp.works())

    async def destroy(self, pools: Iterable[PoolSpec]) -> None:
        """Takes it all back. ``pools``: those that may have been announced by ARP."""
        await self._arp.apply([IPv4Network(pool.cidr) for pool in pools if pool.announce == "arp"], frozenset())
        if self._bgp is not None:
            await self._bgp.remove()
        chains = await self._chains()
        if _KEPT_CLOSED in chains:
            _forward(self.link, "0")
        if chains:
            await self._host.run("nft", "delete", "table", "inet", _table_name(self._name))

    async def _forwards(self) -> bool:
        (answer,) = await self._host.show(f"netconf show dev {self.link}")
        return any(entry.get("forwarding") for entry in answer)

    async def _chains(self) -> list[str]:
        """The chains of our table; none when there is no table."""
        entries = msgspec.json.decode(await self._host.run("nft", "--json", "list", "chains"))["nftables"]
        chains = (entry["chain"] for entry in entries if "chain" in entry)
        return [
            chain["name"] for chain in chains if (chain["family"], chain["table"]) == ("inet", _table_name(self._name))
        ]


def _forward(link: str, value: str) -> None:
    """Lets what comes in by a link go on."""
    write_settings([(f"ipv4/conf/{link}/forwarding", value)])
    if _FORCE.exists():
        write_settings([(f"ipv6/conf/{link}/force_forwarding", value)])


def _within(addresses: Iterable[str], pools: Collection[IPv4Network]) -> frozenset[str]:
    return frozenset(address for address in addresses if any(IPv4Address(address) in pool for pool in pools))


def _table_name(cloud: str) -> str:
    """Not the cloud's bare name, for that may be a word of nft's language."""
    return f"cloud_{cloud}"
