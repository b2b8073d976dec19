"""Telling routers by BGP where public addresses are: FRR's bgpd on the host, which outlives the agent.

It only speaks: it takes no routes, and needs no zebra. Each address that is in use is a route of its own, so that the
host that has it is the one that is asked. A restart would end the sessions, so changes are told to the running process.
"""

import hashlib
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pileus.base.config import BgpConfig
from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux import daemon
from pileus.drivers.network.linux.links import destination
from pileus.drivers.network.linux.namespace import Namespace

_BGPD = Path("/usr/lib/frr/bgpd")
_FAMILIES = ("ipv4", "ipv6")


def configuration(bgp: BgpConfig, networks: Iterable[str] = ()) -> str:
    """What bgpd reads at its start. IPv6 is told to neighbours with such an address, IPv4 to the others."""
    routes = sorted(networks)
    lines = [
        "frr defaults datacenter",
        "ip prefix-list nothing seq 5 deny any",
        "ipv6 prefix-list nothing seq 5 deny any",
        f"router bgp {bgp.asn}",
        *((f" bgp router-id {bgp.router_id}",) if bgp.router_id else ()),
        " no bgp ebgp-requires-policy",
        " no bgp network import-check",
        " no bgp default ipv4-unicast",
        *(f" neighbor {address} remote-as {number}" for address, number in sorted(bgp.neighbours.items())),
    ]
    for family in _FAMILIES:
        lines.append(f" address-family {family} unicast")
        for address in sorted(bgp.neighbours):
            if _family(address) == family:
                lines += [f"  neighbor {address} activate", f"  neighbor {address} prefix-list nothing in"]
        lines += [f"  network {route}" for route in routes if _family(route) == family]
        lines.append(" exit-address-family")
    return "".join(f"{line}\n" for line in lines)


def commands(bgp: BgpConfig, old: Collection[str], new: Collection[str]) -> list[str]:
    """What turns a running bgpd's routes into others, in vtysh's words; [] when they are equal."""
    changes: list[str] = []
    for family in _FAMILIES:
        gone = [f"no network {route}" for route in sorted(set(old) - set(new)) if _family(route) == family]
        come = [f"network {route}" for route in sorted(set(new) - set(old)) if _family(route) == family]
        if gone or come:
            changes += [f"address-family {family} unicast", *come, *gone, "exit-address-family"]
    return ["configure terminal", f"router bgp {bgp.asn}", *changes] if changes else []


class BgpAnnouncer:
    """The bgpd of one host, with its files in ``directory``."""

    def __init__(self, directory: Path, bgp: BgpConfig) -> None:
        self._directory = directory
        self._bgp = bgp
        self._host = Namespace(None)
        self._told: frozenset[str] | None = None
        """The routes that the running process is known to have."""

    async def apply(self, public: Iterable[str], ipv6: Iterable[str]) -> None:
        """Tells of exactly these addresses and CIDRs. The process runs as long as there is something to tell.

        Raises:
            PermanentError: FRR is not installed.
        """
        routes = frozenset((*(f"{address}/32" for address in public), *map(destination, ipv6)))
        running = daemon.find(self._directory)
        if routes == self._told and bool(running) == bool(routes):
            return
        before, self._told = self._told, None
        if not routes:
            await self.remove()
        elif [(process.configuration, process.namespace) for process in running] != [(self._path, self._host.inode())]:
            await daemon.end(running)
            await self._start(routes)
        else:
            await self._change(before, routes)
        self._told = routes

    def works(self) -> bool:
        """Whether the process of the last ``apply`` is there."""
        if self._told and not daemon.find(self._directory):
            self._told = None
            return False
        return True

    async def remove(self) -> None:
        """Ends it and removes its files."""
        await daemon.end(daemon.find(self._directory))
        self._told = None
        if self._directory.exists():
            shutil.rmtree(self._directory)

    @property
    def _path(self) -> Path:
        digest = hashlib.sha256(configuration(self._bgp).encode()).hexdigest()[:16]
        return self._directory / f"bgpd-{digest}.conf"

    def _write(self, routes: frozenset[str]) -> None:
        if not _BGPD.exists():
            raise PermanentError(f"a pool is announced with BGP, but there is no {_BGPD}: install Debian's package frr")
        if self._directory.exists():
            shutil.rmtree(self._directory)
        self._directory.mkdir(parents=True, mode=0o700)
        daemon.write(self._path, configuration(self._bgp, routes))

    async def _start(self, routes: frozenset[str]) -> None:
        self._write(routes)
        places = ("--vty_socket", str(self._directory), "--pid_file", str(self._directory / "bgpd.pid"))
        await self._host.run(
            str(_BGPD), "--daemon", "--no_zebra", "--skip_runas", "--vty_port", "0", *places, "-f", str(self._path)
        )

    async def _change(self, before: frozenset[str] | None, routes: frozenset[str]) -> None:
        if before is None:
            before = frozenset(_networks(await self._vtysh("show running-config")))
        if script := commands(self._bgp, before, routes):
            await self._vtysh(*script)

    async def _vtysh(self, *script: str) -> str:
        options = (option for line in script for option in ("-c", line))
        return (await self._host.run("vtysh", "--vty_socket", str(self._directory), *options)).decode()


def _networks(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("  network "):
            yield line.split()[1]


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"
