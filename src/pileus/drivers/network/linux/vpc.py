"""One VPC's part of this host: its namespace with links, routes, rules, DHCP and DNS, and its veth to the edge."""

import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec

from pileus.base.process import ProcessError
from pileus.drivers.network.linux import conntrack, links, nft, ruleset, tap, topology
from pileus.drivers.network.linux.appliance import Appliance
from pileus.drivers.network.linux.capture import Capture
from pileus.drivers.network.linux.dnsmasq import Dnsmasq
from pileus.drivers.network.linux.links import Link, State
from pileus.drivers.network.linux.names import (
    EDGE_LINK,
    GATEWAY_MAC,
    PEERING_PREFIX,
    TAP_PREFIX,
    peering_link,
    tap_name,
    transit,
)
from pileus.drivers.network.linux.namespace import ROUTER_SETTINGS, Namespace, write_settings
from pileus.hostapi.network_spec import InterfaceSpec, PeeringSpec, VpcSpec
from pileus.hostapi.observation import FlowObservation

_SETTINGS = (
    # Taps made from now on answer ARP for their guest's neighbours. Sources are checked by the rules, by tap.
    *((f"ipv4/conf/{scope}/rp_filter", "0") for scope in ("all", "default")),
    ("ipv4/conf/default/proxy_arp", "1"),
)


class VpcState(msgspec.Struct, frozen=True, kw_only=True):
    """What works: ids of interfaces with a routed link, rules and DHCP; the public addresses that are translated."""

    interfaces: frozenset[str]
    public_addresses: frozenset[str]


class Neighbourhood(msgspec.Struct, frozen=True, kw_only=True):
    """How a VPC is joined to what is around it.

    Attributes:
        to_edge: makes the veth between the edge and the VPC's namespace.
        to_peer: makes that to the other VPC of a peering.
        appliance: the one of an interface that is not a guest's.
    """

    to_edge: Callable[[str, Namespace], Awaitable[None]]
    to_peer: Callable[[str, PeeringSpec], Awaitable[None]]
    appliance: Callable[[str], Appliance]


