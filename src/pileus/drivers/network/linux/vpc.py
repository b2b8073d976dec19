"""One VPC's part of this host: its namespace with taps, rules, DHCP and DNS, and its veth to the edge."""

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from pileus.base.process import ProcessError
from pileus.drivers.network.linux import conntrack, links, nft, ruleset, tap
from pileus.drivers.network.linux.dnsmasq import Dnsmasq
from pileus.drivers.network.linux.links import Address, Link, Neighbour, Route, State
from pileus.drivers.network.linux.names import (
    EDGE_LINK,
    GATEWAY_MAC,
    LOWER_MAC,
    METADATA,
    NEXT_HOP,
    TAP_PREFIX,
    UPPER_MAC,
    gateway,
    resolvers,
    tap_name,
    transit,
)
from pileus.drivers.network.linux.namespace import ROUTER_SETTINGS, Namespace, write_settings
from pileus.hostapi.network_spec import VpcSpec

_SETTINGS = (
    # Taps made from now on answer ARP for their guest's neighbours. Sources are checked by the rules, by tap.
    *((f"ipv4/conf/{scope}/rp_filter", "0") for scope in ("all", "default")),
    ("ipv4/conf/default/proxy_arp", "1"),
)


class VpcState(msgspec.Struct, frozen=True, kw_only=True):
    """What works: ids of interfaces with a routed tap, rules and DHCP; the public addresses that are translated."""

    interfaces: frozenset[str]
    public_addresses: frozenset[str]


def wanted(vpc: VpcSpec, transit_address: str | None) -> State:
    """Links, addresses, neighbours and routes of the namespace. ``transit_address``: dnsmasq's own, to ask others by."""
    taps = [(tap_name(nic.interface_id), nic) for nic in vpc.interfaces]
    own = (*resolvers(vpc), METADATA)
    return State(
        links=frozenset(
            {Link(EDGE_LINK, LOWER_MAC, ""), *(Link(name, GATEWAY_MAC, nic.interface_id) for name, nic in taps)}
        ),
        addresses=frozenset(
            {
                *(Address(address, "lo") for address in own),
                *(Address(gateway(nic), name) for name, nic in taps),
                *(Address(address, EDGE_LINK) for address in (transit_address,) if address is not None),
            }
        ),
        neighbours=frozenset(
            {
                Neighbour(NEXT_HOP, EDGE_LINK, UPPER_MAC),
                *(Neighbour(nic.private_address, name, nic.mac) for name, nic in taps),
            }
        ),
        # An address of the VPC that nobody has must not go on to the edge, nor be answered for by proxy ARP.
        routes=frozenset(
            {
                Route("default", EDGE_LINK, NEXT_HOP),
                *(Route(_destination(cidr), "") for cidr in vpc.cidrs),
                *(Route(nic.private_address, name) for name, nic in taps),
            }
        ),
    )


