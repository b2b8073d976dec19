"""The way from the guests to what lies beyond the host: forwarding on one path, behind the uplink's own address."""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from pileus.drivers.network.linux import nft
from pileus.drivers.network.linux.names import Pools
from pileus.drivers.network.linux.namespace import Namespace, write_settings
from pileus.drivers.network.linux.nft import Chain, Table

# Where systemd-resolved runs, /etc/resolv.conf names itself; its own servers are in the first one.
_RESOLVERS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
_KEPT_CLOSED = "kept_closed"
"""The chain whose presence says that the uplink did not forward before: the kernel remembers it for ``destroy``."""


def table(name: str, link: str, uplink: str, pools: Pools, *, was_closed: bool) -> Table:
    """The host's own table for the cloud ``name``: guests pass to the uplink, answers come back, nothing else.

    Where the uplink did not forward before, what arrives on it for others than the guests is dropped as it was.
    """
    sources = ", ".join(str(pool) for pool in pools)
    chains = {
        "input": Chain(
            hook="type filter hook input priority filter; policy accept;",
            rules=(f'iifname "{link}" ct state established,related accept', f'iifname "{link}" drop'),
        ),
        "forward": Chain(
            hook="type filter hook forward priority filter; policy accept;",
            rules=(
                f'oifname "{link}" ct state established,related accept',
                f'oifname "{link}" drop',
                f'iifname "{link}" oifname != "{uplink}" drop',
            ),
        ),
        "leave": Chain(
            hook="type nat hook postrouting priority srcnat; policy accept;",
            rules=(f'oifname "{uplink}" ip saddr {{ {sources} }} masquerade',),
        ),
    }
    if was_closed:
        chains[_KEPT_CLOSED] = Chain(
            hook="type filter hook forward priority filter; policy accept;",
            rules=(f'iifname "{uplink}" oifname != "{link}" drop',),
        )
    return Table(name=f"inet {_table_name(name)}", elements={}, chains=chains)


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
    """The host's link ``uplink`` as the cloud ``name`` uses it."""

    def __init__(self, name: str, uplink: str) -> None:
        self._name = name
        self._uplink = uplink
        self._host = Namespace(None)

    async def open(self, link: str, pools: Pools) -> None:
        """Lets packets pass between ``link`` (the edge's) and the uplink. The rules come before the forwarding."""
        was_closed = _KEPT_CLOSED in await self._chains() or not await self._forwards()
        tables = [table(self._name, link, self._uplink, pools, was_closed=was_closed)]
        await self._host.run("nft", "--file", "-", stdin=nft.replace(tables).encode())
        write_settings((f"ipv4/conf/{name}/forwarding", "1") for name in (link, self._uplink))

    async def destroy(self) -> None:
        """Takes it all back."""
        chains = await self._chains()
        if _KEPT_CLOSED in chains:
            write_settings([(f"ipv4/conf/{self._uplink}/forwarding", "0")])
        if chains:
            await self._host.run("nft", "delete", "table", "inet", _table_name(self._name))

    async def _forwards(self) -> bool:
        (answer,) = await self._host.show(f"netconf show dev {self._uplink}")
        return any(entry.get("forwarding") for entry in answer)

    async def _chains(self) -> list[str]:
        """The chains of our table; none when there is no table."""
        entries = msgspec.json.decode(await self._host.run("nft", "--json", "list", "chains"))["nftables"]
        chains = (entry["chain"] for entry in entries if "chain" in entry)
        return [
            chain["name"] for chain in chains if (chain["family"], chain["table"]) == ("inet", _table_name(self._name))
        ]


def _table_name(cloud: str) -> str:
    """Not the cloud's bare name, for that may be a word of nft's language."""
    return f"cloud_{cloud}"