class Vpc:
    """The namespace ``name`` and what belongs to it."""

    def __init__(
        self, vpc_id: str, *, name: str, directory: Path, upstream: tuple[str, ...], around: Neighbourhood
    ) -> None:
        self._id = vpc_id
        self.namespace = Namespace(name)
        self._dnsmasq = Dnsmasq(directory, self.namespace, upstream)
        self._around = around
        self._capture = Capture(self.namespace)
        self._tables: tuple[nft.Table, ...] | None = None
        """What the kernel's tables are known to be; None until this process has written them."""
        self._links: State | None = None
        """The same of links and routes."""
        self._transit = ""
        """The namespace's own address towards the edge, "" while it is not known."""
        self._settled: dict[str, str] | None = None
        """The translation with which all tracked connections agree; None while that is not known."""
        self._applied: tuple[VpcSpec, tuple[PeeringSpec, ...]] | None = None

    async def create(self) -> None:
        """Makes the namespace, empty, unless it exists."""
        if not self.namespace.exists():
            self.forget()
            self._settled = None
            await self.namespace.create()

    async def apply(self, vpc: VpcSpec, peerings: tuple[PeeringSpec, ...] = ()) -> None:
        """Makes it so. ``peerings``: the VPC's; the namespaces at both their ends exist.

        The rules come before links: a link that they do not know yet can neither send nor receive.
        """
        if (vpc, peerings) == self._applied:
            return
        if self._applied is None or self._applied[1] != peerings:
            self.doubt()  # a peering's link goes with the end that another VPC's change removes
        elif _without_rules(self._applied[0]) == _without_rules(vpc) and self.namespace.exists():
            self._applied = None
            await self._write_rules(ruleset.tables(vpc))
            self._applied = (vpc, peerings)
            return
        self._applied = None
        await self.create()
        await self._make_tables(vpc, peerings)
        await self._write_rules(ruleset.tables(vpc))
        await self._make_links(vpc, peerings)
        await self._dnsmasq.ensure(vpc)
        self._applied = (vpc, peerings)

    def doubt(self) -> None:
        """The links may have been changed by others: the next ``apply`` looks again."""
        self._applied = self._links = None

    def forget(self) -> None:
        """Nothing is known of what is there."""
        self.doubt()
        self._tables = None
        self._transit = ""

    async def remove(self) -> None:
        """Removes everything. Links go first: an open tap or socket would keep the namespace and all in it alive."""
        self.forget()
        self._settled = None
        if self.namespace.exists():
            found = await self._observe()
            await self.namespace.ip((*links.delete_together(found.link_names()), *links.change(found.bare(), State())))
        await self._dnsmasq.remove()
        await self.namespace.delete()

    async def observe(self) -> VpcState | None:
        """What works now; None when there is no namespace. After a difference the next ``apply`` looks again."""
        if not self.namespace.exists():
            self.forget()
            return None
        found, translated = await self._observe(), await self._translated()
        served = translated is not None and self._dnsmasq.is_running()
        routed = {route.link for route in found.routes}
        works = {link.alias for link in found.links if served and _is_sound(link) and link.name in routed}
        if self._applied is not None:
            vpc, peerings = self._applied
            works -= {nic.interface_id for nic in _managed(vpc) if not await self._appliance(nic).works(nic)}
            if (
                found != topology.wanted(vpc, peerings, self._transit)
                or translated != ruleset.public_addresses(vpc)
                or served != bool(vpc.interfaces)
                or not works.issuperset(nic.interface_id for nic in _managed(vpc))
            ):
                self.forget()
        return VpcState(interfaces=frozenset(works), public_addresses=frozenset(translated or ()))

    async def open_tap(self, interface_id: str) -> int:
        """A descriptor of the interface's tap. Raises OSError when the namespace is not there."""
        name = tap_name(interface_id)
        return await self.namespace.call(lambda: tap.attach(name))

    async def heard(self, interface_id: str) -> int:
        """How many packets came in by the interface's link. Raises OSError when it is not there."""
        name = tap_name(interface_id)
        return await self.namespace.call(lambda: tap.received(name))

    async def flows(self, now: int) -> list[FlowObservation]:
        """What was captured in the minute that is over, once. ``now``: Unix seconds."""
        if self._applied is None or not self.namespace.exists():
            return []
        return await self._capture.collect(self._applied[0], now)

    async def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket in the namespace. Raises OSError when the address is not one of the namespace's."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return await self.namespace.call(lambda: socket.create_server((address, port), family=family, backlog=128))

    async def _write_rules(self, tables: tuple[nft.Table, ...]) -> None:
        before, self._tables = self._tables, None
        if before is None:
            script = nft.replace(tables)
        else:
            script = "".join(nft.change(old, new) for old, new in zip(before, tables, strict=True))
        if script:
            await self.namespace.run("nft", "--file", "-", stdin=script.encode())
        self._tables = tables

    async def _make_tables(self, vpc: VpcSpec, peerings: tuple[PeeringSpec, ...]) -> None:
        """Fills routing tables that are new, as far as their links are there, before the rules send packets to them."""
        if self._links is None or not self._transit:
            return
        found, target = self._links, topology.wanted(vpc, peerings, self._transit)
        known = {rule.table for rule in found.rules}
        rules = frozenset(rule for rule in target.rules if rule.table not in known)
        ready = found.link_names() | {""}
        routes = frozenset(
            route
            for route in target.routes
            if route.link in ready and any(route.table == rule.table for rule in rules)
            if route.link in ("", EDGE_LINK) or not _is_ours(route.link) or route.via in _hops(found, route.link)
        )
        if rules:
            self._links = None
            ahead = msgspec.structs.replace(found, rules=found.rules | rules, routes=found.routes | routes)
            await self.namespace.ip(links.change(found, ahead))
            self._links = ahead

    async def _make_links(self, vpc: VpcSpec, peerings: tuple[PeeringSpec, ...]) -> None:
        found, self._links = self._links, None
        if found is None:
            found = await self._prepare()
        await self._forget_flows(vpc, found)
        target = topology.wanted(vpc, peerings, self._transit)
        fresh = {link.name for link in links.missing(found, target)}
        taps = [name for nic in vpc.interfaces if nic.kind == "guest" and (name := tap_name(nic.interface_id)) in fresh]
        if taps:
            await self.namespace.call(lambda: [tap.create(name) for name in taps])
        for nic in _managed(vpc):
            if tap_name(nic.interface_id) in fresh:
                await self._appliance(nic).connect(self.namespace)
        for peering in peerings:
            if peering_link(peering.peering_id) in fresh:
                await self._around.to_peer(self._id, peering)
        await self.namespace.ip(links.change(found, target))
        for nic in _managed(vpc):
            await self._appliance(nic).apply(nic)
        self._links = target

    async def _prepare(self) -> State:
        """What is there, once the namespace is a router and joined to the edge."""
        await self.namespace.call(lambda: write_settings((*ROUTER_SETTINGS, *_SETTINGS)))
        if EDGE_LINK not in (found := await self._observe()).link_names():
            await self.namespace.ip(["link set lo up"])
            await self._around.to_edge(self._id, self.namespace)
            found = await self._observe()
        (answer,) = await self.namespace.show("link show")
        self._transit = next(transit(link["link_index"]) for link in answer if link["ifname"] == EDGE_LINK)
        return found

    async def _forget_flows(self, vpc: VpcSpec, found: State) -> None:
        """Forgets connections of addresses that change hands, before the links tell no more whose they were."""
        owners = {address: nic.interface_id for nic in vpc.interfaces for address in _addresses(nic)}
        aliases = {link.name: link.alias for link in found.links}
        before = {
            route.destination: aliases[route.link]
            for route in found.routes
            if route.link.startswith(TAP_PREFIX) and not route.via
        }
        released = {address for address, owner in before.items() if owners.get(address) != owner}
        inward, settled = ruleset.public_addresses(vpc), self._settled
        if released or settled is None or any(inward.get(public) != private for public, private in settled.items()):
            flows = await conntrack.flows(self.namespace)
            await conntrack.forget(self.namespace, conntrack.stale(flows, inward, released))
        self._settled = inward

    def _appliance(self, nic: InterfaceSpec) -> Appliance:
        return self._around.appliance(nic.interface_id)

    async def _observe(self) -> State:
        return await links.observe(self.namespace, _is_ours)

    async def _translated(self) -> dict[str, str] | None:
        """Public → private address, as the kernel's map has it; None when the rules are gone."""
        try:
            answer = await self.namespace.run("nft", "--json", "list", "map", *ruleset.TABLE.split(), "inward")
        except ProcessError as error:
            if "No such file or directory" in error.stderr:
                return None
            raise
        (found,) = (entry["map"] for entry in msgspec.json.decode(answer)["nftables"] if "map" in entry)
        return dict(found.get("elem", ()))


def _without_rules(vpc: VpcSpec) -> VpcSpec:
    """What links, routes, names and appliances are made of."""
    return msgspec.structs.replace(vpc, groups=(), acls=(), prefix_lists=(), captures=())


def _managed(vpc: VpcSpec) -> Iterable[InterfaceSpec]:
    """The interfaces that the driver itself is behind."""
    return (nic for nic in vpc.interfaces if nic.kind != "guest")


def _addresses(nic: InterfaceSpec) -> Iterable[str]:
    return (*(one.address for one in nic.addresses), *nic.ipv6)


def _is_ours(name: str) -> bool:
    return name == EDGE_LINK or name.startswith((TAP_PREFIX, PEERING_PREFIX))


def _hops(found: State, link: str) -> frozenset[str]:
    return frozenset(entry.address for entry in found.neighbours if entry.link == link)


def _is_sound(link: Link) -> bool:
    return link.name.startswith(TAP_PREFIX) and link.mac == GATEWAY_MAC and bool(link.alias)