class Vpc:
    """The namespace ``name`` and what belongs to it.

    ``connect(vpc_id, namespace)`` makes the veth between the edge and the namespace.
    """

    def __init__(
        self,
        vpc_id: str,
        *,
        name: str,
        directory: Path,
        upstream: tuple[str, ...],
        connect: Callable[[str, Namespace], Awaitable[None]],
    ) -> None:
        self._id = vpc_id
        self._namespace = Namespace(name)
        self._dnsmasq = Dnsmasq(directory, self._namespace, upstream)
        self._connect = connect
        self._has_upstream = bool(upstream)
        self._tables: tuple[nft.Table, ...] | None = None
        """What the kernel's tables are known to be; None until this process has written them."""
        self._settled: dict[str, str] | None = None
        """The translation with which all tracked connections agree; None while that is not known."""
        self._applied: VpcSpec | None = None

    async def apply(self, vpc: VpcSpec) -> None:
        """Makes it so. The rules come first: a tap that they do not know yet can neither send nor receive."""
        if vpc == self._applied:
            return
        self.doubt()
        if not self._namespace.exists():
            self._tables = self._settled = None
            await self._namespace.create()
        await self._write_rules(ruleset.tables(vpc))
        await self._make_links(vpc)
        await self._dnsmasq.ensure(vpc)
        self._applied = vpc

    def doubt(self) -> None:
        """What was applied may have been changed by others: the next ``apply`` looks again."""
        self._applied = None

    async def remove(self) -> None:
        """Removes everything. Links go first: an open tap or socket would keep the namespace and all in it alive."""
        self.doubt()
        self._tables = self._settled = None
        if self._namespace.exists():
            found = await self._observe()
            await self._namespace.ip((*links.delete_together(found.link_names()), *links.change(found.bare(), State())))
        await self._dnsmasq.remove()
        await self._namespace.delete()

    async def observe(self) -> VpcState | None:
        """What works now; None when there is no namespace. After a difference the next ``apply`` looks again."""
        if not self._namespace.exists():
            self.doubt()
            return None
        found, translated = await self._observe(), await self._translated()
        served = translated is not None and self._dnsmasq.is_running()
        routed = {route.link for route in found.routes}
        state = VpcState(
            interfaces=frozenset(
                link.alias for link in found.links if served and _is_sound_tap(link) and link.name in routed
            ),
            public_addresses=frozenset(translated or ()),
        )
        if self._applied is not None and (
            found != wanted(self._applied, await self._transit())
            or translated != ruleset.public_addresses(self._applied)
            or served != bool(self._applied.interfaces)
        ):
            self.doubt()
            self._tables = None
        return state

    async def open_tap(self, interface_id: str) -> int:
        """A descriptor of the interface's tap. Raises OSError when the namespace is not there."""
        name = tap_name(interface_id)
        return await self._namespace.call(lambda: tap.attach(name))

    async def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket in the namespace. Raises OSError when the address is not one of the namespace's."""
        return await self._namespace.call(lambda: socket.create_server((address, port), backlog=128))

    async def _write_rules(self, tables: tuple[nft.Table, ...]) -> None:
        before, self._tables = self._tables, None
        if before is None:
            script = nft.replace(tables)
        else:
            script = "".join(nft.change(old, new) for old, new in zip(before, tables, strict=True))
        if script:
            await self._namespace.run("nft", "--file", "-", stdin=script.encode())
        self._tables = tables

    async def _make_links(self, vpc: VpcSpec) -> None:
        found = await self._observe()
        if EDGE_LINK not in found.link_names():
            await self._namespace.ip(["link set lo up"])
            await self._namespace.call(lambda: write_settings((*ROUTER_SETTINGS, *_SETTINGS)))
            await self._connect(self._id, self._namespace)
        await self._forget(vpc, found)
        target = wanted(vpc, await self._transit())
        fresh = [link.name for link in links.missing(found, target) if link.name != EDGE_LINK]
        if fresh:
            await self._namespace.call(lambda: [tap.create(name) for name in fresh])
        await self._namespace.ip(links.change(found, target))

    async def _forget(self, vpc: VpcSpec, found: State) -> None:
        """Forgets connections of addresses that change hands, before the links tell no more whose they were."""
        owners = {nic.private_address: nic.interface_id for nic in vpc.interfaces}
        aliases = {link.name: link.alias for link in found.links}
        before = {route.destination: aliases[route.link] for route in found.routes if _is_tap(route.link)}
        released = {address for address, owner in before.items() if owners.get(address) != owner}
        inward, settled = ruleset.public_addresses(vpc), self._settled
        if released or settled is None or any(inward.get(public) != private for public, private in settled.items()):
            flows = await conntrack.flows(self._namespace)
            await conntrack.forget(self._namespace, conntrack.stale(flows, inward, released))
        self._settled = inward

    async def _transit(self) -> str | None:
        """The namespace's own address towards the edge: by the index of the veth's other end, which the edge knows too."""
        if not self._has_upstream:
            return None
        (answer,) = await self._namespace.show("link show")
        return next((transit(link["link_index"]) for link in answer if link["ifname"] == EDGE_LINK), None)

    async def _observe(self) -> State:
        return await links.observe(self._namespace, lambda name: name == EDGE_LINK or _is_tap(name))

    async def _translated(self) -> dict[str, str] | None:
        """Public → private address, as the kernel's map has it; None when the rules are gone."""
        try:
            answer = await self._namespace.run("nft", "--json", "list", "map", *ruleset.TABLE.split(), "inward")
        except ProcessError as error:
            if "No such file or directory" in error.stderr:
                return None
            raise
        (found,) = (entry["map"] for entry in msgspec.json.decode(answer)["nftables"] if "map" in entry)
        return dict(found.get("elem", ()))


def _destination(cidr: str) -> str:
    """A CIDR as ``ip`` prints it."""
    return str(ipaddress.IPv4Network(cidr)).removesuffix("/32")


def _is_tap(name: str) -> bool:
    return name.startswith(TAP_PREFIX)


def _is_sound_tap(link: Link) -> bool:
    return _is_tap(link.name) and link.mac == GATEWAY_MAC and bool(link.alias)
